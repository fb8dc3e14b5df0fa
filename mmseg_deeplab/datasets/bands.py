"""Pictures of any bands and bits: which of them the network gets, what their numbers mean, which three are shown."""

import importlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..errors import UserError, UserImportError
from .headers import TIFF, read_bytes, read_header, turn
from .images import decode_turned, read_image

NPY = b'\x93NUMPY'
EXACT = 2**24  # whole numbers up to here are exact in float32


@dataclass(frozen=True)
class Bands:
    """The bands of a file that are used.

    Attributes:
        indices: Of the file's bands, from 0, in the order that the network gets them.
        value_range: The numbers that mean black and white; others in a file are an error.
        show: The three of `indices` that stand for red, green and blue wherever the picture is seen, by eyes or by the
            dense CRF.
    """

    indices: tuple[int, ...]
    value_range: tuple[float, float] | None
    show: tuple[int, int, int]

    @classmethod
    def of(
        cls,
        bands: Sequence[int],
        value_range: Sequence[float] | None = None,
        show: Sequence[int] | None = None,
    ) -> 'Bands':
        """Check what a config gives: whole numbers from 0, none twice; low < high; three of the bands.

        By default the first three bands are shown, or the first one as grey.
        """
        indices = tuple(bands) if isinstance(bands, Sequence) else (bands,)
        if not indices or not all(_is_index(band) for band in indices) or len({*indices}) < len(indices):
            raise UserError(f'bands={bands!r}: give the numbers of the bands in the file, from 0, such as (3, 2, 1, 7)')
        shown = tuple(show) if show is not None else indices[:3] if len(indices) > 2 else indices[:1] * 3
        if len(shown) != 3 or not {*shown} <= {*indices}:
            raise UserError(f'show={show!r}: give three of bands={indices}, for red, green and blue')
        if value_range is not None:
            low_high = tuple(value_range) if isinstance(value_range, Sequence) else (value_range,)
            if len(low_high) != 2 or not low_high[0] < low_high[1]:
                raise UserError(
                    f'value_range={value_range!r}: give the lowest and the highest value, such as (0, 4095)'
                )
            value_range = low_high
        return cls(indices, value_range, shown)

    @classmethod
    def of_step(cls, step: Mapping[str, Any]) -> 'Bands | None':
        """Those that a LoadImage in a pipeline's config asks for, if it does."""
        if step.get('bands') is None:
            return None
        return cls.of(step['bands'], step.get('value_range'), step.get('show'))

    def decode(self, content: bytes, path: str | Path) -> tuple[np.ndarray, int]:
        """The pixels (H, W, n) of an encoded file, and the EXIF orientation by which they were turned.

        8 bits stay uint8; all else becomes float32, with the numbers as they are stored.

        Raises:
            UserError: The file is damaged, lacks a band, or holds numbers that are no number, are outside the range, or
                would not be exact.
        """
        pixels, orientation = stored_bands(content, path)
        return turn(self.choose(pixels, f'image {path}'), orientation), orientation

    def choose(self, pixels: np.ndarray, name: str) -> np.ndarray:
        """The used bands (H, W, n) of all of a picture's (H, W, B), or of its only one (H, W), as `decode` has them.

        Args:
            pixels: Numbers of any kind.
            name: Of the picture, for messages; errors as in `decode`.
        """
        pixels = pixels.reshape(*pixels.shape[:2], -1)
        most = pixels.shape[2]
        if max(self.indices) >= most:
            raise UserError(
                f'{name} has {most} bands, 0 to {most - 1} ({pixels.shape[1]} x {pixels.shape[0]} pixels): '
                f'bands={self.indices} asks for {max(self.indices)}'
            )
        return self._checked(np.ascontiguousarray(pixels[..., list(self.indices)]), name)

    def loaded(self, image: np.ndarray) -> dict[str, Any]:
        """What a pipeline begins with, of the used bands (H, W, n): three stand last first, as OpenCV's colours."""
        if image.shape[2] == 3:
            image = np.ascontiguousarray(image[..., ::-1])
        return dict(img=image, bands=self, bands_dtype=image.dtype)

    def picture(self, pixels: np.ndarray) -> np.ndarray:
        """The shown bands of pixels (H, W, n), as uint8 (H, W, 3): the range becomes 0 to 255."""
        shown = pixels[..., [self.indices.index(band) for band in self.show]]
        low, high = self.value_range or (0, 255)
        if shown.dtype == np.uint8 and (low, high) == (0, 255):
            return np.ascontiguousarray(shown)
        scaled = (shown.astype(np.float64) - low) * (255 / (high - low))
        return np.rint(scaled).clip(0, 255).astype(np.uint8)

    def read_picture(self, path: str | Path, backend_args: dict | None = None) -> np.ndarray:
        """The shown bands of a file, uint8 (H, W, 3); errors as in `decode`."""
        return self.picture(self.decode(read_bytes(path, 'image', backend_args), path)[0])

    def _checked(self, pixels: np.ndarray, name: str) -> np.ndarray:
        if pixels.dtype.kind not in 'uif':
            raise UserError(f'{name} holds {pixels.dtype}; numbers are needed')
        if not np.isfinite(pixels).all():
            raise UserError(
                f'{name} holds NaN or infinite values, such as mark pixels without data: give these a value of '
                'the range in the file, and void (255) in its mask'
            )
        low, high = (float(pixels.min()), float(pixels.max())) if pixels.size else (0.0, 0.0)
        if self.value_range is None and pixels.dtype != np.uint8:
            raise UserError(
                f'{name} holds {pixels.dtype} values, here {low:g} to {high:g}: state what is black and what is '
                'white for all pictures of this kind, such as LoadImage(..., value_range=(0, 65535))'
            )
        first, last = self.value_range or (0, 255)
        if low < first or high > last:
            raise UserError(
                f'{name} holds the values {low:g} to {high:g}, outside of value_range={(first, last)}; widen it, '
                'or correct the file: values are neither cut off nor rescaled'
            )
        if pixels.dtype.kind in 'ui' and max(abs(low), abs(high)) > EXACT:
            raise UserError(
                f'{name} holds {pixels.dtype} values up to {max(abs(low), abs(high)):.0f}; whole numbers beyond '
                f'{EXACT} are not exact in float32: divide them, or subtract an offset, as you save it'
            )
        return pixels if pixels.dtype == np.uint8 else pixels.astype(np.float32)


