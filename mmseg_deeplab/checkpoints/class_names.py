"""Which classes the outputs of a converted checkpoint stand for."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from mmseg.registry import DATASETS

_VOC, _CITYSCAPES = {21: 'PascalVOCDataset'}, {19: 'CityscapesDataset'}
DATASETS_OF = {
    'tensorflow': {**_VOC, **_CITYSCAPES},  # its 151 outputs for ADE20K count the void label, as no data set class does
    'torchvision': _VOC,  # trained on the images of COCO with these classes
    'mmseg': {
        **_VOC,
        **_CITYSCAPES,
        150: 'ADE20KDataset',
        171: 'COCOStuffDataset',
        60: 'PascalContextDataset',
        59: 'PascalContextDataset59',
    },
    'kazuto': {**_VOC, 171: 'COCOStuffDataset'},
    'vgg': _VOC,
    'caffe': _VOC,
    'kerashub': _VOC,
    'vainf': {**_VOC, **_CITYSCAPES},
    'jfzhang95': {**_VOC, **_CITYSCAPES},  # also what it trains on COCO
    'detectron2': _CITYSCAPES,
    'huggingface': _VOC,
    'paddleseg': {**_VOC, **_CITYSCAPES},
}
"""Layout -> number of classes -> the data set that its published files of that many classes were trained on."""


def names_in(checkpoint: Mapping, count: int) -> dict | None:
    """Class names and palette that a checkpoint of OpenMMLab brings along, by their names of 1.x or of 0.x.

    Where it has no palette, it is the one that MMSegmentation's datasets take: its inferencer would take Cityscapes'.
    """
    meta = checkpoint.get('meta')
    if not isinstance(meta, Mapping):
        return None
    found = meta.get('dataset_meta')
    found = found if isinstance(found, Mapping) else {key.lower(): meta.get(key) for key in ('CLASSES', 'PALETTE')}
    classes: Any = found.get('classes')
    palette: Any = found.get('palette')
    if not _is_list(classes, count) or not all(isinstance(name, str) for name in classes):
        return None
    if not _is_list(palette, count) or not all(_is_list(colour, 3) for colour in palette):
        palette = np.random.RandomState(42).randint(0, 255, size=(count, 3)).tolist()
    return dict(classes=list(classes), palette=[[int(value) for value in colour] for colour in palette])


def names_of(source: str, count: int) -> tuple[str, dict] | None:
    """The data set that published files of a layout and number of classes belong to, with class names and palette."""
    name = DATASETS_OF.get(source, {}).get(count)
    if name is None:
        return None
    kind: Any = DATASETS.get(name)
    info = kind.METAINFO
    return name, dict(classes=list(info['classes']), palette=[list(colour) for colour in info['palette']])


def _is_list(value: Any, count: int) -> bool:
    return isinstance(value, list | tuple) and len(value) == count
