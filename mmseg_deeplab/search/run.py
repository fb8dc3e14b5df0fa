"""The search of the CRF's parameters for a segmentor and a dataset: cases from the network, preset and figure."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset, pseudo_collate
from torch import nn

from ..checkpoints.save import atomic_write
from ..errors import UserError
from ..inference.model import Segmentor
from ..inference.refine import crf_input, keep_logits
from ..progress import progress
from ..visualization.crf_maps import surface_figure
from .search import Candidate, Score, Search, is_case, save_case


@dataclass(frozen=True)
class Report:
    """What a search found."""

    scores: list[Score]  # of the candidates looked at, best first
    without: Score  # the network alone, on the same images
    held_out: tuple[Score, Score] | None  # without CRF and with the best candidate, on images not searched on
    preset: Path
    figure: Path


def search_crf(
    model: Segmentor,
    dataset: BaseDataset,
    source: str,
    folder: Path,
    grid: Mapping[str, Sequence[float]],
    fixed: Mapping[str, Any],
    images: int = 100,
    held_out: int = 100,
    seed: int = 0,
    workers: int = 1,
    class_subset: Sequence[str | int] = (),
    ignore_index: int = 255,
) -> Report:
    """Search the CRF's parameters on some images of a dataset, check them on others, write preset and figure.

    Everything that takes time is kept in `folder`, so that a search that was interrupted goes on there.

    Args:
        model: A segmentor on its device.
        dataset: With truth in its pipeline.
        source: Names config and checkpoint in the preset.
        folder: Where predictions, state, `preset.py` and `surface.png` go.
        grid: The values to search, see `search.GRIDS`.
        fixed: Parameters of `DenseCRF` that are not searched.
        images, held_out: How many images to search on, and how many others to check the best candidate on.
        seed: Of the choice of images.
        workers: Threads that refine.
        class_subset: Names or indices of the classes whose mean IoU counts; empty means all.
        ignore_index: The label of pixels that do not count.

    Raises:
        ValueError: If the dataset is too small, or `folder` belongs to another search.
    """
    if images < 1 or held_out < 0 or images + held_out > len(dataset):
        raise UserError(f'images={images} and held_out={held_out}, but the dataset has {len(dataset)} images')
    classes = list(dataset.metainfo['classes'])
    unknown = [c for c in class_subset if c not in classes and c not in range(len(classes))]
    if unknown:
        raise UserError(f'classes {unknown}: the dataset has {classes}')
    subset = [classes.index(c) if c in classes else int(c) for c in class_subset]
    order = np.random.default_rng(seed).permutation(len(dataset))[: images + held_out].tolist()
    origin = origin_of(model, dataset)
    cases = predict_cases(model, dataset, order, folder / 'cases', origin)
    searched, others = cases[:images], cases[images:]
    state = folder / 'state.jsonl'
    with Search(state, len(classes), fixed, subset, ignore_index, workers, origin=origin) as search:
        search.title = 'without CRF'
        without = search.scores([None], searched)[0]
        search.title = 'searching'
        scores = search.coarse_to_fine(grid, searched)
        best = scores[0].candidate or {}
        search.title = 'held-out images'
        check = _pair(*search.scores([None, best], others)) if others else None
    preset, figure = folder / 'preset.py', folder / 'surface.png'
    with atomic_write(preset) as file:
        file.write(_preset(source, scores[0], without, check, images, {**fixed, **best}).encode())
    with atomic_write(figure) as file:
        surface_figure([(score.candidate or {}, score.miou) for score in scores], without.miou).savefig(file, dpi=110)
    return Report(scores, without, check, preset, figure)


def validation_of(cfg: Config) -> tuple[dict, int]:
    """The dataset of a config's validation, and the label that its evaluator ignores."""
    if not cfg.get('val_dataloader'):
        raise UserError('val_dataloader is None, but the search takes its images from there: set it in the config')
    evaluators = cfg.get('val_evaluator') or []
    evaluators = evaluators if isinstance(evaluators, list) else [evaluators]
    ignored = [evaluator['ignore_index'] for evaluator in evaluators if 'ignore_index' in evaluator]
    return cfg.val_dataloader.dataset, ignored[0] if ignored else 255


