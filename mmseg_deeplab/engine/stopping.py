"""How a training is stopped from outside without losing work, and what a lost data-loading process means."""

import os
import re
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
import torch.distributed
from mmengine.device import get_device
from mmengine.dist import barrier, is_distributed
from mmengine.runner import EpochBasedTrainLoop, Runner

from ..errors import UserError
from ..upstream import count_iteration
from .hooks.checkpoint import CrashSafeCheckpointHook
from .saving import go_on_from, is_between_steps

REQUEUE = 75
"""Exit status after SIGTERM: EX_TEMPFAIL of sysexits.h, 'try again later'."""
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """While this context lasts, the first SIGTERM or SIGINT (Ctrl-C) is a request to save and leave.

    A second SIGINT ends at once. Without a main thread to take signals nothing changes.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> 'StopRequest':
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt('interrupted at once')
        if self.signal is None:
            self.signal = signal.Signals(number)
            # Not by print or a logger, which this may have interrupted.
            os.write(2, f'{self.signal.name}: finishing the step, then saving; Ctrl-C (again) ends at once\n'.encode())

    def agreed(self) -> signal.Signals | None:
        """The signal, if any process of the run got one: all leave after the same step."""
        number = self.signal or 0
        if is_distributed():
            asked = torch.tensor(int(number), device=get_device() if torch.cuda.is_available() else 'cpu')
            torch.distributed.all_reduce(asked, torch.distributed.ReduceOp.MAX)
            number = int(asked)
        return signal.Signals(number) if number else None


def leave_if_asked(runner: Runner, request: StopRequest, point: str, prepare: Callable[[], None]) -> None:
    """Save and leave, if the steps that are done can be resumed from and a signal has asked for it.

    Args:
        runner: Of a training.
        request: Takes the signals.
        point: The hook point that is done: 'after_train_iter', or 'after_val_iter', where the processes of a
            distributed run are not asked, as they may have validated different numbers of batches.
        prepare: Called before the weights are saved.

    Raises:
        SystemExit: With status `REQUEUE`, after SIGTERM.
        KeyboardInterrupt: With what to tell, after SIGINT.
    """
    validating = point == 'after_val_iter'
    number = request.signal if validating else request.agreed()
    if number is None or (validating and is_distributed()):
        return
    by_epoch = isinstance(
        runner.train_loop, EpochBasedTrainLoop
    )  # has no checkpoint to resume from but that of its end
    if not by_epoch and is_between_steps(runner.optim_wrapper):
        return
    if not validating:
        count_iteration(runner.train_loop)
    done = runner.iter
    prepare()
    saver = next((hook for hook in runner.hooks if isinstance(hook, CrashSafeCheckpointHook)), None)
    if saver is not None and not by_epoch:
        saver.save_at(runner, done)
        barrier()  # a launcher ends the others as soon as one has left
    message = f'left after iteration {done} of {runner.max_iters} by {number.name}; {go_on_from(runner)}'
    runner.logger.warning(message)
    if number == signal.SIGTERM:
        raise SystemExit(REQUEUE)
    raise KeyboardInterrupt(message)


def start_worker(initialise: Callable[[int], None] | None, number: int) -> None:
    """Begin a data-loading process, which leaves the decision to stop to the process that it works for.

    Ctrl-C and schedulers send their signals to all processes at once; without its data the step could not be finished.
    So SIGTERM counts from the parent only, which PyTorch sends where it ends its processes.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, 'sigwaitinfo'):  # macOS and Windows don't tell where a signal comes from
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_with_parent, name='signals', daemon=True).start()
    if initialise is not None:
        initialise(number)


def _end_with_parent() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)


@contextmanager
def explained_workers(runner: Runner) -> Generator[None, None, None]:
    """Explain the death of a data-loading process.

    Raises:
        UserError: In place of PyTorch's RuntimeError.
    """
    try:
        yield
    except RuntimeError as error:
        match = re.match(r'DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) (.*?)[.\s]*$', str(error), re.DOTALL)
        if match is None:
            raise
        pid, how = match[1], match[2].split('. ')[0]
        raise UserError(
            f'a data-loading process ended in the midst of its work (pid {pid}: {how}). Most often the memory ran out, '
            f'or, after a bus error, the shared memory (/dev/shm): use fewer processes '
            f'(--cfg-options train_dataloader.num_workers=2) or smaller batches; {go_on_from(runner)}'
        ) from error
