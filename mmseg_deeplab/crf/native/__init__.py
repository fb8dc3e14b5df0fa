"""The native backend: mean-field inference in C++, one thread an image, called without Python's lock.

setup.py compiles it where there is a compiler; without it `is_available()` is false and everything else still works.
"""

from __future__ import annotations

import ctypes
import threading
import warnings
import weakref
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from ...errors import UserError
from ..kernels import Kernel
from ..lattice import TOO_MANY_CELLS

NORMALIZATIONS = {'symmetric': 0, 'no': 1, 'before': 2, 'after': 3}
MODES = {'all': 0, 'adaptive': 1, 'fast': 2}

_KINDS = {'x': 0, 'y': 1, np.dtype(np.uint8): 2, np.dtype(np.uint16): 3, np.dtype(np.float32): 4}

# Contexts that nobody uses keep their memory for the next call, as long as all of them stay below this.
_IDLE_BYTES = 512 << 20


class _Axis(ctypes.Structure):
    _fields_ = [
        ('kind', ctypes.c_int32),
        ('std', ctypes.c_float),
        ('data', ctypes.c_void_p),
        ('stride', ctypes.c_int64),
    ]


class _Kernel(ctypes.Structure):
    _fields_ = [
        ('axes', ctypes.POINTER(_Axis)),
        ('compat', ctypes.c_void_p),
        ('dims', ctypes.c_int32),
        ('compat_dims', ctypes.c_int32),
    ]


class _Problem(ctypes.Structure):
    _fields_ = [
        ('probabilities', ctypes.c_void_p),
        ('kernels', ctypes.POINTER(_Kernel)),
        ('pixels', ctypes.c_int64),
        ('width', ctypes.c_int64),
        ('classes', ctypes.c_int32),
        ('number_of_kernels', ctypes.c_int32),
        ('normalization', ctypes.c_int32),
        ('mode', ctypes.c_int32),
        ('clip', ctypes.c_float),
    ]


@lru_cache(maxsize=1)
def _find() -> ctypes.CDLL | None:
    """The compiled library, or None where it was not built or is not for this machine."""
    for path in sorted(Path(__file__).parent.glob('_dcrf*')):
        if path.suffix not in ('.so', '.dylib'):
            continue
        try:
            return declare(ctypes.CDLL(str(path)))
        except OSError:  # of another machine
            continue
        except AttributeError:
            warnings.warn(
                f'{path} was built from another version of this package and is not used: run `pip install -e .` again',
                stacklevel=2,
            )
    return None


def _library() -> ctypes.CDLL:
    library = _find()
    if library is None:
        raise RuntimeError("the dense CRF's native kernel is not there: ask is_available() first")
    return library


def declare(library: ctypes.CDLL) -> ctypes.CDLL:
    """The library with its functions' types; see dcrf.h."""
    pointer, integer, number = ctypes.c_void_p, ctypes.c_int64, ctypes.POINTER(ctypes.c_double)
    integer32, status = ctypes.c_int32, ctypes.POINTER(ctypes.c_int)
    floats, integers = ctypes.POINTER(ctypes.c_float), ctypes.POINTER(ctypes.c_int64)
    for name, result, arguments in (
        ('instruction_set', ctypes.c_char_p, []),
        ('new', pointer, []),
        ('free', None, [pointer]),
        ('bytes', integer, [pointer]),
        ('begin', ctypes.c_int, [pointer, ctypes.POINTER(_Problem)]),
        ('advance', ctypes.c_int, [pointer, integer, ctypes.c_int, pointer]),
        ('filter_new', pointer, [pointer, ctypes.POINTER(_Axis), integer32, integer, integer, integer32, status]),
        ('filter_free', None, [pointer]),
        ('filter_apply', ctypes.c_int, [pointer, pointer, ctypes.c_int, integer32, pointer, pointer]),
        ('phases', None, [pointer, number, integers]),
        ('scan', None, [pointer, integer, floats, floats, integers, ctypes.POINTER(ctypes.c_int32)]),
        ('softmax', None, [pointer, integer, ctypes.c_int32, pointer]),
        ('cache', None, [integer, integers, integers]),
    ):
        function = getattr(library, f'dcrf_{name}')
        function.restype, function.argtypes = result, arguments
    return library


