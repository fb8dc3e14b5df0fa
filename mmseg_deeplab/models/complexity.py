"""Parameters, multiply-adds and activations of a network, module by module."""

import math
from collections import Counter
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry
from torch.utils.module_tracker import ModuleTracker


@dataclass
class Complexity:
    """One module with everything in it.

    Attributes:
        name: Path of the module in the network; empty for the whole.
        parameters: Number of parameters.
        multiply_adds: Of convolutions and matrix products, as the papers count: one for each weight and output
            position. Bias, normalisation, activation and resizing are left out.
        activations: Number of values that convolutions and matrix products put out.
    """

    name: str
    parameters: int
    multiply_adds: int
    activations: int


class _Count(TorchDispatchMode):
    """Adds what each convolution and matrix product costs to all the modules that it runs in."""

    def __init__(self, tracker: ModuleTracker, space_to_batch: bool):
        super().__init__()
        self.tracker = tracker
        self.space_to_batch = space_to_batch
        self.multiply_adds: Counter[str] = Counter()
        self.activations: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        flops = flop_registry.get(func._overloadpacket)
        if flops is not None:
            count = flops(*args, **(kwargs or {}), out_val=out) // 2  # a multiply-add is two flops
            if self.space_to_batch and func is torch.ops.aten.convolution.default and args[1].shape[-1] > 1:
                for size, rate in zip(out.shape[2:], args[5], strict=True):
                    count = count * (math.ceil(size / rate) * rate) // size
            for parent in self.tracker.parents:
                self.multiply_adds[parent] += count
                self.activations[parent] += (out if isinstance(out, torch.Tensor) else out[0]).numel()
        return out


def complexity(model: nn.Module, shape: tuple[int, int] = (513, 513), space_to_batch: bool = False) -> list[Complexity]:
    """Count what one image of `shape` (height, width) costs in `model`, which may be on the meta device.

    Args:
        model: Network that takes images (N, 3, H, W).
        shape: Height and width of the image.
        space_to_batch: Count an atrous convolution as TensorFlow 1 runs it, over a map padded to a multiple of its
            rate. The figures of the v3+ paper (Tables 3 and 5) are counted so; it is more than what is computed here.

    Returns:
        The whole network first, then every module with parameters or work, parents before their children.
    """
    device = next(model.parameters()).device
    training = model.training
    tracker = ModuleTracker()
    with torch.no_grad(), tracker, _Count(tracker, space_to_batch) as count:
        model.eval()  # whose result some models of MMSegmentation leave out
        model(torch.zeros(1, 3, *shape, device=device))
    model.train(training)
    rows = []
    for name, module in reversed(list(model.named_modules())):
        key = f'{type(model).__name__}.{name}' if name else type(model).__name__
        parameters = sum(p.numel() for p in module.parameters())
        if key not in count.multiply_adds:
            # MMSegmentation calls a head's `forward` itself, which the tracker does not see: it is its parts.
            for child, _ in module.named_children():
                count.multiply_adds[key] += count.multiply_adds[f'{key}.{child}']
                count.activations[key] += count.activations[f'{key}.{child}']
        if parameters or count.multiply_adds[key]:
            rows.append(Complexity(name, parameters, count.multiply_adds[key], count.activations[key]))
    return rows[::-1]


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
