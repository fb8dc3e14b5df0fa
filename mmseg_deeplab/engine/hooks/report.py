"""ReportHook: one self-contained HTML page about a test run; `tools/test.py --report DIR` adds it."""

import csv
import io
import time
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from mmengine.dist import all_gather_object, is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from mmseg.registry import HOOKS

from ...checkpoints.save import atomic_write
from ...datasets.bands import Bands, read_shown
from ...errors import UserError
from ...evaluation import SegmentationMetric, TrimapCurve, TrimapMetric
from ...evaluation.metric import BEFORE_CRF, ImageResult, label_map
from ...evaluation.results import FILE, Results, numbers
from ...inference.refine import has_several_labels
from ...visualization import as_one_map, class_iou_figure, confusion_figure, difference, overlay, trimap_figure
from ...visualization.report_page import Card, render
from ..describe import costs, describe

DECISIONS = ['neither', 'predicted only', 'true only', 'both']
"""Of one of several labels at a pixel, as `label_counts` counts them."""


@dataclass
class Sample:
    """A sample that may be shown: its maps and scores. The image is read only if it is shown."""

    after: ImageResult
    before: ImageResult | None
    truth: np.ndarray
    prediction: np.ndarray
    prediction_before: np.ndarray | None
    bands: Bands | None


