"""Backbones; each takes `output_stride` and returns a tuple of feature maps."""

from .base import DeepLabBackbone
from .encoders import MMSegEncoder, TimmEncoder
from .mobilenet_v2 import DeepLabMobileNetV2
from .resnet import DeepLabResNet
from .vgg import DeepLabVGG
from .xception import AlignedXception

__all__ = [
    'AlignedXception',
    'DeepLabBackbone',
    'DeepLabMobileNetV2',
    'DeepLabResNet',
    'DeepLabVGG',
    'MMSegEncoder',
    'TimmEncoder',
]
