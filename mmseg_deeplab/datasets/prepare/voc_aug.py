"""PASCAL VOC 2012 with the masks of SBD (Hariharan et al., ICCV 2011): the 10582 images of `trainaug`."""

from pathlib import Path

import numpy as np
import scipy.io
from mmseg.datasets import PascalVOCDataset

from ..masks import read_lines, read_mask
from .runner import Job, Plan, find


def plan(src: Path, dst: Path) -> Plan:
    """Source: VOCdevkit/VOC2012 and benchmark_RELEASE/dataset (SBD) somewhere below one folder."""
    voc = find(src, 'ImageSets/Segmentation/trainval.txt', 'VOC 2012 (VOCdevkit/VOC2012)')
    sbd = find(src, 'cls', 'SBD (benchmark_RELEASE/dataset)')
    lists = {split: read_lines(voc / f'ImageSets/Segmentation/{split}.txt') for split in ('train', 'val', 'trainval')}
    sbd_names = read_lines(sbd / 'train.txt') + read_lines(sbd / 'val.txt')
    official = set(lists['trainval'])
    lists['trainaug'] = sorted({*sbd_names, *lists['train']} - set(lists['val']))
    lists['trainvalaug'] = sorted({*lists['trainaug'], *lists['val']})

    jobs = []
    for name in lists['trainvalaug']:
        output = dst / f'SegmentationClassAug/{name}.png'
        if name in official:  # VOC's own masks are finer, and mark borders as void
            jobs.append(Job(read_mask, (voc / f'SegmentationClass/{name}.png',), output))
        else:
            jobs.append(Job(read_sbd, (sbd / f'cls/{name}.mat',), output))
    return Plan(
        classes=PascalVOCDataset.METAINFO['classes'],
        jobs=jobs,
        links={dst / folder: voc / folder for folder in ('JPEGImages', 'SegmentationClass')},
        lists={dst / f'ImageSets/Segmentation/{split}.txt': names for split, names in lists.items()},
    )


def read_sbd(path: Path) -> np.ndarray:
    """The class mask of a file of SBD, uint8 (H, W) of 0..20."""
    return scipy.io.loadmat(path, squeeze_me=True, struct_as_record=False)['GTcls'].Segmentation
