"""Where the weights are in what a file holds: the one mapping with parameters, whatever it is called.

Codebases put their state dict under `state_dict`, `model`, `net`, `model_state_dict` and the like, beside optimizers,
counters and averaged weights, and their parameters behind a prefix. All of it is found by its shape, not by its name;
names only tell averaged weights from plain ones.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError
from .convert import convert_state, detect_format

AVERAGED = re.compile(r'(^|[^a-z])(ema|swa|avg|averaged?|shadow|teacher)(?![a-z])', re.IGNORECASE)
"""How a part of a file is called that holds a moving average of the weights."""
AVERAGED_PART = re.compile(r'(^|[^a-z])(ema|swa|shadow|teacher)(?![a-z])', re.IGNORECASE)
"""The same of a module in one mapping with others, where an `avg_pool` is none."""
WRAPPER = re.compile(r'(^|\.)(?:(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module|module)\.)+')
"""What PyTorch's wrappers of a module put into the names of its parameters, also of a part of a network."""
TENSORFLOW_AVERAGE = '/ExponentialMovingAverage'
EMA_ADVICE = '--ema takes the averaged ones'


@dataclass
class Found:
    """What a checkpoint holds: networks by the keys that lead to them, as `model.net`; '' is the file itself.

    Attributes:
        plain: Parameters as they were trained.
        averaged: Moving averages of them.
        beside: Keys of other mappings of arrays.
    """

    plain: dict[str, dict[str, Any]] = field(default_factory=dict)
    averaged: dict[str, dict[str, Any]] = field(default_factory=dict)
    beside: list[str] = field(default_factory=list)


def is_array(value: Any) -> bool:
    """Whether a value may be a parameter."""
    return isinstance(value, Tensor) or (isinstance(value, np.ndarray) and value.dtype.kind in 'biufc')


def find_networks(checkpoint: Mapping) -> Found:
    """Find every state dict in what a file holds.

    A state dict is a mapping of arrays some of whose names have parts (`conv.weight`); where there is none, one that
    holds nothing but arrays; else one that holds an array. What an optimizer keeps is none.
    """
    holders = _holders(checkpoint, '')
    for is_one in (_has_parts, _is_pure, lambda _: True):
        chosen = {path: value for path, value in holders.items() if is_one(value)}
        if chosen:
            break
    found = Found(beside=[path for path, value in holders.items() if path not in chosen and _is_pure(value)])
    for path, value in chosen.items():
        arrays = {name: array for name, array in value.items() if is_array(array)}
        plain, averaged = _split(arrays)
        for part, holds_average in ((plain, bool(AVERAGED.search(path))), (averaged, True)):
            if part:
                where = path if part is arrays or part is plain else f'{path} ({next(iter(part))}, ...)'.strip()
                (found.averaged if holds_average else found.plain)[where] = part
    if 'steps' in found.averaged.get('ema_state_dict', {}) and 'state_dict' in found.plain:
        # MMEngine's EMAHook exchanges the two when it saves
        found.averaged = {'state_dict': found.plain['state_dict']}
    return found


def _holders(value: Mapping, path: str) -> dict[str, Mapping]:
    """Mappings in each other that hold arrays under texts."""
    if 'param_groups' in value:
        return {}
    holders = {path: value} if any(isinstance(k, str) and is_array(v) for k, v in value.items()) else {}
    for key, inner in value.items():
        if isinstance(inner, Mapping):
            holders |= _holders(inner, f'{path}.{key}'.lstrip('.'))
    return holders


def _nameless_averages(value: Mapping, path: str = '') -> list[str]:
    """Keys that lead to a list of averaged weights, as torch-ema and diffusers keep them."""
    found = []
    for key, inner in value.items():
        where = f'{path}.{key}'.lstrip('.')
        if isinstance(inner, Mapping):
            found += _nameless_averages(inner, where)
        elif isinstance(inner, list | tuple) and len(inner) > 1 and all(map(is_array, inner)):
            found += [where] * bool(AVERAGED.search(where))
    return found


def _has_parts(holder: Mapping) -> bool:
    return any(is_array(value) and re.search(r'\w[./]\w', str(name)) for name, value in holder.items())


def _is_pure(holder: Mapping) -> bool:
    return all(map(is_array, holder.values()))


