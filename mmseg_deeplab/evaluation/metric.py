"""SegmentationMetric: every score of a segmentation in one table, exact, with and without the dense CRF."""

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path

import numpy as np
from mmengine.dist import is_main_process
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger, print_log
from mmseg.registry import METRICS
from PIL import Image
from prettytable import PrettyTable

from ..checkpoints.save import atomic_write
from ..errors import UserError
from .confusion import SCORE_NAMES, Scores, confusion_matrix, nanmean

# Where DenseCRFHook leaves the map that it refined.
BEFORE_CRF = 'pred_sem_seg_before_crf'


@dataclass(frozen=True)
class ImageResult:
    """What is kept of one image: the non-zero entries of its confusion matrix (a few hundred bytes) and its scores."""

    img_path: str
    cells: np.ndarray  # (K,) flat indices into the (C, C) matrix
    counts: np.ndarray  # (K,) pixels
    miou: float  # mean over the classes in this image's truth or prediction, 0..1; nan if all is void
    pixel_acc: float  # 0..1

    @classmethod
    def of(cls, img_path: str, matrix: np.ndarray) -> 'ImageResult':
        """The result of one image from its (C, C) confusion matrix."""
        scores = Scores.of(matrix)
        cells = np.flatnonzero(matrix)
        return cls(img_path, cells, matrix.ravel()[cells], nanmean(scores.iou), float(scores.pixel_acc))


@METRICS.register_module()
class SegmentationMetric(BaseMetric):
    """Pixel accuracy, IoU, class accuracy, Dice and frequency-weighted IoU from an int64 confusion matrix.

    Returns aAcc, mIoU, mAcc, mDice and FWIoU in percent, the same numbers as MMSegmentation's IoUMetric (whose float32
    sums round beyond 2**24 pixels a class). Where a sample also holds `pred_sem_seg_before_crf` (DenseCRFHook), the
    unrefined scores are returned too, as `before_crf/mIoU` and so on.

    After `evaluate`, on the main process: `confusion` and `confusion_before_crf` ((C, C) int64, row = truth; None if
    there is none) and `images` (a list of ImageResult in dataset order), `images_before_crf`.

    Args:
        ignore_index: label of the pixels that do not count.
        class_subset: names or indices of classes; adds `mIoU_subset`, the mean IoU over just those.
        output_dir: folder for the predictions as palette PNGs, named as the images; None saves nothing.
        image_root: predictions of images below this folder keep their subfolder, so that images of the same name in
            different folders stay apart; None puts all into `output_dir` itself.
        format_only: save predictions only, for data without ground truth; needs output_dir.
        keep_results: unused; MMSegmentation's own tools/test.py sets it with --out.
        collect_device, prefix, collect_dir: as in mmengine.evaluator.BaseMetric.
    """

    default_prefix = ''  # metric names stay bare; None would make MMEngine warn

    def __init__(
        self,
        ignore_index: int = 255,
        class_subset: Sequence[int | str] | None = None,
        output_dir: str | None = None,
        format_only: bool = False,
        keep_results: bool = False,
        collect_device: str = 'cpu',
        prefix: str | None = None,
        collect_dir: str | None = None,
        image_root: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix, collect_dir=collect_dir)
        if ignore_index < 0:
            raise UserError(f'ignore_index={ignore_index}: must be 0 or more; VOC and MMSegmentation use 255')
        if format_only and not output_dir:
            raise UserError('format_only=True saves predictions and needs output_dir, the folder to save them to')
        self.ignore_index = ignore_index
        self.class_subset = class_subset or ()
        self.subset_indices: list[int] = []
        self.output_dir = Path(output_dir) if output_dir else None
        self.image_root = Path(image_root) if image_root else None
        self.format_only = format_only
        self.confusion: np.ndarray | None = None
        self.confusion_before_crf: np.ndarray | None = None
        self.images: list[ImageResult] = []
        self.images_before_crf: list[ImageResult] = []
        if self.output_dir and is_main_process():
            self.output_dir.mkdir(parents=True, exist_ok=True)

    @property
    def score_names(self) -> list[str]:
        """What `compute_metrics` returns; each again as before_crf/NAME where DenseCRFHook refines."""
        return [*SCORE_NAMES, *(['mIoU_subset'] if self.class_subset else [])]

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Count the pixels of each sample; `results` gets one (ImageResult, ImageResult before CRF or None) each."""
        for sample in data_samples:
            prediction = label_map(sample, 'pred_sem_seg')
            if not self.format_only:
                after = self._count(sample, prediction)
                before = self._count(sample, label_map(sample, BEFORE_CRF)) if BEFORE_CRF in sample else None
                self.results.append((after, before))
            if self.output_dir:
                self._save(sample, prediction)

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Sum the images, log the table, return the means in percent."""
        if self.format_only:
            print_log(f'predictions saved to {self.output_dir.resolve()}', logger='current')
            return {}
        self.images = [after for after, _ in results]
        self.images_before_crf = [before for _, before in results if before]
        self.confusion = self._sum(self.images)
        scores = Scores.of(self.confusion)
        metrics = self._means(scores)
        before = None
        self.confusion_before_crf = None
        if self.images_before_crf:
            self.confusion_before_crf = self._sum(self.images_before_crf)
            before = Scores.of(self.confusion_before_crf)
            metrics.update({f'before_crf/{name}': value for name, value in self._means(before).items()})
        table = class_table(self.dataset_meta['classes'], scores, before)
        MMLogger.get_current_instance().info(f'per-class results (percent) of {len(results)} images:\n{table}')
        return metrics

    @BaseMetric.dataset_meta.setter
    def dataset_meta(self, meta: dict) -> None:
        """Set by the loop before the first batch, so that a wrong class_subset stops here and not after the test."""
        self._dataset_meta = meta
        classes = list(meta['classes'])
        if self.output_dir and len(classes) > 255:
            raise UserError(
                f'output_dir={str(self.output_dir)!r}: predictions are saved with 8 bits, which hold at most 255 '
                f'classes, but the dataset has {len(classes)}; leave output_dir out'
            )
        self.subset_indices = []
        for entry in self.class_subset:
            index = classes.index(entry) if entry in classes else entry
            if not isinstance(index, Integral) or not 0 <= index < len(classes):
                raise UserError(f'class_subset={entry!r}: neither an index 0..{len(classes) - 1} nor one of {classes}')
            self.subset_indices.append(index)

    def _means(self, scores: Scores) -> dict[str, float]:
        metrics = scores.percent()
        if self.subset_indices:
            metrics['mIoU_subset'] = round(nanmean(scores.iou[self.subset_indices]) * 100, 2)
        return metrics

    def _count(self, sample: dict, prediction: np.ndarray) -> ImageResult:
        truth = label_map(sample, 'gt_sem_seg')
        try:
            matrix = confusion_matrix(truth, prediction, len(self.dataset_meta['classes']), self.ignore_index)
        except ValueError as error:
            raise UserError(f'{sample.get("seg_map_path") or sample.get("img_path")}: {error}') from None
        return ImageResult.of(str(sample.get('img_path')), matrix)

    def _sum(self, images: list[ImageResult]) -> np.ndarray:
        num_classes = len(self.dataset_meta['classes'])
        matrix = np.zeros(num_classes**2, np.int64)
        for image in images:
            matrix[image.cells] += image.counts
        return matrix.reshape(num_classes, num_classes)

    def _save(self, sample: dict, prediction: np.ndarray) -> None:
        # Label 0 of the files is the class that reduce_zero_label took away (ADE20K's submission format).
        offset = int(bool(sample.get('reduce_zero_label', False)))
        picture = Image.fromarray((prediction + offset).astype(np.uint8), mode='L')
        palette = self.dataset_meta.get('palette')
        if palette:
            picture.putpalette(np.array([(0, 0, 0)] * offset + [tuple(c) for c in palette], np.uint8).tobytes())
        image = Path(sample['img_path'])
        folder = self.output_dir
        if self.image_root and image.is_relative_to(self.image_root):
            folder = folder / image.relative_to(self.image_root).parent
        with atomic_write(folder / f'{image.stem}.png') as file:
            picture.save(file, format='PNG')


