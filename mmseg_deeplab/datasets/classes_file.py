"""The classes file of a user's own dataset, and masks whose colours stand for classes."""

import codecs
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import UserError, UserFileNotFoundError
from .palette import voc_palette

LARGEST = 2**28
"""Bytes of a text file: parsed JSON takes many times as much memory."""
MOST = 255
"""Classes of a mask of 8 bits, whose 255 is void."""
VOID_NAMES = ('void', 'ignore', 'unlabeled', 'unlabelled')


# The longer mark first: the one of UTF-16 is the beginning of the one of UTF-32.
_MARKS = {
    codecs.BOM_UTF8: 'utf-8-sig',
    codecs.BOM_UTF32_LE: 'utf-32',
    codecs.BOM_UTF32_BE: 'utf-32',
    codecs.BOM_UTF16_LE: 'utf-16',
    codecs.BOM_UTF16_BE: 'utf-16',
}


@dataclass(frozen=True)
class Classes:
    """Names and RGB colours, class by class, and the colours that mean void."""

    names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    void_colours: tuple[tuple[int, int, int], ...] = ()


def read_classes(path: str | Path) -> Classes:
    """Read a classes file: one class a line, `name` or `name, R, G, B` or `name, #RRGGBB`, in the order of the indices.

    A line named void, ignore or unlabeled gives a colour that is not a class. `#` starts a comment line. Without
    colours, those of PASCAL VOC are taken. ValueError names file and line.
    """
    names, colours, void = [], [], []
    for number, line in enumerate(read_text(path, 'the classes file').splitlines(), 1):
        if not line.strip() or line.strip().startswith('#'):
            continue
        name, *rest = (part.strip() for part in line.split(','))
        where = f'{path}, line {number}: {line.strip()!r}'
        if not name:
            raise UserError(f'{where} has no name of a class; write it before the colour, or take the line out')
        colour = _colour(rest, where)
        if name.lower() in VOID_NAMES:
            void.append(colour)
        else:
            names.append(name)
            colours.append(colour)
    if not names:
        raise UserError(f'{path} names no class; write one a line, such as: building, 60, 16, 152')
    if len(names) > MOST:
        raise UserError(f'{path} names {len(names)} classes; masks have 8 bits, which hold at most {MOST} and void')
    if len(set(names)) < len(names):
        raise UserError(f'{path} names a class twice: {sorted({n for n in names if names.count(n) > 1})}')
    given = [c for c in [*colours, *void] if c is not None]
    if len(set(given)) < len(given):
        raise UserError(f'{path} gives two classes the same colour: {sorted({c for c in given if given.count(c) > 1})}')
    if None in colours and len(set(colours)) > 1:
        raise UserError(f'{path} gives a colour to some classes only; give one to each or to none')
    palette = voc_palette()[: len(names)] if None in colours else colours
    return Classes(tuple(names), tuple(palette), tuple(c for c in void if c is not None))


def read_text(path: str | Path, what: str, largest: int = LARGEST) -> str:
    """A text file of the user's, in UTF-8 or as its encoding mark says, of at most `largest` bytes.

    `what` it is, for the message of an error.
    """
    content = read_bounded(path, what, largest)
    try:
        encoding = next((name for mark, name in _MARKS.items() if content.startswith(mark)), 'utf-8')
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise UserError(f'{what} {path} is no text in UTF-8 ({error}); save it in that encoding') from error


def read_bounded(path: str | Path, what: str, largest: int = LARGEST) -> bytes:
    """The content of a file of at most `largest` bytes; `what` it is, for the message of an error."""
    try:
        if Path(path).stat().st_size > largest:
            raise UserError(f'{what} {path} is larger than {largest >> 20} MiB, and is not read')
        return Path(path).read_bytes()
    except OSError as error:
        raise UserFileNotFoundError(f'{what} {path} cannot be read: {error.strerror}') from error


def _colour(parts: list[str], where: str) -> tuple[int, int, int] | None:
    if not parts:
        return None
    if len(parts) == 1 and re.fullmatch(r'#[0-9a-fA-F]{6}', parts[0]):
        red, green, blue = bytes.fromhex(parts[0][1:])
        return red, green, blue
    if len(parts) == 3 and all(part.isdigit() and int(part) < 256 for part in parts):
        return int(parts[0]), int(parts[1]), int(parts[2])
    raise UserError(f'{where} has no valid colour; write three numbers 0..255 or #RRGGBB after the name')


def colours_to_indices(
    rgb: np.ndarray, classes: Classes, ignore_index: int = 255
) -> tuple[np.ndarray, dict[tuple[int, int, int], int]]:
    """Turn a colour mask (H, W, 3) into class indices uint8 (H, W), and count the pixels of each unknown colour.

    Void and unknown colours become `ignore_index`.
    """
    codes = _code(rgb)
    known = np.array([*classes.palette, *classes.void_colours]).reshape(-1, 3)
    indices = np.array([*range(len(classes.names)), *[ignore_index] * len(classes.void_colours)], np.uint8)
    order = np.argsort(_code(known))
    sorted_codes = _code(known)[order]
    place = np.searchsorted(sorted_codes, codes).clip(max=len(known) - 1)
    found = sorted_codes[place] == codes
    labels = np.where(found, indices[order][place], ignore_index).astype(np.uint8)
    values, counts = np.unique(codes[~found], return_counts=True)
    unknown = {(int(v) >> 16, int(v) >> 8 & 255, int(v) & 255): int(n) for v, n in zip(values, counts, strict=True)}
    return labels, unknown


def _code(rgb: np.ndarray) -> np.ndarray:
    """A colour as one number, RRGGBB."""
    return rgb.astype(np.int64) @ (65536, 256, 1)
