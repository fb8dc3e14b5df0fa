"""Checks of a config against its data before the first step.

Each problem is one `PreflightError` that says what is wrong, where, and what to do. Arrows: preflight reads configs,
registries and datasets and is called by the tools; no other room imports it.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn

from ..datasets.data_root import iter_datasets
from .data import check_batches, check_files, check_pipelines, check_shares, open_dataset
from .errors import PreflightError
from .keys import check_custom_hooks, check_keys, check_options
from .kinds import name_of
from .model import build, check_classes, check_single_image_batches
from .no_trace import no_trace
from .parts import check_drawing, check_evaluator, check_hooks, check_loader, check_optimization

__all__ = ['PreflightError', 'check', 'check_custom_hooks', 'check_options', 'check_parts']


def check(cfg: Config, mode: str, check_all: bool = False) -> None:
    """Check a complete config, in the order: keys and types, checkpoints, datasets, model, files.

    Args:
        cfg: The config, with the command line applied.
        mode: 'train' checks the training and the validation data, 'test' the test data.
        check_all: Look into every image and mask instead of a sample spread over each set.

    Raises:
        PreflightError: the first problem found.
    """
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    check_keys(cfg)
    _check_checkpoints(cfg, mode)
    if not cfg.get(f'{mode}_dataloader'):
        raise PreflightError(f'{mode}ing needs a {mode}_dataloader')
    with no_trace():
        model = check_parts(cfg, mode)
    splits = ('train', 'val') if mode == 'train' else ('test',)
    opened = []
    for split in splits:
        for dataset_cfg in iter_datasets(cfg.get(f'{split}_dataloader') or {}):
            dataset = open_dataset(dataset_cfg, split)
            if dataset is not None:
                opened.append((split, dataset_cfg, dataset))
    check_shares((split, dataset) for split, _, dataset in opened)
    classes = {split: tuple(dataset.metainfo.get('classes') or ()) for split, _, dataset in opened}
    check_classes(model, {split: names for split, names in classes.items() if names})
    alone = int(os.environ.get('WORLD_SIZE', 1)) == 1  # SyncBN sees the other devices' images
    if mode == 'train' and cfg.train_dataloader.get('batch_size') == 1 and alone:
        check_single_image_batches(model, cfg)
    if int(os.environ.get('RANK', 0)) == 0:
        for split, dataset_cfg, dataset in opened:
            sizes = check_files(dataset, dataset_cfg, split, check_all)
            batch_size = cfg[f'{split}_dataloader'].get('batch_size') or 1
            if split != 'train' and batch_size > 1 and len(sizes) > 1:
                check_batches(sizes, dataset_cfg.get('pipeline') or [], f'{split}_dataloader', batch_size)


def check_parts(cfg: Config, mode: str) -> nn.Module:
    """Build what a training ('train') or a test ('test') builds, all but the data; return the model.

    Raises:
        PreflightError: for the first part that can't be built.
    """
    model = build(cfg)
    for split in ('train', 'val') if mode == 'train' else ('test',):
        if loader := cfg.get(f'{split}_dataloader'):
            check_pipelines(loader, f'{split}_dataloader')
            check_loader(loader, f'{split}_dataloader')
        if evaluator := cfg.get(f'{split}_evaluator'):
            check_evaluator(evaluator, f'{split}_evaluator')
    if mode == 'train':
        check_optimization(cfg, model)
    check_hooks(cfg)
    check_drawing(cfg)
    return model


def _check_checkpoints(cfg: Config, mode: str) -> None:
    named = [('load_from', cfg.get('load_from'))]
    if mode == 'train':  # a test loads its checkpoint over whatever the parts were initialised from
        named += list(_pretrained(cfg.get('model'), 'model'))
    for key, path in named:
        if isinstance(path, str) and '://' not in path and not Path(path).is_file():
            raise PreflightError(f"{key}: checkpoint '{path}' does not exist (from {Path.cwd()})")


def _pretrained(value: object, path: str) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping):
        if name_of(value) in ('Pretrained', 'PretrainedInit'):
            yield f'{path}.checkpoint', value.get('checkpoint')
        elif isinstance(value.get('pretrained'), str):
            yield f'{path}.pretrained', value['pretrained']
        for key, child in value.items():
            yield from _pretrained(child, f'{path}.{key}')
    elif isinstance(value, (list, tuple)):
        for i, child in enumerate(value):
            yield from _pretrained(child, f'{path}.{i}')