def _split(arrays: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tell plain and averaged weights in one mapping apart, by the first part of their names or TensorFlow's ending."""
    shadows = {name for name in arrays if name.endswith(TENSORFLOW_AVERAGE)}
    if shadows:
        plain = {name: value for name, value in arrays.items() if name not in shadows}
        return plain, {**plain, **{name.removesuffix(TENSORFLOW_AVERAGE): arrays[name] for name in shadows}}
    averaged = {n: v for n, v in arrays.items() if AVERAGED_PART.search(n.removeprefix('module.').split('.')[0])}
    plain = {name: value for name, value in arrays.items() if name not in averaged}
    if not _has_parts(plain):
        return (arrays, {}) if not averaged else ({}, arrays)
    return plain, averaged


def network(checkpoint: Mapping, ema: bool = False) -> tuple[dict[str, Tensor], list[str]]:
    """The parameters of the one network in a checkpoint, under the names that they have there.

    Args:
        checkpoint: What a file holds.
        ema: Take the averaged weights.

    Returns:
        The parameters, none if it holds none; and what a person should know of the choice.

    Raises:
        UserError: If it holds several networks, or no averaged weights where `ema` asks for them.
    """
    found = find_networks(checkpoint)
    nameless = _nameless_averages(checkpoint)
    advice = 'as a list without their names, which only the code that saved them can bring back'
    if ema and nameless and not found.averaged:
        raise UserError(f'it holds averaged weights, {nameless[0]}, {advice}: leave --ema out')
    if ema and not found.averaged:
        raise UserError(f'it holds no averaged weights (only {_named(found.plain)}): leave --ema out')
    chosen = found.averaged if ema or not found.plain else found.plain
    if len(chosen) > 1:
        example = ''.join(f'[{key!r}]' for key in next(iter(chosen)).split('.'))
        apart = len(set().union(*chosen.values())) == sum(map(len, chosen.values()))
        raise UserError(
            f'it holds {len(chosen)} networks, {_named(chosen)}: save the one that is meant by itself, for example '
            f'torch.save(checkpoint{example}, FILE)'
            + ('; if they are parts of one, join their dicts, under the names that the whole network has' * apart)
        )
    notes = []
    if chosen and found.plain and found.averaged and found.plain != found.averaged:
        other = f'plain weights, {_named(found.plain)}' if ema else f'averaged weights, {_named(found.averaged)}'
        notes.append(f'The source also holds {other}' + ('' if ema else f': {EMA_ADVICE}'))
    elif chosen and not found.plain:
        notes.append(f'The source holds averaged weights only, {_named(found.averaged)}')
    if nameless and not ema:
        notes.append(f'The source also holds averaged weights, {nameless[0]}, {advice}')
    if chosen and found.beside:
        notes.append(f'Left aside, as it is no part of a network: {_named(dict.fromkeys(found.beside))}')
    return {name: as_tensor(name, value) for name, value in next(iter(chosen.values()), {}).items()}, notes


def _named(networks: Mapping[str, Any]) -> str:
    return ', '.join(path or 'the file itself' for path in networks)


def parameters(checkpoint: Mapping, ema: bool = False) -> dict[str, Tensor]:
    """The state dict of any codebase's checkpoint, without what stands before all of its names.

    Raises:
        UserError: As `network`.
    """
    return only_known(without_prefix(network(checkpoint, ema)[0]))[0]


def without_prefix(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Take off the longest prefix that all names share, but for what a known layout has there.

    DistributedDataParallel, Lightning, torch.compile and classes that hold a network put theirs before all names; but
    a VGG's features, or kazuto's wrapper for several scales, have one that belongs to the layout. Whole numbers beside
    names with parts, as `n_averaged` of torch's AveragedModel, are counters and stay away.
    """
    if any('.' in name for name in state):
        state = {n: v for n, v in state.items() if '.' in n or v.ndim or v.is_floating_point()}
    unwrapped = {WRAPPER.sub(r'\1', name): value for name, value in state.items()}
    if len(unwrapped) == len(state):
        state = unwrapped
    shared = os.path.commonprefix([name.split('.')[:-1] for name in state])
    shortened = state
    for cut in [0, *(len(part) + 1 for part in shared)]:
        shortened = {name[cut:]: value for name, value in shortened.items()}
        if detect_format(shortened) is not None:
            break
    return shortened


def only_known(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Of a state dict of no known layout the one whole network that has one, without what stands before its names.

    Lightning puts the weights of a loss and the counts of metrics into one mapping with those of the network. A
    backbone beside others is the part of a network that is not known here.

    Returns:
        The part, or all if there is none, and the names that are left aside.

    Raises:
        UserError: If there are several.
    """
    if detect_format(state) is not None:
        return state, []
    known: dict[str, dict[str, Tensor]] = {}
    begins = {
        '.'.join(parts[:depth]) for parts in (name.split('.') for name in state) for depth in range(1, len(parts))
    }
    for begin in sorted(begins, key=lambda text: (text.count('.'), text)):
        if any(begin.startswith(f'{found}.') for found in known):
            continue
        part = {name.removeprefix(f'{begin}.'): v for name, v in state.items() if name.startswith(f'{begin}.')}
        if detect_format(part) is not None and _is_whole(begin, part):
            known[begin] = part
    if len(known) > 1:
        raise UserError(f'it holds {len(known)} networks, {_named(known)}: save the one that is meant by itself')
    for begin, part in known.items():
        return part, [name for name in state if not name.startswith(f'{begin}.')]
    return state, []


def _is_whole(path: str, state: dict[str, Tensor]) -> bool:
    """Whether a state dict of a known layout has a head; of one that can't be converted its place tells."""
    try:
        return convert_state(state).holds == ('',)
    except UserError:
        return path.rpartition('.')[2] not in ('backbone', 'encoder')


def as_tensor(name: str, value: Tensor | np.ndarray) -> Tensor:
    """A parameter as a tensor, in this machine's order of bytes.

    Raises:
        UserError: If PyTorch has no such type.
    """
    if isinstance(value, Tensor):
        return value
    try:
        return torch.from_numpy(np.array(value, value.dtype.newbyteorder('='), order='C'))
    except TypeError as error:
        raise UserError(f'parameter {name} is of type {value.dtype}, which has no counterpart in PyTorch') from error
