"""Pickles of arrays by name, read without running them: PaddlePaddle's `.pdparams`, the `.pkl` files of model zoos."""

from pathlib import Path
from typing import Any

import numpy as np

from .pickles import Budget, DamagedError, Machine, RefusedError

NAME_TABLE = 'StructuredToParameterName@@'
"""Where PaddlePaddle keeps its own names of the parameters."""
IN_PIECES = 'UnpackBigParamInfor@@'
"""Where it says which parameters of more than 1 GiB it has cut."""


def read_pickle(path: Path) -> dict[str, Any]:
    """Read a pickle that holds a dict of arrays.

    Raises:
        RefusedError: If it holds anything but plain values and arrays.
        DamagedError: If it is cut short.
    """
    with open(path, 'rb') as file:
        content = Machine(Budget(path.stat().st_size), _no_storage).run(file)
        if file.read(1):
            raise DamagedError('there is more behind its end')
    if not isinstance(content, dict):
        raise RefusedError(f'one {type(content).__name__}, not a dict of arrays')
    if IN_PIECES in content:
        raise RefusedError('parameters in pieces: in PaddlePaddle, paddle.save(paddle.load(FILE), NEW, protocol=4)')
    return {name: _array(value) for name, value in content.items() if name != NAME_TABLE}


def _array(value: Any) -> Any:
    """The array of a tensor that PaddlePaddle saved with its name."""
    named = isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str)
    return value[1] if named and isinstance(value[1], np.ndarray) else value


def _no_storage(_: Any) -> Any:
    raise RefusedError('a tensor outside of the pickle')