def is_available() -> bool:
    return _find() is not None


def instruction_set() -> str:
    """What was chosen on this processor: 'baseline', 'avx2' or 'avx512'."""
    return _library().dcrf_instruction_set().decode()


class _Contexts:
    """Contexts to borrow: as many as calls run at once, each used by one call at a time."""

    def __init__(self):
        self._lock = threading.Lock()
        self._idle: list[int] = []

    def take(self) -> int:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        context = _library().dcrf_new()
        if not context:
            raise MemoryError('no memory for a dense CRF')
        return context

    def give(self, context: int) -> None:
        library = _library()
        with self._lock:
            self._idle.append(context)  # the last used one is taken first
            while self._idle and sum(map(library.dcrf_bytes, self._idle)) > _IDLE_BYTES:
                library.dcrf_free(self._idle.pop(0))

    def bytes(self) -> int:
        """What the idle ones keep."""
        with self._lock:
            return sum(map(_library().dcrf_bytes, self._idle))


_contexts = _Contexts()


def mean_field(
    picture: np.ndarray | None,
    probabilities: np.ndarray,
    kernels: Sequence[Kernel],
    iterations: int,
    normalization: str,
    mode: str,
    clip: float,
    steps: bool = False,
    report: dict[str, float] | None = None,
) -> Iterator[np.ndarray]:
    """Yields the distribution (C, ...) after `iterations` updates or, with `steps`, after 0, 1, ... of them.

    Args:
        picture: (H, W, B) uint8, uint16 or float32; None where all kernels bring their own features.
        probabilities: float32 (C, ...), C-contiguous, finite; clipped to [clip, 1] here.
        report: takes the CPU seconds of each phase, the lattices' points, and the bytes that the context holds.
    """
    library = _library()
    problem, kept_alive = _problem(picture, probabilities, kernels, normalization, mode, clip)
    context = _contexts.take()
    try:
        _check(library.dcrf_begin(context, ctypes.byref(problem)))
        state = np.empty_like(probabilities)
        if steps:
            for step in range(iterations + 1):
                # In the mode 'fast' the pixels that are certain stay as they are in `state`.
                _check(library.dcrf_advance(context, min(step, 1), step == iterations, state.ctypes.data))
                yield state.copy()
        else:
            _check(library.dcrf_advance(context, iterations, 1, state.ctypes.data))
            if report is not None:
                report.update(_report(context))
            yield state
    finally:
        _contexts.give(context)
        del kept_alive


