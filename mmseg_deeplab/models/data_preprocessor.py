"""Training crops whose padding is flipped with them."""

from typing import Any

import torch
from mmseg.models import SegDataPreProcessor as StockSegDataPreProcessor
from mmseg.registry import MODELS


# In the place of MMSegmentation's, whichever config names it.
@MODELS.register_module(force=True)
class SegDataPreProcessor(StockSegDataPreProcessor):
    """MMSegmentation's SegDataPreProcessor, with padding where the releases of DeepLab have it in training.

    Those pad an image that is smaller than the crop right and below, crop, then flip: padding of a flipped crop is on
    its left. MMSegmentation pads last, always right and below. Test images are padded as before; so are training
    images where `batch_augments` are given, which may mix the images of a batch.
    """

    def forward(self, data: dict, training: bool = False) -> dict[str, Any]:
        """Normalise and pad a batch; for training each mask with its image."""
        data = super().forward(data, training)
        if training and self.batch_augments is None:
            for image, sample in zip(data['inputs'], data['data_samples'], strict=True):
                _flip_padding(image, sample)
        return data


def _flip_padding(image: torch.Tensor, sample: Any) -> None:
    """Move the padding of an image (C, H, W), in place, and of its maps to the other side along each flipped axis."""
    if not sample.get('flip'):
        return
    left, right, top, bottom = sample.padding_size
    if sample.flip_direction in ('horizontal', 'diagonal'):
        left, right = right, left
    if sample.flip_direction in ('vertical', 'diagonal'):
        top, bottom = bottom, top
    if not (left or top):
        return
    image.copy_(image.roll((top, left), dims=(-2, -1)))
    for name in ('gt_sem_seg', 'gt_edge_map', 'gt_depth_map'):
        if name in sample:
            maps = sample.get(name)
            maps.data = maps.data.roll((top, left), dims=(-2, -1))
    sample.set_metainfo(dict(padding_size=(left, right, top, bottom)))
