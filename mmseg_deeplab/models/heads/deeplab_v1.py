"""Heads of DeepLab v1: VGG's fully connected layers as convolutions, and its multi-scale prediction."""

from collections.abc import Sequence

import torch.nn.functional as F
from mmengine.model import normal_init
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from ...errors import UserError
from ..atrous import check_output_stride
from ..backbones.base import is_pretrained
from ..layers import resize
from .base import DeepLabHead
from .stride8 import load_layers, random_init

# kernel and rate of fc6, channels of fc6 and fc7, whether features are averaged first (v1, Table 2; release)
VARIANTS = {
    'LargeFOV': (3, 12, 1024, True),
    '4x4': (4, 4, 4096, False),
    '4x4-rate8': (4, 8, 4096, False),
    '7x7': (7, 4, 4096, False),
}
TAP_STRIDES = (1, 2, 4, 8, 8)
"""Strides of what MSc taps: the image and pool1 to pool4."""
MSC_CHANNELS = 128


@MODELS.register_module()
class DeepLabV1Head(DeepLabHead):
    """fc6 and fc7, each with ReLU and dropout, and the classifier fc8 (v1, section 3.2 and Table 2).

    All kernels keep the size of the map. Those of 4x4 have an even rate, so their padding of rate x 3 / 2 (the
    release's 6) is whole and the same on all sides; they have no tap on the cell itself. fc8 is called `conv_seg`, as
    in all heads of MMSegmentation. The release trains its plain 4x4 model with 2x2 pools and crops of 306 pixels;
    here it has the 3x3 pools and 321 pixels of the other models, as in the release's MSc on 4x4.

    The loss compares the logits with every 8th label (321 pixels: 41 cells), as the release does, so crops have sides
    of 8k + 1 pixels. At test time the logits are resized, bilinearly, corners on corners.

    Args:
        variant: 'LargeFOV', '4x4', '4x4-rate8' or '7x7': field of view 224, 128, 224 and 224 pixels.
        output_stride: 8.
        init_cfg: None: He's for fc6 and fc7, a normal distribution of 0.01 for fc8. `dict(type='Pretrained',
            checkpoint=..., prefix='decode_head')` takes `pretrained_layers` from a file, all of them or it is refused.
        kwargs: See `DeepLabHead`.
    """

    pretrained_layers: tuple[str, ...] = ('fc6', 'fc7')

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        output_stride: int = 8,
        variant: str = 'LargeFOV',
        init_cfg: dict | None = None,
        **kwargs,
    ):
        check_output_stride(output_stride, (8,), f'{type(self).__name__} compares its logits with every 8th label')
        if variant not in VARIANTS:
            raise UserError(f'variant={variant!r} of a DeepLab v1 head is unknown; choose one of {tuple(VARIANTS)}')
        kernel, rate, channels, average = VARIANTS[variant]
        self.pretrained = init_cfg if is_pretrained(init_cfg) else None
        if self.pretrained or init_cfg is None:
            init_cfg = random_init(self.classifier_names)
        super().__init__(
            in_channels, num_classes, output_stride, channels, upsample_logits=False, init_cfg=init_cfg, **kwargs
        )
        self.pool5a = nn.AvgPool2d(3, stride=1, padding=1) if average else nn.Identity()
        self.fc6 = nn.Conv2d(in_channels, channels, kernel, padding=rate * (kernel - 1) // 2, dilation=rate)
        self.fc7 = nn.Conv2d(channels, channels, 1)
        self.relu = nn.ReLU(inplace=True)
        self.dropout_fc = nn.Dropout(0.5)

    def init_weights(self) -> None:
        """Initialise, then load the layers of a pretrained file; see `load_layers`."""
        super().init_weights()
        if self.pretrained:
            load_layers([self], self.pretrained_layers, self.pretrained)

    def forward(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """Map the backbone's features to logits (N, num_classes, H / 8, W / 8)."""
        x = self.pool5a(self.selected(inputs))
        for fc in (self.fc6, self.fc7):
            x = self.dropout_fc(self.relu(fc(x)))
        return self.cls_seg(x)


class TapConv(nn.Conv2d):
    """A convolution that is told its stride when it is called."""

    def forward(self, input: Tensor, stride: int = 1) -> Tensor:
        return F.conv2d(input, self.weight, self.bias, stride, self.padding)


class MScBranch(nn.Module):
    """Scores of one tap of MSc: 3x3, 1x1 and 1x1 convolutions, ReLU and dropout after the first two."""

    def __init__(self, in_channels: int, num_classes: int):
        super().__init__()
        self.conv = TapConv(in_channels, MSC_CHANNELS, 3, padding=1)
        self.fc = nn.Conv2d(MSC_CHANNELS, MSC_CHANNELS, 1)
        self.score = nn.Conv2d(MSC_CHANNELS, num_classes, 1)
        self.relu = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor, stride: int) -> Tensor:
        """Map (N, in_channels, h, w) to (N, num_classes, ceil(h / stride), ceil(w / stride))."""
        x = self.dropout(self.relu(self.conv(x, stride)))
        return self.score(self.dropout(self.relu(self.fc(x))))


@MODELS.register_module()
class DeepLabV1MScHead(DeepLabV1Head):
    """The sum of fc8 and of scores from the image and pool1 to pool4 (v1, section 4.3; release).

    The paper concatenates the branches' features; a classifier on a concatenation is the sum of classifiers on its
    parts. In training each branch strides in its first convolution to the grid of fc8; at test time it does not, its
    scores are resized to the size of the image, and so are those of fc8. `forward` is the latter.

    It is trained in a second phase on top of a finished `DeepLabV1Head`: `init_cfg=dict(type='Pretrained',
    checkpoint=FIRST_PHASE, prefix='decode_head')` here, the same with prefix 'backbone' in the backbone, and `frozen`
    in both.

    Args:
        tap_channels: Channels of the image and pool1 to pool4; a `DeepLab` segmentor fills them in.
        frozen: Leave out fc6 and fc7 of training. fc8 goes on learning, as in the release's train.prototxt: at the rate
            of the branches, 1 and 2, with decay 1 and 0.
        frozen_fc8: Leave out fc8 as well: the other reading of the paper, which trains "only the newly added weights".
        image_channels: Bands of the image; a `DeepLab` segmentor fills them in.
        kwargs: See `DeepLabV1Head`.
    """

    needs_taps = True
    pretrained_layers = ('fc6', 'fc7', 'conv_seg')

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        tap_channels: Sequence[int],
        frozen: bool = False,
        frozen_fc8: bool = False,
        image_channels: int = 3,
        **kwargs,
    ):
        if len(tap_channels) != len(TAP_STRIDES) or tap_channels[0] != image_channels:
            raise UserError(
                f'DeepLabV1MScHead takes scores from the input image ({image_channels} channels) and pool1 to pool4, '
                f'at strides {TAP_STRIDES}, but below its last map the backbone gives {tuple(tap_channels)} '
                f'channels; use DeepLabVGG'
            )
        super().__init__(in_channels, num_classes, **kwargs)
        self.taps = nn.ModuleList(MScBranch(channels, self.out_channels) for channels in tap_channels)
        for layer in (*([self.fc6, self.fc7] if frozen else []), *([self.conv_seg] if frozen_fc8 else [])):
            layer.requires_grad_(False)

    def init_weights(self) -> None:
        """Initialise as the release does: normal distributions of 0.001, 0.005 for pool4's 1x1, 0.01 for scores.

        In the release's MSc on 4x4 the scores of pool3 have no initialiser, which makes them 0; here they are as the
        others.
        """
        super().init_weights()
        for branch in self.taps:
            normal_init(branch.conv, std=0.001)
            normal_init(branch.fc, std=0.005 if branch is self.taps[-1] else 0.001)
            normal_init(branch.score, std=0.01)

    def _fuse(self, inputs: tuple[Tensor, ...], dense: bool) -> Tensor:
        total = super().forward(inputs)
        size = inputs[0].shape[2:] if dense else total.shape[2:]
        total = resize(total, size, self.align_corners)
        for branch, tap, stride in zip(self.taps, inputs, TAP_STRIDES, strict=False):
            scores = branch(tap, 1 if dense else self.output_stride // stride)
            total = total + resize(scores, size, self.align_corners)
        return total

    def forward(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """Map the image and the backbone's features to logits (N, num_classes, H, W)."""
        return self._fuse(inputs, dense=True)

    def loss(
        self, inputs: tuple[Tensor, ...], batch_data_samples: Sequence[SegDataSample], train_cfg: dict | None
    ) -> dict[str, Tensor]:
        """Loss of the sum at stride 8."""
        return self.loss_by_feat(self._fuse(inputs, dense=False), batch_data_samples)