@HOOKS.register_module()
class ReportHook(Hook):
    """Writes `out_dir/index.html` after the test: configuration, tables, plots, worst and best images.

    The page holds its pictures itself and needs no network. Beside it lie the plots as PNG, the numbers as CSV
    (confusion.csv in pixels, images.csv and trimap.csv in percent), and results.json, which `deeplab compare` reads.
    It takes the scores of the SegmentationMetric in test_evaluator and adds a TrimapMetric unless there is one. With
    several labels a pixel there are no trimaps and no confusion of classes: confusion.csv then has the four counts of
    each class, and pictures show each set of labels in its mean colour.

    Args:
        out_dir: folder of the report.
        num_images: how many of the worst and how many of the best images to show.
    """

    def __init__(self, out_dir: str, num_images: int = 6) -> None:
        self.out_dir = Path(out_dir)
        self.num_images = num_images
        self.samples: list[Sample] = []
        self.begin = self.end = 0.0
        self.metric: SegmentationMetric
        self.trimap: TrimapMetric | None

    def before_test(self, runner: Runner) -> None:
        evaluator = runner.test_loop.evaluator
        metric = next((m for m in evaluator.metrics if isinstance(m, SegmentationMetric)), None)
        if metric is None or metric.format_only:
            raise UserError(
                'ReportHook: test_evaluator has no SegmentationMetric that compares with the truth; '
                "set test_evaluator = dict(type='SegmentationMetric')"
            )
        trimap = next((m for m in evaluator.metrics if isinstance(m, TrimapMetric)), None)
        if trimap is None and not has_several_labels(runner.model):
            trimap = TrimapMetric(ignore_index=metric.ignore_index)
            trimap.dataset_meta = evaluator.dataset_meta
            evaluator.metrics.append(trimap)
        self.metric, self.trimap = metric, trimap
        self.samples = []
        self.out_dir.mkdir(parents=True, exist_ok=True)

    def before_test_epoch(self, runner: Runner) -> None:
        self.begin = time.perf_counter()

    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs: Sequence | None = None) -> None:
        """Keep the maps of the worst and best images so far (the metric has just scored these outputs)."""
        outputs = outputs or ()
        for sample, (after, before) in zip(outputs, self.metric.results[-len(outputs) :], strict=True):
            if np.isnan(after.miou):
                continue
            sample = sample.to_dict()
            self.samples.append(
                Sample(
                    after,
                    before,
                    label_map(sample, 'gt_sem_seg').astype(np.int16),
                    label_map(sample, 'pred_sem_seg').astype(np.int16),
                    label_map(sample, BEFORE_CRF).astype(np.int16) if before else None,
                    sample.get('bands'),
                )
            )
        self._keep_extremes()
        self.end = time.perf_counter()

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        self.samples = [sample for samples in all_gather_object(self.samples) for sample in samples]
        if not is_main_process():
            return
        # A padded duplicate of a distributed test is the same image once more.
        self.samples = list({sample.after.img_path: sample for sample in self.samples}.values())
        self._keep_extremes()
        self._write(runner, metrics or {})
        print_log(f'report: {(self.out_dir / "index.html").resolve()}', logger='current')

    def _keep_extremes(self) -> None:
        self.samples.sort(key=lambda sample: sample.after.miou)
        if len(self.samples) > 2 * self.num_images:
            self.samples = self.samples[: self.num_images] + self.samples[-self.num_images :]

    def _write(self, runner: Runner, metrics: dict[str, float]) -> None:
        metric, trimap, classes = self.metric, self.trimap, self.metric.classes
        scores = metric.scores
        assert metric.confusion is not None and scores is not None  # the test is evaluated
        figures = {'class_iou': class_iou_figure(classes, scores, metric.scores_before_crf)}
        if trimap is not None:
            assert trimap.curve is not None
            figures['trimap'] = trimap_figure(trimap.curve, trimap.curve_before_crf)
        if metric.confusion.ndim == 2:
            figures['confusion'] = confusion_figure(metric.confusion, classes)
        plots = {name: _png(figure) for name, figure in figures.items()}
        half = (len(self.samples) + 1) // 2
        title = Path(runner.cfg.filename).stem if runner.cfg.filename else runner.experiment_name
        facts = describe(runner)
        page = render(
            title=title,
            facts=facts,
            metrics={name: value for name, value in metrics.items() if _is_mean(name)},
            classes=classes,
            palette=metric.palette,
            scores=scores,
            before=metric.scores_before_crf,
            plots=plots,
            worst=[self._card(sample) for sample in self.samples[:half][: self.num_images]],
            best=[self._card(sample) for sample in self.samples[half:][::-1][: self.num_images]],
            images=sorted(metric.images, key=lambda image: (np.isnan(image.miou), image.miou)),
            config=runner.cfg.pretty_text,
            only_before=metric.only_before_crf,
        )
        rows = metric.confusion.reshape(len(classes), -1).tolist()
        columns = classes if metric.confusion.ndim == 2 else DECISIONS
        files = {f'{name}.png': content for name, content in plots.items()}
        files['confusion.csv'] = _csv(
            ['truth \\ predicted', *columns], [[name, *row] for name, row in zip(classes, rows, strict=True)]
        )
        files |= self._scores_as_csv()
        files[FILE] = self._results(title, facts, metrics, costs(runner)).to_json()
        files['index.html'] = page.encode()
        for name, content in files.items():
            with atomic_write(self.out_dir / name) as file:
                file.write(content)

    def _results(self, title: str, facts: dict[str, str], metrics: dict[str, float], costs: dict) -> Results:
        scores, before = self.metric.scores, self.metric.scores_before_crf
        curve, curve_before = self._curves()
        assert scores is not None
        return Results(
            title=title,
            facts=facts,
            classes=self.metric.classes,
            metrics={k: float(v) for k, v in metrics.items() if isinstance(v, Real) and np.isfinite(v)},
            iou=numbers(100 * scores.iou),
            iou_before_crf=numbers(100 * before.iou) if before else None,
            trimap=numbers(curve.miou) if curve else [],
            trimap_before_crf=numbers(curve_before.miou) if curve_before else None,
            images=len(self.metric.images),
            seconds=self.end - self.begin,
            **costs,
        )

    def _curves(self) -> tuple[TrimapCurve | None, TrimapCurve | None]:
        """The trimap scores, and those before the CRF, where there are such."""
        return (self.trimap.curve, self.trimap.curve_before_crf) if self.trimap else (None, None)

    def _scores_as_csv(self) -> dict[str, bytes]:
        """images.csv and, where there are trimaps, trimap.csv, in percent."""
        metric = self.metric
        maps = [metric.images, *([metric.images_before_crf] if metric.images_before_crf else [])]
        rows = [
            [rows[0].img_path, *(100 * v for r in rows for v in (r.miou, r.pixel_acc))]
            for rows in zip(*maps, strict=True)
        ]
        header = ['mIoU', 'aAcc', 'mIoU before CRF', 'aAcc before CRF'][: 2 * len(maps)]
        files = {'images.csv': _csv(['image', *header], rows)}
        if columns := [column for c in self._curves() if c for column in (c.miou, c.pixel_acc)]:
            widths = [[w + 1, *row] for w, row in enumerate(zip(*columns, strict=True))]
            files['trimap.csv'] = _csv(['width', *header], widths)
        return files

    def _card(self, sample: Sample) -> Card:
        image = read_shown(sample.after.img_path, sample.bands)
        ignore_index, palette = self.metric.ignore_index, self.metric.palette
        truth, prediction = sample.truth, sample.prediction
        if truth.ndim == 3:
            (truth, prediction), _, palette = as_one_map(
                [truth, prediction], self.metric.classes, palette, ignore_index
            )
        maps = {'truth': truth}
        if sample.prediction_before is not None:
            maps['before CRF'] = sample.prediction_before
        maps['after CRF' if sample.before else 'prediction'] = prediction
        pictures = {name: overlay(image, labels, palette, ignore_index=ignore_index) for name, labels in maps.items()}
        wrong = difference(image, truth, prediction, sample.prediction_before, ignore_index)
        return Card(sample.after, sample.before, {'image': image, **pictures, 'difference': wrong})


def _is_mean(name: str) -> bool:
    """Whether a score is of all classes; those of one have a table of their own, as trimaps have."""
    return '/' not in name.removeprefix('before_crf/')


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format='png', dpi=110)
    return buffer.getvalue()


def _csv(header: list, rows: list[list]) -> bytes:
    text = io.StringIO(newline='')
    csv.writer(text).writerows([header, *rows])
    return text.getvalue().encode()
