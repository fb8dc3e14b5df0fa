"""ProgressHook: how far the loops are, where MMEngine's log says nothing yet."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack

from mmengine.hooks import Hook, LoggerHook
from mmengine.runner import Runner

from ...progress import progress


class ProgressHook(Hook):
    """Shows how many images of a validation or test are done, and how far a training is from its first log line.

    `DeepLabRunner` registers it, and calls `close` where a run ends in an error.
    """

    priority = 'VERY_LOW'

    def __init__(self) -> None:
        self._shown = ExitStack()
        self._advance: Callable[[int], None] = lambda steps: None

    def close(self) -> None:
        """Take away what is shown."""
        self._shown.close()
        self._advance = lambda steps: None

    def before_train(self, runner: Runner) -> None:
        intervals = [hook.interval for hook in runner.hooks if isinstance(hook, LoggerHook)]
        # An epoch that is shorter than the interval has a line at its end.
        first_line = min([*intervals, len(runner.train_dataloader), runner.max_iters - runner.iter])
        self._last = runner.iter + first_line
        self._begin('training until the first line', first_line)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        self._advance(1)
        if runner.iter + 1 == self._last:
            self.close()

    def before_val(self, runner: Runner) -> None:
        self._begin('validating', len(runner.val_dataloader.dataset))

    def before_test(self, runner: Runner) -> None:
        self._begin('testing', len(runner.test_dataloader.dataset))

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs: Sequence | None = None) -> None:
        self._advance(len(outputs or ()) * runner.world_size)

    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs: Sequence | None = None) -> None:
        self._advance(len(outputs or ()) * runner.world_size)

    def after_val(self, runner: Runner) -> None:
        self.close()

    def after_test(self, runner: Runner) -> None:
        self.close()

    def _begin(self, title: str, total: int) -> None:
        self.close()
        self._advance = self._shown.enter_context(progress(title, total))
