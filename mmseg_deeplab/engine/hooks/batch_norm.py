"""Batch norm whose running statistics are right after any number of iterations, and the same in every process."""

from collections import Counter

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

WINDOW = 4
"""A running average reaches back over about one in so many of the batches so far, at its beginning."""


def momentum_of(batch: int, published: float) -> float:
    """Momentum at a layer's batch number `batch`, from 1 on: the published one, or more as long as few have come."""
    return max(published, min(1.0, WINDOW / (batch + WINDOW - 1)))


@HOOKS.register_module()
class BatchNormHook(Hook):
    """Starts each running average of batch norm from the batches that it has seen, not from 0 and 1.

    The papers' decay of 0.9997 averages over some 3,300 batches: after 120 iterations 96 percent of such a running
    average is still what it was initialised with, and the network predicts nonsense as soon as it is evaluated. Here
    the momentum of batch t is max(published, 4 / (t + 3)). The first batch replaces the initial statistics; from then
    on the average is over the last quarter or so of the batches, as network and statistics change; from batch
    4 / published on (13,331 for 0.0003) it is the published one. What differs from the published average is 0.05
    percent of the weight after 30,000 iterations, and nothing that a float holds after 90,000. A momentum of 0.1 is
    changed for 37 batches.

    Batches are counted in `num_batches_tracked`, which checkpoints hold, so resuming is exact; a training that starts
    from other weights counts from 0. Layers that are frozen are not touched.

    In distributed training without SyncBN each process has running statistics of its own images. They are averaged
    after each iteration, so that one model is validated, saved and resumed from.
    """

    def __init__(self) -> None:
        self._handles: list = []
        self._layers: list[_BatchNorm] = []
        self._seen: Counter[int] = Counter()

    def before_train(self, runner: Runner) -> None:
        """Follow every layer with a running average from here on."""
        self._stop()
        averaging = [
            m for m in runner.model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats and m.momentum
        ]
        for index, layer in enumerate(averaging):
            self._follow(index, layer, resumed=runner.iter > 0)
        self._layers = [layer for layer in averaging if not isinstance(layer, nn.SyncBatchNorm)]

    def _follow(self, index: int, layer: _BatchNorm, resumed: bool) -> None:
        published, count = layer.momentum or 0.0, layer.num_batches_tracked
        if count is None:
            return

        def before(module: nn.Module, inputs: tuple) -> None:
            if not module.training:
                return
            if index not in self._seen:
                if not resumed:
                    count.zero_()
                self._seen[index] = int(count)
            self._seen[index] += 1
            layer.momentum = momentum_of(self._seen[index], published)

        def after(module: nn.Module, inputs: tuple, output: Tensor | None) -> None:
            layer.momentum = published

        self._handles += [layer.register_forward_pre_hook(before), layer.register_forward_hook(after, always_call=True)]

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs: dict | None = None) -> None:
        """Give all processes the mean of their running statistics."""
        if get_world_size() == 1:
            return
        moving = [tensor for layer in self._layers if layer.training for tensor in _statistics(layer)]
        if moving:
            flat = torch.cat([tensor.flatten() for tensor in moving])
            all_reduce(flat, op='mean')
            for tensor, mean in zip(moving, flat.split([tensor.numel() for tensor in moving]), strict=True):
                tensor.copy_(mean.view_as(tensor))

    def after_train(self, runner: Runner) -> None:
        """Leave the layers as they were."""
        self._stop()

    def _stop(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._seen.clear()


def _statistics(layer: _BatchNorm) -> tuple[Tensor, ...]:
    return tuple(tensor for tensor in (layer.running_mean, layer.running_var) if tensor is not None)
