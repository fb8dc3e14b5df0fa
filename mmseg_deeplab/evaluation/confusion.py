"""The confusion matrix and every score that follows from it. Needs numpy only."""

from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from ..errors import UserError

SCORE_NAMES = ('aAcc', 'mIoU', 'mAcc', 'mDice', 'FWIoU')  # MMSegmentation's
CLASS_SCORES = ('IoU', 'Acc', 'Dice', 'Precision')
MAX_LABEL = 65535  # of a mask of 16 bits; larger ones are refused before they are counted


def confusion_matrix(
    truth: np.ndarray, prediction: np.ndarray, num_classes: int, ignore_index: int = 255
) -> np.ndarray:
    """Count the pixels of one image by true and predicted class.

    Args:
        truth: (H, W) integers 0..num_classes-1, or ignore_index where the pixel does not count.
        prediction: (H, W) integers 0..num_classes-1.
        num_classes: number of classes C.
        ignore_index: the label (>= 0) of void pixels.

    Returns:
        (C, C) int64; row = true class, column = predicted class.

    Raises:
        ValueError: shapes differ, or a label id is neither a class nor ignore_index.
    """
    if truth.shape != prediction.shape:
        raise UserError(
            f'the label map is {_size(truth)} but the prediction is {_size(prediction)} (width x height); '
            'each mask must have the size of its image'
        )
    if truth.size == 0:
        return np.zeros((num_classes, num_classes), np.int64)
    check_prediction(prediction, num_classes)
    if int(truth.min()) < 0 or int(truth.max()) > max(MAX_LABEL, ignore_index):
        _raise_bad_labels(truth, num_classes, ignore_index)
    # One pass without masks: label ids beyond the classes fall into rows of their own behind the matrix.
    index = np.multiply(truth, num_classes, dtype=np.int64)
    index += prediction
    counts = np.bincount(index.ravel(), minlength=num_classes**2)
    counts[ignore_index * num_classes : (ignore_index + 1) * num_classes] = 0
    if counts[num_classes**2 :].any():
        _raise_bad_labels(truth, num_classes, ignore_index)
    return counts[: num_classes**2].reshape(num_classes, num_classes)


def label_counts(truth: np.ndarray, prediction: np.ndarray, num_classes: int, ignore_index: int = 255) -> np.ndarray:
    """Count the pixels of one image with several labels a pixel, of each class by itself.

    Args:
        truth: (C, H, W) integers, 1 where a class is, 0 where it is not, `ignore_index` where that does not count.
        prediction: (C, H, W) integers 0 and 1.
        num_classes: number of classes C.
        ignore_index: the value of void.

    Returns:
        (C, 2, 2) int64; rows = the class is not there, or is; columns = it is not predicted, or is.

    Raises:
        UserError: shapes differ, there are other classes, or a value is none of these.
    """
    if truth.shape != prediction.shape or len(truth) != num_classes:
        raise UserError(
            f'the label map is {_labels(truth)} but the prediction is {_labels(prediction)}, and there are '
            f"{num_classes} classes; both must have a label for each (masks='bands' and decode_head.multi_label=True) "
            'or both one, at one size'
        )
    pairs = zip(truth, prediction, strict=True)
    return np.stack([confusion_matrix(*each, num_classes=2, ignore_index=ignore_index) for each in pairs])


