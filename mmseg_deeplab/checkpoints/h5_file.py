"""HDF5 files, as Keras writes weights (`.weights.h5`, `.h5`): every array by its path in the file."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserImportError
from .pickles import Budget, DamagedError, RefusedError


def read_h5(path: Path) -> dict[str, np.ndarray]:
    """Read all arrays of numbers.

    What lies outside of the file (external links, external and virtual data) is not followed.

    Returns:
        Arrays by names as `layers/conv2d/vars/0`.

    Raises:
        UserImportError: If h5py is not installed.
        RefusedError: If it refers to other files, or unpacks to many times its size.
        DamagedError: If it can't be read.
    """
    try:
        h5py: Any = importlib.import_module('h5py')
    except ImportError as error:
        raise UserImportError(f"{path} is an HDF5 file: pip install 'mmseg_deeplab[h5]' to read it") from error
    arrays: dict[str, np.ndarray] = {}
    try:
        with h5py.File(path, 'r') as file:
            _collect(h5py, file, '', arrays, Budget(path.stat().st_size), set())
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise DamagedError(f'not in the HDF5 format ({error})') from error
    return arrays


def _collect(h5py: Any, group: Any, begin: str, arrays: dict, budget: Budget, seen: set) -> None:
    for name in group:
        where = f'{begin}{name}'
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise RefusedError(f'a link at {where}, and may be to another file')
        item = group[name]
        budget.charge(256 + len(where))
        if isinstance(item, h5py.Group):
            key = h5py.h5o.get_info(item.id).addr
            if key in seen:
                raise RefusedError(f'the group {where} in itself or twice')
            seen.add(key)
            _collect(h5py, item, f'{where}/', arrays, budget, seen)
        elif isinstance(item, h5py.Dataset) and item.shape is not None and item.dtype.kind in 'biuf':
            if item.external or item.is_virtual:
                raise RefusedError(f'the array {where}, whose values are in another file')
            budget.charge(item.size * item.dtype.itemsize)
            arrays[where] = np.asarray(item[()])
