"""The config of a converted checkpoint, as a file that test, predict and train take as it is."""

import re
from collections.abc import Mapping
from pathlib import Path

from ..config_files import FOLDER
from ..errors import UserError
from .class_names import names_of
from .options import option_lines
from .save import atomic_write

DATASETS = {
    'PascalVOCDataset': 'voc12_aug',
    'CityscapesDataset': 'cityscapes',
    'ADE20KDataset': 'ade20k',
    'COCOStuffDataset': 'coco_stuff164k',
    'PascalContextDataset': 'pascal_context',
    'PascalContextDataset59': 'pascal_context_59',
}
"""Data set of the published files -> base config."""
HEADER = '# Written by the conversion of'
"""Begins what the next conversion may write over."""
OLDER = {
    **dict.fromkeys(('DeepLabV1Head', 'DeepLabV1MScHead'), ({'voc12_aug': 'voc12_aug_v1'}, 'step_6k')),
    'DeepLabV2Head': ({'voc12_aug': 'voc12_aug_v2', 'cityscapes': 'cityscapes_v2'}, 'poly_20k'),
}
"""Head -> base configs that take the place of those of v3 and v3+, whose crops it can't be trained on; schedule."""


def config_files(
    path: Path, model: Mapping, source: str, dataset_meta: Mapping | None, weights: Path
) -> dict[Path, str]:
    """The texts of a leaf config with model, data set and schedule, for a training from the weights, and beside it, if
    it is for pictures of one's own, of their list of classes.

    Args:
        path: Of the config.
        model: Config of a whole model.
        source: Layout that it was converted from.
        dataset_meta: Class names and palette, as far as they are known.
        weights: The converted checkpoint.
    """
    head = model['decode_head']
    known = names_of(source, head['num_classes'])
    if known and dataset_meta and known[1]['classes'] != dataset_meta['classes']:
        known = None  # a data set of its own, of as many classes
    dataset = DATASETS[known[0]] if known else 'image_mask_folder'
    older, schedule = OLDER.get(head['type'], ({}, 'poly_30k'))
    parts = ('datasets/' + older.get(dataset, dataset), f'schedules/{schedule}', 'default_runtime')
    lines = [f"    '{(FOLDER / '_base_' / part).as_posix()}.py'," for part in parts]
    text = re.sub(r'^model = dict\(', 'model = dict(\n    crop_size=_base_.crop_size,', option_lines(model))
    files = {}
    if not known:
        classes = path.with_suffix('.classes.txt')
        names = _class_list(head['num_classes'], dataset_meta)
        files[classes] = f'{HEADER} {weights.name}: its classes, one a line.\n{names}'
        loader = f'dict(dataset=dict(classes_file={classes.resolve().as_posix()!r}))'
        text += ''.join(f'\n{split}_dataloader = {loader}' for split in ('train', 'val', 'test'))
    about = known[0] if known else 'set data_root to a folder of images and masks'
    config = [f'{HEADER} {weights.name}, from {source}; {about}.', '_base_ = [', *lines, ']', text]
    files[path] = '\n'.join([*config, f'load_from = {weights.resolve().as_posix()!r}', ''])
    return files


def _class_list(count: int, dataset_meta: Mapping | None) -> str:
    """Lines of a classes file, with numbers in the place of names that nobody knows."""
    if not dataset_meta:
        return ''.join(f'class {i}\n' for i in range(count))
    rows = zip(dataset_meta['classes'], dataset_meta['palette'], strict=True)
    return ''.join(f'{name.replace(",", " ")}, {", ".join(map(str, colour))}\n' for name, colour in rows)


def check_place(path: Path) -> None:
    """Refuse to write over a file that no conversion has written.

    Raises:
        UserError: If there is one.
    """
    if path.exists() and not (path.is_file() and path.read_bytes().startswith(HEADER.encode())):
        raise UserError(f'{path} exists and holds something else: remove it, or name one by --write-config FILE')


def atomic_text(path: Path, text: str) -> None:
    """Write a config, whole or not at all."""
    with atomic_write(path) as file:
        file.write(text.encode())
