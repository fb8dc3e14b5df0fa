"""Augmentations of albumentations on pictures of any bands and masks of any kind."""

import inspect
from typing import Any

import numpy as np
from mmseg.datasets.transforms import Albu as StockAlbu
from mmseg.datasets.transforms import transforms as stock
from mmseg.registry import TRANSFORMS

from ..errors import UserError, UserImportError
from .transforms import label_fields


# In the place of MMSegmentation's, whichever config names it.
@TRANSFORMS.register_module(force=True)
class Albu(StockAlbu):
    """MMSegmentation's Albu, with masks that stay right.

    What a transform brings in from outside of the picture is void in the mask, where albumentations by itself writes
    class 0. Several labels a pixel go through it, pictures of other bands than three as they are, and what is drawn
    follows numpy's generator as all else does, so that a resumed training augments as an unbroken one.

    Args:
        transforms: Of albumentations, `dict(type='Rotate', limit=30)` and so on.
        bgr_to_rgb: Whether pictures of three bands are turned to RGB for them, and back.
        ignore_index: The label of void, for `fill_mask` of each transform that does not state it.
        kwargs: `keymap` and `update_pad_shape` of mmseg.datasets.transforms.Albu.

    Raises:
        UserImportError: albumentations is not installed.
        UserError: It has no such transform, or that would make labels between two classes.
    """

    def __init__(self, transforms: list[dict], bgr_to_rgb: bool = True, ignore_index: int = 255, **kwargs: Any) -> None:
        if not stock.ALBU_INSTALLED:
            raise UserImportError(
                'Albu needs the package albumentations, which is not installed: '
                "pip install 'mmseg_deeplab[albumentations]'"
            )
        if kwargs.get('additional_targets'):
            raise UserError('Albu: additional_targets has no effect, as a sample has one picture: take it out')
        self.ignore_index, self.turns = ignore_index, bgr_to_rgb
        super().__init__(transforms, bgr_to_rgb=False, **kwargs)

    def albu_builder(self, cfg: dict) -> object:
        """Build one transform of albumentations, with void where it fills masks."""
        kind = cfg.get('type') if isinstance(cfg, dict) else None
        found = getattr(stock.albumentations, kind, None) if isinstance(kind, str) else kind
        if found is None:
            raise UserError(
                f'Albu: transforms={cfg!r}: albumentations has no such transform; give dict(type=NAME, ...)'
            )
        if cfg.get('mask_interpolation'):
            raise UserError(
                f'Albu: mask_interpolation={cfg["mask_interpolation"]} of {kind} would make labels between two '
                'classes: leave it out, or at 0 (nearest)'
            )
        fill = inspect.signature(found).parameters.get('fill_mask')
        if fill is not None and fill.default is not None and 'fill_mask' not in cfg:  # None leaves the mask as it is
            cfg = dict(cfg, fill_mask=self.ignore_index)
        return super().albu_builder(cfg)

    def transform(self, results: dict) -> dict:
        """Augment `img` and the masks of a sample."""
        fields = label_fields(results)
        if fields:
            results['masks'] = [results.pop(key) for key in fields]
        self.aug.set_random_seed(int(np.random.randint(2**31)))
        turned = self.turns and results['img'].ndim == 3 and results['img'].shape[2] == 3
        if turned:
            results['img'] = np.ascontiguousarray(results['img'][..., ::-1])
        results = super().transform(results)
        if turned:
            results['img'] = np.ascontiguousarray(results['img'][..., ::-1])
        if fields:
            results.update(zip(fields, results.pop('masks'), strict=True))
        results['img_shape'] = results['img'].shape[:2]
        return results
