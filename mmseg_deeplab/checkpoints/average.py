"""The mean of several checkpoints of one network."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import UserError
from .comparison import weights
from .containers import network
from .load import load_file

COUNTER = 'num_batches_tracked'


def average_files(paths: Sequence[str | Path]) -> dict[str, Any]:
    """Average the parameters of checkpoints of one network, summed in float64, read one after the other.

    The running means and variances of batch norm are averaged too, though those of the averaged network would be
    others: where the checkpoints are not of neighbouring iterations of one training, measure them anew. Its counters
    are the largest.

    Returns:
        A checkpoint: `state_dict` and `meta` (the class names, and `averaged_from`).

    Raises:
        UserError: For less than two files, and for files of different networks or classes.
    """
    if len(paths) < 2:
        raise UserError(f'{len(paths)} checkpoint given: name two or more to average')
    sums: dict[str, Tensor] = {}
    first: dict[str, Tensor] = {}
    meta: dict[str, Any] = {}
    for path in paths:
        checkpoint = load_file(path)
        state = weights(network(checkpoint)[0])
        if not sums:
            first, meta = state, _meta(checkpoint)
            sums = {key: value.double() if value.is_floating_point() else value for key, value in state.items()}
            continue
        _check_same(paths[0], first, path, state)
        if _meta(checkpoint) != meta:
            raise UserError(f'{paths[0]} and {path} are of different classes: their mean would mean nothing')
        for key, value in state.items():
            if value.is_floating_point():
                sums[key] += value
            elif key.endswith(COUNTER):
                sums[key] = torch.maximum(sums[key], value)
            elif not torch.equal(sums[key], value):
                raise UserError(f'{key} holds whole numbers that differ in {paths[0]} and {path}: they have no mean')
    means = {
        key: (value / len(paths)).to(first[key].dtype) if value.is_floating_point() else value
        for key, value in sums.items()
    }
    return dict(state_dict=means, meta={**meta, 'averaged_from': [Path(path).name for path in paths]})


def has_batch_norm(state: dict[str, Tensor]) -> bool:
    """Whether a state dict holds running statistics."""
    return any(key.endswith('running_var') for key in state)


def _meta(checkpoint: dict) -> dict[str, Any]:
    meta = checkpoint.get('meta')
    known = meta.get('dataset_meta') if isinstance(meta, dict) else None
    if not isinstance(known, dict) or not known.get('classes'):
        return {}
    palette = [[int(value) for value in colour] for colour in known.get('palette') or []]
    return dict(dataset_meta=dict(classes=list(known['classes']), **(dict(palette=palette) if palette else {})))


def _check_same(one: str | Path, first: dict[str, Tensor], other: str | Path, state: dict[str, Tensor]) -> None:
    only = sorted(first.keys() ^ state.keys())
    if only:
        where = one if only[0] in first else other
        raise UserError(f'{one} and {other} are of different networks: only {where} has {only[0]} ({len(only)} differ)')
    for key, value in first.items():
        if state[key].shape != value.shape:
            raise UserError(
                f'{one} and {other} are of different networks: {key} is {tuple(value.shape)} in the first, '
                f'{tuple(state[key].shape)} in the second'
            )
