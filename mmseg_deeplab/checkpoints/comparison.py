"""What fits: the parameters of a file against those of a model or a part of one."""

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from ..errors import UserError
from .containers import parameters as parameters

IGNORED = re.compile(r'(^|\.)num_batches_tracked$|^data_preprocessor\.')
"""A counter that nothing reads and the normalisation, which the config gives."""

TABLE_ROWS = 12


class CheckpointMismatchError(UserError):
    """A checkpoint leaves parameters of a model unset, or holds what the model has no place for."""


@dataclass
class Mismatch:
    """Where a state dict and a model differ; names are those of the model's parameters and buffers."""

    missing: list[str]
    unexpected: list[str]
    shapes: list[str]

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.shapes)


def weights(checkpoint: Mapping) -> dict[str, Tensor]:
    """The state dict of a checkpoint of this package, without the `module.` that data parallelism prepends."""
    state = checkpoint.get('state_dict', checkpoint)
    return {key.removeprefix('module.'): value for key, value in state.items()}


def compare(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> Mismatch:
    """Compare names and shapes of a model's state with those of a file's."""
    return Mismatch(
        missing=[k for k in own if k not in state and not IGNORED.search(k)],
        unexpected=[k for k in state if k not in own and not IGNORED.search(k)],
        shapes=[k for k in own if k in state and tuple(own[k].shape) != shape_of(state[k])],
    )


def mismatch_error(
    source: str,
    target: str,
    own: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    mismatch: Mismatch,
    cause: str,
    advice: str,
) -> CheckpointMismatchError:
    """The error that shows where `source` differs from `target`, the likely cause and what to do."""
    return CheckpointMismatchError(
        f'{source} does not fit {target}: {len(mismatch.missing)} parameters are missing, '
        f'{len(mismatch.unexpected)} unexpected, {len(mismatch.shapes)} of another shape.\n'
        f'{_table(own, state, mismatch)}\nLikely cause: {cause}\nWhat to do: {advice}'
    )


def shape_of(value: object) -> tuple[int, ...] | str:
    """Shape of a tensor; a file may hold something else under a parameter's name."""
    return tuple(value.shape) if isinstance(value, Tensor) else 'no tensor'


def _table(own: Mapping[str, Tensor], state: Mapping[str, Tensor], mismatch: Mismatch) -> str:
    """Count the differences by module, one line each, with an example."""
    groups: dict[str, list[list[str]]] = defaultdict(lambda: [[], [], []])
    for column, keys in enumerate((mismatch.missing, mismatch.unexpected, mismatch.shapes)):
        for key in keys:
            groups['.'.join(key.split('.')[:-1][:2]) or key][column].append(key)
    lines = [f'  {"module":28} {"missing":>8} {"unexpected":>11} {"other shape":>12}  for example']
    for module, (missing, unexpected, shapes) in list(groups.items())[:TABLE_ROWS]:
        if shapes:
            key = shapes[0]
            example = f'{key}: file {shape_of(state[key])}, model {tuple(own[key].shape)}'
        else:
            example = (missing or unexpected)[0]
        lines.append(f'  {module:28} {len(missing):8} {len(unexpected):11} {len(shapes):12}  {example}')
    if len(groups) > TABLE_ROWS:
        lines.append(f'  ... and {len(groups) - TABLE_ROWS} more modules')
    return '\n'.join(lines)
