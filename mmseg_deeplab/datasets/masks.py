"""Reading and writing label masks as palette PNGs, atomically."""

import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from ..checkpoints.save import atomic_write
from ..errors import UserError
from .bands import NPY, stored_bands
from .classes_file import Classes, colours_to_indices, read_text
from .headers import Header, read_bytes, read_header, turn
from .palette import voc_palette


def write_mask(
    path: Path, indices: np.ndarray, palette: Sequence[Sequence[int]] | None = None, fingerprint: str | None = None
) -> None:
    """Write (H, W) class indices 0..255 as a palette PNG; the palette (default: VOC) only colours it for viewers.

    `fingerprint` says what the mask was made from; `read_fingerprint` gives it back.
    """
    image = Image.fromarray(exact_labels(indices, f'mask {path}, to be written,'))
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


def exact_labels(values: np.ndarray, name: str) -> np.ndarray:
    """Numbers of any kind as uint8, if each is one of 0..255; nothing is rounded and nothing wraps.

    Args:
        values: (H, W), boolean, integer or floating.
        name: Such as 'mask PATH', for messages.

    Raises:
        UserError: It names the first values that are not.
    """
    if values.dtype == np.uint8:
        return values
    with np.errstate(invalid='ignore'):
        labels = values.astype(np.uint8)
    wrong = np.unique(values[labels != values])
    if not len(wrong):
        return labels
    shown = ', '.join(f'{value:.10g}' for value in wrong[:10]) + (', ...' if len(wrong) > 10 else '')
    range_ = f'values up to {wrong.max():.10g}' if wrong.max() > 255 else 'values'
    raise UserError(
        f'{name} holds {range_} that are no class index: {shown} ({values.dtype}); class indices are whole numbers '
        'that fit 8 bits (0..255)'
    )


def look_up(table: np.ndarray, ids: np.ndarray, name: str) -> np.ndarray:
    """The entries of a table for ids (H, W) of any kind of numbers; UserError for what is no place in the table."""
    places = ids.astype(np.int64)
    wrong = np.unique(ids[(places != ids) | (places < 0) | (places >= len(table))])
    if len(wrong):
        shown = ', '.join(f'{value:.10g}' for value in wrong[:10])
        raise UserError(f'{name} holds the ids {shown}; known are 0..{len(table) - 1}')
    return table[places]


def _read(path: str | Path, mode: str | None, backend_args: dict | None) -> tuple[Header, np.ndarray | None]:
    content = read_bytes(path, 'mask', backend_args)
    header = read_header(content, f'mask {path}')
    if header.pages > 1:
        raise UserError(f'mask {path} has {header.pages} pages, of which only the first would be used')
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            if header.format == 'TIFF':  # turned by some versions of Pillow as they load it, which take the tag away
                image = ImageOps.exif_transpose(image)
            return header, np.array(image.convert(mode) if mode else image)
    except UnidentifiedImageError:  # of bands that Pillow has no name for
        return header, None
    except Exception as error:
        raise UserError(f'mask {path} cannot be read: the file is damaged or not an image ({error})') from error


def _turned(mask: np.ndarray, header: Header, path: str | Path, orientation: int | None) -> np.ndarray:
    if orientation is None:
        return mask if header.format == 'TIFF' else turn(mask, header.orientation)
    if header.orientation != 1:
        raise UserError(
            f"mask {path} carries the EXIF orientation {header.orientation}, by which it is turned; drawn_on='stored' "
            'is for masks without one'
        )
    return turn(mask, orientation)


def read_mask(path: str | Path, backend_args: dict | None = None, orientation: int | None = None) -> np.ndarray:
    """The stored indices of a single-channel mask file, uint8 (H, W), exactly as they were written.

    Args:
        path: PNG, TIFF, BMP or GIF, of any number of bits and kind of numbers.
        backend_args: Of MMEngine's file backends.
        orientation: The EXIF orientation, 1 to 8, of its picture, by which the mask is turned; by default it is turned
            by its own.

    Raises:
        UserError: It names the file and the values that are no whole numbers of 0 to 255, its channels, or what keeps
            its values from being exact.
    """
    header, mask = _read(path, None, backend_args)
    if mask is None or mask.ndim != 2 or header.bands != 1:
        channels = header.bands if mask is None or mask.ndim == 2 else max(mask.shape[2], header.bands)
        raise UserError(
            f'mask {path} has {channels} channels; a mask holds class indices in a single channel. '
            'If its colours stand for classes, convert it with tools/prepare_dataset.py colour-masks'
        )
    if header.format in ('JPEG', 'MPO'):
        raise UserError(f'mask {path} is a JPEG, which changes values as it is written; class indices need a PNG')
    if header.colours == 'inverted grey' or (header.format == 'TIFF' and header.bits in (2, 4)):
        raise UserError(
            f'mask {path} stores {header.bits}-bit {header.colours} values in a TIFF, which programs read in different '
            'ways; write it anew as an 8-bit PNG'
        )
    if header.format == 'TIFF' and (header.numbers, header.bits) == ('signed', 8):  # Pillow has no such numbers
        mask = mask.view(np.int8)
    if header.format == 'PNG' and header.colours == 'grey' and header.bits in (2, 4):  # Pillow spreads them to 0..255
        mask = mask // (255 // (2**header.bits - 1))
    return _turned(exact_labels(mask, f'mask {path}'), header, path, orientation)


