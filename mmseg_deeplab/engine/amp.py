"""Mixed precision on the CPU, which MMEngine's AmpOptimWrapper refuses."""

import logging
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from mmseg.registry import OPTIM_WRAPPERS
from torch import nn

from ..inference.fast import bf16_pays


@OPTIM_WRAPPERS.register_module()
class CPUAmpOptimWrapper(OptimWrapper):
    """Optimizer wrapper that runs the forward pass under bfloat16 autocast on the CPU.

    bfloat16 has the range of float32, so there is no loss to scale; weights, gradients and optimizer state stay
    float32. Takes the arguments of `mmengine.optim.OptimWrapper`. Says where the processor has no units for bfloat16:
    there it computes the same many times more slowly.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        if not bf16_pays():
            print_log(
                'mixed precision does not pay here: this processor has no units for bfloat16, and a convolution takes '
                '9 to 40 times as long as in float32; leave --amp out',
                logger='current',
                level=logging.WARNING,
            )

    @contextmanager
    def optim_context(self, model: nn.Module) -> Generator[None, None, None]:
        """Run the body with autocast, and without gradient synchronisation where gradients are accumulated."""
        with super().optim_context(model), torch.autocast('cpu', dtype=torch.bfloat16):
            yield
