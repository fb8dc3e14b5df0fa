"""The TensorFlow release's resize of ADE20K."""

import numpy as np
import torch
import torch.nn.functional as F
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS

from ..errors import UserError


@TRANSFORMS.register_module()
class FitIntoSquare(BaseTransform):
    """Resize image and labels so that the longer side is `size`, and both are multiples of `factor` plus one.

    What the TensorFlow release makes of ADE20K's images in training (g3doc/ade20k.md, min_resize_value,
    max_resize_value and resize_factor; core/preprocess_utils.py): sides are scaled by size / longer side and rounded
    down, then up to factor k + 1. Image bilinear, labels nearest, both with corners on corners. (mmcv's Resize rounds
    sides to the nearest, and its nearest labels are shifted against the image by up to half a pixel.)

    Args:
        size: Of the longer side, in pixels; a multiple of `factor` plus one.
        factor: 16 in the release, its output stride.
    """

    def __init__(self, size: int = 513, factor: int = 16) -> None:
        if factor < 1 or size <= 1 or (size - 1) % factor:
            raise UserError(
                f'size={size} and factor={factor}: the size must be a multiple of the factor plus one, as 513'
            )
        self.size, self.factor = size, factor

    def transform(self, results: dict) -> dict:
        height, width = results['img'].shape[:2]
        scale = np.float32(self.size) / np.float32(max(height, width))  # in single precision, as the release
        new = [int(np.floor(np.float32(side) * scale)) for side in (height, width)]
        new_height, new_width = (max(side, 1) + -(max(side, 1) - 1) % self.factor for side in new)
        results['img'] = _corners_on_corners(results['img'], new_height, new_width)
        rows = _nearest(height, new_height)
        columns = _nearest(width, new_width)
        for key in results.get('seg_fields', []):
            results[key] = np.ascontiguousarray(results[key][rows[:, None], columns])
        results.update(
            img_shape=results['img'].shape[:2],
            scale=(new_width, new_height),
            scale_factor=(new_width / width, new_height / height),
            keep_ratio=True,
        )
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(size={self.size}, factor={self.factor})'


def _corners_on_corners(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """An image (H, W, C) of bytes, resized bilinearly with corners on corners."""
    maps = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float()
    resized = F.interpolate(maps, (height, width), mode='bilinear', align_corners=True)
    return resized[0].round().byte().permute(1, 2, 0).contiguous().numpy()


def _nearest(old: int, new: int) -> np.ndarray:
    """For each of `new` cells the nearest of `old` ones, with corners on corners, halves up."""
    step = (old - 1) / max(new - 1, 1)
    return np.floor(np.arange(new) * step + 0.5).astype(int)