def read_colours(path: str | Path, backend_args: dict | None = None, orientation: int | None = None) -> np.ndarray:
    """The colours of a mask file, uint8 (H, W, 3), RGB; greys and palettes are colours too, alpha is left out.

    See `read_mask`; UserError for a file whose colours would be converted: of more than 8 bits, or no RGB.
    """
    header, colours = _read(path, 'RGB', backend_args)
    exact = header.bits <= 8 and header.numbers == 'unsigned' and header.colours in ('grey', 'palette', 'RGB')
    if colours is None or not exact or header.bands != (3 if header.colours == 'RGB' else 1):
        raise UserError(
            f'mask {path} has {header.bands} bands of {header.bits}-bit {header.colours}; colours that stand for '
            'classes are exact in 8-bit RGB only'
        )
    return _turned(colours, header, path, orientation)


def read_colour_mask(
    path: str | Path,
    classes: Classes,
    ignore_index: int = 255,
    backend_args: dict | None = None,
    orientation: int | None = None,
) -> np.ndarray:
    """The class indices (H, W) that the colours of a mask file stand for; ValueError names unknown colours."""
    labels, unknown = colours_to_indices(read_colours(path, backend_args, orientation), classes, ignore_index)
    if unknown:
        shown = ', '.join(f'{colour} ({count} pixels)' for colour, count in list(unknown.items())[:5])
        raise UserError(
            f'mask {path} holds {len(unknown)} colours that the classes file lacks: {shown}. Add them (as void if they '
            'are no class); where they are blurred edges, tools/prepare_dataset.py colour-masks makes clean masks'
        )
    return labels


def read_label_bands(
    path: str | Path,
    num_classes: int | None = None,
    ignore_index: int = 255,
    backend_args: dict | None = None,
    orientation: int | None = None,
) -> np.ndarray:
    """A mask of several labels a pixel, uint8 (K, H, W): 1 where a class is, 0 where it is not, `ignore_index` void.

    Args:
        path: npy (H, W, K), a TIFF of K bands, or a PNG of up to 4 (alpha is one), of any kind of numbers.
        num_classes: How many bands it must have.
        ignore_index: The value of void, of each class by itself.
        backend_args, orientation: As of `read_mask`.

    Raises:
        UserError: It names the file and its bands, or the values that are none of the three.
    """
    content, name = read_bytes(path, 'mask', backend_args), f'mask {path}'
    header = None if content.startswith(NPY) else read_header(content, name)
    if header is not None and (header.format not in ('PNG', 'TIFF') or header.colours == 'palette'):
        raise UserError(
            f'{name} is a {header.format} of {header.colours} pixels; several labels a pixel are the bands of a npy, '
            'TIFF or PNG file'
        )
    bands, own = stored_bands(content, path, 'mask')
    if num_classes is not None and bands.shape[2] != num_classes:
        raise UserError(
            f'{name} has {bands.shape[2]} bands ({bands.shape[1]} x {bands.shape[0]} pixels), but there are '
            f'{num_classes} classes; it must have a band for each, (H, W, {num_classes})'
        )
    labels = exact_labels(bands, name)
    wrong = np.unique(labels[(labels > 1) & (labels != ignore_index)])
    if len(wrong):
        raise UserError(
            f'{name} holds the values {", ".join(map(str, wrong[:10]))}; a band holds 1 where its class is, 0 where '
            f'it is not, and {ignore_index} where that is not known'
        )
    if orientation is None:
        labels = turn(labels, own)
    else:
        labels = turn(labels, orientation) if header is None else _turned(labels, header, path, orientation)
    return np.ascontiguousarray(labels.transpose(2, 0, 1))


def read_lines(path: Path) -> list[str]:
    """The stripped non-empty lines of a text file."""
    return [line.strip() for line in read_text(path, 'the list').splitlines() if line.strip()]


def write_classes(path: Path, classes: Classes) -> None:
    """Write a classes file that `read_classes` reads."""
    rows = [*zip(classes.names, classes.palette, strict=True), *(('void', colour) for colour in classes.void_colours)]
    write_lines(path, [f'{name}, {r}, {g}, {b}' for name, (r, g, b) in rows])
