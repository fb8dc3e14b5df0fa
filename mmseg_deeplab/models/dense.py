"""Dense features of any network of convolutions: its strides beyond an output stride turned into rates, and the proof.

Each convolution and pooling is given the stride and rate that `atrous.atrous_layer` has for the nominal stride of its
input, which one run of the network tells. Whether that is all that depends on position, is then tried: with the same
random weights, the dense features, subsampled, must be those of the network as it was (v3, section 3.1).
"""

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from ..errors import UserError
from .atrous import OUTPUT_STRIDES, atrous_layer, check_output_stride

SIDES = (97, 96)
"""Sides of the images that networks are measured on: 32 k + 1, and 32 k for those that want it."""
TOLERANCE = 1e-4
"""Of the standard deviation of the features, in double precision: a wrong rate makes a difference of about 1."""
REDUCTIONS = {'mean', 'sum', 'norm', 'amax', 'max', 'adaptive_avg_pool2d', 'adaptive_max_pool2d', 'vector_norm'}

Run = Callable[[nn.Module, Tensor], Sequence[Tensor]]


class DensePool2d(nn.Module):
    """Average or maximum pooling with a rate, at a stride of 1: also between the cells that `pool` would have skipped.

    Args:
        pool: The pooling as it was.
        rate: In cells.
    """

    def __init__(self, pool: nn.AvgPool2d | nn.MaxPool2d, rate: int):
        super().__init__()
        self.kernel, self.stride, self.ceil_mode = _number(pool.kernel_size), _number(pool.stride), pool.ceil_mode
        self.rate, padding = rate, _number(pool.padding) * rate
        self.counts_padding = getattr(pool, 'count_include_pad', None)  # None: the maximum
        # Ceil mode has windows that begin within the map and end beyond it.
        beyond = max((self.kernel - 1) * rate - 2 * padding, 0) if pool.ceil_mode else 0
        self.padding, self.beyond = [padding] * 4, [0, beyond, 0, beyond]

    def _sum(self, maps: Tensor) -> Tensor:
        weight = maps.new_ones(maps.shape[1], 1, self.kernel, self.kernel)
        return F.conv2d(F.pad(maps, self.beyond), weight, dilation=self.rate, groups=maps.shape[1])

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, h, w) to the means or maxima (N, C, h', w')."""
        if self.counts_padding is None:
            lowest = F.pad(F.pad(x, self.padding, value=-torch.inf), self.beyond, value=-torch.inf)
            return self._fitting(x, F.max_pool2d(lowest, self.kernel, stride=1, dilation=self.rate))
        inside = F.pad(x.new_ones(1, 1, *x.shape[2:]), self.padding, value=float(self.counts_padding))
        return self._fitting(x, self._sum(F.pad(x, self.padding)) / self._sum(inside))

    def _fitting(self, x: Tensor, out: Tensor) -> Tensor:
        """Leave out what lies behind the last cell of the pooling as it was."""
        sides = []
        for length in x.shape[2:]:
            cells, padding = (length - 1) // self.rate + 1, self.padding[0] // self.rate
            beyond = cells + 2 * padding - self.kernel
            count = (-(-beyond // self.stride) if self.ceil_mode else beyond // self.stride) + 1
            if self.ceil_mode and (count - 1) * self.stride >= cells + padding:
                count -= 1
            sides.append(count * self.stride * self.rate)
        return out[..., : sides[0], : sides[1]]


class _Reductions(TorchFunctionMode):
    """Keeps what is computed of whole maps, as squeeze-and-excitation does, or gives what was kept.

    The mean of dense features is another one, rightly so; what lies between two such means can be compared.
    """

    def __init__(self, kept: list[Tensor] | None = None):
        super().__init__()
        self.kept: list[Tensor] = [] if kept is None else list(kept)
        self.replays = kept is not None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        x = args[0] if args else None
        whole = (
            getattr(func, '__name__', '') in REDUCTIONS
            and isinstance(x, Tensor)
            and isinstance(out, Tensor)
            and x.dim() == 4
            and out.numel() in (x.shape[0] * x.shape[1], x.shape[0] * x.shape[-1])
            and out.numel() < x.numel()
        )
        if not whole:
            return out
        if not self.replays:
            self.kept.append(out)
            return out
        return self.kept.pop(0) if self.kept and self.kept[0].shape == out.shape else out


def _number(value: Any) -> int:
    return value[0] if isinstance(value, (tuple, list)) else value


def measure(net: nn.Module, run: Run, bands: int) -> tuple[list[Tensor], int]:
    """Features of a network on noise, and the side of the image; the first of `SIDES` that it takes.

    Raises:
        UserError: If it takes none.
    """
    failure = None
    for side in SIDES:
        try:
            return _features(net, run, bands, side), side
        except (RuntimeError, AssertionError) as error:
            failure = error
    raise UserError(f'the network takes no images of {SIDES} pixels: {failure}')


def stride_of(side: int, features: Tensor) -> int:
    """Stride of features of an image of that side, as a power of two."""
    return 2 ** round(math.log2(side / features.shape[2]))


def make_dense(net: nn.Module, run: Run, bands: int, output_stride: int, name: str) -> None:
    """Change the strides and rates of a network, in place, so that its coarsest features are at `output_stride`.

    Args:
        net: The network; its weights are kept.
        run: Gives its features (N, C, h, w), finest first, of images.
        bands: Of the images.
        output_stride: 8, 16 or 32, no more than the network's own.
        name: For errors.

    Raises:
        UserError: If its dense features are not its own between the cells, with the part where they differ.
    """
    features, side = measure(net, run, bands)
    own = stride_of(side, features[-1])
    if output_stride == own:
        return
    check_output_stride(output_stride, [s for s in OUTPUT_STRIDES if s < own] + [own], f'{name} has stride {own}')
    coarse = copy.deepcopy(net)
    for layer, stride in _input_strides(net, run, bands, side).items():
        _set_layer(net, layer, *atrous_layer(stride, _number(layer.stride), output_stride))
    reason = _difference(coarse, net, run, bands, side, output_stride)
    if reason:
        raise UserError(
            f'{name} can not have output_stride={output_stride}: {reason}. Use its own, output_stride={own}, or '
            f'another encoder'
        )


def _features(net: nn.Module, run: Run, bands: int, side: int) -> list[Tensor]:
    """Features of noise in evaluation mode; the network's own mode is left as it was."""
    was_training = net.training
    net.eval()
    try:
        with torch.no_grad():
            return list(run(net, _noise(bands, side)))
    finally:
        net.train(was_training)


