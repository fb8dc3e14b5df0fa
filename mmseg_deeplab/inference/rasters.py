"""Pictures that are read by bands of rows, since they may not fit into memory as a whole."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..datasets.bands import NPY, Bands, stored_bands
from ..datasets.headers import TIFF, Header, check_size, read_bytes, read_tiff_header, turn
from ..datasets.images import check_colours, read_image
from ..errors import UserError, UserFileNotFoundError, UserImportError
from .readers import Picture

TIFFS = ('.tif', '.tiff')
SLIDES = ('.svs', '.ndpi', '.scn', '.mrxs', '.vms', '.vmu', '.bif', '.svslide')
"""Whole slides, which OpenSlide reads."""
SLIDE_ROWS = 256
"""Rows of a slide that are read at a time."""
WHERE_ON_EARTH = (33550, 33922, 34264, 34735, 34736, 34737)
"""Tags of a GeoTIFF: pixel scale, tie points, transformation, keys and their values."""
PALETTE, YCBCR, PLAIN, JPEG = 3, 6, 1, 7  # photometric interpretations and compressions
LOSSLESS = (PLAIN, 5, 8, 32773, 32946, 34925, 50000)  # LZW, deflate, packed bits, deflate, LZMA, Zstandard
ENDLESS = (2**31, 2**31)


class Raster:
    """A picture of which rows are read when they are wanted.

    Attributes:
        name: What it is called in messages.
        shape: (height, width).
        damage: What could not be read so far, each place once.
        tags: Of a TIFF: those of `WHERE_ON_EARTH`, as tifffile's `extratags`.
        resolution: Of a TIFF: tifffile's `resolution` and `resolutionunit`.
        bands: Those that its model takes, if it takes such.
    """

    bands: Bands | None = None

    def __init__(self, name: str, shape: Sequence[int]):
        self.name = name
        self.shape = int(shape[0]), int(shape[1])
        self.damage: dict[Any, str] = {}
        self.tags: list[tuple] = []
        self.resolution: dict[str, Any] = {}

    def rows(self, top: int, bottom: int) -> tuple[np.ndarray, np.ndarray | None]:
        """The pixels (h, W, 3), uint8 RGB, of some rows, and which (h, W) of them could not be read; None for none.

        Of a picture for a model that takes bands, they are all of its bands (h, W, B), as they are stored.
        """
        raise NotImplementedError

    def shown(self, top: int, bottom: int) -> np.ndarray:
        """Some rows as they are looked at, uint8 RGB (h, W, 3)."""
        pixels = self.rows(top, bottom)[0]
        return self.bands.picture(self.bands.choose(pixels, self.name)) if self.bands else pixels


class ArrayRaster(Raster):
    """Pixels in memory or in a numpy memory map."""

    def __init__(self, name: str, pixels: np.ndarray):
        super().__init__(name, pixels.shape)
        self._pixels = pixels

    def rows(self, top: int, bottom: int) -> tuple[np.ndarray, None]:
        return np.array(self._pixels[top:bottom]), None


class SlideRaster(Raster):
    """The full resolution of a whole slide; places outside of the scan are white."""

    def __init__(self, path: Path):
        openslide = needed_module('openslide', path, 'pip install openslide-python openslide-bin')
        try:
            self._slide = openslide.OpenSlide(str(path))
        except openslide.OpenSlideError as error:
            raise UserError(f'slide {path} cannot be read: {error}') from error
        self._error, self._path = openslide.OpenSlideError, path
        super().__init__(str(path), self._slide.dimensions[::-1])
        microns = self._slide.properties.get(openslide.PROPERTY_NAME_MPP_X)
        if microns:
            per_centimetre = 1e4 / float(microns)
            self.resolution = dict(resolution=(per_centimetre, per_centimetre), resolutionunit='CENTIMETER')

    def rows(self, top: int, bottom: int) -> tuple[np.ndarray, np.ndarray | None]:
        pixels = np.zeros((bottom - top, self.shape[1], 3), np.uint8)
        broken = np.zeros(pixels.shape[:2], bool)
        for y in range(top, bottom, SLIDE_ROWS):
            try:
                region = self._slide.read_region((0, y), 0, (self.shape[1], min(SLIDE_ROWS, bottom - y)))
            except self._error as error:  # OpenSlide refuses everything after an error: open it again
                self._slide = type(self._slide)(str(self._path))
                broken[y - top : y - top + SLIDE_ROWS] = True
                self.damage[y] = f'rows {y} to {min(y + SLIDE_ROWS, bottom) - 1}: {error}'
                continue
            white = Image.new('RGBA', region.size, 'white')
            pixels[y - top : y - top + SLIDE_ROWS] = np.asarray(Image.alpha_composite(white, region).convert('RGB'))
        return pixels, broken if broken.any() else None


class TiffBlocks(Raster):
    """The samples of a TIFF's first page, decoded by its strips or tiles, each by itself."""

    def __init__(self, path: Path):
        tifffile = needed_module('tifffile', path, "pip install 'mmseg_deeplab[large]'")
        self._file = tifffile.TiffFile(path)
        self._page: Any = self._file.pages[0]
        page = self._page
        super().__init__(str(path), page.shaped[-3:-1])
        self._planes = page.samplesperpixel if page.planarconfig == 2 else 1
        height, width = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, self.shape[1])
        self._block = min(height, self.shape[0]), min(width, self.shape[1])
        self._grid = -(-self.shape[0] // height), -(-self.shape[1] // width)
        self.tags = [
            (tag.code, tag.dtype, tag.count, tag.value, True) for code in WHERE_ON_EARTH if (tag := page.tags.get(code))
        ]
        if 282 in page.tags:
            self.resolution = dict(resolution=page.resolution, resolutionunit=page.resolutionunit)
        self._kept: tuple[int, np.ndarray] | None = None  # a strip that may go on in the next rows
        if page.compression != PLAIN:  # of plain ones, single rows are read
            check_size((self._block[1], self._block[0]), f'a strip of {path}')

    @property
    def is_lossless(self) -> bool:
        """Whether its samples are those that its blocks decode to."""
        return self._page.compression in LOSSLESS and self._page.photometric != YCBCR

    def samples(self, top: int, bottom: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Samples (h, W, S) of some rows, and which (h, W) could not be read."""
        width, page = self.shape[1], self._page
        out = np.zeros((bottom - top, width, page.samplesperpixel), page.dtype)
        broken = np.zeros(out.shape[:2], bool)
        height, block_width = self._block
        for plane in range(self._planes):
            bands = slice(None) if self._planes == 1 else slice(plane, plane + 1)
            for row in range(top // height, -(-bottom // height)):
                for column in range(self._grid[1]):
                    y, x = row * height, column * block_width
                    first, last = max(top, y), min(bottom, y + height)
                    place = slice(first - top, last - top), slice(x, min(x + block_width, width))
                    block = self._decoded((plane * self._grid[0] + row) * self._grid[1] + column, first - y, last - y)
                    if block is None:
                        broken[place] = True
                    else:
                        out[(*place, bands)] = block[: last - first, : width - x]
        return out, broken if broken.any() else None

    def _decoded(self, index: int, first: int, last: int) -> np.ndarray | None:
        """Rows `first` to `last` of a block; None if there are none, which is damage unless the file says so."""
        page = self._page
        try:
            offset, count = page.dataoffsets[index], page.databytecounts[index]
            if count == 0:  # as GDAL writes blocks without data
                return None
            if page.compression == PLAIN and not page.is_tiled:
                return self._plain(offset, count, first, last)
            if self._kept is None or self._kept[0] != index:
                tables = dict(jpegtables=page.jpegtables, jpegheader=page.jpegheader)
                block = page.decode(self._read(offset, count), index, **(tables if page.compression == JPEG else {}))
                self._kept = index, block[0][0]
            return self._kept[1][first:last]
        except ImportError as error:
            raise UserImportError(
                f"{self.name} needs a decoder: pip install 'mmseg_deeplab[large]' ({error})"
            ) from error
        except Exception as error:  # whatever a decoder makes of damaged data
            self.damage.setdefault(index, f'{self._place(index)}: {error}')
            return None

    def _plain(self, offset: int, count: int, first: int, last: int) -> np.ndarray:
        """Rows of an uncompressed strip, which may be the whole picture."""
        page = self._page
        bands = page.samplesperpixel if self._planes == 1 else 1
        line = self.shape[1] * bands * page.dtype.itemsize
        if last * line > count:
            raise ValueError(f'it has {count} bytes, {last * line} are needed')
        data = self._read(offset + first * line, (last - first) * line)
        return np.frombuffer(data, page.dtype.newbyteorder(self._file.byteorder)).reshape(-1, self.shape[1], bands)

    def _read(self, offset: int, count: int) -> bytes:
        self._file.filehandle.seek(offset)
        data = self._file.filehandle.read(count)
        if len(data) < count:
            raise ValueError(f'the file ends {count - len(data)} bytes too early')
        return data

    def _place(self, index: int) -> str:
        row, column = divmod(index % (self._grid[0] * self._grid[1]), self._grid[1])
        top, left = row * self._block[0], column * self._block[1]
        rows = f'rows {top} to {min(top + self._block[0], self.shape[0]) - 1}'
        columns = f', columns {left} to {min(left + self._block[1], self.shape[1]) - 1}'
        return rows + columns * (self._grid[1] > 1)


class TiffRaster(TiffBlocks):
    """A TIFF of 8 bits a sample, as RGB; alpha is left out, as `datasets.images` does."""

    @property
    def by_blocks(self) -> bool:
        """Whether its colours are those that its blocks decode to."""
        return self.is_lossless or self._page.compression == JPEG

    def rows(self, top: int, bottom: int) -> tuple[np.ndarray, np.ndarray | None]:
        samples, broken = self.samples(top, bottom)
        if self._page.photometric == PALETTE:
            return (self._page.colormap >> 8).astype(np.uint8).T[samples[..., 0]], broken
        if self._page.samplesperpixel < 3:
            grey = samples[..., :1] if self._page.photometric else 255 - samples[..., :1]
            return grey.repeat(3, axis=2), broken
        return np.ascontiguousarray(samples[..., :3]), broken


class BandRaster(TiffBlocks):
    """All bands of a TIFF as they are stored, with alpha."""

    def rows(self, top: int, bottom: int) -> tuple[np.ndarray, np.ndarray | None]:
        return self.samples(top, bottom)


def open_raster(path: Path, bands: Bands | None = None) -> Raster:
    """Open a picture for reading by rows.

    TIFFs of 8 bits are decoded by strips or tiles (tifffile), whole slides by OpenSlide; other pictures are decoded as
    a whole, up to the 179 million pixels that `datasets.headers.check_size` allows.

    Args:
        path: The file.
        bands: Those that a model takes: then rows are all bands of the file, TIFFs may have any number of any bits, and
            npy files are read by rows too.

    Raises:
        UserError: For what is no picture, has other pixels than 8-bit RGB, grey or palette, or is too large for its
            format.
        UserImportError: If a package for this format is not installed.
    """
    if not path.is_file():
        raise UserFileNotFoundError(f'picture {path} does not exist (from {Path.cwd()})')
    if bands is not None:
        raster = _open_bands(path)
        raster.bands = bands
        return raster
    if path.suffix.lower() in SLIDES:
        return SlideRaster(path)
    header = _tiff_header(path)
    if header is not None:
        check_colours(header, path)
        if header.bits == 8 and header.orientation == 1:
            raster = TiffRaster(path)
            if raster.by_blocks:
                return raster
        check_size(header.size, f'image {path}')
    return ArrayRaster(str(path), read_image(path))


def _tiff_header(path: Path) -> Header | None:
    """The header of a TIFF; None for another file."""
    with open(path, 'rb') as file:
        is_tiff = file.read(4) in TIFF
        file.seek(0)
        try:
            return read_tiff_header(file) if is_tiff else None
        except Exception as error:
            raise UserError(f'image {path} cannot be read: the file is damaged ({error})') from error


def _open_bands(path: Path) -> Raster:
    if path.suffix.lower() in SLIDES:
        return SlideRaster(path)
    if (pixels := _npy(path)) is not None:
        return ArrayRaster(str(path), pixels)
    header = _tiff_header(path)
    plain = header and header.pages == header.orientation == 1 and header.bits % 8 == 0
    if header and plain and header.colours in ('grey', 'RGB'):
        raster = BandRaster(path)
        if raster.is_lossless:
            return raster
    stored, orientation = stored_bands(read_bytes(path, 'image'), path)
    return ArrayRaster(str(path), turn(stored, orientation))


def _npy(path: Path) -> np.ndarray | None:
    """The array of a npy file (H, W) or (H, W, bands), as a memory map; None for another file."""
    with open(path, 'rb') as file:
        if file.read(len(NPY)) != NPY:
            return None
    try:
        pixels = np.load(path, mmap_mode='r', allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise UserError(f'image {path} cannot be read as an array: {error}') from error
    if pixels.ndim not in (2, 3):
        raise UserError(f'image {path} is an array {pixels.shape}; (H, W) or (H, W, bands) is needed')
    return pixels


def raster_of(picture: Picture, bands: Bands | None = None) -> Raster:
    """The raster of a file or of pixels; errors as in `open_raster`."""
    if picture.pixels is not None:
        raster = ArrayRaster(picture.name, picture.pixels)
        raster.bands = bands
        return raster
    assert picture.path is not None
    return open_raster(picture.path, bands)


def shape_of(picture: Picture) -> tuple[int, int]:
    """(height, width) as the head of a file states it; (0, 0) for what has no such head, endless for a whole slide."""
    if picture.pixels is not None:
        return picture.pixels.shape[0], picture.pixels.shape[1]
    path = picture.path
    assert path is not None
    if path.suffix.lower() in SLIDES:
        return ENDLESS
    try:
        if (pixels := _npy(path)) is not None:
            return pixels.shape[0], pixels.shape[1]
        with open(path, 'rb') as file:
            is_tiff = file.read(4) in TIFF
            file.seek(0)
            if is_tiff:
                return read_tiff_header(file).size[::-1]
            with warnings.catch_warnings():
                warnings.simplefilter('ignore', Image.DecompressionBombWarning)
                with Image.open(file) as image:
                    return image.size[::-1]
    except Image.DecompressionBombError:
        return ENDLESS
    except Exception:  # whoever reads it says what is wrong
        return 0, 0


def needed_module(name: str, path: Path, command: str) -> Any:
    """Import an optional package for a file; where it is absent, a `UserImportError` says how to get it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserImportError(f'{path}: {name} is needed, which is not installed: {command} ({error})') from error
