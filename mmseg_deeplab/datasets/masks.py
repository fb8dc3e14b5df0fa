"""Reading and writing label masks as palette PNGs, atomically."""

import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image


def voc_palette(size: int = 256) -> list[tuple[int, int, int]]:
    """The PASCAL VOC colour map (VOCdevkit, VOClabelcolormap): the bits of an index, spread over the three channels."""
    colours = []
    for index in range(size):
        rgb = [0, 0, 0]
        for bit in range(8):
            for channel in range(3):
                rgb[channel] |= (index >> (3 * bit + channel) & 1) << (7 - bit)
        colours.append(tuple(rgb))
    return colours


def write_atomic(path: Path, write: Callable[[BinaryIO], None]) -> None:
    """Create `path` by `write(file)`; a reader sees the old file, none or the whole new one, never a part of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.name}.')
    try:
        with os.fdopen(handle, 'wb') as file:
            write(file)
        os.chmod(temporary, 0o644)  # mkstemp makes private files; a data set is shared
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_mask(path: Path, indices: np.ndarray, palette: Sequence[Sequence[int]] | None = None) -> None:
    """Write (H, W) class indices 0..255 as a palette PNG; the palette (default: VOC) only colours it for viewers."""
    image = Image.fromarray(indices.astype(np.uint8))
    image.putpalette([value for colour in palette or voc_palette() for value in colour])
    write_atomic(path, lambda file: image.save(file, format='PNG'))


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write a text file of one entry a line."""
    text = ''.join(f'{line}\n' for line in lines)
    write_atomic(path, lambda file: file.write(text.encode()))


def read_lines(path: Path) -> list[str]:
    """The stripped non-empty lines of a text file."""
    return [line.strip() for line in Path(path).read_text(encoding='utf-8').splitlines() if line.strip()]
