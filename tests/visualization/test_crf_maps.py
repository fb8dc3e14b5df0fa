"""The CRF's figures hold the numbers that they are given, in the places that their titles say."""

import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from mmseg_deeplab.visualization.crf_maps import boundary, iteration_figure, label_figure, surface_figure

IMAGE = np.random.default_rng(0).integers(0, 255, (12, 20, 3), dtype=np.uint8)


def images(figure) -> dict:
    """Title of each panel -> what it shows, in the order of drawing; untitled panels by number."""
    panels = [(axes.get_title(), axes.images[0]) for axes in figure.axes if axes.images]
    return {title or number: image for number, (title, image) in enumerate(panels)}


def test_iteration_figure_has_a_score_and_a_belief_map_for_every_step():
    rng = np.random.default_rng(1)
    beliefs = {k: rng.dirichlet([1, 1, 1], (12, 20)).transpose(2, 0, 1) for k in (0, 2, 10)}
    figure = iteration_figure(IMAGE, beliefs, ['sky', 'cat', 'dog'], [1])
    panels = [(axes.get_title(), axes.images[0].get_array()) for axes in figure.axes if axes.images]
    assert [title for title, _ in panels] == ['cat', 'network', 'iteration 2', 'iteration 10', '', '', '']
    for k, (_, score), (_, belief) in zip(beliefs, panels[1:4], panels[4:], strict=True):
        np.testing.assert_allclose(belief, beliefs[k][1])
        np.testing.assert_allclose(1 / (1 + np.exp(-score)), beliefs[k][1], rtol=1e-6)
    FigureCanvasAgg(figure).draw()


@pytest.mark.filterwarnings('error::RuntimeWarning')  # NumPy's of log(0)
def test_certain_pixels_have_a_finite_score():
    beliefs = {0: np.stack([np.ones((12, 20)), np.zeros((12, 20))])}
    figure = iteration_figure(IMAGE, beliefs, ['sky', 'cat'], [0, 1])
    assert all(np.isfinite(axes.images[0].get_array()).all() for axes in figure.axes if axes.images)


def test_the_boundary_runs_between_labels_void_included():
    labels = np.array([[0, 0, 1], [0, 0, 1], [0, 255, 255]])
    np.testing.assert_array_equal(boundary(labels), [[0, 1, 0], [0, 1, 1], [1, 0, 0]])
    assert not boundary(np.full((3, 4), 7)).any()


def test_label_figure_draws_the_truths_boundary_in_white_on_every_panel():
    truth = np.zeros((12, 20), np.uint8)
    truth[3:9, 5:15] = 1
    figure = label_figure(IMAGE, np.zeros_like(truth), truth, [[0, 0, 0], [200, 0, 0]], truth)
    shown = images(figure)
    assert list(shown) == ['image', 'before', 'after CRF']
    for picture in shown.values():
        assert (picture.get_array()[boundary(truth)] == 255).all()
    inside = (slice(4, 8), slice(6, 14))
    assert (shown['after CRF'].get_array()[inside] != shown['before'].get_array()[inside]).any()
    assert (images(label_figure(IMAGE, truth, truth, [[0, 0, 0], [200, 0, 0]]))['image'].get_array() == IMAGE).all()


def test_surface_shows_the_best_of_each_cell_and_frames_the_best_of_all():
    scores = []
    for bi_w, xy, rgb, pos_w in itertools.product((3, 5), (30, 50, 70), (3, 4), (1, 2)):
        if (bi_w, xy, rgb) != (3, 70, 4):
            candidate = dict(bi_w=bi_w, bi_xy_std=xy, bi_rgb_std=rgb, pos_w=pos_w)
            scores.append((candidate, 0.5 + bi_w / 100 - xy / 1000 + rgb / 500 + pos_w / 1e4))
    figure = surface_figure(scores, without=0.51)
    panels = images(figure)
    assert list(panels) == ['bi_w = 3', 'bi_w = 5']
    first = panels['bi_w = 3'].get_array()
    assert first[0, 1] == pytest.approx(100 * (0.5 + 0.03 - 0.03 + 0.008 + 0.0002))
    assert np.ma.getmaskarray(first)[2, 1] or np.isnan(first[2, 1]), 'a place that was not looked at stays empty'
    frames = [(axes.get_title(), patch.get_xy()) for axes in figure.axes for patch in axes.patches if axes.images]
    assert frames == [('bi_w = 5', (0.5, -0.5))]
    assert '51.00' in figure.get_suptitle()
    FigureCanvasAgg(figure).draw()


def test_one_candidate_is_a_surface_too():
    FigureCanvasAgg(surface_figure([(dict(bi_w=4, bi_xy_std=67, bi_rgb_std=3), 0.7)], 0.6)).draw()
