"""Archives with a checkpoint inside (`.tar.gz` and the like), as the TensorFlow release comes."""

import bz2
import gzip
import lzma
import re
import shutil
import tarfile
import zlib
from pathlib import Path
from typing import IO, Any, cast

from ..errors import UserError
from .pickles import Budget, DamagedError, RefusedError
from .save import atomic_write

OPENERS = {b'\x1f\x8b': gzip.open, b'BZh': bz2.open, b'\xfd7zXZ': lzma.open}
WANTED = (
    r'\.(index|data-\d{5}-of-\d{5})$',
    r'\.(pth|pt|ckpt|bin|safetensors|npz|h5|hdf5|pdparams|pkl|caffemodel)$',
    r'\.pb$',
)
"""What is looked for inside, the better first: a frozen graph lies beside the checkpoint that it was made of."""


TAR = (257, b'ustar')
"""Where a tar archive says that it is one."""


class _Bounded:
    """A stream that gives no more than a file of this size can honestly hold."""

    def __init__(self, file: IO[bytes], budget: Budget):
        self.file, self.budget = file, budget

    def read(self, size: int) -> bytes:
        data = self.file.read(min(size, 2**20))
        self.budget.charge(len(data))
        return data


def unpack(path: Path, folder: Path) -> Path:
    """Put the checkpoint that an archive holds into a folder: no other file, under no path of the archive's.

    Args:
        path: The archive: tar, plain or compressed by gzip, bzip2 or xz, or one file that is compressed so.
        folder: An empty one.

    Returns:
        The checkpoint; of TensorFlow's its index.

    Raises:
        RefusedError: If it unpacks to many times its size.
        DamagedError: If it is cut short or damaged.
        UserError: If it holds no checkpoint, or several.
    """
    with open(path, 'rb') as file:
        begin = file.read(6)
    opener = next((opener for magic, opener in OPENERS.items() if begin.startswith(magic)), open)
    budget = Budget(path.stat().st_size)
    try:
        with opener(path, 'rb') as file:
            if opener is not open and file.read(TAR[0] + len(TAR[1]))[TAR[0] :] != TAR[1]:
                file.seek(0)
                return _one_file(_Bounded(cast(Any, file), budget), folder / path.stem)
            file.seek(0)
            stream = cast(Any, _Bounded(cast(Any, file), budget))
            with tarfile.open(fileobj=stream, mode='r|') as archive:
                found = _copy(archive, folder)
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the disk, not of the contents
            raise
        raise DamagedError(f'no whole archive ({error})') from error
    return _only_one(found)


def _one_file(stream: _Bounded, place: Path) -> Path:
    """Put a compressed file, of no tar archive, at its place."""
    with atomic_write(place) as file:
        shutil.copyfileobj(cast(Any, stream), file)
    return place


def _copy(archive: tarfile.TarFile, folder: Path) -> dict[Path, str]:
    """Copy what may be a checkpoint; files by their names in the archive."""
    found: dict[Path, str] = {}
    places: dict[str, Path] = {}
    for member in archive:
        parent, _, name = member.name.rpartition('/')
        if not member.isfile() or name.startswith('.') or not any(re.search(pattern, name) for pattern in WANTED):
            continue
        place = places.setdefault(parent, folder / str(len(places)))
        if member.issparse():
            raise RefusedError(f'{member.name} with gaps, which are written out when it is unpacked')
        content = archive.extractfile(member)
        if (place / name) in found or content is None:
            raise RefusedError(f'two files of the name {member.name}')
        with atomic_write(place / name) as file:
            shutil.copyfileobj(content, file)
        if file_size := member.size - (place / name).stat().st_size:
            raise DamagedError(f'{member.name} lacks {file_size} bytes')
        found[place / name] = member.name
    return found


def _only_one(found: dict[Path, str]) -> Path:
    for pattern in WANTED:
        chosen = [path for path in found if re.search(pattern, path.name)]
        if pattern is WANTED[0]:
            chosen = [path for path in chosen if path.suffix == '.index']
        if len(chosen) > 1:
            names = ', '.join(sorted(found[path] for path in chosen))
            raise UserError(f'it holds {len(chosen)} checkpoints: unpack it and give one of {names}')
        if chosen:
            return chosen[0]
    raise UserError('it is an archive without a checkpoint that is known here')
