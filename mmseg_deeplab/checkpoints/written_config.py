"""The config of a converted checkpoint, as a file that test, predict and train take as it is."""

import re
from collections.abc import Mapping
from pathlib import Path

from ..config_files import FOLDER
from ..errors import UserError
from .class_names import dataset_name
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
OLDER = {
    'DeepLabV1Head': ({'voc12_aug': 'voc12_aug_v1'}, 'step_6k'),
    'DeepLabV2Head': ({'voc12_aug': 'voc12_aug_v2', 'cityscapes': 'cityscapes_v2'}, 'poly_20k'),
}
"""Head -> base configs that take the place of those of v3 and v3+, whose crops it can't be trained on; schedule."""


def config_text(model: Mapping, source: str, weights: Path) -> str:
    """The text of a leaf config with the model, the data set and a schedule, for a training from the weights.

    Args:
        model: Config of a whole model.
        source: Layout that it was converted from.
        weights: The converted checkpoint.
    """
    head = model['decode_head']
    name = dataset_name(source, head['num_classes'])
    dataset = DATASETS.get(name or '', 'image_mask_folder')
    older, schedule = OLDER.get(head['type'], ({}, 'poly_30k'))
    parts = ('datasets/' + older.get(dataset, dataset), f'schedules/{schedule}', 'default_runtime')
    bases = [(FOLDER / '_base_' / f'{part}.py').as_posix() for part in parts]
    own = '' if name else f'num_classes = {head["num_classes"]}  # those of your data set, in their order\n'
    text = re.sub(r'^model = dict\(', 'model = dict(\n    crop_size=_base_.crop_size,', option_lines(model))
    return (
        f'# Fits {weights.name}, converted from {source}; {name or "set data_root to a folder of images and masks"}.\n'
        f'_base_ = {bases!r}\n{own}{text}\nload_from = {weights.resolve().as_posix()!r}\n'
    )


def check_place(path: Path, text: str) -> None:
    """Refuse to write over another file.

    Raises:
        UserError: If there is one that holds something else.
    """
    if path.exists() and (not path.is_file() or path.read_text(encoding='utf-8', errors='replace') != text):
        raise UserError(f'{path} exists and is another config: remove it, or name one by --write-config FILE')


def atomic_text(path: Path, text: str) -> None:
    """Write a config, whole or not at all."""
    with atomic_write(path) as file:
        file.write(text.encode())
