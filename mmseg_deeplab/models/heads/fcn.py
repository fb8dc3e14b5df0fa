"""The head of FCN-32s, -16s and -8s: VGG's fully connected layers as convolutions, and scores of finer pools."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import constant_init
from mmseg.registry import MODELS
from torch import Tensor, nn

from ..atrous import check_output_stride
from ..backbones.base import is_pretrained
from .base import DeepLabHead
from .stride8 import load_layers, random_init

SKIPS = {32: 0, 16: 1, 8: 2}
"""How many finer maps have scores, by the stride of the prediction: none, pool4, pool4 and pool3."""


class Deconvolution(nn.ConvTranspose2d):
    """Twice the size, by a transposed convolution across all channels that starts as bilinear interpolation."""

    def __init__(self, channels: int):
        super().__init__(channels, channels, 4, stride=2, bias=False)
        line = torch.tensor([0.25, 0.75, 0.75, 0.25])
        with torch.no_grad():
            self.weight.copy_(torch.eye(channels)[:, :, None, None] * torch.outer(line, line))

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Map (N, C, h, w) to (N, C, 2 h, 2 w); the outermost cells go on beyond the borders."""
        return super().forward(F.pad(input, (1, 1, 1, 1), mode='replicate'))[..., 3:-3, 3:-3]


@MODELS.register_module()
class FCNSkipHead(DeepLabHead):
    """fc6 and fc7 with ReLU and dropout, scores of fc7, pool4 and pool3, each sum on the next finer grid.

    Coarse scores are brought to the grid of the next pool by a transposed convolution, learned from bilinear
    interpolation on, and added to that pool's scores; the sum goes to the picture's size by fixed bilinear
    interpolation (section 4.2). All scores start at 0, as the paper has it.

    The release pads the image by 100 pixels and crops what comes out. Here fc6 pads its own map by 3, maps begin at the
    picture's first pixel, and interpolation keeps the centres of the cells where they are (a cell at stride s covers s
    pixels a side): the grids are aligned without a shift, and no map is larger than the picture.

    Args:
        tap_channels: Channels of the image and pool1 to pool4; a `DeepLab` segmentor fills them in.
        prediction_stride: 32, 16 or 8: FCN-32s, -16s or -8s.
        output_stride: 32, of the backbone.
        channels: Of fc6 and fc7.
        image_channels: Bands of the image; a `DeepLab` segmentor fills them in.
        init_cfg: None: He's for fc6 and fc7. `dict(type='Pretrained', checkpoint=..., prefix='decode_head')` takes fc6
            and fc7 of a file, as `tools/convert_checkpoint.py --from vgg --variant 7x7` makes it.
        kwargs: See `DeepLabHead`.

    Source: Long, Shelhamer and Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015.
    """

    needs_taps = True
    classifier_names = ('conv_seg', 'scores')

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        tap_channels: Sequence[int],
        prediction_stride: int = 8,
        output_stride: int = 32,
        channels: int = 4096,
        image_channels: int = 3,
        init_cfg: dict | None = None,
        **kwargs,
    ):
        check_output_stride(output_stride, (32,), 'FCNSkipHead has its scores at strides 32, 16 and 8')
        check_output_stride(prediction_stride, tuple(SKIPS), 'FCNSkipHead.prediction_stride')
        self.pretrained = init_cfg if is_pretrained(init_cfg) else None
        if self.pretrained or init_cfg is None:
            init_cfg = random_init(())
        super().__init__(
            in_channels, num_classes, output_stride, channels, align_corners=False, init_cfg=init_cfg, **kwargs
        )
        self.prediction_stride, skips = prediction_stride, SKIPS[prediction_stride]
        self.fc6 = nn.Conv2d(in_channels, channels, 7, padding=3)
        self.fc7 = nn.Conv2d(channels, channels, 1)
        self.relu = nn.ReLU(inplace=True)
        self.dropout_fc = nn.Dropout(0.5)
        finer = list(reversed(tap_channels))[:skips]
        self.scores = nn.ModuleList(nn.Conv2d(width, self.out_channels, 1) for width in finer)
        self.deconvolutions = nn.ModuleList(Deconvolution(self.out_channels) for _ in finer)

    def init_weights(self) -> None:
        """Initialise, then load fc6 and fc7 of a pretrained file."""
        super().init_weights()
        for score in (self.conv_seg, *self.scores):
            constant_init(score, 0)
        if self.pretrained:
            load_layers([self], ('fc6', 'fc7'), self.pretrained)

    def forward(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """Map the image and the backbone's features to logits (N, num_classes, H, W)."""
        x = self.selected(inputs)
        for fc in (self.fc6, self.fc7):
            x = self.dropout_fc(self.relu(fc(x)))
        x = self.cls_seg(x)
        for deconvolution, score, pool in zip(self.deconvolutions, self.scores, inputs[-2::-1], strict=False):
            height, width = pool.shape[2:]
            x = deconvolution(x)[..., :height, :width] + score(pool)
        height, width = inputs[0].shape[2:]
        return F.interpolate(x, scale_factor=self.prediction_stride, mode='bilinear')[..., :height, :width]
