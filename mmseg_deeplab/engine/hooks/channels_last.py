"""A training whose convolutions keep the channels of a pixel side by side."""

from typing import Any, cast

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS
from torch import Tensor, nn


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Lays out the weights as NHWC, and with them all that the convolutions compute from the first one on.

    Values are the same up to rounding. Convolutions in half precision, and depthwise ones on the CPU, are faster so
    (docs/benchmarks.md). It is set when a training begins, after weights were loaded or resumed.

    Depthwise convolutions with a rate keep the usual layout on the CPU: in the other one, torch 2.13 computes wrong
    gradients of their weights in bfloat16, on maps from 29 cells of width on, now and then of 1e32. Their answers,
    and the gradients of their input, are right.
    """

    def __init__(self) -> None:
        self._handles: list = []

    def before_train(self, runner: Runner) -> None:
        """Lay out the weights; the optimizer keeps them, since they stay the same parameters."""
        cast(Any, runner.model).to(memory_format=torch.channels_last)
        for layer in runner.model.modules():
            if isinstance(layer, nn.Conv2d) and layer.groups > 1 and max(layer.dilation) > 1 and layer.weight.is_cpu:
                # `contiguous` would leave the strides: of one channel a kernel, both layouts are the same memory.
                layer.weight.data = layer.weight.data.clone(memory_format=torch.contiguous_format)
                self._handles.append(layer.register_forward_pre_hook(_usual_layout))

    def after_train(self, runner: Runner) -> None:
        """Let the layers take inputs of any layout again."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()


def _usual_layout(layer: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
    return (inputs[0].contiguous(),)
