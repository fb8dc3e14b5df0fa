"""Trimap scores: how right a segmentation is near the boundaries of the truth.

A trimap of width w holds the pixels whose distance to the nearest pixel of another label is at most w (Euclidean,
in pixels). DeepLab v1 (Fig. 7) and v3+ (Sec. 4.3, Fig. 5) dilate the void label, which VOC draws along every object
boundary, and score the pixels in the dilated band, the void pixels themselves left out. Void counts here as one more
label, so on such masks this is the papers' trimap; masks without a void border (Cityscapes, ADE20K, ...) get theirs
from the class changes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from mmengine.logging import MMLogger
from mmseg.registry import METRICS
from prettytable import PrettyTable

from ..errors import UserError
from .metric import BEFORE_CRF, LabelMapMetric, label_map

MAX_WIDTH = 40  # the papers' figures end here
LOGGED_WIDTHS = (1, 2, 5, 10, 20, 40)


def trimap_width(truth: np.ndarray, ignore_index: int = 255) -> np.ndarray:
    """The narrowest trimap that holds each pixel.

    Args:
        truth: (H, W) integer labels.
        ignore_index: the void label.

    Returns:
        (H, W) int32: 1 beside a boundary, 2 one pixel further, ...; 0 at void pixels, which belong to no trimap.
        Where the image has one label only there is no boundary and the width is larger than any image.
    """
    width = np.zeros(truth.shape, np.int32)
    for label in np.unique(truth):
        if label == ignore_index:
            continue
        mask = (truth == label).astype(np.uint8)
        # The nearest pixel of another label lies inside the label's bounding box or touches it: measure only there.
        x, y, w, h = cv2.boundingRect(mask)
        box = np.s_[max(y - 1, 0) : y + h + 1, max(x - 1, 0) : x + w + 1]
        distance = cv2.distanceTransform(mask[box], cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        # float32: sqrt(25) may be 5.0000005; the next distance beyond 40 is sqrt(1601), 0.01 away.
        width[box] += np.ceil(np.minimum(distance, 1e6) - 1e-3).astype(np.int32)
    return width


@dataclass(frozen=True)
class TrimapCurve:
    """Scores in percent for the widths 1, 2, ..., len; nan where a trimap holds no pixel."""

    miou: np.ndarray
    pixel_acc: np.ndarray


@METRICS.register_module()
class TrimapMetric(LabelMapMetric):
    """Mean IoU and pixel accuracy inside trimaps of 1 to `max_width` pixels (see the module's text).

    Returns `trimap/mIoU_Wpx` in percent for the widths 1, 2, 5, 10, 20, 40; where samples hold the map before the CRF,
    also `trimap/before_crf/mIoU_Wpx`, over the same classes at each width: those that the refined map's score is over.
    The logged table has the accuracies too. After `evaluate`, on the main process,
    `curve` and `curve_before_crf` (None without CRF) hold both scores for every width.

    Args:
        max_width: the widest trimap, in pixels.
        ignore_index: label of void pixels.
        collect_device, prefix, collect_dir: as in mmengine.evaluator.BaseMetric.
    """

    default_prefix = 'trimap'

    def __init__(
        self,
        max_width: int = MAX_WIDTH,
        ignore_index: int = 255,
        collect_device: str = 'cpu',
        prefix: str | None = None,
        collect_dir: str | None = None,
    ) -> None:
        super().__init__(ignore_index, collect_device, prefix, collect_dir)
        if max_width < 1:
            raise UserError(f'max_width={max_width}: a trimap is at least 1 pixel wide; the papers go to {MAX_WIDTH}')
        self.max_width = max_width
        self.curve: TrimapCurve | None = None
        self.curve_before_crf: TrimapCurve | None = None

    @property
    def score_names(self) -> list[str]:
        """What `compute_metrics` returns; each again as before_crf/NAME where DenseCRFHook refines."""
        return [f'mIoU_{width}px' for width in LOGGED_WIDTHS if width <= self.max_width]

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """`results` gets one (cells, counts) per map and sample: the non-zero entries of `_count`'s histogram."""
        for sample in data_samples:
            truth = label_map(sample, 'gt_sem_seg')
            keys = ('pred_sem_seg', BEFORE_CRF) if BEFORE_CRF in sample else ('pred_sem_seg',)
            predictions = [label_map(sample, key) for key in keys]
            for prediction in predictions:
                self.count(sample, prediction)  # checks both; a label beyond the classes would be counted elsewhere
            if truth.ndim == 3:
                raise UserError(
                    f'{sample.get("img_path")}: TrimapMetric scores the boundaries of one label a pixel, and the mask '
                    'has several: leave it out'
                )
            width = trimap_width(truth, self.ignore_index)
            near = np.flatnonzero((width > 0) & (width <= self.max_width))
            width, truth = width.ravel()[near] - 1, truth.ravel()[near]
            self.results.append([self._count(width, truth, labels.ravel()[near]) for labels in predictions])

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Sum the images, log a short table, return the scores at the logged widths."""
        hit, union, truth = self._totals([maps[0] for maps in results])
        self.curve = _curve(hit, union, truth, among=union > 0)
        before = [maps[1] for maps in results if len(maps) > 1]
        self.curve_before_crf = _curve(*self._totals(before), among=union > 0) if before else None
        widths = [width for width in LOGGED_WIDTHS if width <= self.max_width]
        table = PrettyTable(['Trimap width', *(f'{width} px' for width in widths)], align='r')
        metrics = {}
        for prefix, suffix, curve in (('', '', self.curve), ('before_crf/', ' before CRF', self.curve_before_crf)):
            if curve is None:
                continue
            for name, values in (('mIoU', curve.miou), ('aAcc', curve.pixel_acc)):
                table.add_row([name + suffix, *(f'{values[width - 1]:.2f}' for width in widths)])
            metrics |= {f'{prefix}mIoU_{width}px': round(float(curve.miou[width - 1]), 2) for width in widths}
        MMLogger.get_current_instance().info(f'trimap scores (percent):\n{table.get_string()}')
        return metrics

    def _count(self, width: np.ndarray, truth: np.ndarray, prediction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Non-zero cells of the (3, max_width, C) histogram of the pixels hit, true and predicted, by width."""
        num_classes = len(self.classes)
        size = self.max_width * num_classes
        true_cell = width * num_classes + truth
        predicted_cell = width * num_classes + prediction
        hit = true_cell[true_cell == predicted_cell]
        counts = np.concatenate([np.bincount(cell, minlength=size) for cell in (hit, true_cell, predicted_cell)])
        cells = np.flatnonzero(counts)
        return cells, counts[cells]

    def _totals(self, images: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(max_width, C) pixels of each trimap that are hit, that are true or predicted, that are true."""
        total = np.zeros(3 * self.max_width * len(self.classes), np.int64)
        for cells, counts in images:
            total[cells] += counts
        # A trimap holds every narrower one.
        hit, truth, predicted = total.reshape(3, self.max_width, -1).cumsum(axis=1)
        return hit, truth + predicted - hit, truth


def _curve(hit: np.ndarray, union: np.ndarray, truth: np.ndarray, among: np.ndarray) -> TrimapCurve:
    """Scores of the (max_width, C) pixels of `_totals`; `among` says which classes the mean at each width is over."""
    iou = np.where(among, hit / np.maximum(union, 1), 0)
    with np.errstate(invalid='ignore'):
        return TrimapCurve(100 * iou.sum(1) / among.sum(1), 100 * hit.sum(1) / truth.sum(1))
