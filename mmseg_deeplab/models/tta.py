"""Test-time augmentation whose merged probabilities can be used further."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from mmengine.structures import PixelData
from mmseg.models.segmentors import SegTTAModel
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from .segmentor import keeping_logits


@MODELS.register_module()
class DeepLabTTA(SegTTAModel):
    """Average of the probabilities over scales and flips (v3, section 4; v3+, section 4).

    MMSegmentation's own model returns the last view's sample, with that view's `seg_logits`; here `seg_logits` are
    the logarithm of the merged probabilities, so that softmax gives these back (with several labels a pixel those of
    which the sigmoid does), and the sample is the first view's.
    """

    def __init__(self, module: dict | nn.Module, **kwargs):
        # MMEngine's base class would look in its own registry, unless a default scope were set.
        super().__init__(MODELS.build(module) if isinstance(module, dict) else module, **kwargs)

    def test_step(self, data: Any) -> list[SegDataSample]:
        """Segment a batch of views and merge them; the module is left as it is."""
        with keeping_logits('full'):
            return super().test_step(data)

    def merge_preds(self, data_samples_list: Sequence[Sequence[SegDataSample]]) -> list[SegDataSample]:
        """Merge the views of each image into one sample with `pred_sem_seg` (1, H, W) and `seg_logits` (C, H, W)."""
        module: Any = self.module
        binary, several = module.out_channels == 1, getattr(module, 'multi_label', False)
        make = None if binary else torch.sigmoid if several else partial(torch.softmax, dim=0)
        merged = []
        for views in data_samples_list:
            total = _take_probabilities(views[0], make)
            for view in views[1:]:
                total = total + _take_probabilities(view, make)
            probabilities = total / len(views)
            sample = views[0]
            if binary:
                head = module.decode_head
                threshold = (head[-1] if isinstance(head, nn.ModuleList) else head).threshold
                label = (probabilities > threshold).to(torch.uint8)
                sample.seg_logits = PixelData(data=probabilities)
            elif several:
                label = (probabilities > module.decode_head.threshold).to(torch.uint8)
                sample.seg_logits = PixelData(data=probabilities.logit(torch.finfo(probabilities.dtype).eps))
            else:
                label = probabilities.argmax(dim=0, keepdim=True)
                sample.seg_logits = PixelData(data=probabilities.clamp(min=torch.finfo(probabilities.dtype).tiny).log())
            sample.pred_sem_seg = PixelData(data=label)
            merged.append(sample)
        return merged


def _take_probabilities(view: SegDataSample, make: Callable[[Tensor], Tensor] | None) -> Tensor:
    """Probabilities (C, H, W) of a view, whose logits are freed; those of one channel are probabilities already."""
    logits = view.seg_logits.get('data')
    del view.seg_logits
    return logits if make is None else make(logits)