def label_map(sample: dict, key: str) -> np.ndarray:
    """The (H, W) label map that a data sample (as a dict) holds under `key`, on the CPU.

    Raises:
        ValueError: the sample holds none.
    """
    if key not in sample:
        raise UserError(
            f'{sample.get("img_path")}: the sample has no {key}; for data without ground truth use '
            "SegmentationMetric(format_only=True, output_dir='...'), else add LoadLabels to the test pipeline"
        )
    labels = sample[key]['data'].squeeze(0).cpu().numpy()
    # MMSegmentation thresholds a single channel to zeros and ones of type float.
    return labels.astype(np.uint8) if labels.dtype.kind == 'f' else labels


def class_table(classes: Sequence[str], scores: Scores, before: Scores | None = None) -> str:
    """One line a class and one for the mean: IoU, Acc and Dice in percent, beside those before the CRF if given."""
    columns = {'IoU': scores.iou, 'Acc': scores.acc, 'Dice': scores.dice}
    if before is not None:
        columns |= {'IoU before CRF': before.iou, 'Acc before CRF': before.acc, 'Dice before CRF': before.dice}
    table = PrettyTable(['Class', *columns])
    table.align = 'r'
    table.align['Class'] = 'l'
    rows = [*zip(classes, *columns.values(), strict=True), ('mean', *(nanmean(c) for c in columns.values()))]
    for number, (name, *values) in enumerate(rows):
        cells = ['-' if np.isnan(value) else f'{value * 100:.2f}' for value in values]
        table.add_row([name, *cells], divider=number == len(rows) - 2)
    return table.get_string()
