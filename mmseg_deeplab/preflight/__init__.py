"""Checks of a config against its data before the first step.

Each problem is one `PreflightError` that says what is wrong, where, and what to do. Arrows: preflight reads configs,
registries and datasets and is called by the tools; no other room imports it.
"""

import logging
import os

from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from mmengine.registry import init_default_scope
from mmseg.datasets import BaseSegDataset
from torch import nn

from ..datasets.data_root import iter_datasets
from .advice import advice
from .data import check_batches, check_files, check_pipelines, check_shares, open_dataset
from .errors import FinishedError, PreflightError
from .keys import check_keys, value_at
from .kinds import name_of
from .model import build, check_classes, check_labels, check_losses, check_void
from .no_trace import no_trace
from .options import check_options, merge_options, parse_options
from .packages import check_packages
from .parts import (
    check_drawing,
    check_evaluator,
    check_hooks,
    check_loader,
    check_metrics,
    check_optimization,
    check_save_best,
)
from .places import check_checkpoints, check_folders, check_launcher, check_space
from .step import check_bands, check_crop, check_prediction, check_step, first_batch
from .wrappers import check_wrappers

__all__ = [
    'FinishedError',
    'PreflightError',
    'check',
    'check_options',
    'check_parts',
    'merge_options',
    'parse_options',
]


def check(cfg: Config, mode: str, check_all: bool = False) -> None:
    """Check a complete config, in the order: packages, keys and types, places, parts, datasets, files, one step.

    Args:
        cfg: The config, with the command line applied.
        mode: 'train' checks the training and the validation data, 'test' the test data.
        check_all: Look into every image and mask instead of a sample spread over each set.

    Raises:
        PreflightError: the first problem found.
    """
    init_default_scope(str(cfg.get('default_scope', 'mmseg')))
    check_packages(cfg, mode)
    check_keys(cfg, mode)
    check_launcher(cfg, mode)
    check_checkpoints(cfg, mode)
    first = int(os.environ.get('RANK', 0)) == 0
    if first:
        check_folders(cfg)
    doubts: list[str] = []
    with no_trace():
        model, metrics = check_parts(cfg, mode)
        if mode == 'train' and first:
            check_space(cfg, model)
        opened = _open(cfg, ('train', 'val') if mode == 'train' else ('test',))
        _check_labels(model, metrics, opened)
        if first:
            batches, void = {}, 255
            for split, dataset_cfg, dataset in opened:
                samples = _check_files(cfg, split, dataset_cfg, dataset, check_all, doubts)
                number, loader = 4 if split == 'train' else 1, cfg[f'{split}_dataloader']
                collate = check_loader(loader, f'{split}_dataloader', by_epoch=False)
                pipeline, key = dataset_cfg.get('pipeline') or [], f'{split}_dataloader.dataset'
                batches[split] = first_batch(model, samples[:number], pipeline, collate, key)
                if split == 'train':
                    void = dataset.ignore_index
            if mode == 'train':
                check_step(model, cfg, batches.get('train'), void)
            if mode == 'test' or cfg.get('val_dataloader'):
                check_prediction(model, cfg, batches.get('val' if mode == 'train' else 'test'))
    for doubt in doubts:
        print_log(doubt, logger='current', level=logging.WARNING)
    if first and mode == 'train':
        for line in advice(cfg):
            print_log(line, logger='current')


def check_parts(cfg: Config, mode: str) -> tuple[nn.Module, dict[str, list[BaseMetric]]]:
    """Build what a training ('train') or a test ('test') builds, all but the data; return model, metrics by split.

    Raises:
        PreflightError: for the first part that can't be built.
    """
    model = build(cfg)
    check_losses(model)
    metrics = {}
    by_epoch = bool(value_at(cfg, 'train_cfg.by_epoch')) or name_of(cfg.get('train_cfg')) == 'EpochBasedTrainLoop'
    for split in ('train', 'val') if mode == 'train' else ('test',):
        if loader := cfg.get(f'{split}_dataloader'):
            check_pipelines(loader, f'{split}_dataloader')
            for dataset in iter_datasets(loader):
                check_bands(model, dataset.get('pipeline') or [], f'{split}_dataloader.dataset')
            cut = name_of(loader.get('sampler')) == 'ResumableSampler' and _has_hook(cfg, 'ExactResumeHook')
            check_loader(loader, f'{split}_dataloader', split != 'train' or (by_epoch and not cut))
        if evaluator := cfg.get(f'{split}_evaluator'):
            metrics[split] = check_evaluator(evaluator, f'{split}_evaluator')
    if mode == 'train':
        for dataset in iter_datasets(cfg.train_dataloader):
            check_crop(model, dataset.get('pipeline') or [], 'train_dataloader.dataset')
        check_optimization(cfg, model)
    hooks = check_hooks(cfg, model)
    if mode == 'train' and 'val' in metrics:
        check_save_best(hooks, metrics['val'])
    check_drawing(cfg)
    return model, metrics


def _has_hook(cfg: Config, name: str) -> bool:
    hooks = [*(cfg.get('default_hooks') or {}).values(), *(cfg.get('custom_hooks') or [])]
    return any(name_of(hook) == name for hook in hooks)


def _open(cfg: Config, splits: tuple[str, ...]) -> list[tuple[str, dict, BaseSegDataset]]:
    opened = []
    for split in splits:
        members = []
        for dataset_cfg in iter_datasets(cfg.get(f'{split}_dataloader') or {}):
            dataset = open_dataset(dataset_cfg, split)
            if dataset is not None:
                members.append((split, dataset_cfg, dataset))
        if members:
            check_wrappers(cfg[f'{split}_dataloader']['dataset'], f'{split}_dataloader.dataset', split)
        opened += members
    check_shares(cfg, splits)
    return opened


def _check_labels(
    model: nn.Module, metrics: dict[str, list[BaseMetric]], opened: list[tuple[str, dict, BaseSegDataset]]
) -> None:
    classes = {split: tuple(dataset.metainfo.get('classes') or ()) for split, _, dataset in opened}
    check_classes(model, {split: names for split, names in classes.items() if names})
    check_labels(model, {split: dataset for split, _, dataset in opened})
    check_void(model, {split: dataset.ignore_index for split, _, dataset in opened if split == 'train'})
    for split, _, dataset in opened:
        check_metrics(metrics.get(split, []), dataset, split)


def _check_files(
    cfg: Config, split: str, dataset_cfg: dict, dataset: BaseSegDataset, check_all: bool, doubts: list[str]
) -> list:
    """Check the files of a set; return a sample of each size of image."""
    sizes = check_files(dataset, dataset_cfg, split, check_all, doubts)
    batch_size = cfg[f'{split}_dataloader'].get('batch_size') or 1
    if split != 'train' and batch_size > 1 and len(sizes) > 1:
        check_batches(sizes, dataset_cfg.get('pipeline') or [], f'{split}_dataloader', batch_size)
    return sizes
