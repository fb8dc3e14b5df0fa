"""Memory that a process frees and takes again, over and over."""

from __future__ import annotations

import contextlib
import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's malloc.h


def keep_freed_memory() -> None:
    """Let this process keep what it frees, for its next blocks.

    glibc hands freed blocks of many megabytes back to the system at once. To take them again, page by page, costs up to
    a fifth of the CRF's time and, measured on two cores, half of a training step's. Other C libraries have no mallopt.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, -1)
