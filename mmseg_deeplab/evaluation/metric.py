"""SegmentationMetric: every score of a segmentation in one table, exact, with and without the dense CRF."""

import os.path
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
from .confusion import CLASS_SCORES, SCORE_NAMES, Scores, check_prediction, confusion_matrix, label_counts, nanmean

# Where DenseCRFHook leaves the map that it refined.
BEFORE_CRF = 'pred_sem_seg_before_crf'


@dataclass(frozen=True)
class ImageResult:
    """What is kept of one image: the non-zero entries of its confusion matrix (a few hundred bytes) and its scores."""

    img_path: str
    cells: np.ndarray  # (K,) flat indices into the (C, C) matrix, or the (C, 2, 2) counts of several labels a pixel
    counts: np.ndarray  # (K,) pixels
    miou: float  # mean over the classes in this image's truth or prediction, 0..1; nan if all is void
    pixel_acc: float  # 0..1
    shape: tuple[int, ...]  # of the matrix

    @classmethod
    def of(cls, img_path: str, matrix: np.ndarray, among: np.ndarray | None = None) -> 'ImageResult':
        """The result of one image from its (C, C) confusion matrix; `among` as in `Scores.of`."""
        scores = Scores.of(matrix, among)
        cells = np.flatnonzero(matrix)
        return cls(img_path, cells, matrix.ravel()[cells], scores.miou, scores.pixel_acc, matrix.shape)


class LabelMapMetric(BaseMetric):
    """What metrics that compare label maps share: the classes, the void label, the check of each pair of maps.

    Args:
        ignore_index: label of the pixels that do not count.
        collect_device, prefix, collect_dir: as in mmengine.evaluator.BaseMetric.
    """

    def __init__(
        self,
        ignore_index: int = 255,
        collect_device: str = 'cpu',
        prefix: str | None = None,
        collect_dir: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix, collect_dir=collect_dir)
        if ignore_index < 0:
            raise UserError(f'ignore_index={ignore_index}: must be 0 or more; VOC and MMSegmentation use 255')
        self.ignore_index = ignore_index
        self.classes: list[str] = []
        self.palette: list[Sequence[int]] = []

    @BaseMetric.dataset_meta.setter
    def dataset_meta(self, meta: dict) -> None:
        """Set by the loop before the first batch."""
        self._dataset_meta = meta
        self.classes = list(meta['classes'])
        self.palette = list(meta.get('palette') or [])
        self._check_classes()

    def _check_classes(self) -> None:
        """Called when the classes are known."""

    def count(self, sample: dict, prediction: np.ndarray) -> np.ndarray:
        """The (C, C) confusion matrix of a sample's truth and a prediction; errors name the sample's file.

        With several labels a pixel those are the (C, 2, 2) counts of each class.
        """
        truth = label_map(sample, 'gt_sem_seg')
        try:
            if 3 in (truth.ndim, prediction.ndim):
                return label_counts(truth, prediction, len(self.classes), self.ignore_index)
            return confusion_matrix(truth, prediction, len(self.classes), self.ignore_index)
        except UserError as error:
            raise UserError(f'{sample.get("seg_map_path") or sample.get("img_path")}: {error}') from None


