"""Which trainings run in a work dir at this moment."""

import os
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl: Any = None

NAME = '.running'


class LiveRun:
    """Marks a training as running, by a file in its log folder that is locked until `end` or the process's end.

    The lock is the process's (POSIX), so it is gone with it however it ends, and none of its children holds it.

    Args:
        log_dir: The run's own folder, in the work dir.
    """

    def __init__(self, log_dir: str | Path):
        self._path = Path(log_dir, NAME)
        self._file: IO[str] | None = None
        if fcntl is not None:
            with suppress(OSError):  # a file system without locks: then nobody is warned
                self._path.parent.mkdir(parents=True, exist_ok=True)
                file = self._path.open('a+')  # which may be another's, that began in the same second
                try:
                    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    file.close()
                    raise
                file.truncate(0)
                file.write(
                    f'process {os.getpid()} on {socket.gethostname()}, since {time.strftime("%Y-%m-%d %H:%M:%S")}'
                )
                file.flush()
                self._file = file

    def others(self) -> list[str]:
        """The other trainings in the same work dir: process, machine and start."""
        if fcntl is None:
            return []
        paths = sorted(self._path.parent.parent.glob(f'*/{NAME}'))
        others = [path for path in paths if path != self._path or self._file is None]
        return [text for path in others if (text := _text_if_locked(path)) is not None]

    def end(self) -> None:
        """Take the mark away."""
        if self._file is not None:
            self._file.close()
            self._file = None
            self._path.unlink(missing_ok=True)


def _text_if_locked(path: Path) -> str | None:
    try:
        with path.open('r+') as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return file.read()
    except OSError:  # gone meanwhile, or without permission
        return None
    path.unlink(missing_ok=True)  # of a run that was killed
    return None