class Filter:
    """The normalised filter K of one kernel and its transpose, for many calls, also at the same time.

    Args:
        picture: (H, W, B) uint8, uint16 or float32.
    """

    def __init__(self, picture: np.ndarray, kernel: Kernel, normalization: str):
        height, width, _ = picture.shape
        self._rows = -(-height * width // 16) * 16
        each = list(_axes(kernel, picture))
        axes, status, context = (_Axis * len(each))(*each), ctypes.c_int(), _contexts.take()
        try:
            self._filter = _library().dcrf_filter_new(
                context, axes, len(each), height * width, width, NORMALIZATIONS[normalization], status
            )
        finally:
            _contexts.give(context)
        _check(status.value)
        weakref.finalize(self, _library().dcrf_filter_free, self._filter)

    def __call__(self, rows: np.ndarray, transposed: bool = False) -> np.ndarray:
        """K rows, or K^T rows, for float32 rows, C-contiguous: H W up to a multiple of 16, each of 8, 16, 24 or 32.

        The rows beyond the last pixel count for nothing, and come out as zeros.
        """
        if len(rows) != self._rows or rows.shape[1] not in (8, 16, 24, 32) or rows.dtype != np.float32:
            raise ValueError(f'{rows.dtype} {rows.shape}: expected float32 ({self._rows}, 8, 16, 24 or 32)')
        result, context = np.empty_like(rows), _contexts.take()
        try:
            source, target = rows.ctypes.data, result.ctypes.data
            _check(_library().dcrf_filter_apply(context, self._filter, transposed, rows.shape[1], source, target))
        finally:
            _contexts.give(context)
        return result


_PHASES = ('position lattice', 'colour lattice', 'classes', 'pixels', 'blur', 'fewer classes', 'fewer pixels')


def _report(context: int) -> dict[str, float]:
    seconds, points = (ctypes.c_double * 8)(), (ctypes.c_int64 * 8)()
    _library().dcrf_phases(context, seconds, points)
    return {
        **dict(zip(_PHASES, seconds, strict=False)),
        'points': float(sum(points)),
        'bytes': float(_library().dcrf_bytes(context)),
    }


def _check(status: int) -> None:
    if status == 1:
        raise MemoryError('no memory for a dense CRF of this size')
    if status == 2:
        raise UserError(TOO_MANY_CELLS)
    if status:
        raise RuntimeError(f'dense CRF: the native kernel failed with status {status}')


def _problem(picture, probabilities, kernels, normalization, mode, clip) -> tuple[_Problem, list]:
    kept_alive = [picture, probabilities]
    described = (_Kernel * len(kernels))()
    for kernel, into in zip(kernels, described, strict=True):
        compat = np.ascontiguousarray(kernel.compat, np.float32)
        if np.ndim(kernel.compat) == 2:
            compat = (compat + compat.T) / 2
        described_axes = list(_axes(kernel, picture))
        axes = (_Axis * len(described_axes))(*described_axes)
        kept_alive += [compat, axes]
        into.axes, into.dims = axes, len(axes)
        into.compat, into.compat_dims = compat.ctypes.data, np.ndim(kernel.compat)
    pixels = int(np.prod(probabilities.shape[1:]))
    problem = _Problem(
        probabilities.ctypes.data,
        described,
        pixels,
        picture.shape[1] if picture is not None else pixels,
        len(probabilities),
        len(kernels),
        NORMALIZATIONS[normalization],
        MODES[mode],
        clip,
    )
    return problem, [*kept_alive, described]


def _axes(kernel: Kernel, picture: np.ndarray | None) -> Iterator[_Axis]:
    if kernel.features is not None:
        for feature in kernel.features:
            yield _Axis(_KINDS[feature.dtype], 1.0, feature.ctypes.data, 1)
        return
    for name, std in zip('xy', kernel.position_stds(), strict=True):
        yield _Axis(_KINDS[name], std, None, 0)
    if picture is None:
        return
    for channel, std in enumerate(kernel.band_stds(picture.shape[2])):
        data = picture.ctypes.data + channel * picture.itemsize
        yield _Axis(_KINDS[picture.dtype], std, data, picture.shape[2])


def softmax(logits: np.ndarray) -> np.ndarray:
    """Over the first axis of float32 (C, ...), C-contiguous."""
    result = np.empty_like(logits)
    _library().dcrf_softmax(logits.ctypes.data, logits[0].size, len(logits), result.ctypes.data)
    return result


def scan(values: np.ndarray) -> tuple[float, float, bool, int]:
    """Smallest and largest of float32 values, whether all are finite, and how many are neither 0 nor 1."""
    low, high = ctypes.c_float(), ctypes.c_float()
    between, finite = ctypes.c_int64(), ctypes.c_int32()
    _library().dcrf_scan(values.ctypes.data, values.size, low, high, between, finite)
    return low.value, high.value, bool(finite.value), between.value


def cached_bytes(limit: int = -1) -> int:
    """What the position lattices of all sizes seen take; a `limit` >= 0 is set for good."""
    size, entries = ctypes.c_int64(), ctypes.c_int64()
    _library().dcrf_cache(limit, size, entries)
    return size.value


def idle_bytes() -> int:
    """What contexts keep for the next calls."""
    return _contexts.bytes()
