"""COCO-Stuff (Caesar et al., 1612.03716), 10k and 164k: the 182 ids to the 171 that occur."""

from pathlib import Path

import numpy as np
import scipy.io
from mmseg.datasets import COCOStuffDataset

from ...errors import UserFileNotFoundError
from ..masks import look_up, read_lines, read_mask
from .runner import Job, Plan, find

CLASSES = COCOStuffDataset.METAINFO['classes']
# COCO's ids 1..182 without those that were planned but never annotated.
IDS = [i for i in range(1, 183) if i not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91)]


def plan_10k(src: Path, dst: Path) -> Plan:
    """Source: cocostuff-10k with images, annotations (.mat) and imageLists. Masks keep 0 for unlabelled."""
    root = find(src, 'imageLists/train.txt', 'COCO-Stuff 10k (images, annotations, imageLists)')
    jobs, links = [], {}
    for split in ('train', 'test'):
        for name in read_lines(root / f'imageLists/{split}.txt'):
            output = dst / f'annotations/{split}2014/{name}_labelTrainIds.png'
            jobs.append(Job(read_10k, (root / f'annotations/{name}.mat',), output))
            links[dst / f'images/{split}2014/{name}.jpg'] = root / f'images/{name}.jpg'
    return Plan(classes=CLASSES, jobs=jobs, links=links, first_index=1)


def plan_164k(src: Path, dst: Path) -> Plan:
    """Source: train2017, val2017 with images (.jpg), and train2017, val2017 with maps (.png) in another folder.

    The maps' folder is stuffthingmaps_trainval2017 or annotations, or the source itself where the images lie deeper.
    """
    maps = _maps(src)
    jobs, links = [], {}
    for split in ('train2017', 'val2017'):
        parent = find(src, f'{split}/{_first(maps / split)}.jpg', f'COCO {split} images')
        links[dst / f'images/{split}'] = parent / split
        for path in sorted((maps / split).glob('*.png')):
            output = dst / f'annotations/{split}/{path.stem}_labelTrainIds.png'
            jobs.append(Job(read_164k, (path,), output))
    return Plan(classes=CLASSES, jobs=jobs, links=links)


def _maps(src: Path) -> Path:
    for name in ('stuffthingmaps_trainval2017', 'annotations', '.'):
        try:
            folder = find(src, f'{name}/train2017', 'COCO-Stuff 164k') / name
        except FileNotFoundError:
            continue
        if any((folder / 'train2017').glob('*.png')):
            return folder
    raise UserFileNotFoundError(
        f'no maps of COCO-Stuff 164k below {src}: unzip stuffthingmaps_trainval2017.zip there, so that '
        'stuffthingmaps_trainval2017/train2017 or annotations/train2017 holds .png files'
    )


def _first(folder: Path) -> str:
    names = sorted(path.stem for path in folder.glob('*.png'))
    if not names:
        raise UserFileNotFoundError(f'{folder} holds no .png masks')
    return names[0]


def read_10k(path: Path) -> np.ndarray:
    """The mask of a .mat file, uint8 (H, W): 0 unlabelled, classes 1..171."""
    table = np.zeros(256, np.uint8)
    table[IDS] = np.arange(1, 172)
    return look_up(table, scipy.io.loadmat(path)['S'], str(path))


def read_164k(path: Path) -> np.ndarray:
    """The mask of a map whose values are ids less one, uint8 (H, W): classes 0..170, 255 unlabelled."""
    table = np.full(256, 255, np.uint8)
    table[np.array(IDS) - 1] = np.arange(171)
    return table[read_mask(path)]
