"""Networks: backbones, heads and the segmentor that connects them."""

from .atrous import aspp_rates, atrous_plan
from .backbones import (
    AlignedXception,
    DeepLabBackbone,
    DeepLabMobileNetV2,
    DeepLabResNet,
    DeepLabVGG,
    MMSegEncoder,
    TimmEncoder,
)
from .data_preprocessor import SegDataPreProcessor
from .heads import (
    DeepLabHead,
    DeepLabV1Head,
    DeepLabV1MScHead,
    DeepLabV2Head,
    DeepLabV3CascadeHead,
    DeepLabV3Head,
    DeepLabV3PlusHead,
)
from .losses import SegCrossEntropy, SegDice, SegFocal, SegHausdorff, SegLovasz, SegOhemCrossEntropy, SegTversky
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
    'DeepLabV1Head',
    'DeepLabV1MScHead',
    'DeepLabV2Head',
    'DeepLabV3CascadeHead',
    'DeepLabV3Head',
    'DeepLabV3PlusHead',
    'DeepLabVGG',
    'MMSegEncoder',
    'SegCrossEntropy',
    'SegDataPreProcessor',
    'SegDice',
    'SegFocal',
    'SegHausdorff',
    'SegLovasz',
    'SegOhemCrossEntropy',
    'SegTversky',
    'TimmEncoder',
    'aspp_rates',
    'atrous_plan',
]
