"""Mixed precision on the CPU, which MMEngine's AmpOptimWrapper refuses."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from mmseg.registry import OPTIM_WRAPPERS
from torch import nn


@OPTIM_WRAPPERS.register_module()
class CPUAmpOptimWrapper(OptimWrapper):
    """Optimizer wrapper that runs the forward pass under bfloat16 autocast on the CPU.

    bfloat16 has the range of float32, so there is no loss to scale; weights, gradients and optimizer state stay
    float32. Takes the arguments of `mmengine.optim.OptimWrapper`.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Run the body with autocast, and without gradient synchronisation where gradients are accumulated."""
        with super().optim_context(model), torch.autocast('cpu', dtype=torch.bfloat16):
            yield
