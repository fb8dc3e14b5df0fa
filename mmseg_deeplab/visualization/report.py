"""ReportHook: one self-contained HTML page about a test run; `tools/test.py --report DIR` adds it."""

import csv
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import mmengine
import mmseg
import numpy as np
import torch
from mmengine.dist import all_gather_object, is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmseg.registry import HOOKS

from ..errors import UserError
from ..evaluation import Scores, SegmentationMetric, TrimapMetric
from ..evaluation.metric import BEFORE_CRF, ImageResult, label_map
from .overlays import difference, overlay
from .panels import read_image
from .plots import class_iou_figure, confusion_figure, trimap_figure
from .report_page import Card, render


@dataclass
class Sample:
    """A sample that may be shown: its maps and scores. The image is read only if it is shown."""

    after: ImageResult
    before: ImageResult | None
    truth: np.ndarray
    prediction: np.ndarray
    prediction_before: np.ndarray | None


@HOOKS.register_module()
class ReportHook(Hook):
    """Writes `out_dir/index.html` after the test: configuration, tables, plots, worst and best images.

    The page holds its pictures itself and needs no network. Beside it lie the plots as PNG and the numbers as CSV:
    confusion.csv in pixels, images.csv and trimap.csv in percent. It reads the scores of the SegmentationMetric in
    test_evaluator and adds a TrimapMetric unless there is one.

    Args:
        out_dir: folder of the report.
        num_images: how many of the worst and how many of the best images to show.
    """

    def __init__(self, out_dir: str, num_images: int = 6) -> None:
        self.out_dir = Path(out_dir)
        self.num_images = num_images
        self.samples: list[Sample] = []

    def before_test(self, runner) -> None:
        evaluator = runner.test_loop.evaluator
        self.metric = next((m for m in evaluator.metrics if isinstance(m, SegmentationMetric)), None)
        if self.metric is None or self.metric.format_only:
            raise UserError(
                'ReportHook: test_evaluator has no SegmentationMetric that compares with the truth; '
                "set test_evaluator = dict(type='SegmentationMetric')"
            )
        self.trimap = next((m for m in evaluator.metrics if isinstance(m, TrimapMetric)), None)
        if self.trimap is None:
            self.trimap = TrimapMetric(ignore_index=self.metric.ignore_index)
            self.trimap.dataset_meta = evaluator.dataset_meta
            evaluator.metrics.append(self.trimap)
        self.samples = []
        self.out_dir.mkdir(parents=True, exist_ok=True)

    def after_test_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Keep the maps of the worst and best images so far (the metric has just scored these outputs)."""
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
                )
            )
        self._keep_extremes()

    def after_test_epoch(self, runner, metrics: dict[str, float] | None = None) -> None:
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

    def _write(self, runner, metrics: dict[str, float]) -> None:
        metric, trimap, classes = self.metric, self.trimap, self.metric.dataset_meta['classes']
        scores = Scores.of(metric.confusion)
        before = None if metric.confusion_before_crf is None else Scores.of(metric.confusion_before_crf)
        plots = {
            'class_iou': class_iou_figure(classes, scores, before),
            'trimap': trimap_figure(trimap.curve, trimap.curve_before_crf),
            'confusion': confusion_figure(metric.confusion, classes),
        }
        for name, figure in plots.items():
            figure.savefig(self.out_dir / f'{name}.png', dpi=110)
        self._write_csv(classes)
        half = (len(self.samples) + 1) // 2
        page = render(
            title=Path(runner.cfg.filename).stem if runner.cfg.filename else runner.experiment_name,
            about=_about(runner, len(metric.images)),
            metrics={name: value for name, value in metrics.items() if not name.startswith('trimap/')},
            classes=classes,
            palette=metric.dataset_meta['palette'],
            scores=scores,
            before=before,
            plots={name: (self.out_dir / f'{name}.png').read_bytes() for name in plots},
            worst=[self._card(sample) for sample in self.samples[:half][: self.num_images]],
            best=[self._card(sample) for sample in self.samples[half:][::-1][: self.num_images]],
            images=sorted(metric.images, key=lambda image: (np.isnan(image.miou), image.miou)),
            config=runner.cfg.pretty_text,
        )
        (self.out_dir / 'index.html').write_text(page, encoding='utf-8')

    def _write_csv(self, classes) -> None:
        metric, trimap = self.metric, self.trimap
        matrix = [[name, *row] for name, row in zip(classes, metric.confusion.tolist(), strict=True)]
        _csv(self.out_dir / 'confusion.csv', ['truth \\ predicted', *classes], matrix)
        maps = [metric.images] + ([metric.images_before_crf] if metric.images_before_crf else [])
        rows = [
            [rows[0].img_path, *(100 * v for r in rows for v in (r.miou, r.pixel_acc))]
            for rows in zip(*maps, strict=True)
        ]
        header = ['image', 'mIoU', 'aAcc', 'mIoU before CRF', 'aAcc before CRF'][: 1 + 2 * len(maps)]
        _csv(self.out_dir / 'images.csv', header, rows)
        curves = [trimap.curve] + ([trimap.curve_before_crf] if trimap.curve_before_crf else [])
        columns = [column for curve in curves for column in (curve.miou, curve.pixel_acc)]
        header[0] = 'width'
        _csv(self.out_dir / 'trimap.csv', header, [[w + 1, *row] for w, row in enumerate(zip(*columns, strict=True))])

    def _card(self, sample: Sample) -> Card:
        image = read_image(sample.after.img_path)
        ignore_index, palette = self.metric.ignore_index, self.metric.dataset_meta['palette']
        pictures = {'image': image}

        def add(name, labels):
            pictures[name] = overlay(image, labels, palette, ignore_index=ignore_index)

        add('truth', sample.truth)
        if sample.before:
            add('before CRF', sample.prediction_before)
        add('after CRF' if sample.before else 'prediction', sample.prediction)
        pictures['difference'] = difference(
            image, sample.truth, sample.prediction, sample.prediction_before, ignore_index
        )
        return Card(sample.after, sample.before, pictures)


def _about(runner, num_images: int) -> dict[str, str]:
    """What was tested on what with what."""
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    tta = isinstance(model, BaseTTAModel)
    model = model.module if tta else model
    parts = [model, *(getattr(model, name) for name in ('backbone', 'decode_head') if hasattr(model, name))]
    crf = next((hook for hook in runner.cfg.get('custom_hooks') or () if hook['type'] == 'DenseCRFHook'), None)
    dataset = runner.test_loop.dataloader.dataset
    rows = {
        'config': runner.cfg.filename,
        'checkpoint': runner._load_from,  # MMEngine has no public name for it
        'model': ', '.join(type(part).__name__ for part in parts),
        'output stride': getattr(model, 'output_stride', None),
        'dataset': f'{type(dataset).__name__}, {num_images} images, {len(dataset.metainfo["classes"])} classes',
        'test-time augmentation': 'yes, by tta_pipeline' if tta else 'none',
        'dense CRF': ', '.join(f'{k} {v}' for k, v in crf.items() if k != 'type') or 'defaults' if crf else 'none',
        'date': f'{datetime.now():%Y-%m-%d %H:%M}',
        'software': f'mmseg {mmseg.__version__}, mmengine {mmengine.__version__}, torch {torch.__version__}',
    }
    return {name: str(value) for name, value in rows.items() if value is not None}


def _csv(path: Path, header: list, rows: list[list]) -> None:
    with path.open('w', newline='', encoding='utf-8') as file:
        csv.writer(file).writerows([header, *rows])
