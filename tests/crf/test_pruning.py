"""Which classes are dropped, what their union is, and how near the answer without them is."""

import numpy as np
import pytest
import torch
from crf_helpers import PARAMETERS, make_image, make_probabilities, reference

from mmseg_deeplab.crf import DenseCRF, mean_field
from mmseg_deeplab.crf.kernels import make_kernel
from mmseg_deeplab.crf.pruning import Pruned

POTTS = [make_kernel('pos', 3, 1), make_kernel('bi', 4, 67, 3)]


def unary_of(p: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(p).flatten(1).clamp(1e-5, 1).log_().neg_()


def medium_classes() -> np.ndarray:
    """(150, 40, 50): a few classes that win somewhere and well over a hundred of a few tenths of a per cent."""
    p = make_probabilities(150, 40, 50, seed=4) * np.where(np.arange(150) < 8, 1, 0.004)[:, None, None]
    return (p / p.sum(0)).astype(np.float32)


def adaptive(image: np.ndarray, p: np.ndarray, parameters: dict, iterations: int = 10, threshold=1e-3) -> np.ndarray:
    kernels = DenseCRF(**parameters).kernels
    arguments = [torch.from_numpy(image)], [unary_of(p)], [kernels], iterations, 'symmetric', threshold
    *_, (q,) = mean_field.mean_field(*arguments)
    return q.reshape(p.shape).numpy()


def test_the_sum_of_what_is_dropped_counts():
    """Ten classes of 0.004 each: one by one below a threshold of 0.01, but not together; two of them are."""
    p = torch.full((12, 30), 0.004)
    p[0] = 0.94
    p[1] = 0.02
    for threshold, kept in ((0.01, 10), (0.05, 2), (0.001, 12)):
        assert len(Pruned(-p.log(), POTTS, threshold, p).unary) == kept + (kept < 12)
    peaks = torch.zeros(4, 30)  # on different pixels the same peaks don't add up
    peaks[0], peaks[1, 3], peaks[2, 9], peaks[3, 20] = 0.99, 0.008, 0.008, 0.008
    assert len(Pruned(-peaks.clamp(min=1e-5).log(), POTTS, 0.01).unary) == 2


def test_a_clipped_probability_counts_as_none():
    p = torch.full((150, 30), 1e-5)
    p[0] = 1
    assert len(Pruned(-p.log(), POTTS, 1e-3).unary) == 2


def test_union_and_shares():
    p = torch.tensor([[0.9, 0.7], [0.05, 0.2], [0.04, 0.06], [0.01, 0.04]])
    pruned = Pruned(-p.log(), POTTS, 0.11)
    torch.testing.assert_close(pruned.unary.neg().exp(), torch.tensor([[0.9, 0.7], [0.05, 0.2], [0.05, 0.1]]))
    assert [kernel.compat.tolist() for kernel in pruned.kernels] == [[-3, -3, 0], [-4, -4, 0]]
    torch.testing.assert_close(pruned.merge(p), pruned.unary.neg().exp())
    torch.testing.assert_close(pruned.restore(pruned.merge(p)), p)
    # Dropped again, with the union of before, which costs nothing.
    again = Pruned(pruned.unary, pruned.kernels, 0.25, pruned.merge(p))
    torch.testing.assert_close(again.unary.neg().exp(), torch.tensor([[0.9, 0.7], [0.1, 0.3]]))
    torch.testing.assert_close(pruned.restore(again.restore(again.merge(pruned.merge(p)))), p)


@pytest.mark.parametrize('name', PARAMETERS)
def test_many_medium_classes_stay_exact(name):
    """A pseudo-class of over a hundred classes that sent a message, to itself above all, would be seen here."""
    image, p = make_image(40, 50), medium_classes()
    expected = reference(image, p, PARAMETERS[name])
    q = adaptive(image, p, PARAMETERS[name])
    assert abs(q - expected).max() < 1e-4
    assert (q.argmax(0) == expected.argmax(0)).all()


def test_the_pseudo_class_sends_no_message():
    """The reference, given the union of over a hundred classes as one with a cost of zero; a message of its own, with
    the weight of the others, is seen."""
    image, p = make_image(40, 50), medium_classes()
    pruned = Pruned(unary_of(p), POTTS, 0.2)
    merged = pruned.unary.neg().exp().reshape(-1, 40, 50).numpy()
    assert len(merged) < 50 and merged[-1].max() > 0.05
    parameters = dict(PARAMETERS['v2_r101'])
    answers = []
    for own in (0, 1):
        silent = np.append(np.ones(len(merged) - 1), own).astype(np.float32)
        answers.append(reference(image, merged, dict(parameters, pos_w=-3 * silent, bi_w=-4 * silent)))
    arguments = [torch.from_numpy(image)], [pruned.unary], [pruned.kernels], 10, 'symmetric'
    *_, (ours,) = mean_field.mean_field(*arguments)
    ours = ours.reshape(merged.shape).numpy()
    assert abs(ours - answers[0]).max() < 1e-4
    assert abs(answers[0] - answers[1]).max() > 0.01


def test_adaptive_classes_on_photographs(photographs):
    for image in photographs[:2]:
        p = make_probabilities(21, *image.shape[:2])
        expected = reference(image, p, PARAMETERS['v2_r101'])
        q = adaptive(image, p, PARAMETERS['v2_r101'])
        assert abs(q - expected).max() < 1e-4
        assert (q.argmax(0) == expected.argmax(0)).all()


def test_adaptive_drops_classes_and_keeps_what_can_not_be_dropped(monkeypatch):
    columns = []
    iterate = mean_field.iterate
    monkeypatch.setattr(mean_field, 'iterate', lambda u, *rest: columns.append(u.shape[1]) or iterate(u, *rest))
    image = make_image(40, 50)
    rare = make_probabilities(30, 40, 50, seed=4) * np.exp(-0.5 * np.arange(30, dtype=np.float32))[:, None, None]
    adaptive(image, rare / rare.sum(0), PARAMETERS['v2_r101'])
    assert columns[1] < columns[0] < 30
    flat = np.full((5, 40, 50), 0.2, np.float32)
    for parameters in (dict(PARAMETERS['v1']), dict(PARAMETERS['v1'], bi_w=1 - np.eye(5)), dict(pos_w=-1)):
        columns.clear()
        adaptive(image, flat, parameters)
        assert set(columns) == {5}


@pytest.mark.parametrize('iterations', [0, 1, 2, 3])
def test_adaptive_yields_every_state(iterations):
    image, p = make_image(20, 30), make_probabilities(9, 20, 30)
    arguments = [torch.from_numpy(image)], [unary_of(p)], [POTTS], iterations, 'symmetric'
    states = [q.clone() for (q,) in mean_field.mean_field(*arguments, 1e-3)]
    expected = [q.clone() for (q,) in mean_field.mean_field(*arguments)]
    assert len(states) == iterations + 1
    for state, wanted in zip(states, expected, strict=True):
        assert state.shape == (9, 600)
        torch.testing.assert_close(state, wanted, atol=1e-4, rtol=0)


def test_adaptive_batch_equals_its_images():
    sizes, classes = [(20, 31), (17, 23), (1, 5)], [3, 30, 8]
    images = [make_image(*size, seed=i) for i, size in enumerate(sizes)]
    scores = [make_probabilities(c, *size, seed=c) for c, size in zip(classes, sizes, strict=True)]
    arguments = list(map(torch.from_numpy, images)), list(map(unary_of, scores)), [POTTS] * 3, 5, 'symmetric', 1e-3
    *_, last = mean_field.mean_field(*arguments)
    for image, p, q in zip(images, scores, last, strict=True):
        np.testing.assert_allclose(q.reshape(p.shape), adaptive(image, p, PARAMETERS['v2_r101'], 5), atol=1e-5)
