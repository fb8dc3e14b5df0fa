"""Receptive fields: by formula, by which pixels are connected, and by gradients of the real network."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np
import torch
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from mmcv.cnn import NonLocal2d
from mmengine.logging import print_log
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.module_tracker import ModuleTracker

from ..errors import UserError
from ..models.layers import image_channels
from .text import drawable, text_style

aten = torch.ops.aten
POOLS = (aten.max_pool2d_with_indices, aten.max_pool2d, aten.avg_pool2d)
GLOBAL = (aten.mean, aten._adaptive_avg_pool2d, aten.adaptive_avg_pool2d)
MIXERS = (aten.mm, aten.bmm, aten.addmm, aten._scaled_dot_product_flash_attention_for_cpu)


@dataclass(frozen=True)
class Field:
    """What a cell sees, along one axis: cell i sees pixels i * stride - before to i * stride + after."""

    stride: float = 1
    before: float = 0
    after: float = 0

    @property
    def size(self) -> float:
        """Width of the receptive field in pixels; infinite if it is the whole image."""
        return self.before + self.after + 1


@dataclass(frozen=True)
class Layer:
    """A convolution or pooling that widens the receptive field or strides; `field` is that of its output."""

    name: str
    kernel: int
    stride: int
    rate: int
    field: Field


class _Trace(TorchDispatchMode):
    """Follows the receptive field of every tensor through the operations that make it."""

    def __init__(self, tracker: ModuleTracker, non_local: set[str]):
        super().__init__()
        self.tracker, self.non_local = tracker, non_local
        self.fields: dict[int, tuple[Field, Tensor]] = {}  # the tensor is kept so that its id stays its own
        self.layers: list[Layer] = []

    def seed(self, x: Tensor) -> None:
        """Start anew: a cell of `x` sees itself."""
        self.fields = {id(x): (Field(), x)}
        self.layers = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        tensors = [a for arg in args for a in (arg if isinstance(arg, (list, tuple)) else [arg])]
        seen = [self.fields[id(t)][0] for t in tensors if isinstance(t, Tensor) and id(t) in self.fields]
        if seen:
            # What acts on each cell by itself, or joins tensors cell by cell, sees what any of them sees.
            field = Field(min(f.stride for f in seen), max(f.before for f in seen), max(f.after for f in seen))
            field = self._widen(func.overloadpacket, args, field, out)
            for tensor in out if isinstance(out, (list, tuple)) else [out]:
                if isinstance(tensor, Tensor):
                    self.fields[id(tensor)] = (field, tensor)
        return out

    def _widen(self, op: Callable, args: tuple, field: Field, out: Tensor) -> Field:
        if op is aten.convolution:
            return self._slide(field, args[1].shape[-1], args[3][-1], args[4][-1], args[5][-1])
        if op in POOLS:
            kernel, stride, padding, *_ = [a[-1] if isinstance(a, (list, tuple)) and a else a for a in args[1:]] + [0]
            return self._slide(field, kernel, stride or kernel, padding, 1)
        if op in GLOBAL:
            return Field(inf, inf, inf)
        if op is aten.upsample_bilinear2d:
            # Each new cell lies between two old ones, so that one old cell on either side is an upper bound.
            old, new = args[0].shape[-1], out.shape[-1]
            scale = (old - 1) / (new - 1) if args[2] and new > 1 else old / new
            grown = field.stride if old > 1 else inf
            return Field(field.stride * scale if scale else inf, field.before + grown, field.after + grown)
        if op is aten.constant_pad_nd:
            return Field(
                field.stride, field.before + args[1][0] * field.stride, field.after - args[1][0] * field.stride
            )
        if op in MIXERS and self._module() in self.non_local:
            return Field(inf, inf, inf)
        if op in MIXERS:
            raise UserError(
                f'{op} mixes all positions: receptive fields are computed for networks of convolutions only'
            )
        return field

    def _slide(self, field: Field, kernel: int, stride: int, padding: int, rate: int) -> Field:
        reach = (kernel - 1) * rate
        if field.size == inf:
            return field
        field = Field(
            field.stride * stride,
            field.before + padding * field.stride,
            field.after + (reach - padding) * field.stride,
        )
        if kernel > 1 or stride > 1:
            self.layers.append(Layer(self._module(), kernel, stride, rate, field))
        return field

    def _module(self) -> str:
        return max(self.tracker.parents, key=len).partition('.')[2]


def trace_fields(
    model: nn.Module, shape: tuple[int, int] = (513, 513), start: str = ''
) -> tuple[list[Layer], dict[str, Field]]:
    """Compute receptive fields by formula.

    Args:
        model: Network of convolutions; may be on the meta device.
        shape: Height and width of the image; matters for resizing only.
        start: Module whose input the fields are counted in; '' is the image.

    Returns:
        The layers that widen the field or stride, in order, and the field of each module's (last) output.

    Raises:
        ValueError: If the network mixes all positions, as attention does.
    """
    model = copy.deepcopy(model)
    tracker = ModuleTracker()
    trace = _Trace(tracker, {name for name, module in model.named_modules() if isinstance(module, NonLocal2d)})
    fields: dict[str, Field] = {}
    model.get_submodule(start).register_forward_pre_hook(lambda _, inputs: trace.seed(_last(inputs)))
    for name, module in model.named_modules():

        def store(_: nn.Module, __: tuple, out: Tensor, name: str = name) -> None:
            if id(_last(out)) in trace.fields:
                fields[name] = trace.fields[id(_last(out))][0]

        module.register_forward_hook(store)
    model.eval()  # whose result some models of MMSegmentation leave out
    with torch.no_grad(), tracker, trace:
        model(torch.zeros(1, image_channels(model), *shape, device=next(model.parameters()).device))
    return trace.layers, fields


def _last(value: Tensor | tuple) -> Tensor:
    return value if isinstance(value, Tensor) else _last(value[-1])


def connections(model: nn.Module) -> nn.Module:
    """Copy a network with every weight positive and nothing non-linear, so that no gradient path is lost.

    Convolutions average, batch norm and activations do nothing, maximum pooling averages. A gradient through it is zero
    exactly where output and input are not connected, which shows the holes that stacked equal rates leave.
    """
    model = copy.deepcopy(model).double()
    model.eval()
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Conv2d):
                nn.init.constant_(child.weight, 1 / child.weight[0].numel())
                if child.bias is not None:
                    nn.init.zeros_(child.bias)
            elif isinstance(child, nn.MaxPool2d):
                pool = nn.AvgPool2d(child.kernel_size, child.stride, child.padding, child.ceil_mode)
                setattr(module, name, pool)
            elif isinstance(child, (nn.modules.batchnorm._BatchNorm, nn.ReLU, nn.ReLU6)):
                setattr(module, name, nn.Identity())
    for module in model.modules():
        if isinstance(module, NonLocal2d):
            # All cells are alike then, and none is left out by rounding.
            nn.init.zeros_(module.get_parameter('theta.conv.weight'))
    return model


def calibrate_batch_norm(model: nn.Module, images: Tensor) -> None:
    """Set the statistics of batch norm from `images` (N > 1), for a network with weights that were never trained."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [m.momentum for m in norms]
    for norm in norms:
        norm.momentum = 1
    with torch.no_grad():
        model.train()
        model(images)
    model.eval()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def measure_field(model: nn.Module, images: Tensor, of: str, start: str = '') -> np.ndarray:
    """Gradient of the central cell of a module's output: how much each input cell moves it.

    Args:
        model: Network, in evaluation mode.
        images: (N, 3, H, W).
        of: Module whose (last) output is looked at.
        start: Module with respect to whose input; '' is the image.

    Returns:
        Absolute gradient, (h, w), averaged over images and channels.
    """
    model = copy.deepcopy(model)
    kept: dict[str, Tensor] = {}

    def keep_input(_: nn.Module, inputs: tuple) -> Tensor:
        kept['input'] = _last(inputs).detach().requires_grad_()
        return kept['input']

    model.get_submodule(start).register_forward_pre_hook(keep_input)
    model.get_submodule(of).register_forward_hook(lambda _, __, out: kept.update(out=_last(out)))
    model(images)
    out = kept['out']
    centre = out[:, :, out.shape[2] // 2, out.shape[3] // 2]
    (gradient,) = torch.autograd.grad(centre.sum(), kept['input'])
    return gradient.abs().mean(dim=(0, 1)).numpy()


def coverage(gradient: np.ndarray) -> float:
    """Share of the cells that are connected within the rectangle around all that are."""
    rows, columns = np.nonzero(gradient)
    box = (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1)
    return len(rows) / box


def atrous_stage(layers: list[Layer]) -> str | None:
    """Unit of the backbone in which the first convolution with a rate is; None if there is none."""
    for layer in layers:
        if layer.rate > 1 and layer.name.startswith('backbone.'):
            return '.'.join(layer.name.split('.')[:3])
    return None


def format_layers(layers: list[Layer]) -> str:
    """Table of the layers that widen the field or stride."""
    lines = [f'{"layer":<58}{"kernel":>7}{"stride":>7}{"rate":>6}{"output stride":>15}{"receptive field":>17}']
    for layer in layers:
        size = 'whole image' if layer.field.size == inf else f'{layer.field.size:.0f}'
        lines.append(
            f'{layer.name:<58}{layer.kernel:>7}{layer.stride:>7}{layer.rate:>6}{layer.field.stride:>15.4g}{size:>17}'
        )
    return '\n'.join(lines)


def draw_fields(columns: list[tuple[str, Field, np.ndarray, np.ndarray]], unit: float = 3.6) -> Figure:
    """Draw for each (title, field by formula, connections, effective gradient) one column of two maps.

    The rectangle is the field by formula. White cells are not connected; colours are logarithmic over three decades
    above, linear below.
    """
    figure = Figure(figsize=(unit * len(columns) + 0.6, unit * 2 + 0.6), layout='constrained')
    axes = figure.subplots(2, len(columns), squeeze=False)
    for (title, field, connected, effective), (above, below) in zip(columns, axes.T, strict=True):
        top = connected.max()
        visible = np.where(connected > 0, np.maximum(connected, top * 1e-3), np.nan)
        above.imshow(visible, cmap='viridis', norm=LogNorm(top * 1e-3, top), interpolation='nearest')
        below.imshow(effective, cmap='magma', vmax=np.quantile(effective, 0.999), interpolation='nearest')
        size = 'whole image' if field.size == inf else f'{field.size:.0f}'
        above.set_title(
            f'{drawable(title)}\nby formula {size}, {coverage(connected):.0%} connected',
            fontsize=9,
            **text_style([title]),
        )
        below.set_title('effective (gradient)', fontsize=9)
        for axis, color in ((above, 'red'), (below, 'white')):
            axis.tick_params(labelsize=7)
            if field.size < inf:
                corner = [cells // 2 - field.before - 0.5 for cells in connected.shape]
                axis.add_patch(Rectangle((corner[1], corner[0]), field.size, field.size, fill=False, edgecolor=color))
    return figure


def _optional_branches(model: nn.Module, size: int) -> list[tuple[str, Field, str, str]]:
    """Columns of the branches of ASPP that are no single convolution: rates in series, non-local."""
    columns = []
    for name, branch in model.named_modules():
        if name.startswith('decode_head.aspp.branches.') and type(branch) is nn.Sequential:
            kind = 'non-local' if any(isinstance(part, NonLocal2d) for part in branch) else 'serial'
            field = trace_fields(model, (size, size), name)[1][name]
            columns.append((f'{kind} branch of ASPP, on the features', field, name, name))
    return columns


def inspect_fields(
    model: nn.Module, size: int = 513, trained: bool = False, start: str | None = None
) -> tuple[list[Layer], Figure]:
    """Layers and picture of the backbone's field on the image and of its last units' field on their input.

    Args:
        model: Segmentor; it stays as it is.
        size: Side of the noise images, in pixels.
        trained: Whether its weights are; if not, batch norm is calibrated first.
        start: Module at which the second column starts; the first unit with a rate if None.

    Branches of ASPP in series and non-local have a column each, on the features that enter them. Of several scales of
    the input (v2), the first, the image itself, is looked at.
    """
    model = copy.deepcopy(model)
    scales: Any = getattr(model, 'multi_scale_inputs', (1.0,))
    if len(scales) > 1:
        print_log(f'Of the scales {scales} of the input, only the first is looked at', 'current')
        model.multi_scale_inputs = scales[:1]
    layers, fields = trace_fields(model, (size, size))
    images = torch.randn(2, image_channels(model), size, size, generator=torch.Generator().manual_seed(0))
    if not trained:
        print_log(f'Calibrating batch norm on noise of {size} x {size} pixels', 'current')
        calibrate_batch_norm(model, images)
    linear = connections(model)
    columns = [('backbone, on the image', fields['backbone'], '', 'backbone')]
    stage = start or atrous_stage(layers)
    if stage:
        field = trace_fields(model, (size, size), stage)[1]['backbone']
        columns.append(
            (f'backbone, on the cells that enter {stage.removeprefix("backbone.")}', field, stage, 'backbone')
        )
    columns += _optional_branches(model, size)
    drawn = []
    for title, field, start, of in columns:
        print_log(f'Measuring: {title}', 'current')
        connected = measure_field(linear, images[:1].double(), of, start)
        drawn.append((title, field, connected, measure_field(model, images, of, start)))
    return layers, draw_fields(drawn)