@METRICS.register_module()
class SegmentationMetric(LabelMapMetric):
    """Pixel accuracy, IoU, class accuracy, Dice and frequency-weighted IoU from an int64 confusion matrix.

    Returns aAcc, mIoU, mAcc, mDice and FWIoU in percent, the same numbers as MMSegmentation's IoUMetric (whose float32
    sums round beyond 2**24 pixels a class). Where a sample also holds `pred_sem_seg_before_crf` (DenseCRFHook), the
    unrefined scores are returned too, as `before_crf/mIoU` and so on, over the same classes as the refined ones: those
    in the truth or in the refined prediction. Classes that leave the means so are named in the log.

    Masks and predictions with several labels a pixel, (C, H, W) of 0 and 1, give the same scores, of each class by
    itself; aAcc is then the share of right decisions.

    After `evaluate`, on the main process: `confusion` and `confusion_before_crf` ((C, C) int64, row = truth; None if
    there is none; with several labels a pixel (C, 2, 2), see `label_counts`), `scores` and `scores_before_crf` of them,
    `only_before_crf` (names of the classes that leave the means), `images` (a list of ImageResult in dataset order),
    `images_before_crf`.

    Args:
        ignore_index: label of the pixels that do not count.
        per_class: also returns `IoU/NAME`, `Acc/NAME`, `Dice/NAME` and `Precision/NAME` of each class, for save_best,
            early stopping and plots; nan where a class has no pixel to judge by.
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
        per_class: bool = False,
    ) -> None:
        super().__init__(ignore_index, collect_device, prefix, collect_dir)
        if format_only and not output_dir:
            raise UserError('format_only=True saves predictions and needs output_dir, the folder to save them to')
        self.class_subset = class_subset or ()
        self.per_class = per_class
        self.subset_indices: list[int] = []
        self.output_dir = Path(output_dir) if output_dir else None
        self.image_root = Path(image_root) if image_root else None
        self.format_only = format_only
        self.confusion: np.ndarray | None = None
        self.confusion_before_crf: np.ndarray | None = None
        self.scores: Scores | None = None
        self.scores_before_crf: Scores | None = None
        self.only_before_crf: list[str] = []
        self.images: list[ImageResult] = []
        self.images_before_crf: list[ImageResult] = []
        self._saved: dict[Path, str] = {}
        if self.output_dir and is_main_process():
            self.output_dir.mkdir(parents=True, exist_ok=True)

    @property
    def score_names(self) -> list[str]:
        """What `compute_metrics` returns; each again as before_crf/NAME where DenseCRFHook refines."""
        columns = CLASS_SCORES if self.per_class else ()
        return [
            *SCORE_NAMES,
            *(['mIoU_subset'] if self.class_subset else []),
            *(f'{column}/{name}' for column in columns for name in self.classes),
        ]

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Count the pixels of each sample; `results` gets one (ImageResult, ImageResult before CRF or None) each.

        With format_only these are None, and the results only count the files.
        """
        for sample in data_samples:
            prediction = label_map(sample, 'pred_sem_seg')
            if self.output_dir:
                self._save(self.output_dir, sample, prediction)
            self.results.append(None if self.format_only else self._results_of(sample, prediction))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Sum the images, log the table, return the means in percent."""
        if self.format_only:
            print_log(f'{len(results)} predictions saved to {self.output_dir}', logger='current')
            return {}
        self.images = [after for after, _ in results]
        self.images_before_crf = [before for _, before in results if before]
        self.confusion = self._sum(self.images)
        self.scores = Scores.of(self.confusion)
        metrics = self._means(self.scores)
        self.confusion_before_crf = self.scores_before_crf = None
        self.only_before_crf = []
        if self.images_before_crf:
            self.confusion_before_crf = self._sum(self.images_before_crf)
            self.scores_before_crf = Scores.of(self.confusion_before_crf, among=self.scores.counted)
            left_out = Scores.of(self.confusion_before_crf).counted & ~self.scores.counted
            self.only_before_crf = [self.classes[k] for k in np.flatnonzero(left_out)]
            metrics |= {f'before_crf/{name}': value for name, value in self._means(self.scores_before_crf).items()}
        text = class_table(self.classes, self.scores, self.scores_before_crf)
        if self.only_before_crf:
            text += f'\npredicted before the CRF only, and no part of the means: {", ".join(self.only_before_crf)}'
        MMLogger.get_current_instance().info(f'per-class results (percent) of {len(results)} images:\n{text}')
        return metrics

    def _check_classes(self) -> None:
        """A wrong class_subset stops here and not after the test."""
        if self.output_dir and len(self.classes) > 255:
            raise UserError(
                f'output_dir={str(self.output_dir)!r}: predictions are saved with 8 bits, which hold at most 255 '
                f'classes, but the dataset has {len(self.classes)}; leave output_dir out'
            )
        self.subset_indices = [self._index_of(entry) for entry in self.class_subset]

    def _index_of(self, entry: int | str) -> int:
        if entry in self.classes:
            return self.classes.index(entry)
        if isinstance(entry, Integral) and 0 <= int(entry) < len(self.classes):
            return int(entry)
        raise UserError(
            f'class_subset={entry!r}: neither an index 0..{len(self.classes) - 1} nor one of {self.classes}'
        )

    def _means(self, scores: Scores) -> dict[str, float]:
        metrics = scores.percent()
        if self.subset_indices:
            metrics['mIoU_subset'] = round(nanmean(scores.iou[self.subset_indices]) * 100, 2)
        if self.per_class:
            for column, values in scores.columns().items():
                for name, value in zip(self.classes, values, strict=True):
                    metrics[f'{column}/{name}'] = round(float(value) * 100, 2)
        return metrics

    def _results_of(self, sample: dict, prediction: np.ndarray) -> tuple[ImageResult, ImageResult | None]:
        img_path = str(sample.get('img_path'))
        matrix = self.count(sample, prediction)
        before = None
        if BEFORE_CRF in sample:
            unrefined = self.count(sample, label_map(sample, BEFORE_CRF))
            before = ImageResult.of(img_path, unrefined, among=Scores.of(matrix).counted)
        return ImageResult.of(img_path, matrix), before

    def _sum(self, images: list[ImageResult]) -> np.ndarray:
        shape = images[0].shape if images else (len(self.classes),) * 2
        matrix = np.zeros(int(np.prod(shape)), np.int64)
        for image in images:
            matrix[image.cells] += image.counts
        return matrix.reshape(shape)

    def _save(self, folder: Path, sample: dict, prediction: np.ndarray) -> None:
        if prediction.ndim == 3:
            raise UserError(
                f'output_dir={str(self.output_dir)!r}: predictions are saved as pictures of one label a pixel, and '
                'these have several; leave output_dir out, and save masks of bands by tools/predict.py'
            )
        check_prediction(prediction, len(self.classes))  # or the file's 8 bits would hold another class
        # Label 0 of the files is the class that reduce_zero_label took away (ADE20K's submission format).
        offset = int(bool(sample.get('reduce_zero_label', False)))
        picture = Image.fromarray((prediction + offset).astype(np.uint8), mode='L')
        if self.palette:
            colors = [(0, 0, 0)] * offset + [tuple(color) for color in self.palette]
            picture.putpalette(np.array(colors, np.uint8).tobytes())
        image = Path(sample['img_path'])
        if self.image_root and image.is_relative_to(self.image_root):
            folder = folder / image.relative_to(self.image_root).parent
        path = folder / f'{image.stem}.png'
        other = self._saved.setdefault(path, str(image))
        if other != str(image):
            raise UserError(
                f'the predictions of {other} and {image} would both be saved as {path}: set image_root of the '
                f'SegmentationMetric to {os.path.commonpath([other, image])}, so that they keep their subfolders'
            )
        with atomic_write(path) as file:
            picture.save(file, format='PNG')


def label_map(sample: dict, key: str) -> np.ndarray:
    """The (H, W) label map, integers, that a data sample (as a dict) holds under `key`, on the CPU.

    With several labels a pixel it is (C, H, W).

    Raises:
        UserError: the sample holds none, or one with fractions.
    """
    if key not in sample:
        raise UserError(
            f'{sample.get("img_path")}: the sample has no {key}; for data without ground truth use '
            "SegmentationMetric(format_only=True, output_dir='...'), else add LoadLabels to the test pipeline"
        )
    labels = sample[key]['data'].squeeze(0).cpu().numpy()
    if labels.dtype.kind != 'f':
        return labels
    # MMSegmentation thresholds a single channel to zeros and ones of type float.
    whole = np.isfinite(labels) & (labels == np.rint(labels))
    if not whole.all():
        raise UserError(
            f'{sample.get("seg_map_path") or sample.get("img_path")}: {key} holds '
            f'{np.unique(labels[~whole])[:10].tolist()}; labels are whole numbers'
        )
    return labels.astype(np.int64)


def class_table(classes: Sequence[str], scores: Scores, before: Scores | None = None) -> str:
    """One line a class and one for the mean: `CLASS_SCORES` in percent, beside those before the CRF if given."""
    columns = scores.columns()
    if before is not None:
        columns |= {f'{name} before CRF': values for name, values in before.columns().items()}
    table = PrettyTable(['Class', *columns])
    table.align = 'r'
    table.align['Class'] = 'l'
    rows = [*zip(classes, *columns.values(), strict=True), ('mean', *(nanmean(c) for c in columns.values()))]
    for number, (name, *values) in enumerate(rows):
        cells = ['-' if np.isnan(value) else f'{value * 100:.2f}' for value in values]
        table.add_row([name, *cells], divider=number == len(rows) - 2)
    return table.get_string()
