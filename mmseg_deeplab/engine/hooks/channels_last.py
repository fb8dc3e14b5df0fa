"""A training whose convolutions keep the channels of a pixel side by side."""

from typing import Any, cast

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Lays out the weights as NHWC, and with them all that the convolutions compute from the first one on.

    Values are the same up to rounding. Convolutions in half precision, and depthwise ones on the CPU, are faster so
    (docs/benchmarks.md). It is set when a training begins, after weights were loaded or resumed.
    """

    def before_train(self, runner: Runner) -> None:
        """Lay out the weights; the optimizer keeps them, since they stay the same parameters."""
        cast(Any, runner.model).to(memory_format=torch.channels_last)
