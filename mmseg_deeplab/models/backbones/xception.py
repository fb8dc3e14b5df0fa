"""Modified Aligned Xception (v3+, section 3.3) with atrous convolution."""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import cast

from mmcv.cnn import build_norm_layer
from mmseg.registry import MODELS
from torch import Tensor, nn

from ...errors import UserError
from ..atrous import atrous_plan, check_output_stride, multi_grid_rates
from ..layers import conv_bn_relu
from .base import DeepLabBackbone

# A row is one block: channels of its three separable convolutions, stride of the third (v3+, Figure 4).
ENTRY = (((128,) * 3, 2), ((256,) * 3, 2), ((728,) * 3, 2))
ENTRY_71 = (((128,) * 3, 2), ((256,) * 3, 1), ((256,) * 3, 2), ((728,) * 3, 1), ((728,) * 3, 2))
MIDDLE = ((728,) * 3, 1)
EXIT = (((728, 1024, 1024), 2), ((1536, 1536, 2048), 1))
# entry flow, repeats of the middle flow's block
FLOWS = {41: (ENTRY, 8), 65: (ENTRY, 16), 71: (ENTRY_71, 16)}
STEM_STRIDE = 2
VARIANTS = ('release', 'jfzhang95')


class SeparableConv(nn.Sequential):
    """3x3 depthwise convolution, batch norm, 1x1 convolution, batch norm; `relus` after neither, the last or both."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, rate: int, norm_cfg: dict, relus: int):
        depthwise = nn.Conv2d(
            in_channels, in_channels, 3, stride, padding=rate, dilation=rate, groups=in_channels, bias=False
        )
        layers = [
            ('conv_dw', depthwise),
            ('bn_dw', build_norm_layer(norm_cfg, in_channels)[1]),
            ('conv_pw', nn.Conv2d(in_channels, out_channels, 1, bias=False)),
            ('bn_pw', build_norm_layer(norm_cfg, out_channels)[1]),
        ]
        if relus == 2:
            layers.insert(2, ('act_dw', nn.ReLU(inplace=True)))
        if relus:
            layers.append(('act_pw', nn.ReLU(inplace=True)))
        super().__init__(OrderedDict(layers))


class XceptionBlock(nn.Module):
    """Three separable convolutions, the third of them strided, around them a shortcut.

    Args:
        rates: Rate of each separable convolution.
        skip: 'conv', 'sum' or 'none', as the release calls them.
        relus: ReLUs inside of each separable convolution, see `SeparableConv`; with 0, one comes before each instead.
    """

    def __init__(
        self,
        in_channels: int,
        widths: Sequence[int],
        stride: int,
        rates: Sequence[int],
        norm_cfg: dict,
        skip: str,
        relus: int = 0,
    ):
        super().__init__()
        self.shortcut = None
        if skip == 'conv':
            self.shortcut = conv_bn_relu(in_channels, widths[-1], 1, stride=stride, norm_cfg=norm_cfg, act_cfg=None)
        elif skip == 'sum':
            self.shortcut = nn.Identity()
        self.stack = nn.Sequential()
        for i, (before, after, rate) in enumerate(zip((in_channels, *widths), widths, rates, strict=False), start=1):
            if not relus:
                # Not in place: shortcut and low-level features need what comes before it.
                self.stack.add_module(f'act{i}', nn.ReLU())
            self.stack.add_module(
                f'conv{i}', SeparableConv(before, after, stride if i == 3 else 1, rate, norm_cfg, relus)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, widths[-1], H / stride, W / stride)."""
        return self.stack(x) if self.shortcut is None else self.stack(x) + self.shortcut(x)

    def forward_tapped(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return also the batch norm output of the second separable convolution, before the strided third."""
        tap = self.stack[:4](x)
        return tap, self.stack[4:](tap) + cast(nn.Module, self.shortcut)(x)  # it strides, so it has one


@MODELS.register_module()
class AlignedXception(DeepLabBackbone):
    """Aligned Xception-41, 65 or 71 as in the TensorFlow release: all pooling replaced by strided convolutions.

    Features: the low-level tap at stride 4 (256 channels, without ReLU), then the outputs of entry flow (728), middle
    flow (728) and exit flow (2048). The tap is the second separable convolution of the block that goes from stride 4
    to 8, that is entry block 2, or 3 of Xception-71. The names of the parameters are those of timm.

    With the same weights, features at output stride 8, subsampled by 2, equal those at 16, and those at 16 equal
    those at 32, with any `multi_grid`: the block that it acts on never strides.

    Args:
        depth: 41, 65 or 71.
        output_stride: 8, 16 or 32.
        multi_grid: One factor for the rate of each separable convolution of the last block; the paper uses none.
        variant: 'release' is the TensorFlow release. 'jfzhang95' is the Xception of
            jfzhang95/pytorch-deeplab-xception, for its weights: a ReLU comes before each block, and so before its
            shortcut too (its ReLUs work in place); the last block has none after the depthwise convolutions; the
            decoder takes the first block's output (128 channels); and the last convolution of the block before the
            last stays at rate 1, also at output stride 8, where the release has 2.
        in_channels: Bands of the images, see `DeepLabBackbone`.
        norm_cfg: Normalisation layer; its eps is 1e-3 if not stated.
    """

    classifier_prefixes = ('head.',)

    def __init__(
        self,
        depth: int = 65,
        output_stride: int = 16,
        multi_grid: Sequence[int] = (1, 1, 1),
        variant: str = 'release',
        norm_cfg: dict | None = None,
        in_channels: int = 3,
        init_cfg: dict | list[dict] | None = None,
    ):
        super().__init__(in_channels, init_cfg)
        for name, value, allowed in (('depth', depth, tuple(FLOWS)), ('variant', variant, VARIANTS)):
            if value not in allowed:
                raise UserError(f'AlignedXception: {name}={value!r} is unknown; choose one of {allowed}')
        self.variant = variant
        self.relu = nn.ReLU()
        norm_cfg = {'eps': 1e-3, **(norm_cfg or dict(type='BN'))}
        entry, repeats = FLOWS[depth]
        rows = (*entry, *[MIDDLE] * repeats, *EXIT)
        strides = [stride for _, stride in rows]
        plan = atrous_plan(strides, check_output_stride(output_stride), STEM_STRIDE)
        self.stem = nn.Sequential(
            conv_bn_relu(in_channels, 32, 3, stride=2, norm_cfg=norm_cfg), conv_bn_relu(32, 64, 3, norm_cfg=norm_cfg)
        )
        self.blocks = nn.Sequential()
        channels = 64
        for i, ((widths, nominal), (stride, rate)) in enumerate(zip(rows, plan, strict=True)):
            last = i == len(rows) - 1
            rates = multi_grid_rates(rate, multi_grid, 3) if last else [rate] * 3
            if variant == 'jfzhang95' and nominal > 1:
                rates[-1] = 1
            # By the nominal stride: a block that lost it keeps its weights.
            skip = 'none' if last else 'conv' if nominal > 1 or channels != widths[-1] else 'sum'
            relus = 0 if not last else 2 if variant == 'release' else 1
            self.blocks.append(XceptionBlock(channels, widths, stride, rates, norm_cfg, skip, relus))
            channels = widths[-1]
        self.low_level_block = [i for i, stride in enumerate(strides) if stride == 2][1]
        self.flow_ends = (len(entry) - 1, len(entry) + repeats - 1, len(rows) - 1)
        tapped = rows[self.low_level_block][0][1] if variant == 'release' else rows[0][0][-1]
        self.feature_channels = (tapped, *(rows[end][0][-1] for end in self.flow_ends))

    def parts_by_stage(self) -> list[list[nn.Module]]:
        """The stem, then entry, middle and exit flow."""
        blocks, starts = list(self.blocks), (0, *(end + 1 for end in self.flow_ends))
        flows = [blocks[start:stop] for start, stop in zip(starts, starts[1:], strict=False)]
        return [[self.stem], *flows]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Map images (N, in_channels, H, W) to the features described above."""
        x = self.stem(x)
        features = []
        for i, block in enumerate(cast(Iterable[XceptionBlock], self.blocks)):
            if self.variant == 'jfzhang95':
                x = self.relu(x)
                if i == 1:
                    features.append(x)
            if i == self.low_level_block and self.variant == 'release':
                low_level, x = block.forward_tapped(x)
                features.append(low_level)
            else:
                x = block(x)
            if i in self.flow_ends:
                features.append(x)
        return tuple(features)
