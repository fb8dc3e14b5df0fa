"""VGG-16 with atrous convolution (v1, section 3.1; v2, section 3.1)."""

from mmcv.cnn import build_norm_layer
from mmseg.registry import MODELS
from torch import Tensor, nn

from ..atrous import atrous_plan, check_output_stride
from ..layers import MaxPool2d
from .base import DeepLabBackbone

STAGES = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
"""Convolutions and channels of each stage; a pool follows each (VGG, Table 1, column D)."""


@MODELS.register_module()
class DeepLabVGG(DeepLabBackbone):
    """VGG-16 without its fully connected layers; at output stride 8 pool4 and pool5 don't stride, conv5 has rate 2.

    Features: the input image, pool1 (64, stride 2), pool2 (128, stride 4), pool3 (256), pool4 (512) and
    pool5 (512), the last three at stride 8. The names of the parameters are torchvision's, whose weights load as they
    are. Pools are 3x3 as in the LargeFOV and MSc models of the release (its plain 4x4 model has 2x2 ones, from
    pool1 to pool4). At output stride 32, for FCN, it is VGG-16 as it was: 2x2 pools, all of which stride, and no rates.

    Args:
        output_stride: 8, of v1 and v2, or 32.
        ceil_mode: Ceil-mode pooling, as in Caffe. With 3x3 pools it differs from floor mode on even sides, of which it
            makes n/2 + 1; with 2x2 pools on odd ones, of which it makes (n + 1)/2.
        frozen: Leave out all parameters of training: the second phase of v1 (MSc).
        batch_norm: Whether `norm_cfg` follows each convolution, as in torchvision's vgg16_bn. The papers' VGG-16 has
            none; without pretrained weights it hardly learns.
        in_channels: Bands of the images, see `DeepLabBackbone`.
        norm_cfg: Normalisation layer; unused without `batch_norm`, as a segmentor gives the same to head and backbone.
    """

    classifier_prefixes = ('classifier.',)
    low_level_index = 2

    def __init__(
        self,
        output_stride: int = 8,
        ceil_mode: bool = True,
        frozen: bool = False,
        batch_norm: bool = False,
        norm_cfg: dict | None = None,
        in_channels: int = 3,
        init_cfg: dict | list[dict] | None = None,
    ):
        super().__init__(in_channels, init_cfg)
        check_output_stride(
            output_stride, (8, 32), 'DeepLabVGG has conv5 at rate 2 for stride 8 (v1, v2), or no rates for 32 (FCN)'
        )
        plan = iter(atrous_plan([stride for _ in STAGES for stride in (1, 2)], output_stride))
        layers: list[nn.Module] = []
        self.pools = []
        self.feature_channels = (in_channels, *(channels for _, channels in STAGES))
        for convs, channels in STAGES:
            _, rate = next(plan)
            for _ in range(convs):
                layers.append(nn.Conv2d(in_channels, channels, 3, padding=rate, dilation=rate))
                if batch_norm:
                    layers.append(build_norm_layer(norm_cfg or dict(type='BN'), channels)[1])
                layers.append(nn.ReLU(inplace=True))
                in_channels = channels
            stride, _ = next(plan)  # pools stay dense: the release dilates convolutions only
            self.pools.append(len(layers))
            layers.append(MaxPool2d(stride, ceil_mode, kernel=3 if output_stride == 8 else 2))
        self.features = nn.Sequential(*layers)
        self.frozen = frozen
        if frozen:
            self.requires_grad_(False)

    def train(self, mode: bool = True) -> 'DeepLabVGG':
        """Set training mode, unless frozen: the statistics of batch norm would go on moving."""
        return super().train(mode and not self.frozen)

    def parts_by_stage(self) -> list[list[nn.Module]]:
        """No stem; conv1 to conv5, each with its pooling."""
        layers, starts = list(self.features), (0, *(pool + 1 for pool in self.pools))
        return [[], *(layers[start:stop] for start, stop in zip(starts, starts[1:], strict=False))]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Map images (N, in_channels, H, W) to the features described above."""
        features = [x]
        for i, layer in enumerate(self.features):
            x = layer(x)
            if i in self.pools:
                features.append(x)
        return tuple(features)
