"""What the file of a picture or mask holds, before its pixels are decoded: size, bands, bits, pages, turn, damage.

Decoders drop what they do not show: a fourth band, low bits, a second page, blocks that can't be right. Here the file
is looked at first, so that whoever decodes it can refuse to.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import mmengine.fileio as fileio
import numpy as np
from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from ..errors import UserError, UserFileNotFoundError

JPEG, PNG = b'\xff\xd8\xff', b'\x89PNG\r\n\x1a\n'
TIFF = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')
ORIENTATION = 274  # the tag's number in EXIF and in TIFF
HOLE = bytes(64)


@dataclass(frozen=True)
class Header:
    """What the head of a file says.

    Attributes:
        format: Of the file, such as 'JPEG'.
        size: (width, height) of the stored pixels.
        colours: What a pixel is: 'grey', 'palette', 'RGB', or another name such as 'CMYK'.
        bands: Samples a pixel, without alpha.
        bits: Of a sample.
        numbers: What samples are: 'unsigned', 'signed' or 'float'.
        pages: Pages, or pictures of an animation; thumbnails and overviews don't count.
        orientation: How the stored pixels are turned to be shown, as EXIF counts it: 1 (not) to 8.
    """

    format: str
    size: tuple[int, int]
    colours: str
    bands: int
    bits: int
    numbers: str = 'unsigned'
    pages: int = 1
    orientation: int = 1


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


def read_header(content: bytes, name: str) -> Header:
    """Look at a file.

    Args:
        content: The whole file.
        name: Such as 'image PATH', for messages.

    Raises:
        UserError: The file is no picture, is cut short or damaged, or has more pixels than Pillow takes, twice
            `PIL.Image.MAX_IMAGE_PIXELS`: a small file may unpack to more than memory holds.
    """
    damage = png_damage(content) if content.startswith(PNG) else None
    damage = jpeg_damage(content) if content.startswith(JPEG) else damage
    if damage:
        raise UserError(f'{name} cannot be read: the file is damaged: {damage}')
    try:
        header = read_tiff_header(io.BytesIO(content)) if content.startswith(TIFF) else _other(content)
    except Image.DecompressionBombError as error:
        raise UserError(f'{name} is too large to be decoded: {error}. Cut it into tiles') from None
    except UnidentifiedImageError as error:  # whose text names an object
        raise UserError(f'{name} cannot be read: the file is damaged or not an image') from error
    except Exception as error:
        raise UserError(f'{name} cannot be read: the file is damaged or not an image ({error})') from error
    check_size(header.size, name)
    return header


def check_size(size: tuple[int, int], name: str) -> None:
    """Refuse more pixels than Pillow decodes: twice its MAX_IMAGE_PIXELS, by default 179 million."""
    limit = 2 * (Image.MAX_IMAGE_PIXELS or 2**62)
    if size[0] * size[1] > limit:
        raise UserError(
            f'{name} is too large to be decoded: {size[0]} x {size[1]} pixels exceed the limit of {limit} pixels. '
            'Cut it into tiles'
        )


def turn(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turn stored pixels (H, W) or (H, W, C) as EXIF's orientation 1 to 8 says that they are shown."""
    if orientation > 4:
        pixels = pixels.swapaxes(0, 1)
    rows = -1 if orientation in (3, 4, 7, 8) else 1
    columns = -1 if orientation in (2, 3, 6, 7) else 1
    return np.ascontiguousarray(pixels[::rows, ::columns])


def _other(content: bytes) -> Header:
    with Image.open(io.BytesIO(content)) as image:
        mode, exif = image.mode, Image.Exif()
        if content.startswith(PNG):  # Pillow would decode the picture for a tag that stands behind it
            bits, found = content[24], [b'Exif\0\0' + data for kind, data, _ in _chunks(content) if kind == b'eXIf']
        else:
            bits, found = {'I;16': 16, 'I': 32, 'F': 32}.get(mode, 8), [image.info.get('exif')]
        if found and found[0]:
            exif.load(found[0])
        # A phone's JPEG may have a second picture behind it, of depth or of brightness: no page of the first.
        pages = 1 if image.format == 'MPO' else getattr(image, 'n_frames', 1)
        colours = dict.fromkeys(('1', 'L', 'LA', 'La', 'I', 'I;16', 'F'), 'grey') | dict.fromkeys(
            ('P', 'PA'), 'palette'
        )
        colours = colours.get(mode, 'RGB' if mode in ('RGB', 'RGBA', 'RGBa', 'RGBX') else mode)
        bands = len([band for band in image.getbands() if band not in 'Aa'])
        return Header(
            image.format or '', image.size, colours, bands, bits, pages=pages, orientation=_valid(exif.get(ORIENTATION))
        )


