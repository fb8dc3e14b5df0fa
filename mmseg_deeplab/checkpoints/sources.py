"""Reading the file of another codebase, whatever its format: its parameters by their names there."""

from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from ..errors import UserError
from .containers import network, without_prefix
from .load import check_weights, load_file
from .npz_file import read_npz


class Source(NamedTuple):
    """What was read.

    Attributes:
        state: Parameters, without a prefix that all names share.
        checkpoint: All that the file holds.
        notes: What a person should know of the choice of the parameters.
    """

    state: dict[str, Tensor]
    checkpoint: dict
    notes: list[str]


def read_source(path: str | Path, ema: bool = False) -> Source:
    """Read a checkpoint of any codebase, without running code from it.

    Args:
        path: A `.pth`, `.safetensors` or `.npz` file.
        ema: Take averaged weights, which a file may hold beside the plain ones.

    Raises:
        UserError: If the file can't be read, holds no parameters, several networks, or no averages where `ema` asks
            for them.
    """
    path = Path(path)
    checkpoint = _read(path)
    try:
        found, notes = network(checkpoint, ema)
    except UserError as error:
        raise UserError(f'{path}: {error}') from error
    state = without_prefix(found)
    if not state:
        raise UserError(f'{path} holds no parameters; its keys are {list(checkpoint)[:5]}')
    return Source(state, checkpoint, notes)


def _read(path: Path) -> dict:
    if path.suffix == '.npz' and path.is_file():
        checkpoint = read_npz(path)
        check_weights(path, checkpoint)
        return checkpoint
    return load_file(path)