def _noise(bands: int, side: int) -> Tensor:
    return torch.randn(1, bands, side, side, generator=torch.Generator().manual_seed(0))


def _input_strides(net: nn.Module, run: Run, bands: int, side: int) -> dict[Any, int]:
    """Nominal stride of the input of every convolution and pooling that more than one cell goes into."""
    strides: dict[nn.Module, int] = {}

    def note(layer: nn.Module, inputs: tuple) -> None:
        if inputs[0].dim() == 4 and inputs[0].shape[2] > 1:
            strides[layer] = stride_of(side, inputs[0])

    kinds = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)
    hooks = [m.register_forward_pre_hook(note) for m in net.modules() if isinstance(m, kinds)]
    _features(net, run, bands, side)
    for hook in hooks:
        hook.remove()
    return strides


def _set_layer(net: nn.Module, layer: Any, stride: int, rate: int) -> None:
    """Give a convolution or pooling its stride and rate; its padding keeps what it covers."""
    if (stride, rate) == (_number(layer.stride), 1):
        return
    if not isinstance(layer, nn.Conv2d):
        for parent in list(net.modules()):
            for name, child in parent.named_children():
                if child is layer:
                    setattr(parent, name, DensePool2d(layer, rate))
        return
    layer.stride = (stride, stride)
    layer.dilation = tuple(before * rate for before in layer.dilation)
    if not isinstance(layer.padding, str):
        layer.padding = tuple(cells * rate for cells in layer.padding)


