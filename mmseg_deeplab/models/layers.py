"""The blocks that backbones and heads share."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule, DepthwiseSeparableConvModule
from mmseg.models.utils import resize
from torch import Tensor, nn

from ..errors import UserError


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
    """Depthwise convolution, batch norm, ReLU, 1x1 convolution, batch norm, ReLU (v3+, section 3.1).

    Initial weights are mmcv's (Kaiming). The TensorFlow release draws depthwise ones with a standard deviation of 0.33,
    ten times as large, under which batch norm lets them learn a hundredth as fast: they stay about as they were drawn
    in a short training, whose result is much worse (docs/results.md).
    """
    padding = rate * (kernel_size - 1) // 2
    return DepthwiseSeparableConvModule(
        in_channels,
        out_channels,
        kernel_size,
        padding=padding,
        dilation=rate,
        norm_cfg=norm_cfg or dict(type='BN'),
    )


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
    ):
        super().__init__()
        if any(size < 1 for size in pool_bins):
            raise UserError(f'pool_bins={tuple(pool_bins)} must be positive grid sizes')
        conv3x3 = separable_conv_bn_relu if separable else conv_bn_relu
        self.pool_bins, self.align_corners = tuple(pool_bins), align_corners
        self.pooled = nn.ModuleList(conv_bn_relu(in_channels, channels, 1, norm_cfg=norm_cfg) for _ in pool_bins)
        self.branches = nn.ModuleList([conv_bn_relu(in_channels, channels, 1, norm_cfg=norm_cfg)])
        self.branches.extend(conv3x3(in_channels, channels, 3, rate, norm_cfg) for rate in rates)
        self.project = conv_bn_relu((len(self.pooled) + len(self.branches)) * channels, channels, 1, norm_cfg=norm_cfg)
        self.dropout = nn.Dropout(dropout_ratio)

    def _pool(self, x: Tensor, size: int, conv: nn.Module) -> Tensor:
        try:
            return conv(F.adaptive_avg_pool2d(x, size))
        except ValueError as error:  # batch norm's own refusal, of one value in all processes together
            raise UserError(
                'image pooling leaves one value per channel and image, and batch norm cannot be trained on one value: '
                'use at least 2 images per device, or freeze batch norm (model.frozen_bn) or leave image pooling out '
                '(model.decode_head.pool_bins=())'
            ) from error

    def forward(self, x: Tensor) -> Tensor:
        """Map features (N, in_channels, h, w) to (N, channels, h, w)."""
        # The pooled maps are projected before they are brought to full size: a 1x1 convolution and a bilinear resize
        # commute, the projection of a concatenation is the sum of its parts, and a 1x1 map needs no resize at all.
        weight, bias = self.project.conv.weight, self.project.conv.bias
        *pooled_weights, branches_weight = weight.split(
            [self.project.out_channels] * len(self.pooled) + [len(self.branches) * self.project.out_channels], dim=1
        )
        out = F.conv2d(torch.cat([branch(x) for branch in self.branches], dim=1), branches_weight, bias)
        for bins, conv, pooled_weight in zip(self.pool_bins, self.pooled, pooled_weights, strict=True):
            pooled = F.conv2d(self._pool(x, bins, conv), pooled_weight)
            if bins > 1:
                pooled = resize(pooled, x.shape[2:], mode='bilinear', align_corners=self.align_corners)
            out = out + pooled
        return self.dropout(self.project.activate(self.project.norm(out)))
