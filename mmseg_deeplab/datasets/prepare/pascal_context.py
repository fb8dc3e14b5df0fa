"""PASCAL-Context (Mottaghi et al., CVPR 2014): 459 labels to its 59 frequent classes and background."""

from pathlib import Path

import numpy as np
import scipy.io
from mmseg.datasets import PascalContextDataset

from ..masks import look_up, read_lines
from .runner import Job, Plan, find

# Numbers of the 59 classes among the 459 labels, in the order of mmseg's classes 1..59; the rest is background.
LABELS = (
    *(2, 9, 18, 19, 22, 23, 25, 31, 33, 34, 44, 45, 46, 59, 65, 68, 72, 80, 85, 98, 104, 105, 113, 115, 144, 158),
    *(159, 162, 187, 189, 207, 220, 232, 258, 259, 260, 284, 295, 296, 308, 324, 326, 347, 349, 354, 355, 360, 366),
    *(368, 397, 415, 416, 420, 424, 427, 440, 445, 454, 458),
)


def plan(src: Path, dst: Path) -> Plan:
    """Source: VOCdevkit/VOC2010 and the folder trainval with one .mat an image, somewhere below one folder."""
    voc = find(src, 'ImageSets/Main/train.txt', 'VOC 2010 (VOCdevkit/VOC2010)')
    mats = find(src, 'trainval', 'PASCAL-Context (trainval/*.mat)') / 'trainval'
    lists = {}
    for split in ('train', 'val'):
        names = read_lines(voc / f'ImageSets/Main/{split}.txt')
        lists[split] = [name for name in names if (mats / f'{name}.mat').is_file()]
    return Plan(
        classes=PascalContextDataset.METAINFO['classes'],
        jobs=[
            Job(read_context, (mats / f'{name}.mat',), dst / f'SegmentationClassContext/{name}.png')
            for name in lists['train'] + lists['val']
        ],
        links={dst / 'JPEGImages': voc / 'JPEGImages'},
        lists={dst / f'ImageSets/SegmentationContext/{split}.txt': names for split, names in lists.items()},
    )


def read_context(path: Path) -> np.ndarray:
    """The mask of a .mat file, uint8 (H, W) of 0..59."""
    table = np.zeros(460, np.uint8)
    table[list(LABELS)] = np.arange(1, 60)
    return look_up(table, scipy.io.loadmat(path)['LabelMap'], str(path))