def _difference(coarse: nn.Module, dense: nn.Module, run: Run, bands: int, side: int, output_stride: int) -> str:
    """What of dense features, subsampled, is not that of the coarse network, which is used up; '' if all is."""
    coarse, dense = coarse.double(), copy.deepcopy(dense).double()  # rounding grows through layers
    _randomize(coarse)
    for net in (coarse, dense):
        net.eval()
    dense.load_state_dict(coarse.state_dict())
    image = _noise(bands, side).double()
    seen: list[list[tuple[str, str, Tensor]]] = [[], []]
    for net, outputs in zip((coarse, dense), seen, strict=True):
        for name, module in net.named_modules():
            if not list(module.children()):
                module.register_forward_hook(
                    lambda m, _, out, name=name, outputs=outputs: outputs.append((name, type(m).__name__, out))
                )
    kept = _Reductions()
    with torch.no_grad():
        with kept:
            expected = run(coarse, image)
        try:
            with _Reductions(kept.kept):
                found = run(dense, image)
        except (RuntimeError, AssertionError) as error:
            found, failure = None, f'sizes stop fitting ({str(error).splitlines()[0]})'
    if found is not None and all(_agree(*maps) for maps in zip(found, expected, strict=True)):
        return (
            '' if stride_of(side, found[-1]) == output_stride else 'it does not stride by convolutions and pools alone'
        )
    for (name, kind, theirs), (_, _, ours) in zip(*seen, strict=False):
        if isinstance(ours, Tensor) and isinstance(theirs, Tensor) and not _agree(ours, theirs):
            return f'what {name} ({kind}) gives depends on the stride in a way that strides and rates can not undo'
    return failure if found is None else 'it resizes or joins its maps outside of its layers'


def _agree(dense: Tensor, coarse: Tensor) -> bool:
    """Whether maps are those of a coarser network where both have a cell."""
    if dense.shape == coarse.shape:
        step = 1
    elif dense.dim() != 4 or dense.shape[:2] != coarse.shape[:2]:
        return False
    else:
        step = 2 ** round(math.log2(dense.shape[2] / coarse.shape[2]))
        dense = dense[:, :, ::step, ::step]
    return dense.shape == coarse.shape and bool((dense - coarse).abs().max() <= TOLERANCE * (coarse.std() + 1e-6))


def _randomize(net: nn.Module) -> None:
    """Weights under which every layer counts: none is zero or tiny, as some are at the start of a training."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if parameter.dim() >= 2 and min(parameter.shape[:2]) > 0 and parameter[0].numel() > 1:
                parameter.normal_(0, parameter[0].numel() ** -0.5, generator=generator)
            else:
                low = -0.5 if name.endswith('bias') else 0.5
                parameter.uniform_(low, low + 1, generator=generator)
        for module in net.modules():
            if isinstance(module, _BatchNorm) and module.running_mean is not None and module.running_var is not None:
                module.running_mean.uniform_(-0.5, 0.5, generator=generator)
                module.running_var.uniform_(0.5, 1.5, generator=generator)


def cover(features: Sequence[Tensor], strides: Sequence[int]) -> tuple[Tensor, ...]:
    """Bring maps of one stride to the size of the first of them, by repeating their edge on all sides.

    Convolutions without padding, as those between the stages of a ConvNeXt, give fewer dense features than coarse
    ones would stand for.
    """
    covered: list[Tensor] = []
    for i, (maps, stride) in enumerate(zip(features, strides, strict=True)):
        height, width = features[list(strides).index(stride)].shape[2:]
        missing = height - maps.shape[2], width - maps.shape[3]
        if i and any(missing):
            top, left = missing[0] // 2, missing[1] // 2
            maps = F.pad(maps, (left, missing[1] - left, top, missing[0] - top), mode='replicate')
        covered.append(maps)
    return tuple(covered)
