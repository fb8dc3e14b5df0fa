"""Test-time augmentation whose merged probabilities can be used further."""

import torch
from mmengine.structures import PixelData
from mmseg.models.segmentors import SegTTAModel
from mmseg.registry import MODELS


@MODELS.register_module()
class DeepLabTTA(SegTTAModel):
    """Average of the probabilities over scales and flips (v3, section 4; v3+, section 4).

    MMSegmentation's own model returns the last view's sample, with that view's `seg_logits`; here `seg_logits` are
    the logarithm of the merged probabilities, so that softmax gives these back, and the sample is the first view's.
    """

    def __init__(self, module: dict | torch.nn.Module, **kwargs):
        super().__init__(module, **kwargs)
        if hasattr(self.module, 'keep_seg_logits'):
            self.module.keep_seg_logits = True

    def merge_preds(self, data_samples_list: list[list]) -> list:
        """Merge the views of each image into one sample with `pred_sem_seg` (1, H, W) and `seg_logits` (C, H, W)."""
        merged = []
        for views in data_samples_list:
            binary = self.module.out_channels == 1
            total = 0
            for view in views:
                logits = view.seg_logits.data
                # For a single channel the stack has applied the sigmoid already.
                total = total + (logits if binary else logits.softmax(dim=0))
                del view.seg_logits
            probabilities = total / len(views)
            sample = views[0]
            if binary:
                label = (probabilities > self.module.decode_head.threshold).to(torch.uint8)
                sample.seg_logits = PixelData(data=probabilities)
            else:
                label = probabilities.argmax(dim=0, keepdim=True)
                sample.seg_logits = PixelData(data=probabilities.clamp(min=torch.finfo(probabilities.dtype).tiny).log())
            sample.pred_sem_seg = PixelData(data=label)
            merged.append(sample)
        return merged
