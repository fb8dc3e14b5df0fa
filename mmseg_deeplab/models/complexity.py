"""Parameters, multiply-adds and activations of a network, module by module."""

import copy
import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count, flop_registry

from .layers import image_channels


@dataclass
class Complexity:
    """One module with everything in it.

    Attributes:
        name: Path of the module in the network; empty for the whole. Where a module does something that none of its
            parts does, `name.(own)` is that, so that the rows below a row add up to it.
        parameters: Number of parameters.
        multiply_adds: Of convolutions and matrix products, as the papers count: one for each weight and output
            position. Bias, normalisation, activation and resizing are left out.
        activations: Number of values that convolutions and matrix products put out.
    """

    name: str
    parameters: int
    multiply_adds: int
    activations: int


def _padded_conv_flop(x, weight, bias, stride, padding, dilation, transposed, *args, out_shape, **kwargs) -> int:
    """Flops of a convolution over a map that is padded to a multiple of its rate; arguments are aten's, as shapes."""
    count = conv_flop_count(x, weight, out_shape, transposed=transposed)
    if weight[-1] > 1:
        for size, rate in zip(out_shape[2:], dilation, strict=True):
            count = count * (math.ceil(size / rate) * rate) // size
    return count


def _values_out(*args, out_shape: list | tuple, **kwargs) -> int:
    """Number of values that an operation puts out; of attention, which puts out more besides, the first tensor's."""
    while not isinstance(out_shape[0], int):
        out_shape = out_shape[0]
    return math.prod(out_shape)


def _count(model: nn.Module, image: Tensor, formulas: Mapping[Any, Callable[..., int]]) -> Counter[str]:
    """Sum `formulas`, each of an operator, by module; the whole is the empty name."""
    counter = FlopCounterMode(display=False, custom_mapping=dict(formulas))
    with counter:
        model(image)
    root = type(model).__name__
    counts: Counter[str] = Counter()
    for name, operators in counter.get_flop_counts().items():
        if name == root or name.startswith(f'{root}.'):
            counts[name[len(root) + 1 :]] += sum(operators.values())
    # A module whose `forward` its owner calls itself, as MMSegmentation does a head's, is not seen: it is its parts.
    for name, module in reversed(list(model.named_modules())):
        if name not in counts:
            counts[name] = sum(counts[_join(name, child)] for child, _ in module.named_children())
    return counts


def _join(name: str, child: str) -> str:
    return f'{name}.{child}' if name else child


def complexity(model: nn.Module, shape: tuple[int, int] = (513, 513), space_to_batch: bool = False) -> list[Complexity]:
    """Count what one image of `shape` (height, width) costs in `model`, in a copy on the meta device.

    Args:
        model: Network that takes images (N, 3, H, W).
        shape: Height and width of the image.
        space_to_batch: Count an atrous convolution as TensorFlow 1 runs it, over a map padded to a multiple of its
            rate. The figures of the v3+ paper (Tables 3 and 5) are counted so; it is more than what is computed here.

    Returns:
        The whole network first, then every module with parameters or work, parents before their children. The rows
        directly below a row add up to it.
    """
    # Nothing is computed on the meta device, and attention is not fused there into operators that have no formula.
    model = copy.deepcopy(model).to('meta').eval()
    image = torch.empty(1, image_channels(model), *shape, device='meta')
    padded = {torch.ops.aten.convolution: _padded_conv_flop} if space_to_batch else {}
    with torch.no_grad():
        flops = _count(model, image, padded)
        activations = _count(model, image, dict.fromkeys(flop_registry, _values_out))
    parameters: Counter[str] = Counter()
    for name, parameter in model.named_parameters():  # a shared one once
        while name:
            name = name.rpartition('.')[0]
            parameters[name] += parameter.numel()
    rows = []
    for name, module in model.named_modules():
        row = (parameters[name], flops[name] // 2, activations[name])  # a multiply-add is two flops
        if not any(row):
            continue
        rows.append(Complexity(name, *row))
        children = [_join(name, child) for child, _ in module.named_children()]
        own = [whole[name] - sum(whole[child] for child in children) for whole in (parameters, flops, activations)]
        if children and any(own):
            rows.append(Complexity(_join(name, '(own)'), own[0], own[1] // 2, own[2]))
    return rows


def format_complexity(rows: list[Complexity], depth: int = 3) -> str:
    """Print `rows` down to `depth` levels as a table."""
    lines = [f'{"module":<44}{"parameters":>14}{"multiply-adds":>16}{"activations":>14}']
    for row in rows:
        level = row.name.count('.') + 1 if row.name else 0
        if level <= depth:
            name = '  ' * level + (row.name.rpartition('.')[2] or 'total')
            counts = (row.parameters / 1e6, row.multiply_adds / 1e9, row.activations / 1e6)
            lines.append(f'{name:<44}{counts[0]:>13.3f}M{counts[1]:>15.3f}B{counts[2]:>13.2f}M')
    return '\n'.join(lines)
