"""Datasets that wrap others: whether what is trained together agrees."""

from collections.abc import Sequence
from typing import Any

from mmseg.registry import DATASETS

from .building import explained
from .data import open_dataset
from .errors import PreflightError
from .kinds import classes_of
from .signatures import parameters


def check_wrappers(cfg: dict, key: str, split: str) -> Any:
    """Open a dataset that wraps others around them, so that what they have in common is compared.

    Returns None where one of them is of a kind that preflight knows nothing of.

    Raises:
        PreflightError: the members of a ConcatDataset differ in classes, palette and the like, or a wrapper can't be
            built.
    """
    inner = cfg.get('datasets') if 'datasets' in cfg else cfg.get('dataset')
    if inner is None:
        return open_dataset(cfg, split)
    members = (
        [check_wrappers(each, f'{key}.datasets.{i}', split) for i, each in enumerate(inner)]
        if 'datasets' in cfg
        else [check_wrappers(inner, f'{key}.dataset', split)]
    )
    if None in members or not all('lazy_init' in parameters(kind) for kind in classes_of(cfg)):
        return None
    if len(members) > 1:
        ignored = cfg.get('ignore_keys') or []
        _compare(members, key, [ignored] if isinstance(ignored, str) else ignored)
    wrapped = dict(datasets=members) if 'datasets' in cfg else dict(dataset=members[0])
    return explained(lambda: DATASETS.build({**cfg, **wrapped, 'lazy_init': True}), cfg, key)


def _compare(members: Sequence, key: str, ignored: Sequence[str]) -> None:
    first = members[0].metainfo
    for i, member in enumerate(members[1:], 1):
        for name in sorted({*first, *member.metainfo} - set(ignored)):
            ours, theirs = first.get(name), member.metainfo.get(name)
            if str(ours) != str(theirs):
                raise PreflightError(
                    f'{key}.datasets.{i} has another {name} than {key}.datasets.0: {_short(theirs)} and '
                    f'{_short(ours)}, but what is trained together must agree. Give both the same (metainfo=dict('
                    f'classes=..., palette=...) chooses and orders classes), or set {key}.ignore_keys=[{name!r}] if '
                    f'the labels mean the same'
                )


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) < 100 else f'{text[:97]}...'
