"""Decode heads, one file for each version of DeepLab, and FCN's."""

from .base import DeepLabHead
from .deeplab_v1 import DeepLabV1Head, DeepLabV1MScHead
from .deeplab_v2 import DeepLabV2Head
from .deeplab_v3 import DeepLabV3CascadeHead, DeepLabV3Head
from .deeplab_v3plus import DeepLabV3PlusHead
from .fcn import FCNSkipHead

__all__ = [
    'DeepLabHead',
    'DeepLabV1Head',
    'DeepLabV1MScHead',
    'DeepLabV2Head',
    'DeepLabV3CascadeHead',
    'DeepLabV3Head',
    'DeepLabV3PlusHead',
    'FCNSkipHead',
]
