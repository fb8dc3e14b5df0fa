"""Refines many images at once in threads, for the CPU."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from ..errors import UserError
from .dense_crf import DenseCRF


def allowed_cpus() -> int:
    """How many CPUs this process may use; a container or `taskset` may allow fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


class CRFPool:
    """Runs a `DenseCRF` on many images in `workers` threads, an image each.

    Order and results are those of `crf` itself. The native backend computes without Python's lock; torch takes one
    thread of its own in each worker; pydensecrf never lets go of the lock, so its images wait for each other. Use it
    as a context manager, or call `close`.

    Args:
        crf: what to run, or any function of image and scores; results come back on the device of the scores.
        workers: number of threads, by default that of the CPUs this process may use.

    Example:
        with CRFPool(DenseCRF(), workers=4) as pool:
            for refined in pool.map(images, probabilities):
                ...
    """

    def __init__(self, crf: DenseCRF | Callable, workers: int | None = None):
        workers = allowed_cpus() if workers is None else workers
        if not isinstance(workers, int) or isinstance(workers, bool) or workers < 1:
            raise UserError(f'workers={workers!r}: expected a whole number >= 1')
        self.workers = workers
        self._crf = crf
        self._submitted = 0
        # The number of threads that torch takes for an operation belongs to the thread that calls it.
        self._threads = ThreadPoolExecutor(workers, 'dense_crf', torch.set_num_threads, (1,))

    def submit(self, image, scores, name: str | None = None) -> Future:
        """A future of `crf(image, scores)` for one image; what goes wrong is raised by its `result()`.

        Args:
            image, scores: as `DenseCRF` takes them, not to be written to until the future is done.
            name: how errors call the image, by default by its number, counted from 0.
        """
        name = f'image {self._submitted}' if name is None else name
        self._submitted += 1
        return self._threads.submit(self._refine, image, scores, name)

    def map(self, images: Iterable, scores: Iterable, names: Iterable[str] | None = None) -> Iterator:
        """Yields `crf(image, scores)` in order; takes from the iterables only what the workers can begin with."""
        pending: deque[Future] = deque()
        each = zip(images, scores, strict=True) if names is None else zip(images, scores, names, strict=True)
        try:
            for arguments in each:
                pending.append(self.submit(*arguments))
                if len(pending) > 2 * self.workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()

    def close(self) -> None:
        """Finishes what was begun and drops what was not."""
        self._threads.shutdown(cancel_futures=True)

    def __enter__(self) -> CRFPool:
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def _refine(self, image, scores, name: str):
        try:
            return self._crf(image, scores)
        except UserError as error:
            raise UserError(f'{name}: {error}') from None
        except Exception as error:
            raise RuntimeError(f'{name}: {error}') from error
