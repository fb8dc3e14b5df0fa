"""MobileNetV2 with atrous convolution, as in the TensorFlow release of DeepLab (Sandler et al., 2018, section 6.3)."""

from collections.abc import Iterable, Sequence
from typing import Any, cast

import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmseg.models.utils import InvertedResidual, make_divisible
from mmseg.registry import MODELS
from torch import Tensor, nn

from ...errors import UserError
from ..atrous import atrous_plan, check_output_stride
from ..layers import SamePadConv2d
from .base import DeepLabBackbone

# expansion, channels, repeats, stride of the first (MobileNetV2, Table 2)
ROWS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
LAST_CHANNELS = 1280
LOW_LEVELS = ('expansion', 'output')
PADDINGS = ('symmetric', 'tensorflow', 'input')


def _pairs(row_rates: Sequence[int | Sequence[int]]) -> list[tuple[int, int]]:
    """The rates of each row's first residual and of the others."""
    pairs = [(row, row) if isinstance(row, int) else tuple(row) for row in row_rates]
    if len(pairs) != len(ROWS) or any(len(pair) != 2 or min(pair) < 1 for pair in pairs):
        raise UserError(
            f'row_rates={tuple(row_rates)} must hold a positive rate for each of the {len(ROWS)} rows, or two for a '
            f'row: of its first residual and of the others'
        )
    return cast(list[tuple[int, int]], pairs)


class Residual(InvertedResidual):
    """An inverted residual that can be tapped, and padded before its expansion."""

    conv: nn.Sequential
    padding = 0

    def pad_input(self, cells: int) -> None:
        """Pad the input instead of the depthwise convolution's, so that borders are not zero but its bias."""
        self.padding = cells
        cast(nn.Conv2d, self.conv[-2].conv).padding = (0, 0)

    def depthwise(self, x: Tensor) -> Tensor:
        """What the last, 1x1 convolution takes."""
        return self.conv[:-1](F.pad(x, [self.padding] * 4) if self.padding else x)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride)."""
        out = self.conv[-1](self.depthwise(x))
        return x + out if self.use_res_connect else out


@MODELS.register_module()
class DeepLabMobileNetV2(DeepLabBackbone):
    """MobileNetV2 up to its last inverted residual (320 channels).

    Features: the low-level tap at stride 4, then the last residuals at stride 8 (32 channels), 16 (96) and the output
    stride (320). The names of the parameters are those of MMSegmentation and MMPretrain.

    Args:
        output_stride: 8, 16 or 32.
        width: Width multiplier; 1.0 in the paper, channels are rounded to multiples of 8.
        low_level: What the decoder of v3+ takes at stride 4: 'expansion' is the depthwise output of the second
            residual there (144 channels), as in the TensorFlow release; 'output' that residual's result (24 channels),
            as in VainF's.
        padding: How convolutions are padded: 'symmetric'; 'tensorflow' as its release ('SAME'), which differs on even
            sizes only; or 'input' as in VainF/DeepLabV3Plus-Pytorch, whose stem is not padded and whose residuals pad
            their input, before the expansion instead of after it.
        pad_stem: Whether the stem is padded with padding='input' too, as in jfzhang95/pytorch-deeplab-xception.
        row_rates: The rates of the seven rows of residuals themselves, whatever the output stride; the codebases that
            give a whole row one rate differ in which. A pair is that of a row's first residual and of the others, as
            in MMSegmentation. None leaves them to the output stride, see `atrous`.
        last_conv: Whether a 1x1 convolution to 1280 channels follows, whose result the head takes, as in
            segmentation_models.pytorch.
        in_channels: Bands of the images, see `DeepLabBackbone`.
        norm_cfg: Normalisation layer; eps is 1e-3 in the TensorFlow release.
    """

    classifier_prefixes = ('conv2.',)

    def __init__(
        self,
        output_stride: int = 16,
        width: float = 1.0,
        low_level: str = 'expansion',
        padding: str = 'symmetric',
        pad_stem: bool = False,
        row_rates: Sequence[int | Sequence[int]] | None = None,
        last_conv: bool = False,
        norm_cfg: dict | None = None,
        in_channels: int = 3,
        init_cfg: dict | list[dict] | None = None,
    ):
        super().__init__(in_channels, init_cfg)
        for name, value, allowed in (('low_level', low_level, LOW_LEVELS), ('padding', padding, PADDINGS)):
            if value not in allowed:
                raise UserError(f'DeepLabMobileNetV2: {name}={value!r} is unknown; choose one of {allowed}')
        rates_of_rows = None if row_rates is None else _pairs(row_rates)
        self.low_level = low_level
        conv_cfg = dict(type=SamePadConv2d) if padding == 'tensorflow' else None
        layer_cfg: dict[str, Any] = dict(
            conv_cfg=conv_cfg, norm_cfg=norm_cfg or dict(type='BN'), act_cfg=dict(type='ReLU6')
        )
        strides = [stride if i == 0 else 1 for _, _, n, stride in ROWS for i in range(n)]
        plan = iter(atrous_plan(strides, check_output_stride(output_stride), stem_stride=2))
        channels = make_divisible(32 * width, 8)
        bare = padding == 'input' and not pad_stem
        self.conv1 = ConvModule(in_channels, channels, 3, stride=2, padding=0 if bare else 1, **layer_cfg)
        self.stages = []
        out_channels = []
        for row, (expansion, base, repeats, _) in enumerate(ROWS):
            units = []
            out_channels.append(make_divisible(base * width, 8))
            for unit in range(repeats):
                stride, rate = next(plan)
                if rates_of_rows is not None:
                    rate = rates_of_rows[row][unit > 0]
                units.append(Residual(channels, out_channels[-1], stride, expansion, rate, **layer_cfg))
                if padding == 'input':
                    units[-1].pad_input(rate)
                channels = out_channels[-1]
            self.stages.append(f'layer{row + 1}')
            self.add_module(self.stages[-1], nn.Sequential(*units))
        low_level_channels = out_channels[1] * (ROWS[1][0] if low_level == 'expansion' else 1)
        if last_conv:
            self.classifier_prefixes = ()
            out_channels.append(max(LAST_CHANNELS, make_divisible(LAST_CHANNELS * width, 8)))
            self.conv2 = ConvModule(channels, out_channels[-1], 1, **layer_cfg)
        self.last_conv = last_conv
        self.feature_channels = (low_level_channels, out_channels[2], out_channels[4], out_channels[-1])

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Map images (N, in_channels, H, W) to the features described above."""
        layer1, layer2, layer3, layer4, layer5, layer6, layer7 = (self.get_submodule(name) for name in self.stages)
        first, second = cast(Iterable[Residual], layer2)
        x = first(layer1(self.conv1(x)))
        expansion = second.depthwise(x)
        x = x + second.conv[-1](expansion)
        low_level = expansion if self.low_level == 'expansion' else x
        stride8 = layer3(x)
        stride16 = layer5(layer4(stride8))
        x = layer7(layer6(stride16))
        return low_level, stride8, stride16, self.conv2(x) if self.last_conv else x
