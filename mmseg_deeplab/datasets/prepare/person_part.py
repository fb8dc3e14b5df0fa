"""PASCAL-Part (Chen et al., 1406.2031) to PASCAL-Person-Part: the 24 parts of persons merged into six."""

from pathlib import Path

import numpy as np
import scipy.io

from ...errors import UserError
from ..masks import read_lines, write_lines
from ..person_part import PersonPartDataset
from .runner import Job, Plan, find

PARTS = {
    1: ('head', 'leye', 'reye', 'lear', 'rear', 'lebrow', 'rebrow', 'nose', 'mouth', 'hair'),
    2: ('torso', 'neck'),
    3: ('luarm', 'ruarm'),
    4: ('llarm', 'rlarm', 'lhand', 'rhand'),
    5: ('luleg', 'ruleg'),
    6: ('llleg', 'rlleg', 'lfoot', 'rfoot'),
}
INDEX = {part: index for index, parts in PARTS.items() for part in parts}


def plan(src: Path, dst: Path) -> Plan:
    """Source: VOCdevkit/VOC2010 and Annotations_Part with one .mat an image, somewhere below one folder.

    The lists keep the images that show a part of a person (published: 1716 and 1817).
    """
    voc = find(src, 'ImageSets/Main/train.txt', 'VOC 2010 (VOCdevkit/VOC2010)')
    mats = find(src, 'Annotations_Part', 'PASCAL-Part (Annotations_Part/*.mat)') / 'Annotations_Part'
    lists = {split: read_lines(voc / f'ImageSets/Main/{split}.txt') for split in ('train', 'val')}
    masks = dst / 'SegmentationPersonPart'

    def write_lists() -> None:
        for split, names in lists.items():
            with_parts = [name for name in names if (masks / f'{name}.png').is_file()]
            write_lines(dst / f'ImageSets/PersonPart/{split}.txt', with_parts)

    return Plan(
        classes=PersonPartDataset.METAINFO['classes'],
        jobs=[
            Job(read_parts, (mats / f'{name}.mat',), masks / f'{name}.png')
            for name in lists['train'] + lists['val']
            if (mats / f'{name}.mat').is_file()
        ],
        links={dst / 'JPEGImages': voc / 'JPEGImages'},
        finish=write_lists,
    )


def read_parts(path: Path) -> np.ndarray | None:
    """The mask of a .mat file, uint8 (H, W) of 0..6, or None if it shows no part of a person."""
    annotation = scipy.io.loadmat(path, squeeze_me=True, struct_as_record=False)['anno']
    mask = None
    for thing in np.atleast_1d(annotation.objects):
        if getattr(thing, 'class') != 'person':
            continue
        for part in np.atleast_1d(thing.parts):
            if mask is None:
                mask = np.zeros(part.mask.shape, np.uint8)
            if part.part_name not in INDEX:
                raise UserError(f'unknown part {part.part_name!r}')
            mask[part.mask > 0] = INDEX[part.part_name]
    return mask