def origin_of(model: nn.Module, dataset: BaseDataset) -> str:
    """What predictions depend on: the weights, the settings of the network, and the images as they are loaded."""
    weights = sum(value.double().sum().item() for value in model.state_dict().values())
    cfg = getattr(model, 'cfg', None) or {}
    settings = repr((model, cfg.get('model'), (cfg.get('val_dataloader') or {}).get('dataset')))
    return (
        f'weights that sum up to {weights:.10g}, settings {hashlib.sha1(settings.encode()).hexdigest()[:10]}, '
        f'{len(dataset)} images from {dataset.get_data_info(0)["img_path"]} on'
    )


@torch.no_grad()
def predict_cases(
    model: Segmentor, dataset: BaseDataset, order: Sequence[int], folder: Path, origin: str
) -> list[Path]:
    """Save image, logits and truth of the dataset's images `order`, each once, as files for `Search`."""
    folder.mkdir(parents=True, exist_ok=True)
    note = folder / 'origin.txt'
    if note.exists() and note.read_text() != origin:
        raise UserError(
            f'{folder} holds predictions of another network, dataset or of other settings ({note.read_text()}; now '
            f'{origin}): delete {folder.parent}, or give this search another folder'
        )
    with atomic_write(note) as file:
        file.write(origin.encode())
    paths = [folder / f'{index:06d}.npz' for index in order]
    model.eval()
    with progress('network', len(paths)) as advance:
        for index, path in zip(order, paths, strict=True):
            if not is_case(path):
                batch = pseudo_collate([dataset[index]])
                with keep_logits(model):
                    sample: Any = model.test_step(batch)[0]
                if 'gt_sem_seg' not in sample:
                    raise UserError(
                        f'{sample.img_path} came without truth: the search needs LoadLabels in the pipeline'
                    )
                image, logits = crf_input(model, sample, batch['inputs'][0])
                save_case(path, image, logits, sample.gt_sem_seg.data[0].cpu().numpy())
            advance(1)
    return paths


def format_report(report: Report, count: int = 10) -> str:
    """The best candidates and the gains, as text."""
    names = list(report.scores[0].candidate or {})
    lines = ['  mIoU   aAcc  ' + ''.join(f'{name:>12}' for name in names)]
    for score in report.scores[:count]:
        values = ''.join(f'{(score.candidate or {})[name]:>12g}' for name in names)
        lines.append(f'{100 * score.miou:6.2f} {100 * score.pixel_acc:6.2f}  {values}')
    lines.append(f'{100 * report.without.miou:6.2f} {100 * report.without.pixel_acc:6.2f}   without CRF')
    if report.held_out:
        without, best = report.held_out
        lines.append(
            f'on images that were not searched on: mIoU {_gain(without, best)}, '
            f'aAcc {100 * without.pixel_acc:.2f} -> {100 * best.pixel_acc:.2f}'
        )
    lines.append(f'{len(report.scores)} candidates; preset: {report.preset}, figure: {report.figure}')
    return '\n'.join(lines)


def _preset(
    source: str, best: Score, without: Score, check: tuple[Score, Score] | None, images: int, values: Candidate
) -> str:
    text = f'# Searched on {images} images for {source}: mIoU {_gain(without, best)}.\n'
    if check:
        text += f'# On images that were not searched on: {_gain(*check)}.\n'
    arguments = ', '.join(f'{name}={value!r}' for name, value in values.items())
    return f'{text}dense_crf = dict({arguments})\n'


def _pair(without: Score, best: Score) -> tuple[Score, Score]:
    return without, best


def _gain(without: Score, refined: Score) -> str:
    return f'{100 * without.miou:.2f} -> {100 * refined.miou:.2f}'