def read_shown(path: str | Path, bands: Bands | None) -> np.ndarray:
    """The picture of a file as it is shown, uint8 RGB (H, W, 3): by its chosen bands, or as `read_image` reads it."""
    return bands.read_picture(path) if bands else read_image(path)


def _is_index(band: object) -> bool:
    return isinstance(band, int) and not isinstance(band, bool) and band >= 0


def stored_bands(content: bytes, path: str | Path, kind: str = 'image') -> tuple[np.ndarray, int]:
    """All bands of a file as they are stored (H, W, B), and the EXIF orientation by which it should be turned.

    Args:
        content: The file.
        path, kind: Its name and what it is, for messages.

    Raises:
        UserError: It is damaged, or its pixels are no bands.
    """
    name = f'{kind} {path}'
    if content.startswith(NPY):
        return _npy(content, name), 1
    header = read_header(content, name)
    if header.colours not in ('grey', 'RGB', 'palette'):
        raise UserError(f'{name} has {header.colours} pixels, which are no bands; save it as grey or RGB')
    if header.pages > 1:
        raise UserError(f'{name} has {header.pages} pages; save each as a file, or all as the bands of one page')
    if content.startswith(TIFF):
        return _tiff(content, name), header.orientation
    if header.format != 'PNG' or header.colours == 'palette':  # 8 bits, without alpha
        pixels, _ = decode_turned(content, path, 'color_ignore_orientation')
        return pixels[..., :1] if header.colours == 'grey' else pixels[..., ::-1], header.orientation
    if header.bits < 8:
        raise UserError(f'{name} has {header.bits}-bit greys, which decoders spread to 0..255; save it with 8 bits')
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise UserError(f'{name} cannot be read: the file is damaged or not an image')
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    if header.colours == 'grey':  # with alpha OpenCV repeats the grey
        return pixels[..., [0, 3]] if pixels.shape[2] == 4 else pixels[..., :1], header.orientation
    return pixels[..., [2, 1, 0, 3][: pixels.shape[2]]], header.orientation


def _npy(content: bytes, name: str) -> np.ndarray:
    try:
        pixels = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise UserError(f'{name} cannot be read as an array: {error}') from error
    if pixels.ndim not in (2, 3):
        raise UserError(f'{name} is an array {pixels.shape}; (H, W) or (H, W, bands) is needed')
    return pixels.reshape(*pixels.shape[:2], -1)


def _tiff(content: bytes, name: str) -> np.ndarray:
    try:
        tifffile: Any = importlib.import_module('tifffile')
    except ImportError as error:
        raise UserImportError(
            f'{name}: the bands of a TIFF are read by tifffile, which is not installed: '
            "pip install 'mmseg_deeplab[large]'"
        ) from error
    try:
        with tifffile.TiffFile(io.BytesIO(content)) as file:
            series = file.series
            pixels, axes = series[0].asarray(), series[0].axes
    except Exception as error:  # whatever a broken file leads it to
        if 'imagecodecs' in str(error):
            raise UserImportError(f'{name}: {error}; pip install imagecodecs, or save it uncompressed') from error
        raise UserError(f'{name} cannot be read: the file is damaged or not an image ({error})') from error
    others = [place for place, axis in enumerate(axes) if axis not in 'YX']
    if len(series) > 1 or len(others) > 1 or 'Y' not in axes or 'X' not in axes:
        raise UserError(
            f'{name} holds {len(series)} pictures of the axes {axes}; one of height, width and bands is needed'
        )
    pixels = np.moveaxis(pixels, others, [2] * len(others))
    return pixels.reshape(*pixels.shape[:2], -1)
