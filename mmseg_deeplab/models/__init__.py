"""Networks: backbones, heads and the segmentor that connects them."""

from .atrous import aspp_rates, atrous_plan
from .backbones import AlignedXception, DeepLabBackbone, DeepLabMobileNetV2, DeepLabResNet
from .heads import DeepLabHead, DeepLabV3CascadeHead, DeepLabV3Head, DeepLabV3PlusHead
from .losses import SegCrossEntropy
from .segmentor import DeepLab
from .tta import DeepLabTTA

__all__ = [
    'AlignedXception',
    'DeepLab',
    'DeepLabBackbone',
    'DeepLabHead',
    'DeepLabMobileNetV2',
    'DeepLabResNet',
    'DeepLabTTA',
    'DeepLabV3CascadeHead',
    'DeepLabV3Head',
    'DeepLabV3PlusHead',
    'SegCrossEntropy',
    'aspp_rates',
    'atrous_plan',
]
