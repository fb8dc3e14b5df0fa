"""Refines many images at once in worker processes, for the CPU."""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import traceback
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from ..errors import UserError
from .dense_crf import DenseCRF
from .inputs import like, to_image, to_scores
from .memory import keep_freed_memory

# A worker is a fresh interpreter that imports numpy, torch and this room. Unlike multiprocessing's, it neither runs the
# main script again (which would have to be guarded, and imports much more) nor inherits locks of the parent's threads,
# and it ends with its parent, because its standard input does.
_WORKER = """
import pickle, sys
sys.path, parameters = pickle.load(sys.stdin.buffer)
from mmseg_deeplab.crf.pool import serve
serve(parameters)
"""


def allowed_cpus() -> int:
    """How many CPUs this process may use; a container or `taskset` may allow fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


class CRFPool:
    """Runs a `DenseCRF` on many images in `workers` processes of one thread each.

    Order and results are those of `crf` itself, called with one thread. Use it as a context manager, or call `close`.

    Args:
        crf: what to run; results come back on the device of the scores, but the work is done on the CPU.
        workers: number of processes, by default that of the CPUs that this process may use.

    Example:
        with CRFPool(DenseCRF(), workers=4) as pool:
            for refined in pool.map(images, probabilities):
                ...
    """

    def __init__(self, crf: DenseCRF, workers: int | None = None):
        workers = allowed_cpus() if workers is None else workers
        if not isinstance(workers, int) or workers < 1:
            raise UserError(f'workers={workers!r}: expected a whole number >= 1')
        self.workers = workers
        self._crf = crf
        self._submitted = 0
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for _ in range(workers):
            self._idle.put(_Worker(crf))
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix='dense_crf')

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
        """Finishes what was begun, drops what was not, and ends the workers."""
        self._threads.shutdown(cancel_futures=True)
        while not self._idle.empty():
            self._idle.get().close()

    def __enter__(self) -> CRFPool:
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def _refine(self, image, scores, name: str):
        worker = self._idle.get()
        try:
            checked = to_image(image, 'the image'), to_scores(scores, self._crf.input, self._crf.input)
            result, message = worker.run(*(tensor.cpu().numpy() for tensor in checked))
        except ValueError as error:
            raise UserError(f'{name}: {error}') from None
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            worker.close()
            code = worker.process.returncode
            worker = _Worker(self._crf)
            raise RuntimeError(f'{name}: its dense CRF worker died with exit code {code}; out of memory?') from error
        finally:
            self._idle.put(worker)
        if message is not None:
            raise (ValueError if result is ValueError else RuntimeError)(f'{name}: {message}')
        return like(torch.from_numpy(result), scores)


class _Worker:
    def __init__(self, crf: DenseCRF):
        self.process = subprocess.Popen(
            [sys.executable, '-c', _WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, 'OMP_NUM_THREADS': '1', 'MKL_NUM_THREADS': '1'},
        )
        self._send((sys.path, crf.parameters))

    def run(self, image, scores):
        self._send((image, scores))
        return pickle.load(self.process.stdout)

    def close(self) -> None:
        with contextlib.suppress(OSError):  # of a dead worker
            # Closing alone is not enough: a process forked meanwhile, such as a data loader's, holds the pipe open.
            self._send(None)
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def _send(self, message) -> None:
        pickle.dump(message, self.process.stdin, protocol=5)
        self.process.stdin.flush()


def start_worker() -> None:
    """Set up a process of one thread that does nothing but refine images."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    torch.set_num_threads(1)
    keep_freed_memory()


def serve(parameters: dict) -> None:
    """A worker's loop: (image, scores) from standard input, (result, error message or None) to standard output."""
    start_worker()
    results = os.fdopen(os.dup(1), 'wb')
    os.dup2(2, 1)  # what a library prints must not end up among the results
    crf = DenseCRF(**parameters)
    while True:
        try:
            task = pickle.load(sys.stdin.buffer)
        except EOFError:  # the parent died
            return
        if task is None:
            return
        try:
            answer = crf(*task), None
        except ValueError as error:
            answer = ValueError, str(error)
        except Exception:
            answer = None, traceback.format_exc()
        pickle.dump(answer, results, protocol=5)
        results.flush()
