"""Any folder of images and masks."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

from ..errors import UserError, UserFileNotFoundError
from .classes_file import read_classes
from .masks import read_lines

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')


@DATASETS.register_module()
class ImageMaskFolder(BaseSegDataset):
    """Images in one folder, masks of the same name in another, classes in a text file.

        data_root/classes.txt    one class a line: `building, 60, 16, 152` (see `read_classes`)
        data_root/images/        .jpg, .png, .bmp, .tif or .webp, in subfolders or not
        data_root/masks/         the same names, ending in `seg_map_suffix`

    The split is a list (`ann_file`, names without suffix), or a share of the images (`split` and `val_ratio`), or all.
    `reduce_zero_label=True` is for masks whose 0 means void and whose classes start at 1: 0 becomes `ignore_index`,
    and class k becomes k - 1. Leave it False where 0 is a class, be it the background. Without `seg_map_path` in
    `data_prefix` the images have no masks, as `SegmentationMetric(format_only=True)` takes them.

    Args:
        classes_file: path, absolute or below `data_root`.
        masks: 'indices' (pixel value = class) or 'colours' (RGB of the classes file; converted as they are loaded).
        split: 'train' or 'val', the share that `val_ratio` gives; None with an `ann_file` or for all images.
        val_ratio: share of the images in 'val'. They are drawn by a hash of their names: same split on each machine.
        metainfo: `dict(classes=...)` keeps these classes of the file, in this order; the others become void.
    """

    def __init__(
        self,
        classes_file: str = 'classes.txt',
        masks: str = 'indices',
        split: str | None = None,
        val_ratio: float = 0.2,
        data_root: str | None = None,
        data_prefix: dict | None = None,
        metainfo: dict | None = None,
        **kwargs,
    ) -> None:
        if masks not in ('indices', 'colours'):
            raise UserError(f"masks={masks!r}; choose 'indices' or 'colours'")
        if split not in (None, 'train', 'val'):
            raise UserError(f"split={split!r}; choose 'train', 'val' or None for all")
        if split and kwargs.get('ann_file'):
            raise UserError(f'split={split!r} and ann_file={kwargs["ann_file"]!r}: give one of them')
        if not 0 < val_ratio < 1:
            raise UserError(f'val_ratio={val_ratio} must lie between 0 and 1, for example 0.2')
        self.classes = read_classes(Path(data_root or '.') / classes_file)
        self.masks, self.split, self.val_ratio = masks, split, val_ratio
        colours = dict(zip(self.classes.names, map(list, self.classes.palette), strict=True))
        names = tuple((metainfo or {}).get('classes') or colours)
        unknown = [name for name in names if name not in colours]
        if unknown:
            raise UserError(f'metainfo.classes: {unknown} are not in {classes_file}, which has {[*colours]}')
        if len(names) == 1:
            raise UserError(
                f'{classes_file} gives one class, {names[0]!r}: there is nothing to tell it from. Name what is around '
                'it as well, such as background'
            )
        super().__init__(
            data_root=data_root,
            data_prefix=data_prefix or dict(img_path='images', seg_map_path='masks'),
            metainfo={'palette': [colours[name] for name in names], **(metainfo or {}), 'classes': names},
            **kwargs,
        )

    def get_label_map(  # ty: ignore[incompatible-method-override]  a class method there, which knows no classes file
        self, new_classes: Sequence[str]
    ) -> dict[int, int] | None:
        """From the classes file's indices to those of `new_classes`, `ignore_index` for the others; None if equal."""
        new = list(new_classes)
        if new == list(self.classes.names):
            return None
        names = enumerate(self.classes.names)
        return {old: new.index(name) if name in new else self.ignore_index for old, name in names}

    def load_data_list(self) -> list[dict]:
        folder = Path(self.data_prefix['img_path'])
        images = {}
        for path in _files(folder):
            if path.suffix.lower() in IMAGE_SUFFIXES:
                name = path.relative_to(folder).with_suffix('').as_posix()
                if name in images:
                    raise UserError(f'{images[name]} and {path} share their name; masks could not be told apart')
                images[name] = path
        data_list = [self._item(name, images) for name in self._names(images)]
        masks = [item['seg_map_path'] for item in data_list if 'seg_map_path' in item]
        missing = [mask for mask in masks if not Path(mask).is_file()]
        if missing and not self.test_mode:
            raise UserFileNotFoundError(
                f'{len(missing)} of {len(data_list)} images have no mask, the first: {missing[0]}'
            )
        return data_list

    def _names(self, images: dict[str, Path]) -> Sequence[str]:
        if not images:
            raise UserFileNotFoundError(f'{self.data_prefix["img_path"]} holds no image ({", ".join(IMAGE_SUFFIXES)})')
        if self.ann_file:
            names = read_lines(Path(self.ann_file))
            unknown = [name for name in names if name not in images]
            if unknown or not names:
                what = f'names {unknown[0]!r}, which is not in' if unknown else 'is empty; it should name images of'
                raise UserFileNotFoundError(f'{self.ann_file} {what} {self.data_prefix["img_path"]}')
            return names
        if self.split is None:
            return list(images)
        if len(images) == 1 and self.split == 'val':
            raise UserError(
                f'1 image found in {self.data_prefix["img_path"]}: the share of val_ratio={self.val_ratio} is empty; '
                'add images, or name those of each split in lists (ann_file)'
            )
        by_hash = sorted(images, key=lambda name: hashlib.sha256(name.encode()).digest())
        count = min(max(1, round(len(images) * self.val_ratio)), len(images) - 1)
        return sorted(by_hash[:count] if self.split == 'val' else by_hash[count:])

    def _item(self, name: str, images: dict[str, Path]) -> dict:
        item: dict[str, Any] = dict(
            img_path=str(images[name]),
            label_map=self.label_map,
            reduce_zero_label=self.reduce_zero_label,
            seg_fields=[],
        )
        if 'seg_map_path' in self.data_prefix:
            item['seg_map_path'] = str(Path(self.data_prefix['seg_map_path'], name + self.seg_map_suffix))
        if self.masks == 'colours':
            item['mask_colours'] = self.classes
        return item


def _files(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """Every file below a folder, in order, also in linked folders; a link back to a folder above is not followed."""
    real = folder.resolve()
    if real in above or not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            yield from _files(path, (*above, real))
        else:
            yield path
