"""Overlays, panels and plots show what they say: colours are read back from the pictures."""

import numpy as np
import pytest
from PIL import Image

from mmseg_deeplab.evaluation import Scores, TrimapCurve
from mmseg_deeplab.visualization import (
    class_iou_figure,
    colorize,
    confusion_figure,
    difference,
    draw_panels,
    overlay,
    sweep_figure,
    trimap_figure,
)
from mmseg_deeplab.visualization.overlays import BROKEN, MENDED, WRONG

PALETTE = [(0, 0, 0), (200, 40, 40), (40, 40, 200)]
LABELS = np.array([[0, 1, 2, 255]], np.uint8).repeat(4, 0).repeat(6, 1)


def test_colorize_uses_the_palette_and_stripes_for_void():
    picture = colorize(LABELS, PALETTE)
    for label, color in enumerate(PALETTE):
        assert (picture[label == LABELS] == color).all()
    void = {tuple(color) for color in picture[LABELS == 255].tolist()}
    assert void == {(235, 235, 235), (170, 170, 170)}


def test_overlay_is_the_weighted_mean():
    image = np.full((*LABELS.shape, 3), 100, np.uint8)
    picture = overlay(image, LABELS, PALETTE, alpha=0.25)
    np.testing.assert_array_equal(picture[0, 6], [125, 85, 85])
    np.testing.assert_array_equal(overlay(image, LABELS, PALETTE, alpha=0), image)


def test_difference_marks_each_kind_of_error():
    truth = np.array([[0, 0, 0, 0, 255]])
    prediction = np.array([[0, 1, 1, 0, 1]])
    before = np.array([[0, 1, 0, 2, 2]])
    image = np.full((1, 5, 3), 100, np.uint8)
    grey = [160, 160, 160]
    assert difference(image, truth, prediction)[0, :4].tolist() == [grey, list(WRONG), list(WRONG), grey]
    with_crf = difference(image, truth, prediction, before)[0].tolist()
    assert with_crf[:4] == [grey, list(WRONG), list(BROKEN), list(MENDED)]
    assert with_crf[4] in ([170] * 3, [235] * 3)


@pytest.mark.parametrize('width, scale', [(200, 1), (60, 3)])
def test_panels_stand_side_by_side_in_full_resolution(width, scale):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (50, width, 3), dtype=np.uint8)
    truth, prediction, before = rng.integers(0, 3, (3, 50, width))
    truth[:5] = 255
    expected = [
        image,
        colorize(truth, PALETTE),
        colorize(before, PALETTE),
        colorize(prediction, PALETTE),
        difference(image, truth, prediction, before),
    ]
    canvas = np.array(draw_panels(image, prediction, 'abc', PALETTE, truth, before))
    for number, panel in enumerate(expected):
        left = 8 + number * (width * scale + 8)
        found = canvas[22 : 22 + 50 * scale : scale, left : left + width * scale : scale]
        np.testing.assert_array_equal(found, panel)
    assert (canvas[22 + 50 * scale + 8 :] != 255).any(), 'no legend'
    alone = draw_panels(image, prediction, 'abc', PALETTE)
    assert alone.width == 2 * (width * scale + 8) + 8


def test_figures_draw_the_given_numbers(tmp_path):
    matrix = np.array([[60, 20, 0, 0], [0, 0, 0, 0], [0, 10, 10, 0], [0, 0, 0, 0]])
    classes = ['sky', 'road', 'car', 'never']
    figure = confusion_figure(matrix, classes)
    shown = figure.axes[0].images[0].get_array()
    np.testing.assert_allclose(shown, [[75, 25, 0], [np.nan] * 3, [0, 50, 50]])
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ['sky', 'road', 'car']

    scores = Scores.of(matrix)
    bars = class_iou_figure(classes, scores, Scores.of(matrix.T)).axes[0]
    assert [label.get_text() for label in bars.get_yticklabels()] == ['sky', 'car', 'road']
    assert [bar.get_width() for bar in bars.patches[:3]] == [75, 50, 0]

    curve, before = TrimapCurve(np.arange(5.0), np.arange(5.0) + 50), TrimapCurve(np.ones(5), np.ones(5))
    accuracy, miou = trimap_figure(curve, before).axes
    assert [line.get_label() for line in miou.lines] == ['with CRF', 'without CRF']
    np.testing.assert_array_equal(miou.lines[0].get_xydata(), np.c_[1:6, 0:5])
    np.testing.assert_array_equal(accuracy.lines[0].get_ydata(), curve.pixel_acc)
    axes = sweep_figure('threshold', {'without CRF': ([0.1, 0.2, 0.3], [50.0, 60.0, 55.0])}).axes[0]
    line, best = axes.lines
    assert line.get_label() == 'without CRF, best 60.00 at 0.2' and axes.get_xlabel() == 'threshold'
    np.testing.assert_array_equal(line.get_xydata(), [[0.1, 50], [0.2, 60], [0.3, 55]])
    np.testing.assert_array_equal(best.get_xydata(), [[0.2, 60]])
    figure.savefig(tmp_path / 'confusion.png')
    assert Image.open(tmp_path / 'confusion.png').width > 300


@pytest.mark.filterwarnings('ignore:Attempting to set identical low and high')
def test_figures_of_many_classes_and_of_none():
    matrix = np.eye(150, dtype=int)
    confusion_figure(matrix, [str(k) for k in range(150)])
    class_iou_figure([str(k) for k in range(150)], Scores.of(matrix))
    nothing = np.zeros((3, 3), int)
    confusion_figure(nothing, 'abc')
    class_iou_figure('abc', Scores.of(nothing))
