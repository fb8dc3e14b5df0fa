"""Normalisation of any number of channels, and training crops whose padding is flipped with them."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from mmseg.models import SegDataPreProcessor as StockSegDataPreProcessor
from mmseg.registry import MODELS
from torch import Tensor

from ..errors import UserError


# In the place of MMSegmentation's, whichever config names it.
@MODELS.register_module(force=True)
class SegDataPreProcessor(StockSegDataPreProcessor):
    """MMSegmentation's SegDataPreProcessor, with padding where the releases of DeepLab have it in training.

    Those pad an image that is smaller than the crop right and below, crop, then flip: padding of a flipped crop is on
    its left. MMSegmentation pads last, always right and below. Test images are padded as before; so are training
    images where `batch_augments` are given, which may mix the images of a batch.

    Where MMSegmentation's takes 1 or 3 means, this takes one for each channel.

    Args:
        mean, std: As many as the picture has channels, or one for all; in the order in which the network gets them.
        kwargs: As in mmseg.models.SegDataPreProcessor.
    """

    def __init__(self, mean: Sequence[float] | None = None, std: Sequence[float] | None = None, **kwargs) -> None:
        if (mean is None) != (std is None):
            raise UserError(f'data_preprocessor: mean={mean} and std={std} must be given together, one each a channel')
        if len(mean or ()) != len(std or ()):
            raise UserError(
                f'data_preprocessor.mean has {len(mean or ())} values, but data_preprocessor.std has '
                f'{len(std or ())} values: give one each a channel'
            )
        if mean is not None and not len(mean):
            raise UserError('data_preprocessor: mean and std are empty; give one each a channel')
        if std is not None and min(std) <= 0:
            raise UserError(f'data_preprocessor: std={std}: a channel is divided by it, so it must be positive')
        super().__init__(**kwargs)
        if mean is not None and std is not None:
            self._enable_normalize = True
            self.register_buffer('mean', torch.tensor(mean, dtype=torch.float32).view(-1, 1, 1), False)
            self.register_buffer('std', torch.tensor(std, dtype=torch.float32).view(-1, 1, 1), False)

    def forward(self, data: dict, training: bool = False) -> dict[str, Any]:
        """Normalise and pad a batch; for training each mask with its image.

        Raises:
            UserError: A picture has other channels than there are means, which would be repeated.
        """
        for image in data['inputs'] if self._enable_normalize else ():
            means = cast(Tensor, self.mean).numel()
            if means not in (1, len(image)):
                raise UserError(
                    f'a picture has {len(image)} channels, but data_preprocessor has {means} means: give mean '
                    'and std of each channel, which tools/browse_dataset.py --statistics measures, or choose the '
                    'channels by LoadImage(bands=...)'
                )
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
