"""What `numpy.save` and `numpy.savez` have written, a dict of arrays and tensors too, without running code from it."""

import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from ..errors import UserError, UserFileNotFoundError, UserOSError
from .npz_file import ERRORS, HEADERS, read_array, read_members
from .pickles import (
    FUNCTIONS,
    Budget,
    CodeError,
    DamagedError,
    DtypeName,
    EmptyArray,
    Machine,
    RefusedError,
    Storage,
)
from .torch_file import OldFile


def read_numpy(path: str | Path) -> Any:
    """Read a .npy or .npz file.

    A dict that was given to `numpy.save` is read by an interpreter of pickles that knows numbers, texts, lists, dicts,
    arrays and tensors and nothing else. What it unpacks to takes no more than 16 times the size of the file (and 64
    MiB).

    Returns:
        The array of a .npy; the object, if it holds one; a dict of the arrays of a .npz by name.

    Raises:
        UserFileNotFoundError: If there is no such file.
        UserError: If it is damaged, no such file, or holds other Python objects.
    """
    path = Path(path)
    try:
        budget = Budget(path.stat().st_size)
        if zipfile.is_zipfile(path):
            return read_members(path, lambda content: _read(content, budget), budget)
        return _read(path.read_bytes(), budget)
    except FileNotFoundError as error:
        raise UserFileNotFoundError(f'{path} does not exist (from {Path.cwd()})') from error
    except CodeError as error:
        raise UserError(
            f'{path} is refused: it holds Python objects beside arrays ({error}), and such a file can run code when it '
            f'is read. Save arrays, or a dict of them'
        ) from error
    except RefusedError as error:
        raise UserError(f'{path} is refused: it holds {error}. Save arrays, or a dict of them') from error
    except (*ERRORS, DamagedError) as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise UserOSError(f'{path} can not be read: {error.strerror}') from error
        raise UserError(f'{path} is damaged, or numpy has not written it: make it again ({error})') from error


class _ObjectType(DtypeName):
    """A numpy type, that of Python objects too: of arrays with one, which stand for it."""

    kinds = f'{DtypeName.kinds}O'


class _ObjectArray(EmptyArray):
    """A numpy array before its state; one of a single Python object becomes that object."""

    @staticmethod
    def build(state: Any) -> Any:
        """The array, or the object."""
        if isinstance(state, tuple) and len(state) == 5 and isinstance(state[2], np.dtype) and state[2].hasobject:
            _, shape, _, _, items = state
            if shape != () or not isinstance(items, list) or len(items) != 1:
                raise RefusedError('an array of Python objects')
            return items[0]
        return EmptyArray.build(state)


class _StorageMachine(Machine):
    """Reads a storage by itself, too."""

    def check(self, root: Any) -> Any:
        return root if isinstance(root, Storage) else super().check(root)


class _StorageFile(OldFile):
    machine = _StorageMachine


def _no_storage(number: Any) -> Storage:
    raise DamagedError(f'a reference to {number!r:.40}, which is not in the file')


def _machine(budget: Budget) -> Machine:
    def storage(content: Any) -> Storage:
        """What a pickle of a tensor holds: a file of `torch.save`, in bytes."""
        if not isinstance(content, bytes):
            raise DamagedError('a tensor without content')
        try:
            root = _StorageFile(io.BytesIO(content), budget, 'cpu').read()
        except struct.error as error:
            raise DamagedError(str(error)) from error
        if not isinstance(root, Storage):
            raise RefusedError('a tensor that is not dense')
        return root

    functions = {**FUNCTIONS, 'numpy.dtype': _ObjectType, 'torch.storage._load_from_bytes': storage}
    functions |= {f'numpy.{core}.multiarray._reconstruct': _ObjectArray for core in ('core', '_core')}
    return Machine(budget, _no_storage, functions)


def _read(content: bytes, budget: Budget) -> Any:
    """One array, or the object that it holds."""
    file = io.BytesIO(content)
    version = npy.read_magic(file)
    if version in HEADERS and HEADERS[version](file)[2].kind == 'O':
        return _machine(budget).run(file)
    return read_array(content, kinds='biufU')
