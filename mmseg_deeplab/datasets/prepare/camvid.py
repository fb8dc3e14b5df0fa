"""CamVid: the 32 colours of the original, or SegNet's index masks, to the usual 11 classes."""

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from ...checkpoints.save import atomic_write
from ...errors import UserError
from ..camvid import CamVidDataset
from ..classes_file import Classes
from ..headers import read_header
from ..images import read_image
from ..masks import read_lines, read_mask
from .colour_masks import read_colours
from .runner import Job, Plan, find

CLASSES = CamVidDataset.METAINFO['classes']
ORIGINAL_SIZE = (960, 720)  # width, height; SegNet's, on which results are published, is half of it
# Colours of the original's label_colors.txt, gathered into the 11 classes of SegNet.
COLOURS = {
    'sky': [(128, 128, 128)],  # Sky
    'building': [(128, 0, 0), (64, 192, 0), (64, 0, 64), (192, 0, 128), (0, 128, 64)],  # Wall, Tunnel, Archway, Bridge
    'pole': [(192, 192, 128), (0, 0, 64)],  # Column_Pole, TrafficCone
    'road': [(128, 64, 128), (128, 0, 192), (192, 0, 64)],  # Road, LaneMkgsDriv, LaneMkgsNonDriv
    'pavement': [(0, 0, 192), (64, 192, 128), (128, 128, 192)],  # Sidewalk, ParkingBlock, RoadShoulder
    'tree': [(128, 128, 0), (192, 192, 0)],  # Tree, VegetationMisc
    'sign symbol': [(192, 128, 128), (128, 128, 64), (0, 64, 64)],  # SignSymbol, Misc_Text, TrafficLight
    'fence': [(64, 64, 128)],
    # Car, SUVPickupTruck, Truck_Bus, Train, OtherMoving
    'car': [(64, 0, 128), (64, 128, 192), (192, 128, 192), (192, 64, 128), (128, 64, 64)],
    'pedestrian': [(64, 64, 0), (192, 128, 64), (64, 0, 192), (64, 128, 64)],  # Child, CartLuggagePram, Animal
    'bicyclist': [(0, 128, 192), (192, 0, 192)],  # Bicyclist, MotorcycleScooter
}
_PAIRS = [(CLASSES.index(name), colour) for name, colours in COLOURS.items() for colour in colours]
FINE = Classes(
    names=tuple(str(colour) for _, colour in _PAIRS),
    palette=tuple(colour for _, colour in _PAIRS),
    void_colours=((0, 0, 0),),
)


def plan(src: Path, dst: Path) -> Plan:
    """Source, one of

    - the original: 701_StillsRaw_full, LabeledApproved_full (*_L.png) and train.txt, val.txt, test.txt;
    - one folder a split with its masks beside it: train and train_labels (colours, *_L.png) or trainannot (indices).

    Images of the original's 960 x 720 pixels, and their masks, are halved.
    """
    try:
        items = _original(find(src, '701_StillsRaw_full', 'CamVid'))
    except FileNotFoundError:
        items = _split_folders(find(src, 'train', 'CamVid (701_StillsRaw_full, or train and trainannot)'))
    jobs, links = [], {}
    for split, image, mask in items:
        output, new_image = dst / f'ann_dir/{split}/{image.stem}.png', dst / f'img_dir/{split}/{image.name}'
        if mask.parent.name.endswith('annot'):
            jobs.append(Job(read_segnet, (mask,), output))
        elif image.is_file() and _size(image) == ORIGINAL_SIZE:
            jobs.append(Job(halve, (mask, image, str(new_image)), output))
            continue
        else:
            jobs.append(Job(read_original, (mask,), output))
        links[new_image] = image
    return Plan(classes=CLASSES, jobs=jobs, links=links)


def _original(root: Path) -> list[tuple[str, Path, Path]]:
    lists = {split: root / f'{split}.txt' for split in ('train', 'val', 'test')}
    if not lists['train'].is_file():
        raise UserError(f"{lists['train']} is missing: the original has no split; write the names of SegNet's lists")
    items = []
    for split, path in lists.items():
        for line in read_lines(path) if path.is_file() else []:
            name = Path(line.split()[0]).stem
            mask = root / f'LabeledApproved_full/{name}_L.png'
            items.append((split, root / f'701_StillsRaw_full/{name}.png', mask))
    return items


def _split_folders(root: Path) -> list[tuple[str, Path, Path]]:
    items = []
    for split in ('train', 'val', 'test'):
        for image in sorted((root / split).glob('*.png')):
            indices = root / f'{split}annot/{image.name}'
            items.append((split, image, indices if indices.is_file() else root / f'{split}_labels/{image.stem}_L.png'))
    return items


def _size(path: Path) -> tuple[int, int]:
    return read_header(path.read_bytes(), f'image {path}').size


def halve(mask: Path, image: Path, new_image: str) -> tuple[np.ndarray, Counter]:
    """Write the image at half its size (means of 2 x 2 pixels); every second pixel of `read_original(mask)`."""
    half = Image.fromarray(cv2.resize(read_image(image), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
    with atomic_write(new_image) as file:
        half.save(file, format='PNG')
    indices, unknown = read_original(mask)
    return indices[::2, ::2], unknown


def read_segnet(path: Path) -> np.ndarray:
    """SegNet's indices, its 11 being void, to uint8 (H, W) of 0..10 and 255."""
    mask = read_mask(path)
    return np.where(mask < 11, mask, 255).astype(np.uint8)


def read_original(path: Path) -> tuple[np.ndarray, Counter]:
    """The original's colours to uint8 (H, W) of 0..10 and 255, and the pixels of unknown colours."""
    fine, unknown = read_colours(path, FINE)
    table = np.full(256, 255, np.uint8)
    table[: len(_PAIRS)] = [index for index, _ in _PAIRS]
    return table[fine], unknown
