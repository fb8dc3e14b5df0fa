"""Decoding of images: what training, testing, the CRF and pictures see of a file is decided here.

What a decoder would drop, convert or make up is refused instead.
"""

import io
import os
import re
import tempfile
import threading
from pathlib import Path

import cv2
import mmcv
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import COMPRESSION, TILEWIDTH, TiffImageFile

from ..errors import UserError
from .headers import Header, read_bytes, read_header, turn

_one_at_a_time = threading.Lock()  # a process has one standard error
_WARNING = re.compile(rb'(Corrupt JPEG data|Premature end of JPEG file)[^\n]*\n?')


def decode_image(content: bytes, path: str | Path, color_type: str = 'color', backend: str = 'cv2') -> np.ndarray:
    """The pixels of an encoded image: (H, W, 3) BGR, uint8; of other color types as mmcv gives them.

    The image is turned as its EXIF orientation says, whatever its format; `color_ignore_orientation` leaves it as it
    is stored. Greys become three equal channels, a palette its colours, alpha is left out.

    Args:
        content: The encoded file.
        path: Its name, for the messages.
        color_type, backend: Those of mmcv's LoadImageFromFile.

    Raises:
        UserError: The file is damaged, no image, or too large; of the two color types above, if it has more than 8
            bits, other bands, other colours than RGB, or several pages.
    """
    return decode_turned(content, path, color_type, backend)[0]


def decode_turned(
    content: bytes, path: str | Path, color_type: str = 'color', backend: str = 'cv2'
) -> tuple[np.ndarray, int]:
    """As `decode_image`, with the EXIF orientation, 1 to 8, by which the stored pixels were turned."""
    header = read_header(content, f'image {path}')
    turned = color_type == 'color'
    if turned or color_type == 'color_ignore_orientation':
        check_colours(header, path)
    if backend != 'cv2' or not (turned or color_type == 'color_ignore_orientation'):
        image, warning = mmcv.imfrombytes(content, flag=color_type, backend=backend), ''
    else:
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
        image, warning = _raw_tiles(content) if header.format == 'TIFF' else None, ''
        if image is None:
            image, warning = _decode(content, flags, listen=header.format in ('JPEG', 'MPO'))
        if image is not None:
            image = _turned(image, header, turned)
        if image is not None and header.format == 'TIFF':
            warning = _damage_of_tiff(content)
    if image is None or warning:
        reason = f': {warning}. Fetch it again, or save it anew' if warning else ' or not an image'
        raise UserError(f'image {path} cannot be read: the file is damaged{reason}')
    return image, header.orientation if turned else 1


def read_image(path: str | Path, backend_args: dict | None = None) -> np.ndarray:
    """The image of a file, as the data pipeline decodes it, but (H, W, 3) uint8 RGB; errors as in `decode_image`."""
    return cv2.cvtColor(decode_image(read_bytes(path, 'image', backend_args), path), cv2.COLOR_BGR2RGB)


def check_colours(header: Header, path: str | Path) -> None:
    """Refuse an image of which an 8-bit RGB image is a part or a conversion only.

    Raises:
        UserError: It names what there is, and what to do.
    """
    if header.pages > 1:
        raise UserError(
            f'image {path} has {header.pages} pages, of which only the first would be used; save each as a file'
        )
    if header.bits > 8 or header.numbers != 'unsigned':
        kind = {'unsigned': 'uint', 'signed': 'int'}.get(header.numbers, header.numbers)
        raise UserError(
            f'image {path} cannot be read: it has {kind}{header.bits} pixels, 8 bits are needed; '
            'convert it with the contrast stretch that suits it, '
            "for example PIL.Image.fromarray(np.clip(image / image.max() * 255, 0, 255).astype('uint8')), "
            'or read its numbers as they are: LoadImage(bands=(0,), value_range=(LOWEST, HIGHEST))'
        )
    if header.colours not in ('grey', 'inverted grey', 'palette', 'RGB'):
        raise UserError(
            f"image {path} has {header.colours} pixels; convert it to RGB, with PIL.Image's convert('RGB') or, where "
            'colours matter, with its colour profile'
        )
    expected = 3 if header.colours == 'RGB' else 1
    if header.bands != expected:
        raise UserError(
            f'image {path} has {header.bands} bands, of which only {expected} would be used; choose three and '
            'save them as RGB (a fourth one that is transparency must be marked as alpha in the file), or have them '
            f'read by LoadImage(bands={tuple(range(header.bands))})'
        )


def _turned(image: np.ndarray, header: Header, turned: bool) -> np.ndarray:
    if header.format != 'TIFF':
        return turn(image, header.orientation) if turned else image
    # OpenCV turns these in any case; a quarter is undone by the other quarter, what mirrors by itself.
    return image if turned else turn(image, {6: 8, 8: 6}.get(header.orientation, header.orientation))


def _decode(content: bytes, flags: int, listen: bool) -> tuple[np.ndarray | None, str]:
    """Decode with OpenCV; with `listen`, also what libjpeg writes to standard error, where alone it tells of damage."""
    data = np.frombuffer(content, np.uint8)
    if not listen:
        return cv2.imdecode(data, flags), ''
    with _one_at_a_time, tempfile.TemporaryFile() as heard:
        try:
            real = os.dup(2)
        except OSError:  # there is no standard error
            return cv2.imdecode(data, flags), ''
        try:
            os.dup2(heard.fileno(), 2)
            image = cv2.imdecode(data, flags)
        finally:
            os.dup2(real, 2)
            os.close(real)
        heard.seek(0)
        text = heard.read()
    found = _WARNING.search(text)
    if image is not None and (rest := _WARNING.sub(b'', text)):  # somebody else's
        os.write(2, rest)
    return image, found[0].decode().strip() if found else ''


def _raw_tiles(content: bytes) -> np.ndarray | None:
    """A TIFF of uncompressed tiles, which OpenCV 5 can not read: (H, W, 3), BGR and turned; None of other files."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            tags = image.tag_v2 if isinstance(image, TiffImageFile) else {}
            if (
                TILEWIDTH not in tags
                or tags.get(COMPRESSION, 1) != 1
                or image.mode not in ('1', 'L', 'P', 'RGB', 'RGBA')
            ):
                return None
            image.load()
            return np.array(ImageOps.exif_transpose(image).convert('RGB'))[..., ::-1].copy()
    except OSError:  # damaged, as `_damage_of_tiff` says, or no image
        return None


def _damage_of_tiff(content: bytes) -> str:
    """What Pillow says of a TIFF, from which OpenCV makes an image with no more than a line on standard error."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
    except UnidentifiedImageError:  # of bands that Pillow has no name for
        return ''
    except OSError as error:
        return str(error)
    return ''
