"""Decode heads, one file for each version of DeepLab."""

from .base import DeepLabHead
from .deeplab_v3 import DeepLabV3CascadeHead, DeepLabV3Head
from .deeplab_v3plus import DeepLabV3PlusHead

__all__ = ['DeepLabHead', 'DeepLabV3CascadeHead', 'DeepLabV3Head', 'DeepLabV3PlusHead']
