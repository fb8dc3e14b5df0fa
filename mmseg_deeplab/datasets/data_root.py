"""Pointing the datasets of a config at a folder elsewhere."""

from collections.abc import Iterator
from pathlib import Path

from mmengine.config import Config

from ..errors import UserFileNotFoundError


def iter_datasets(config: dict | list) -> Iterator[dict]:
    """Every dataset dict under `config` (a dataset, a loader or a list of them) that wraps no other dataset."""
    if isinstance(config, (list, tuple)):
        for item in config:
            yield from iter_datasets(item)
    elif isinstance(config, dict):
        inner = [config[key] for key in ('dataset', 'datasets') if key in config]
        if inner:
            yield from iter_datasets(inner)
        elif 'type' in config:
            yield config


def set_data_root(cfg: Config, path: str | Path) -> None:
    """Set `data_root` to `path`, in `cfg` and in each dataset of its train, val and test loaders, wrapped or not.

    A dataset whose root lies below the config's `data_root` keeps its place below the new one. (`--cfg-options
    data_root=PATH` changes the variable only: the loaders copied its value when the base file was read.)
    """
    path = Path(path)
    if not path.is_dir():
        raise UserFileNotFoundError(f'--data-root {path}: there is no such folder')
    old = Path(cfg.get('data_root') or path)
    loaders = [cfg[f'{split}_dataloader'] for split in ('train', 'val', 'test') if cfg.get(f'{split}_dataloader')]
    for dataset in iter_datasets(loaders):
        root = Path(dataset.get('data_root') or old)
        dataset['data_root'] = str(path / root.relative_to(old) if root.is_relative_to(old) else path)
    cfg.data_root = str(path)