def read_tiff_header(file: IO[bytes]) -> Header:
    """The header of a TIFF of any size, also of one whose bands Pillow has no name for."""
    pages = list(_tiff_pages(file))
    tags = pages[0]
    extra = tags.get(338, ())
    extra = extra if isinstance(extra, tuple) else (extra,)
    bands = tags.get(277, 1) - len([kind for kind in extra if kind in (1, 2)])  # these are alpha; 0 is anything
    photometric = tags.get(262, 1)
    colours = {
        0: 'inverted grey',
        1: 'grey',
        2: 'RGB',
        3: 'palette',
        5: 'CMYK',
        6: 'RGB',
        8: 'Lab',
        9: 'Lab',
        10: 'Lab',
    }
    return Header(
        format='TIFF',
        size=(tags[256], tags[257]),
        colours=colours.get(photometric, f'photometric {photometric}'),
        bands=bands,
        bits=max(tags.get(258, (1,))),
        numbers={2: 'signed', 3: 'float'}.get(max(tags.get(339, (1,))), 'unsigned'),
        pages=len(pages),
        orientation=_valid(tags.get(ORIENTATION)),
    )


def _tiff_pages(file: IO[bytes]) -> Iterator[dict]:
    """The tags of each page of a TIFF that is no overview, thumbnail or mask of another."""
    start = file.read(16)
    big = start[2:4] in (b'+\0', b'\0+')
    page, seen = TiffImagePlugin.ImageFileDirectory_v2(start[: 16 if big else 8]), set()
    while page.next and page.next not in seen:
        seen.add(page.next)
        file.seek(page.next)
        page.load(file)
        tags = dict(page)
        if not tags.get(254, 0) & 0b101:
            yield tags


def _valid(orientation: object) -> int:
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes, bool]]:
    """Kind, data and whether the checksum is right, of each chunk of a PNG; struct.error where it is cut short."""
    place = len(PNG)
    while True:
        length, kind = struct.unpack_from('>I4s', content, place)
        data = content[place + 8 : place + 8 + length]
        (checksum,) = struct.unpack_from('>I', content, place + 8 + length)
        yield kind, data, zlib.crc32(data, zlib.crc32(kind)) == checksum
        if kind == b'IEND':
            return
        place += 12 + length


def png_damage(content: bytes) -> str | None:
    """What is wrong with a PNG by its own checksums, or None."""
    try:
        for kind, _, right in _chunks(content):
            if not right:
                return f'the checksum of its part {kind.decode("ascii", "replace")} is wrong'
    except struct.error:
        return 'it ends too early'
    return None


def jpeg_damage(content: bytes) -> str | None:
    """What is wrong with a JPEG by its structure, or None.

    JPEG has no checksum. A hole of zeros, as broken downloads have, decodes to something, which libjpeg warns of only
    if the number of blocks comes out wrong. But zeros are the shortest code again and again; where that is not the
    code of an empty rest of a block, no picture has it so often.
    """
    place, first_codes, progressive = 2, set(), False
    while place + 4 <= len(content) and content[place] == 0xFF:
        marker, length = content[place + 1], int.from_bytes(content[place + 2 : place + 4], 'big')
        if marker == 0xFF:  # a fill byte
            place += 1
            continue
        segment = content[place + 4 : place + 2 + length]
        if marker in (0xC2, 0xC6, 0xC9, 0xCA):  # progressive or arithmetic: zeros say nothing
            progressive = True
        elif marker == 0xC4:  # Huffman tables: class and number, 16 counts, the values by length of their code
            while len(segment) > 17:
                count = sum(segment[1:17])
                if segment[0] >= 16 and count:
                    first_codes.add(segment[17])
                segment = segment[17 + count :]
        place += 2 + length
        if marker == 0xDA:
            end = content.find(b'\xff\xd9', place)
            if end < 0:
                return 'it ends too early'
            if not progressive and first_codes - {0} and content.find(HOLE, place, end) >= 0:
                return f'{len(HOLE)} or more zeros in a row'
            return None
    return 'it ends too early'
