"""numpy's archives of arrays, read with a bound on what they unpack to."""

import io
import lzma
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from ..errors import UserError
from .pickles import Budget, RefusedError

ERRORS = (
    *(ValueError, TypeError, AttributeError, EOFError, OSError, KeyError, IndexError, OverflowError, SyntaxError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, NotImplementedError, RuntimeError, MemoryError),
    *(tokenize.TokenError, RefusedError),
)
HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Read an archive of plain arrays by their names; checksums are compared, Python objects refused.

    Raises:
        UserError: If it is damaged, holds anything but arrays of numbers, or unpacks to many times its size.
    """
    try:
        return read_members(path, read_array, Budget(path.stat().st_size))
    except ERRORS as error:
        raise UserError(f'{path} is damaged or no archive of plain arrays: get it again ({error})') from error


def read_members(path: Path, read: Callable[[bytes], Any], budget: Budget) -> dict[str, Any]:
    """What `read` makes of each array of an archive, by name; raises one of `ERRORS`."""
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
        budget.charge(sum(info.file_size for info in infos))
        return {info.filename.removesuffix('.npy'): read(archive.read(info)) for info in infos}


def read_array(content: bytes, kinds: str = 'biuf') -> np.ndarray:
    """Read one array, of numpy's `kinds`, whose header asks for no more than there is; raises one of `ERRORS`."""
    file = io.BytesIO(content)
    version = npy.read_magic(file)
    if version in HEADERS:  # the third is for names of fields, which plain arrays have not
        shape, _, dtype = HEADERS[version](file)
        if not dtype.hasobject and math.prod(shape) * dtype.itemsize != len(content) - file.tell():
            raise ValueError(f'an array {shape} of {dtype} in {len(content)} bytes')
    file.seek(0)
    array = np.load(file, allow_pickle=False)
    if array.dtype.kind not in kinds:
        raise TypeError(f'an array of {array.dtype}, not of numbers')
    return array
