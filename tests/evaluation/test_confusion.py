"""The confusion matrix and its scores: light to import, exact, comparable."""

import subprocess
import sys

import numpy as np
import pytest

from mmseg_deeplab.errors import UserError
from mmseg_deeplab.evaluation import Scores, confusion_matrix
from mmseg_deeplab.evaluation.confusion import label_counts


def test_it_needs_numpy_only():
    """As the processes of a parameter search use it: neither torch nor the stack is imported."""
    script = (
        'import sys\n'
        'for name in ("torch", "mmengine", "mmseg", "mmcv", "matplotlib"):\n'
        '    sys.modules[name] = None\n'
        'from mmseg_deeplab.evaluation import Scores, confusion_matrix\n'
        'print(Scores.of(confusion_matrix(*__import__("numpy").eye(4, dtype=int)[None].repeat(2, 0), 2)).miou)\n'
    )
    done = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True, timeout=60)
    assert done.stdout == '1.0\n', done.stderr


def test_two_predictions_compare_among_the_same_classes():
    """Truth of classes 0 and 1; before, 2 is predicted too, after, 3: neither moves a mean against the other."""
    truth = np.array([[0, 0, 0, 0, 1, 1, 1, 1]])
    before = np.array([[0, 0, 0, 2, 1, 1, 1, 1]])
    after = np.array([[0, 0, 0, 3, 1, 1, 1, 1]])
    before, after = (confusion_matrix(truth, labels, 5) for labels in (before, after))
    assert Scores.of(before).counted.tolist() == [True, True, True, False, False]
    refined = Scores.of(after)
    unrefined = Scores.of(before, among=refined.counted)
    assert unrefined.miou == refined.miou == pytest.approx((3 / 4 + 1 + 0) / 3)
    np.testing.assert_array_equal(unrefined.counted, refined.counted)
    np.testing.assert_array_equal(unrefined.iou, [3 / 4, 1, np.nan, 0, np.nan])
    np.testing.assert_array_equal(unrefined.dice, [6 / 7, 1, np.nan, 0, np.nan])
    np.testing.assert_array_equal(unrefined.acc, [3 / 4, 1, np.nan, np.nan, np.nan])
    assert unrefined.pixel_acc == 7 / 8


def test_labels_beyond_any_mask_are_refused_before_they_are_counted():
    """Counting them would take memory for every label below."""
    truth = np.array([[0, 2**31 - 1]])
    with pytest.raises(ValueError, match=r'label ids \[2147483647\] are neither a class \(0..2\)'):
        confusion_matrix(truth, np.zeros_like(truth), 3)


def test_several_labels_a_pixel_are_scored_class_by_class():
    rng = np.random.default_rng(0)
    truth, prediction = rng.integers(0, 2, (4, 9, 7)), rng.integers(0, 2, (4, 9, 7))
    truth[0, :3], truth[2] = 255, 255
    truth[3], prediction[3] = 0, 0
    counts = label_counts(truth, prediction, 4)
    for k in range(4):
        for there in (0, 1):
            for predicted in (0, 1):
                assert counts[k, there, predicted] == ((truth[k] == there) & (prediction[k] == predicted)).sum()
    scores = Scores.of(counts)
    for k in (0, 1):
        known = truth[k] != 255
        both = ((truth[k] == 1) & (prediction[k] == 1))[known].sum()
        true, found = (truth[k] == 1)[known].sum(), (prediction[k] == 1)[known].sum()
        assert scores.iou[k] == both / (true + found - both)
        assert scores.acc[k] == both / true and scores.precision[k] == both / found
        assert scores.dice[k] == 2 * both / (true + found)
    assert np.isnan(scores.iou[2:]).all() and scores.counted.tolist() == [True, True, False, False]
    known = truth != 255
    assert scores.pixel_acc == (truth == prediction)[known].mean()


@pytest.mark.parametrize(
    ('truth', 'prediction', 'told'),
    [
        (
            np.zeros((3, 4, 5)),
            np.zeros((4, 5)),
            'is of 3 labels a pixel .* the prediction is of 1 labels',
        ),
        (np.zeros((2, 4, 5)), np.zeros((2, 4, 5)), 'label map is of 2 labels a pixel .* there are 3 classes'),
        (np.zeros((3, 4, 5)), np.zeros((3, 5, 4)), r'\(5 x 4 pixels\).*\(4 x 5 pixels\)'),
        (np.full((3, 4, 5), 2), np.zeros((3, 4, 5)), r'label ids \[2\]'),
    ],
)
def test_labels_that_can_not_be_compared(truth, prediction, told):
    with pytest.raises(UserError, match=told):
        label_counts(truth.astype(int), prediction.astype(int), 3)
