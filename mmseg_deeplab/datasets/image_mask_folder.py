"""Any folder of images and masks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.logging import print_log
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

from ..errors import UserError, UserFileNotFoundError
from .classes_file import read_classes
from .pairing import NamePattern, files_below, holds, read_pairs
from .split import VAL_RATIO, compile_groups, divide, groups_of, told

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')


@DATASETS.register_module()
class ImageMaskFolder(BaseSegDataset):
    """Images in one folder, masks of the same name in another, classes in a text file.

        data_root/classes.txt    one class a line: `building, 60, 16, 152` (see `read_classes`)
        data_root/images/        .jpg, .png, .bmp, .tif or .webp, in subfolders or not
        data_root/masks/         the same names, ending in `seg_map_suffix`

    The split is a list (`ann_file`), or a share of the images (`split` and `val_ratio`), or all. A line of a list is a
    picture, by its name or its file, or a picture and its mask (see `pairing.read_pairs`). Hidden files are left out.
    Other names are told by patterns, below the folders of `data_prefix`, which may be one and the same:
    `image_pattern='{}_sat.jpg', mask_pattern='{}_mask.png'`.

    `reduce_zero_label=True` is for masks whose 0 means void and whose classes start at 1: 0 becomes `ignore_index`,
    and class k becomes k - 1. Leave it False where 0 is a class, be it the background. Without `seg_map_path` in
    `data_prefix` the images have no masks, as `SegmentationMetric(format_only=True)` takes them.

    Args:
        classes_file: path, absolute or below `data_root`.
        masks: 'indices' (pixel value = class), 'colours' (RGB of the classes file; converted as they are loaded) or
            'bands': several labels a pixel, a band of 0 and 1 for each line of the classes file (`read_label_bands`).
        split: 'train' or 'val', the share that `val_ratio` gives; None with an `ann_file` or for all images.
        val_ratio: share of the images in 'val', by default 0.2. They are drawn by a hash of their names: same split on
            each machine.
        group_by: a regular expression that finds in an image's name, which has its folders and no suffix, the group
            that it belongs to: a patient, scene or video (what its brackets hold, or all that it finds). The images of
            a group are all in 'train' or all in 'val'.
        image_pattern: names of the images' files, `{}` for what differs; by default any name with an image's suffix.
        mask_pattern: that of the masks; by default `{}` and `seg_map_suffix`, '.png'.
        metainfo: `dict(classes=...)` keeps these classes of the file, in this order; the others become void, or with
            'bands' are left out.
    """

    def __init__(
        self,
        classes_file: str = 'classes.txt',
        masks: str = 'indices',
        split: str | None = None,
        val_ratio: float | None = None,
        group_by: str | None = None,
        image_pattern: str | None = None,
        mask_pattern: str | None = None,
        data_root: str | None = None,
        data_prefix: dict | None = None,
        metainfo: dict | None = None,
        **kwargs,
    ) -> None:
        if masks not in ('indices', 'colours', 'bands'):
            raise UserError(f"masks={masks!r}; choose 'indices', 'colours' or 'bands'")
        if masks == 'bands' and kwargs.get('reduce_zero_label'):
            raise UserError("reduce_zero_label=True has no effect on masks='bands', which have no label 0: take it out")
        if split not in (None, 'train', 'val'):
            raise UserError(f"split={split!r}; choose 'train', 'val' or None for all")
        if split and kwargs.get('ann_file'):
            raise UserError(f'split={split!r} and ann_file={kwargs["ann_file"]!r}: give one of them')
        if val_ratio is not None and not 0 < val_ratio < 1:
            raise UserError(f'val_ratio={val_ratio} must lie between 0 and 1, for example 0.2')
        data_prefix = data_prefix or dict(img_path='images', seg_map_path='masks')
        _refuse_without_effect(split, val_ratio, group_by, mask_pattern, 'seg_map_path' in data_prefix, kwargs)
        self.classes = read_classes(Path(data_root or '.') / classes_file)
        self.masks, self.split, self.val_ratio = masks, split, val_ratio or VAL_RATIO
        self.group_by = group_by
        self.image_pattern = NamePattern.of(image_pattern, 'image_pattern') if image_pattern else None
        mask_text = mask_pattern or '{}' + kwargs.get('seg_map_suffix', '.png')
        self.mask_pattern = NamePattern.of(mask_text, 'mask_pattern')
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
            data_prefix=data_prefix,
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
        images = self._images()
        data_list = [self._item(name, images, mask) for name, mask in self._listed(images)]
        masks = [item['seg_map_path'] for item in data_list if 'seg_map_path' in item]
        missing = [mask for mask in masks if not Path(mask).is_file()]
        if missing and not self.test_mode:
            if len(missing) == len(data_list):
                raise UserFileNotFoundError(self._no_masks(missing[0], [*images]))
            raise UserFileNotFoundError(
                f'{len(missing)} of {len(data_list)} images have no mask, the first: {missing[0]}'
            )
        return data_list

    def _images(self) -> dict[str, Path]:
        """The files of the images by name."""
        folder, images = Path(self.data_prefix['img_path']), {}
        found = [(self._name(path.relative_to(folder)), path) for path in files_below(folder)]
        named = [(name, path) for name, path in found if name is not None]
        if self._one_folder:  # where a mask may pass for an image
            masks = {self._mask(name) for name, _ in named}
            named = [(name, path) for name, path in named if path not in masks]
        for name, path in named:
            if name in images:
                raise UserError(f'{images[name]} and {path} share their name; masks could not be told apart')
            images[name] = path
        if images:
            return images
        wanted = (
            f'called as image_pattern={self.image_pattern.text!r}' if self.image_pattern else ', '.join(IMAGE_SUFFIXES)
        )
        besides = ' beside the masks' * self._one_folder
        raise UserFileNotFoundError(
            f'{folder} holds no image ({wanted}){besides}: {holds(folder)}. Other names are told by image_pattern, '
            "such as '{}_sat.jpg'"
        )

    def _name(self, file: Path) -> str | None:
        if self.image_pattern:
            return self.image_pattern.name(file.as_posix())
        return file.with_suffix('').as_posix() if file.suffix.lower() in IMAGE_SUFFIXES else None

    def _mask(self, name: str) -> Path:
        return Path(self.data_prefix['seg_map_path'], self.mask_pattern.file(name))

    @property
    def _one_folder(self) -> bool:
        return self.data_prefix.get('seg_map_path') == self.data_prefix['img_path']

    def _no_masks(self, first: str, names: list[str]) -> str:
        """Of images without any mask: what there is instead, and the pattern that would find it."""
        folder = Path(self.data_prefix['seg_map_path'])
        text = f'none of the images has a mask, the first wants {first}, but {holds(folder)}'
        for path in files_below(folder):
            file = path.relative_to(folder).as_posix()
            near = [name for name in names if name in file and Path(self.data_prefix['img_path'], file) != path]
            if near:
                pattern = file.replace(max(near, key=len), '{}')
                return f'{text}. Is it mask_pattern={pattern!r}?'
        return f"{text}. Set data_prefix, seg_map_suffix or mask_pattern (now '{self.mask_pattern.text}')"

    def _listed(self, images: dict[str, Path]) -> list[tuple[str, Path | None]]:
        if not self.ann_file:
            return [(name, None) for name in self._names(images)]
        masks = self.data_prefix.get('seg_map_path')
        folder, root = Path(self.data_prefix['img_path']), Path(self.data_root or '.')
        return read_pairs(Path(self.ann_file), images, folder, root, masks and Path(masks), self._mask)

    def _names(self, images: dict[str, Path]) -> Sequence[str]:
        if self.split is None:
            return list(images)
        if len(images) == 1 and self.split == 'val':
            raise UserError(
                f'1 image found in {self.data_prefix["img_path"]}: the share of val_ratio={self.val_ratio} is empty; '
                'add images, or name those of each split in lists (ann_file)'
            )
        groups = groups_of(images, compile_groups(self.group_by)) if self.group_by and len(images) > 1 else None
        parts = divide(images, self.val_ratio, groups)
        if groups:
            print_log(f'{self.data_prefix["img_path"]}: {told(parts, groups, self.val_ratio)}', logger='current')
        return parts[self.split == 'val']

    def _item(self, name: str, images: dict[str, Path], mask: Path | None) -> dict:
        item: dict[str, Any] = dict(
            img_path=str(images[name]),
            label_map=self.label_map,
            reduce_zero_label=self.reduce_zero_label,
            seg_fields=[],
        )
        if 'seg_map_path' in self.data_prefix:
            item['seg_map_path'] = str(mask or self._mask(name))
        if self.masks == 'colours':
            item['mask_colours'] = self.classes
        if self.masks == 'bands':
            item['mask_bands'] = True
        return item


def _refuse_without_effect(
    split: str | None,
    val_ratio: float | None,
    group_by: str | None,
    mask_pattern: str | None,
    has_masks: bool,
    others: dict,
) -> None:
    for name, given, why in (
        ('img_suffix', 'img_suffix' in others, "images are found by any suffix, or by image_pattern='{}.SUFFIX'"),
        ('val_ratio', val_ratio is not None and split is None, "it divides images where split='train' or 'val'"),
        ('group_by', group_by is not None and split is None, "it divides images where split='train' or 'val'"),
        ('seg_map_suffix', 'seg_map_suffix' in others and bool(mask_pattern), 'mask_pattern names the masks'),
        ('seg_map_suffix', 'seg_map_suffix' in others and not has_masks, 'data_prefix has no seg_map_path'),
        ('mask_pattern', bool(mask_pattern) and not has_masks, 'data_prefix has no seg_map_path'),
    ):
        if given:
            raise UserError(f'{name} has no effect here: {why}; take it out')
