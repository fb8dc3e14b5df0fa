"""Masks whose colours stand for classes, in any folder, to indices in the tree of ImageMaskFolder."""

from collections import Counter
from pathlib import Path

import numpy as np

from ...errors import UserFileNotFoundError
from ..classes_file import Classes, colours_to_indices, read_classes
from ..image_mask_folder import IMAGE_SUFFIXES
from ..masks import read_colours as load_colours
from ..masks import write_classes
from .runner import Job, Plan, find


def plan(src: Path, dst: Path, classes: Path | None = None, tolerance: int = 0) -> Plan:
    """Source: folders named images, each with a folder masks of the same names beside it, anywhere below `src`.

    `classes` (default: classes.txt of the source) gives names and colours. A colour that differs from a class colour
    by at most `tolerance` in each channel counts as that class (masks stored as JPEG, smoothed edges).
    """
    table = read_classes(classes or find(src, 'classes.txt', 'the classes file (or give --classes)') / 'classes.txt')
    jobs, links, missing = [], {}, []
    for folder in sorted(path for path in src.rglob('images') if path.is_dir()):
        masks = {
            path.stem: path for path in folder.with_name('masks').glob('*') if path.suffix.lower() in IMAGE_SUFFIXES
        }
        for image in sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES):
            name = folder.parent.relative_to(src) / image.name
            if image.stem not in masks:
                missing.append(str(image))
                continue
            jobs.append(
                Job(read_colours, (masks[image.stem], table, tolerance), (dst / 'masks' / name).with_suffix('.png'))
            )
            links[dst / 'images' / name] = image
    if not jobs or missing:
        what = (
            f'{len(missing)} images have no mask, the first: {missing[0]}' if missing else 'no images and masks found'
        )
        raise UserFileNotFoundError(
            f'{what}; expected are pairs such as TILE/images/a.jpg and TILE/masks/a.png in {src}'
        )
    return Plan(classes=table.names, jobs=jobs, links=links, finish=lambda: write_classes(dst / 'classes.txt', table))


def read_colours(path: Path, classes: Classes, tolerance: int = 0) -> tuple[np.ndarray, Counter]:
    """Class indices uint8 (H, W), 255 where void or unknown, and the pixels of each unknown colour."""
    rgb = load_colours(path)
    if tolerance:
        rgb = snap(rgb, classes, tolerance)
    mask, unknown = colours_to_indices(rgb, classes)
    return mask, Counter(unknown)


def snap(rgb: np.ndarray, classes: Classes, tolerance: int) -> np.ndarray:
    """Move each colour to the nearest of the classes' colours, if no channel moves by more than `tolerance`."""
    known = np.array([*classes.palette, *classes.void_colours])
    colours, inverse = np.unique(rgb.reshape(-1, 3), axis=0, return_inverse=True)
    distance = np.abs(colours[:, None].astype(int) - known).max(2)
    near = distance.min(1) <= tolerance
    colours[near] = known[distance.argmin(1)[near]]
    return colours[inverse.ravel()].reshape(rgb.shape)
