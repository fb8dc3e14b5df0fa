"""Reading and writing label masks as palette PNGs, atomically."""

import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import mmengine.fileio as fileio
import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ..checkpoints.save import atomic_write
from ..errors import UserError, UserFileNotFoundError
from .classes_file import Classes, colours_to_indices
from .palette import voc_palette


def write_mask(
    path: Path, indices: np.ndarray, palette: Sequence[Sequence[int]] | None = None, fingerprint: str | None = None
) -> None:
    """Write (H, W) class indices 0..255 as a palette PNG; the palette (default: VOC) only colours it for viewers.

    `fingerprint` says what the mask was made from; `read_fingerprint` gives it back.
    """
    image = Image.fromarray(indices.astype(np.uint8))
    image.putpalette([value for colour in palette or voc_palette() for value in colour])
    notes = PngInfo()
    if fingerprint:
        notes.add_text('fingerprint', fingerprint)
    with atomic_write(path) as file:
        image.save(file, format='PNG', pnginfo=notes)


def read_fingerprint(path: Path) -> str | None:
    """The fingerprint that a mask was written with; None if it has none, is damaged or does not exist."""
    try:
        with Image.open(path) as image:
            return image.info.get('fingerprint')
    except OSError:
        return None


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write a text file of one entry a line."""
    text = ''.join(f'{line}\n' for line in lines)
    with atomic_write(path) as file:
        file.write(text.encode())


def read_bytes(path: str | Path, kind: str, backend_args: dict | None = None) -> bytes:
    """The content of an image or mask (`kind`, for the message); an error names the path if it is missing or empty."""
    try:
        content = fileio.get(str(path), backend_args=backend_args)
    except FileNotFoundError as error:
        raise UserFileNotFoundError(
            f'{kind} {path} does not exist, but the split list or the folders ask for it'
        ) from error
    if not content:
        raise UserError(f'{kind} {path} cannot be read: the file is empty')
    return content


def _decode(path: str | Path, backend_args: dict | None, mode: str | None = None) -> np.ndarray:
    content = read_bytes(path, 'mask', backend_args)
    try:
        with Image.open(io.BytesIO(content)) as image:
            return np.array(image.convert(mode) if mode else image)
    except Exception as error:
        raise UserError(f'mask {path} cannot be read: the file is damaged or not an image ({error})') from error


def read_mask(path: str | Path, backend_args: dict | None = None) -> np.ndarray:
    """The stored indices of a single-channel mask file, (H, W); ValueError with its name where that fails."""
    mask = _decode(path, backend_args)
    if mask.ndim != 2:
        raise UserError(
            f'mask {path} has {mask.shape[2]} channels; a mask holds class indices in a single channel. '
            'If its colours stand for classes, convert it with tools/prepare_dataset.py colour-masks'
        )
    return mask


def read_colour_mask(
    path: str | Path, classes: Classes, ignore_index: int = 255, backend_args: dict | None = None
) -> np.ndarray:
    """The class indices (H, W) that the colours of a mask file stand for; ValueError names unknown colours."""
    labels, unknown = colours_to_indices(_decode(path, backend_args, 'RGB'), classes, ignore_index)
    if unknown:
        shown = ', '.join(f'{colour} ({count} pixels)' for colour, count in list(unknown.items())[:5])
        raise UserError(
            f'mask {path} holds {len(unknown)} colours that the classes file lacks: {shown}. Add them (as void if they '
            'are no class); where they are blurred edges, tools/prepare_dataset.py colour-masks makes clean masks'
        )
    return labels


def read_lines(path: Path) -> list[str]:
    """The stripped non-empty lines of a text file."""
    return [line.strip() for line in Path(path).read_text(encoding='utf-8').splitlines() if line.strip()]


def write_classes(path: Path, classes: Classes) -> None:
    """Write a classes file that `read_classes` reads."""
    rows = [*zip(classes.names, classes.palette, strict=True), *(('void', colour) for colour in classes.void_colours)]
    write_lines(path, [f'{name}, {r}, {g}, {b}' for name, (r, g, b) in rows])
