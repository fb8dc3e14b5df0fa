"""Masks of one class each, several files a picture, to index masks in the tree of ImageMaskFolder."""

import reprlib
from collections import Counter
from collections.abc import Container, Iterable
from pathlib import Path

import numpy as np

from ...errors import UserError, UserFileNotFoundError
from ..image_mask_folder import IMAGE_SUFFIXES
from ..masks import read_colours, write_classes
from ..pairing import files_below, holds
from .annotations import Tally
from .areas import Stencil
from .labels import class_indices, class_table, is_label
from .painting import Shape, paint
from .runner import Job, Plan, find

SEPARATORS = '_-. '


def plan(src: Path, dst: Path, classes: Path | None = None) -> Plan:
    """Source: a folder `images`, and beside it `masks` with `CLASS/NAME.png`, `NAME/CLASS.png` or `NAME_CLASS.png`.

    A class is where its mask is not black. Where classes overlap, that of fewer pixels lies above, of equal ones the
    later class. Pixels of no class are the background, or void where a `classes` file has none; without that file the
    classes are those met, in alphabetical order, after the background.
    """
    root = find(src, 'images', 'the folder of the pictures')
    images, masks = root / 'images', root / 'masks'
    faults, notes = Tally(), Tally()
    pictures: dict[str, Path] = {}
    for path in files_below(images):
        if path.suffix.lower() in IMAGE_SUFFIXES:
            name = _name(path, images)
            if name in pictures:
                faults.add('pictures share the name of their masks', f'{pictures[name]} and {path}')
            pictures[name] = path
    found = _masks(masks, pictures, faults, notes)
    if not faults.count and not any(found.values()):
        raise UserFileNotFoundError(f'no masks of the pictures in {images}: of {masks}, {holds(masks)}')
    labels = sorted({label for own in found.values() for label in own})
    table = class_table(labels, classes)
    index, elsewhere = class_indices(labels, table)
    for name, own in found.items():
        for label, path in own.items():
            if label not in index:
                faults.add(f'the class {reprlib.repr(label)} is not among the classes', str(path))
        if not own:
            notes.add('a picture without a mask: all of it is background, or void where there is none', name)
    if faults.count:
        raise UserError(
            f'{faults.count.total()} files below {root} can not be used, and nothing was written: '
            f'{"; ".join(faults.lines()[:8])}. Masks of a class are called CLASS/NAME.png, NAME/CLASS.png or '
            'NAME_CLASS.png, where NAME is that of a picture'
        )
    jobs, links = [], {}
    for name, own in found.items():
        picture = pictures[name].relative_to(images)
        order = sorted(own, key=lambda label: index[label])
        arguments = (pictures[name], tuple(index[label] for label in order), elsewhere, *(own[key] for key in order))
        jobs.append(Job(stack, arguments, (dst / 'masks' / picture).with_suffix('.png')))
        links[dst / 'images' / picture] = pictures[name]
    return Plan(
        classes=table.names,
        jobs=jobs,
        links=links,
        finish=lambda: write_classes(dst / 'classes.txt', table),
        notes=notes.lines(),
        tell=_tell_hidden,
    )


def stack(picture: Path, indices: tuple[int, ...], elsewhere: int, *masks: Path) -> tuple[np.ndarray, Counter]:
    """The index mask of a picture, uint8 (H, W), and the masks of which it has no pixel though they have some."""
    stencils = [read_stencil(path) for path in masks]
    shapes = [
        Shape(index, stencil, str(path))
        for index, stencil, path in zip(indices, stencils, masks, strict=True)
        if stencil.inside.any()
    ]
    return paint(picture, shapes, None, elsewhere, small_above=True)


def read_stencil(path: Path) -> Stencil:
    """The pixels of a mask that are not black.

    Raises:
        UserError: The mask has more than one other colour, or two of which none is black.
    """
    rgb = read_colours(path)
    colours = np.unique(rgb.reshape(-1, 3), axis=0)
    if len(colours) > 2 or (len(colours) == 2 and colours[0].any()):
        shown = ', '.join(str(tuple(colour)) for colour in colours[:4].tolist())
        raise UserError(
            f'mask {path} holds {len(colours)} colours ({shown}{", ..." * (len(colours) > 4)}); that of one class is '
            'black, and one other colour where the class is'
        )
    return Stencil(np.any(rgb > 0, axis=2))


def _masks(folder: Path, pictures: Iterable[str], faults: Tally, notes: Tally) -> dict[str, dict[str, Path]]:
    """The masks of each picture by class."""
    found: dict[str, dict[str, Path]] = {name: {} for name in pictures}
    for path in files_below(folder):
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            notes.add(f'a {path.suffix or "file without suffix"} file among the masks, left out', str(path))
            continue
        name, label = _whose(_name(path, folder), found)
        if name is None:
            faults.add('a mask is of no picture', str(path))
        elif not is_label(label):
            faults.add(f'{reprlib.repr(label)} is no name of a class: a line without commas', str(path))
        elif label in found[name]:
            faults.add('a picture has two masks of a class', f'{found[name][label]} and {path}')
        else:
            found[name][label] = path
    return found


def _whose(mask: str, pictures: Container[str]) -> tuple[str | None, str]:
    """The picture and the class of a mask by its name; of pictures whose names fit, that of the longest."""
    first, _, rest = mask.partition('/')
    if rest in pictures:
        return rest, first.strip()
    above, _, last = mask.rpartition('/')
    if above in pictures:
        return above, last.strip()
    for end in range(len(mask) - 1, 0, -1):
        if mask[end] in SEPARATORS and mask[:end] in pictures and '/' not in mask[end:]:
            return mask[:end], mask[end + 1 :].strip()
    return None, ''


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).with_suffix('').as_posix()


def _tell_hidden(masks: Counter, _: int) -> list[str]:
    return [f'{len(masks)} masks have no pixel in the result:', *(f'  {mask}' for mask in [*masks][:10])]
