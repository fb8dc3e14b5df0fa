"""What the tests of networks share."""

import torch
from mmseg.registry import MODELS
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def randomize(model: nn.Module, seed: int = 0) -> nn.Module:
    """Give convolutions weights that keep a signal alive, and batch norm random statistics, scales and shifts."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, generator=generator)
        if isinstance(module, _BatchNorm):
            for tensor, low in (
                (module.running_mean, -0.5),
                (module.running_var, 0.5),
                (module.weight.data, 0.5),
                (module.bias.data, -0.5),
            ):
                tensor.uniform_(low, low + 1, generator=generator)
    return model


def segmentor(backbone: dict, decode_head: dict, num_classes: int = 3, **kwargs) -> nn.Module:
    """A DeepLab segmentor with small defaults."""
    return MODELS.build(
        dict(type='DeepLab', backbone=backbone, decode_head=dict(num_classes=num_classes, **decode_head), **kwargs)
    )


def rates_of(module: nn.Module) -> list[int]:
    """Rates of the 3x3 convolutions in `module`, in order."""
    return [m.dilation[0] for m in module.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]


def gradients_missing(model: nn.Module) -> list[str]:
    """Names of trainable parameters without a gradient, or with one that is all zero or not finite."""
    return [
        name
        for name, p in model.named_parameters()
        if p.requires_grad and (p.grad is None or not p.grad.isfinite().all() or not p.grad.any())
    ]
