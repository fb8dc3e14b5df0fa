"""Losses in the log that are those of the whole batch."""

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS


@HOOKS.register_module()
class BatchLossHook(Hook):
    """Puts the mean over all processes in the place of each logged loss and accuracy.

    MMEngine logs those of the first process. It comes before all other hooks, which then see the same values in every
    process; with this package's losses the mean is the value that one process would have logged. What it costs is one
    all-reduce of a number for each logged value in each iteration (nothing with one process); it waits for the slowest
    process, as the gradients' just before does.
    """

    priority = 'HIGHEST'

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs: dict | None = None) -> None:
        """Average the scalars of `outputs`, in place."""
        if get_world_size() == 1 or not outputs:
            return
        names = sorted(name for name, value in outputs.items() if isinstance(value, torch.Tensor))
        values = torch.stack([outputs[name].detach().float().mean() for name in names])
        all_reduce(values, op='mean')
        outputs.update(zip(names, values.unbind(), strict=True))
