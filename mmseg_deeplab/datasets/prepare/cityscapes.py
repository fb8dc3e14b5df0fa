"""Cityscapes: the 34 ids of `*_labelIds.png` to the 19 train ids, 255 for the rest."""

from pathlib import Path

import numpy as np
from mmseg.datasets import CityscapesDataset

from ..masks import read_mask
from .runner import Job, Plan, find

# The ids of train ids 0..18 (cityscapesScripts, helpers/labels.py).
IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)


def plan(src: Path, dst: Path) -> Plan:
    """Source: leftImg8bit and gtFine (or also gtCoarse) as downloaded. The test split has no public labels."""
    root = find(src, 'gtFine', 'Cityscapes (leftImg8bit, gtFine)')
    jobs = []
    for path in sorted(root.glob('gt*/*/*/*_labelIds.png')):
        if path.parts[-3] != 'test':
            name = path.name.replace('_labelIds', '_labelTrainIds')
            jobs.append(Job(to_train_ids, (path,), dst / path.relative_to(root).with_name(name)))
    return Plan(
        classes=CityscapesDataset.METAINFO['classes'], jobs=jobs, links={dst / 'leftImg8bit': root / 'leftImg8bit'}
    )


def to_train_ids(path: Path) -> np.ndarray:
    """The mask of train ids, uint8 (H, W)."""
    table = np.full(256, 255, np.uint8)  # licence plate is id -1, stored as 255
    table[list(IDS)] = np.arange(19)
    return table[read_mask(path)]
