"""The blocks that backbones and heads share."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import pairwise

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule, DepthwiseSeparableConvModule, NonLocal2d
from torch import Tensor, nn

from ..errors import UserError

_IMAGE_MEAN: ContextVar[Tensor | None] = ContextVar('image_mean', default=None)


def resize(maps: Tensor, size: Sequence[int], align_corners: bool) -> Tensor:
    """Resize (N, C, h, w) to (N, C, *size), bilinearly; a size of another map stays free in a traced network."""
    return F.interpolate(maps, tuple(size), mode='bilinear', align_corners=align_corners)


def image_channels(model: nn.Module) -> int:
    """Bands of the images that a model takes: those of its first convolution; 3 for a model without one."""
    return next((module.in_channels for module in model.modules() if isinstance(module, nn.Conv2d)), 3)


class SamePadConv2d(nn.Conv2d):
    """A convolution padded as TensorFlow's 'SAME': n cells become ceil(n / stride).

    Where the padding of an axis is odd, its last side has one cell more. A kernel must reach as far as its stride.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Map (N, in_channels, h, w) to (N, out_channels, ceil(h / stride), ceil(w / stride))."""
        padding: list[int] = []
        for i in (1, 0):  # the last axis comes first
            size, stride = input.shape[2 + i], self.stride[i]
            # The last window starts at the last multiple of the stride that is within the map.
            total = self.dilation[i] * (self.kernel_size[i] - 1) - (size - 1) % stride
            padding += [total // 2, total - total // 2]
        return F.conv2d(F.pad(input, padding), self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


class MaxPool2d(nn.MaxPool2d):
    """Max pooling of 3x3 cells with a padding of 1, or 2x2, of which `ceil_mode` can be exported with free sizes.

    Ceil mode, which makes a difference at a stride of 2 only, is then floor mode over one more row and column. In eager
    mode that would only take memory.
    """

    def __init__(self, stride: int, ceil_mode: bool, kernel: int = 3):
        super().__init__(kernel, stride, padding=kernel // 3, ceil_mode=ceil_mode and stride == 2)

    def forward(self, input: Tensor) -> Tensor:
        """Map (N, C, h, w) to (N, C, (h - 1) // stride + 1, ...), or h // stride + 1 in ceil mode at a stride of 2.

        2x2 cells, at a stride of 2: h // 2, or (h + 1) // 2 in ceil mode.
        """
        if self.ceil_mode and torch.compiler.is_compiling():
            return F.max_pool2d(F.pad(input, (0, 1, 0, 1), value=-torch.inf), self.kernel_size, 2, self.padding)
        return super().forward(input)


class AvgPool2d(nn.AvgPool2d):
    """Means of `stride` x `stride` cells, or at the far borders of those that are left; free sizes can be exported."""

    def __init__(self, stride: int):
        super().__init__(stride, stride, ceil_mode=True, count_include_pad=False)

    def forward(self, input: Tensor) -> Tensor:
        """Map (N, C, h, w) to (N, C, ceil(h / stride), ceil(w / stride)); the stride is 1 or 2."""
        if self.stride == 2 and torch.compiler.is_compiling():
            return F.avg_pool2d(F.pad(input, (0, 1, 0, 1), mode='replicate'), 2)
        return super().forward(input)


def conv_bn_relu(
    in_channels: int, out_channels: int, kernel_size: int, rate: int = 1, norm_cfg: dict | None = None, **kwargs
) -> ConvModule:
    """Size-preserving convolution without bias, batch norm, ReLU."""
    padding = rate * (kernel_size - 1) // 2
    return ConvModule(
        in_channels,
        out_channels,
        kernel_size,
        padding=padding,
        dilation=rate,
        norm_cfg=norm_cfg or dict(type='BN'),
        **kwargs,
    )


def separable_conv_bn_relu(
    in_channels: int, out_channels: int, kernel_size: int, rate: int = 1, norm_cfg: dict | None = None
) -> DepthwiseSeparableConvModule:
    """Depthwise convolution, batch norm, ReLU, 1x1 convolution, batch norm, ReLU (v3+, section 3.1)."""
    padding = rate * (kernel_size - 1) // 2
    return DepthwiseSeparableConvModule(
        in_channels,
        out_channels,
        kernel_size,
        padding=padding,
        dilation=rate,
        norm_cfg=norm_cfg or dict(type='BN'),
    )


def draw_as_the_release(module: nn.Module) -> None:
    """Initialise the convolutions of a head as the TensorFlow release does (core/utils.py, model.py; slim's default).

    Plain ones Xavier, uniform; of separable ones the depthwise part with a standard deviation of 0.33 and the 1x1 part
    with 0.06, both normal and cut off at two of them.
    """
    separable: dict[nn.Module, float] = {}
    for layer in module.modules():
        if isinstance(layer, DepthwiseSeparableConvModule):
            separable.update({layer.depthwise_conv.conv: 0.33, layer.pointwise_conv.conv: 0.06})
    for layer in module.modules():
        if not isinstance(layer, nn.Conv2d):
            continue
        if layer in separable:
            draw_truncated(layer.weight, separable[layer])
        else:
            nn.init.xavier_uniform_(layer.weight)


def draw_truncated(weight: Tensor, std: float) -> None:
    """Fill with a normal distribution, cut off at two of its standard deviations, as TensorFlow's truncated_normal."""
    nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std)


@contextmanager
def pooling_as(mean: Tensor | None) -> Generator[None, None, None]:
    """A context in which image pooling gives a mean (1, in_channels, 1, 1) in place of that of its input.

    Of the thread that enters it; for the parts of a picture that should be pooled as one. None leaves all as it is.
    """
    token = _IMAGE_MEAN.set(mean)
    try:
        yield
    finally:
        _IMAGE_MEAN.reset(token)


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling with image-level features (v3, section 3.3).

    A 1x1 convolution, one 3x3 convolution for each rate, and pooled features, concatenated in the order of the
    TensorFlow release (pooled, 1x1, rates) and projected by a 1x1 convolution with batch norm, ReLU and dropout.

    Args:
        in_channels: Channels of the backbone's features.
        channels: Channels of each branch and of the result; 256 in the paper.
        rates: Atrous rate of each 3x3 branch, in cells of the feature map; may be empty.
        pool_bins: Grid sizes of the pooled branches. (1,) is the paper's image pooling, () leaves it out, and
            (1, 2, 4) is spatial pyramid pooling as in SPP-Net.
        separable: Whether the 3x3 branches are depthwise separable (v3+).
        dropout_ratio: Dropout after the projection; the release keeps 0.9, the papers don't say.
        align_corners: Whether pooled grids of more than one bin are resized corners on corners.
        serial_rates: Rates, in cells, of 3x3 convolutions in series, one more branch; () leaves it out. Rates with a
            common factor, as (2, 2, 2), see every second cell only; (1, 2, 5) sees all of them (Wang et al., 2018,
            Understanding Convolution for Semantic Segmentation, section 3.2).
        non_local: Whether there is one more branch in which every cell takes a mean of all, weighted by likeness (Wang
            et al., 2018, Non-local Neural Networks, equations 2 to 6, embedded Gaussian), after a 1x1 convolution.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        rates: Sequence[int],
        pool_bins: Sequence[int] = (1,),
        separable: bool = False,
        dropout_ratio: float = 0.1,
        norm_cfg: dict | None = None,
        align_corners: bool = True,
        serial_rates: Sequence[int] = (),
        non_local: bool = False,
    ):
        super().__init__()
        if any(rate < 1 for rate in serial_rates):
            raise UserError(f'serial_rates={tuple(serial_rates)} must be whole numbers of cells from 1 on')
        if any(size < 1 for size in pool_bins):
            raise UserError(f'pool_bins={tuple(pool_bins)} must be positive grid sizes')
        conv3x3 = separable_conv_bn_relu if separable else conv_bn_relu
        self.pool_bins, self.align_corners = tuple(pool_bins), align_corners
        self.pooled = nn.ModuleList(conv_bn_relu(in_channels, channels, 1, norm_cfg=norm_cfg) for _ in pool_bins)
        self.branches = nn.ModuleList([conv_bn_relu(in_channels, channels, 1, norm_cfg=norm_cfg)])
        self.branches.extend(conv3x3(in_channels, channels, 3, rate, norm_cfg) for rate in rates)
        if serial_rates:
            widths = [in_channels, *[channels] * len(serial_rates)]
            self.branches.append(
                nn.Sequential(
                    *(
                        conv3x3(*pair, 3, rate, norm_cfg)
                        for pair, rate in zip(pairwise(widths), serial_rates, strict=True)
                    )
                )
            )
        if non_local:
            reduce = conv_bn_relu(in_channels, channels, 1, norm_cfg=norm_cfg)
            self.branches.append(nn.Sequential(reduce, NonLocal2d(channels, use_scale=False)))
        self.project = conv_bn_relu((len(self.pooled) + len(self.branches)) * channels, channels, 1, norm_cfg=norm_cfg)
        self.dropout = nn.Dropout(dropout_ratio)

    def forward(self, x: Tensor) -> Tensor:
        """Map features (N, in_channels, h, w) to (N, channels, h, w)."""
        maps = [self._pool(x, bins, conv) for bins, conv in zip(self.pool_bins, self.pooled, strict=True)]
        maps += [branch(x) for branch in self.branches]
        return self.dropout(self.project(torch.cat(maps, dim=1)))

    def _pool(self, x: Tensor, bins: int, conv: nn.Module) -> Tensor:
        """Average over bins x bins cells, convolve, and bring the result to the size of `x`."""
        # A compiler can't look into the context; who pools parts as one doesn't compile.
        mean = None if torch.compiler.is_compiling() or bins != 1 else _IMAGE_MEAN.get()
        try:
            pooled = conv(F.adaptive_avg_pool2d(x, bins) if mean is None else mean.to(x).expand(len(x), -1, -1, -1))
        except ValueError as error:
            if 'value per channel' not in str(error):
                raise
            raise UserError(
                'image pooling makes one value per channel of each image, and batch norm cannot be trained on a batch '
                'of one: use train_dataloader.batch_size=2 or more; where that is so and the images of an epoch leave '
                'one over, drop that one (train_dataloader.drop_last=True); or freeze batch norm '
                "(model.frozen_bn=['backbone','decode_head']), or leave image pooling out "
                '(model.decode_head.pool_bins=())'
            ) from error
        if bins == 1:
            return pooled.expand(-1, -1, *x.shape[2:])  # what a resize of one cell gives
        return resize(pooled, x.shape[2:], self.align_corners)