def hits_and_sums(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels of each class that are hit, that are true, that are predicted, (C,) each.

    Args:
        counts: of `confusion_matrix` (C, C), or of `label_counts` (C, 2, 2).
    """
    if counts.ndim == 3:
        return counts[:, 1, 1], counts[:, 1].sum(1), counts[:, :, 1].sum(1)
    return np.diagonal(counts), counts.sum(1), counts.sum(0)


def check_prediction(prediction: np.ndarray, num_classes: int) -> None:
    """UserError if a predicted (H, W) label map holds anything but the classes 0..num_classes-1."""
    low, high = (int(prediction.min()), int(prediction.max())) if prediction.size else (0, 0)
    if low < 0 or high >= num_classes:
        raise UserError(
            f'the model predicts class {low if low < 0 else high} but the dataset has {num_classes} classes '
            f'(0..{num_classes - 1}); set num_classes of the decode head to {num_classes}'
        )


@dataclass(frozen=True)
class Scores:
    """Scores of one confusion matrix, as fractions 0..1; nan where a class has no pixel to judge by.

    iou, acc, dice, precision are (C,) arrays: intersection over union, recall, 2 * intersection / (prediction + truth),
    the share of a class's predicted pixels that are right (nan where it is never predicted).
    A class that is neither in the truth nor predicted is nan and no part of the means, as in MMSegmentation.
    """

    iou: np.ndarray
    acc: np.ndarray
    dice: np.ndarray
    pixel_acc: float
    fw_iou: float
    precision: np.ndarray

    @classmethod
    def of(cls, matrix: np.ndarray, among: np.ndarray | None = None) -> 'Scores':
        """Scores of a (C, C) confusion matrix (row = truth, column = prediction), or of (C, 2, 2) `label_counts`.

        Of the latter pixel accuracy is the share of right decisions, of all classes and pixels.

        Means of two predictions compare only over the same classes: one that is predicted without being in the truth
        counts with 0 where it is predicted, and not at all where it is not. For such a comparison both are judged
        among the same classes, for example `Scores.of(before, among=after.counted)`.

        Args:
            among: (C,) bool, the classes to judge, in place of those that occur in this matrix. All others are nan. Of
                these, IoU and Dice are 0 where they neither occur in the truth nor are predicted.
        """
        hit, truth, predicted = hits_and_sums(matrix)
        hit, right = hit.astype(np.float64), np.trace(matrix, axis1=-2, axis2=-1).sum()
        with np.errstate(divide='ignore', invalid='ignore'):
            iou, acc, dice = hit / (truth + predicted - hit), hit / truth, 2 * hit / (truth + predicted)
            precision = hit / predicted
            # Frequency weighted: classes weigh as many pixels as they have, so absent ones (nan) weigh nothing.
            fw_iou = np.nansum(truth * iou) / truth.sum()
            pixel_acc = right / matrix.sum()
        if among is not None:
            iou, dice = (np.where(among, np.nan_to_num(values), np.nan) for values in (iou, dice))
            acc, precision = np.where(among, acc, np.nan), np.where(among, precision, np.nan)
        return cls(iou, acc, dice, float(pixel_acc), float(fw_iou), precision)

    @property
    def counted(self) -> np.ndarray:
        """(C,) bool: the classes that the mean IoU is over."""
        return ~np.isnan(self.iou)

    @property
    def miou(self) -> float:
        """The mean IoU, 0..1; nan if there is no pixel to judge by."""
        return nanmean(self.iou)

    def columns(self) -> dict[str, np.ndarray]:
        """The scores by class, (C,) each, as tables head them."""
        return dict(zip(CLASS_SCORES, (self.iou, self.acc, self.dice, self.precision), strict=True))

    def percent(self) -> dict[str, float]:
        """The means in percent, rounded to two digits, by `SCORE_NAMES`."""
        values = (self.pixel_acc, self.miou, nanmean(self.acc), nanmean(self.dice), self.fw_iou)
        return {name: round(float(value) * 100, 2) for name, value in zip(SCORE_NAMES, values, strict=True)}


def nanmean(values: np.ndarray) -> float:
    """Mean over the entries that are not nan; nan (without numpy's warning) where there are none."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else float('nan')


def _labels(maps: np.ndarray) -> str:
    labels = len(maps) if maps.ndim == 3 else 1
    return f'of {labels} labels a pixel ({maps.shape[-1]} x {maps.shape[-2]} pixels)'


def _size(array: np.ndarray) -> str:
    return ' x '.join(str(side) for side in array.shape[::-1])


def _raise_bad_labels(truth: np.ndarray, num_classes: int, ignore_index: int) -> NoReturn:
    labels = np.unique(truth)
    bad = labels[((labels < 0) | (labels >= num_classes)) & (labels != ignore_index)]
    raise UserError(
        f'label ids {bad[:10].tolist()} are neither a class (0..{num_classes - 1}) nor the '
        f'ignore_index {ignore_index}; correct the mask, the dataset (classes, reduce_zero_label) or ignore_index'
    )
