"""ResNet with atrous convolution (v2, section 4.1.2; v3, sections 3.1 and 3.2)."""

from collections.abc import Sequence
from typing import Any

from mmcv.cnn import build_norm_layer
from mmseg.models.backbones.resnet import Bottleneck
from mmseg.registry import MODELS
from torch import Tensor, nn

from ...errors import UserError
from ..atrous import atrous_plan, check_output_stride, multi_grid_rates
from ..layers import AvgPool2d, MaxPool2d
from .base import DeepLabBackbone

UNITS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
STEM_STRIDE = 4
LOW_LEVELS = ('output', 'branch')


@MODELS.register_module()
class DeepLabResNet(DeepLabBackbone):
    """ResNet-50, 101 or 152, block1 to block4 and, for the cascade of v3, up to block7.

    Features: the output of each block, finest first; 256 channels at stride 4, then 512, 1024 and 2048. Where the last
    unit of a block strides, or would at a larger output stride, it is what that unit gets. The names of the parameters
    are those of torchvision and MMSegmentation (`layer1` is block1).

    With the same weights, features at output stride 8, subsampled by 2, equal those at 16, and those at 16 equal
    those at 32. `multi_grid` keeps that between 8 and 16 only: at 32 the first unit of block4 strides, and the
    paper's rule of multi-grid x block rate gives it another rate at 16. The TensorFlow release strides in the last
    unit (`strided_unit='last'`) and has no such exception.

    Args:
        depth: 50, 101 or 152.
        output_stride: 8, 16 or 32; with `num_blocks` > 4 up to 32 * 2**(num_blocks - 4).
        multi_grid: One factor for each of the three units of block4 and of every block after it; their rates are
            factor x block rate. None keeps the rates of the output stride, that is the first unit of a block that
            lost its stride keeps the old rate.
        block4_rates: The rates of block4's units themselves, whatever the output stride: (1, 2, 4) in MMSegmentation's
            models named d16-mg124. None leaves them to `multi_grid`.
        num_blocks: 4, or up to 7 for the cascade (v3, Figure 3): block5 to block7 are built as block4 is. ImageNet's
            files lack them; they then start from random weights (the paper names none, and the first unit of block4, of
            half as many input channels, could not be copied).
        stem_channels: None is the 7x7 convolution of the ResNet paper. Three numbers are a stem of three 3x3
            convolutions: (64, 64, 128) in the TensorFlow release, (32, 32, 64) in MMSegmentation's ResNet-v1c.
        base_channels: Bottleneck width of block1; 64 in the paper.
        strided_unit: Which unit of a block strides: 'first' in the ResNet paper, 'last' in the TensorFlow release,
            whose first three blocks stride and whose decoder takes the unit before that stride as low-level features.
        low_level: What of that unit, the last at stride 4, the decoder takes: 'output' is the unit's output; 'branch'
            is that of its three convolutions, before the shortcut is added and before the ReLU, as in the TensorFlow
            release, whose low-level features are `block1/unit_2/bottleneck_v1/conv3`.
        strided_conv: Which convolution of that unit strides: '3x3' in torchvision and TensorFlow, '1x1' in the
            ResNet paper and all Caffe models. The default is the one of DeepLab v3's release.
        rate_of_lost_stride: 'new' for the Caffe models of v2, where all units of a block share a rate; see `atrous`.
            It belongs to strided_conv='1x1' as 'old' does to '3x3': only so are dense features those of a coarser
            output stride.
        ceil_mode: Ceil-mode pooling, as in Caffe; differs from floor mode on even sizes.
        avg_down: Whether the shortcut of a unit that strides averages 2x2 cells before its convolution, which then has
            a stride of 1: ResNet-D (He et al., 2019, Bag of Tricks for Image Classification, section 4.2), as
            MMSegmentation's ResNetV1d and PaddleSeg's ResNet_vd have it. A unit that lost its stride does not average
            there either, so that features are not dense ones of a coarser output stride.
        in_channels: Bands of the images, see `DeepLabBackbone`.
        norm_cfg: Normalisation layer.
    """

    classifier_prefixes = ('fc.',)

    def __init__(
        self,
        depth: int = 101,
        output_stride: int = 16,
        multi_grid: Sequence[int] | None = None,
        num_blocks: int = 4,
        stem_channels: Sequence[int] | None = None,
        base_channels: int = 64,
        strided_unit: str = 'first',
        strided_conv: str = '3x3',
        rate_of_lost_stride: str = 'old',
        ceil_mode: bool = False,
        low_level: str = 'output',
        block4_rates: Sequence[int] | None = None,
        avg_down: bool = False,
        norm_cfg: dict | None = None,
        in_channels: int = 3,
        init_cfg: dict | list[dict] | None = None,
    ):
        super().__init__(in_channels, init_cfg)
        for name, value, allowed in (
            ('depth', depth, tuple(UNITS)),
            ('num_blocks', num_blocks, (4, 5, 6, 7)),
            ('strided_unit', strided_unit, ('first', 'last')),
            ('low_level', low_level, LOW_LEVELS),
            ('strided_conv', strided_conv, ('3x3', '1x1')),
        ):
            if value not in allowed:
                raise UserError(f'DeepLabResNet: {name}={value!r} is unknown; choose one of {allowed}')
        if avg_down and strided_unit == 'last':
            raise UserError(
                "avg_down=True averages before the convolution of a shortcut, and strided_unit='last' strides where a "
                'shortcut has none: leave one of them out of DeepLabResNet'
            )
        self.norm_cfg = norm_cfg or dict(type='BN')
        self.avg_down = avg_down
        self.strided_unit = strided_unit
        self.low_level = low_level
        self.style = 'pytorch' if strided_conv == '3x3' else 'caffe'
        self._make_stem(stem_channels, ceil_mode)
        plans = self._block_plans(depth, output_stride, multi_grid, num_blocks, rate_of_lost_stride)
        if block4_rates is not None:
            plans[3] = self._with_rates(plans[3], block4_rates, multi_grid)
        self.blocks = []
        channels = stem_channels[-1] if stem_channels else 64
        for i, plan in enumerate(plans):
            width = base_channels * 2 ** min(i, 3)
            self.blocks.append(f'layer{i + 1}')
            self.add_module(self.blocks[-1], self._make_block(channels, width, plan))
            channels = width * Bottleneck.expansion
        self.extra_prefixes = tuple(f'{name}.' for name in self.blocks[4:])
        self.feature_channels = tuple(base_channels * 2 ** min(i, 3) * Bottleneck.expansion for i in range(len(plans)))

    def _block_plans(
        self, depth: int, output_stride: int, multi_grid: Sequence[int] | None, num_blocks: int, lost: str
    ) -> list[list[tuple[int, int]]]:
        """(stride, rate) of every unit, block by block."""
        check_output_stride(output_stride, tuple(2**i for i in range(3, 6 + num_blocks - 4)))
        units = UNITS[depth] + UNITS[depth][3:] * (num_blocks - 4)
        strides = [2] * num_blocks
        strides[-1 if self.strided_unit == 'last' else 0] = 1
        at = 0 if self.strided_unit == 'first' else -1
        nominal = []
        for count, stride in zip(units, strides, strict=True):
            block = [1] * count
            block[at] = stride
            nominal.append(block)
        flat = iter(atrous_plan(sum(nominal, []), output_stride, STEM_STRIDE, lost))
        plans = [[next(flat) for _ in block] for block in nominal]
        if multi_grid is not None:
            # The last unit of a block has the block's rate also where the first one lost its stride.
            for i in range(3, num_blocks):
                rates = multi_grid_rates(plans[i][-1][1], multi_grid, units[i])
                plans[i] = [(stride, rate) for (stride, _), rate in zip(plans[i], rates, strict=True)]
        return plans

    @staticmethod
    def _with_rates(
        plan: list[tuple[int, int]], rates: Sequence[int], multi_grid: Sequence[int] | None
    ) -> list[tuple[int, int]]:
        """Block4's units at rates that are stated as they are."""
        if multi_grid is not None:
            raise UserError(
                f'block4_rates={tuple(rates)} are rates themselves, multi_grid={tuple(multi_grid)} multiplies those of '
                f'the output stride: give DeepLabResNet one of them'
            )
        if len(rates) != len(plan) or any(rate < 1 for rate in rates):
            raise UserError(
                f'block4_rates={tuple(rates)} must hold one positive rate for each of the {len(plan)} units'
            )
        return [(stride, rate) for (stride, _), rate in zip(plan, rates, strict=True)]

    def _make_stem(self, stem_channels: Sequence[int] | None, ceil_mode: bool) -> None:
        if stem_channels is None:
            self.conv1 = nn.Conv2d(self.in_channels, 64, 7, stride=2, padding=3, bias=False)
            self.bn1 = build_norm_layer(self.norm_cfg, 64)[1]
            self.relu = nn.ReLU(inplace=True)
        else:
            layers: list[nn.Module] = []
            for i, (before, after) in enumerate(zip((self.in_channels, *stem_channels), stem_channels, strict=False)):
                layers.append(nn.Conv2d(before, after, 3, stride=1 if i else 2, padding=1, bias=False))
                layers += [build_norm_layer(self.norm_cfg, after)[1], nn.ReLU(inplace=True)]
            self.stem = nn.Sequential(*layers)
        self.deep_stem = stem_channels is not None
        self.maxpool = MaxPool2d(2, ceil_mode)

    def _make_block(self, in_channels: int, width: int, plan: list[tuple[int, int]]) -> nn.Sequential:
        units = []
        out_channels = width * Bottleneck.expansion
        for stride, rate in plan:
            downsample = None
            if in_channels != out_channels:
                pool = [AvgPool2d(stride)] if self.avg_down else []
                downsample = nn.Sequential(
                    *pool,
                    nn.Conv2d(in_channels, out_channels, 1, stride=1 if pool else stride, bias=False),
                    build_norm_layer(self.norm_cfg, out_channels)[1],
                )
            elif stride > 1:
                downsample = nn.MaxPool2d(1, stride)  # the release subsamples an identity shortcut
            units.append(
                Bottleneck(in_channels, width, stride, rate, downsample, style=self.style, norm_cfg=self.norm_cfg)
            )
            in_channels = out_channels
        return nn.Sequential(*units)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Map images (N, in_channels, H, W) to the features of each block, the first as `low_level` has it."""
        x = self.stem(x) if self.deep_stem else self.relu(self.bn1(self.conv1(x)))
        x = self.maxpool(x)
        features = []
        for name in self.blocks:
            block = getattr(self, name)
            first = not features
            if (self.strided_unit == 'last' and name != self.blocks[-1]) or (first and self.low_level == 'branch'):
                tapped, x = self._tapped(block, x, self.low_level if first else 'output')
                features.append(tapped)
            else:
                x = block(x)
                features.append(x)
        return tuple(features)

    def _tapped(self, block: nn.Sequential, x: Tensor, low_level: str) -> tuple[Tensor, Tensor]:
        """What the decoder takes of a block, of its last unit before the stride, and the block's output."""
        end = -2 if self.strided_unit == 'last' else -1
        unit: Any = block[end]
        for before in list(block)[:end]:
            x = before(x)
        if low_level == 'output':
            x = tapped = unit(x)
        else:
            tapped = unit.relu(unit.norm2(unit.conv2(unit.relu(unit.norm1(unit.conv1(x))))))
            tapped = unit.norm3(unit.conv3(tapped))
            x = unit.relu(tapped + (x if unit.downsample is None else unit.downsample(x)))
        return tapped, block[-1](x) if end == -2 else x
