"""Writing files: whole or not at all."""

import errno
import itertools
import json
import os
import re
import socket
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import torch

from ..errors import UserError, UserOSError

try:
    import fcntl
except ImportError:  # Windows, where a file that is open can't be deleted anyway
    fcntl: Any = None

HOST = re.sub(r'[^\w-]', '_', socket.gethostname())
# .NAME.PID-NUMBER@HOST.tmp; releases before this one left .NAME.PID.tmp
UNFINISHED = re.compile(r'\..+\.(?P<pid>\d{1,9})(?:-\d+@(?P<host>[\w-]+))?\.tmp')
USERS_CAUSES = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG),  # no room
    *(errno.EROFS, errno.EACCES, errno.EPERM),  # no permission
    *(errno.EEXIST, errno.ENOTDIR, errno.EISDIR),  # a folder of the path is a file, or the other way round
)
_numbers = itertools.count()


@contextmanager
def atomic_write(path: str | Path) -> Generator[IO[bytes], None, None]:
    """Open `path` for writing so that it is either the old or the new file, never a part of one, after a crash too.

    Writes a hidden file beside it (`.NAME.PID-NUMBER@HOST.tmp`), flushes that to the disk and renames it. Folders that
    are missing are made. The hidden file is locked while it is written, so that `remove_unfinished` of another process
    leaves it alone.

    Raises:
        UserOSError: If the disk is full or the folder can not be written to.
    """
    path = Path(path)
    temporary = path.with_name(f'.{path.name[:150]}.{os.getpid()}-{next(_numbers)}@{HOST}.tmp')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, 'wb') as file:
            if fcntl:
                _lock(file)
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        _discard(temporary)
        foreign = getattr(error, 'filename', None) not in (None, str(temporary), *map(str, path.parents))
        if isinstance(error, OSError) and error.errno in USERS_CAUSES and not foreign:
            where = '' if error.filename in (None, str(temporary)) else f' ({error.filename})'
            raise UserOSError(f'{path} can not be written: {error.strerror}{where}') from error
        raise
    if os.name == 'posix':  # the rename itself reaches the disk with its folder
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def remove_unfinished(folder: str | Path) -> list[Path]:
    """Delete what processes that died in an `atomic_write` left in a folder, and name it.

    Other hidden files stay, and so do those that a process of this or another machine may still be writing.
    """
    leftovers = [path for path in sorted(Path(folder).glob('.*.tmp')) if _is_left_over(path)]
    for path in leftovers:
        path.unlink(missing_ok=True)
    return leftovers


def _discard(temporary: Path) -> None:
    with suppress(OSError):  # a path through a file, or a disk that has become read-only: the first error tells
        temporary.unlink(missing_ok=True)


def _is_left_over(path: Path) -> bool:
    match = UNFINISHED.fullmatch(path.name)
    if match is None or not path.is_file() or path.is_symlink():
        return False
    if match['host'] in (None, HOST) and _runs(int(match['pid']), path):
        return False
    return not _is_locked(path)


def _runs(pid: int, path: Path) -> bool:
    """Whether the process `pid` of this machine may be the one that writes `path`."""
    try:
        if os.name == 'posix':
            os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # of another user
        pass
    try:  # a number is used again, in containers by the very next process: a file older than the process isn't its own
        ticks = int(Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[19])
        uptime = float(Path('/proc/uptime').read_text().split()[0])
        age = uptime - ticks / os.sysconf('SC_CLK_TCK')
        return time.time() - path.stat().st_mtime <= age + 2  # seconds; clocks differ a little
    except (OSError, ValueError, IndexError):  # no /proc
        return True


def _lock(file: IO[bytes]) -> bool:
    """Lock a file until it is closed; False if another process has."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        pass
    return True


def _is_locked(path: Path) -> bool:
    if fcntl is None:
        return False
    try:
        with open(path, 'rb') as file:
            return not _lock(file)
    except OSError:
        return True  # not ours to judge


def save_file(checkpoint: Mapping, path: str | Path) -> None:
    """Write a checkpoint atomically.

    Args:
        checkpoint: `{'state_dict': ..., 'meta': ...}` or a plain state dict.
        path: `.pth` or `.pt` for torch's format, which keeps everything; `.safetensors` keeps the weights and `meta`,
            but no optimizer.

    Raises:
        UserError: If the suffix is another.
    """
    path = Path(path)
    if path.suffix in ('.pth', '.pt'):
        with atomic_write(path) as file:
            torch.save(checkpoint, file)
    elif path.suffix == '.safetensors':
        from safetensors.torch import save

        state = checkpoint.get('state_dict', checkpoint)
        # safetensors refuses tensors that share memory or are not contiguous
        tensors = {key: value.detach().cpu().clone().contiguous() for key, value in state.items()}
        meta = json.dumps(checkpoint.get('meta', {}), default=lambda value: value.tolist())
        with atomic_write(path) as file:
            file.write(save(tensors, metadata={'meta': meta}))
    else:
        raise UserError(f'cannot write a checkpoint as {path}: name it .pth, .pt or .safetensors')
