"""Pictures by rows: the same pixels as decoded whole, damage that is named, and files that are written."""

import sys

import cv2
import numpy as np
import pytest
from PIL import Image

from mmseg_deeplab.datasets.images import read_image
from mmseg_deeplab.inference.rasters import ArrayRaster, TiffRaster, open_raster, shape_of
from mmseg_deeplab.inference.readers import Picture
from mmseg_deeplab.inference.tiff_writer import label_bands, write_tiff

tifffile = pytest.importorskip('tifffile', reason='tifffile is not installed')
WITH_CODECS = pytest.mark.skipif(
    pytest.importorskip('importlib.util').find_spec('imagecodecs') is None, reason='imagecodecs is not installed'
)
PIXELS = np.random.default_rng(0).integers(0, 256, (150, 210, 3), dtype=np.uint8)
SMOOTH = cv2.resize(PIXELS[:10, :12], (210, 150))
TILED, STRIPS = dict(tile=(64, 48)), dict(rowsperstrip=40)


def by_rows(raster, step=37):
    bands = [raster.rows(top, min(top + step, raster.shape[0])) for top in range(0, raster.shape[0], step)]
    broken = [np.zeros(pixels.shape[:2], bool) if b is None else b for pixels, b in bands]
    return np.concatenate([pixels for pixels, _ in bands]), np.concatenate(broken)


@pytest.mark.parametrize(
    'options',
    [
        dict(),
        STRIPS,
        TILED,
        dict(TILED, planarconfig='separate'),
        dict(STRIPS, planarconfig='separate'),
        dict(TILED, compression='zlib'),
        dict(compression='zlib', byteorder='>'),
        dict(TILED, bigtiff=True),
        pytest.param(dict(TILED, compression='zlib', predictor=True), marks=WITH_CODECS),
        pytest.param(dict(STRIPS, compression='lzw', predictor=True), marks=WITH_CODECS),
        pytest.param(dict(STRIPS, compression='packbits'), marks=WITH_CODECS),
    ],
)
def test_rows_of_a_tiff_are_those_of_the_whole_picture(tmp_path, options):
    path, options = tmp_path / 'picture.tif', dict(options)
    file = {key: options.pop(key) for key in ('byteorder', 'bigtiff') if key in options}
    tifffile.imwrite(
        path, PIXELS.transpose(2, 0, 1) if 'planarconfig' in options else PIXELS, photometric='rgb', **file, **options
    )
    raster = open_raster(path)
    assert isinstance(raster, TiffRaster) and raster.shape == (150, 210) == shape_of(Picture('', path))
    pixels, broken = by_rows(raster)
    assert not broken.any() and not raster.damage
    np.testing.assert_array_equal(pixels, PIXELS)


@WITH_CODECS
@pytest.mark.parametrize('layout', [TILED, STRIPS])
def test_jpeg_in_a_tiff(tmp_path, layout):
    path = tmp_path / 'picture.tif'
    if layout is TILED:
        tifffile.imwrite(path, SMOOTH, photometric='ycbcr', compression='jpeg', subsampling=(1, 1), **layout)
    else:
        Image.fromarray(SMOOTH).save(path, compression='jpeg', quality=95)
    raster = open_raster(path)
    pixels, broken = by_rows(raster)
    assert isinstance(raster, TiffRaster) and not broken.any()
    assert np.abs(pixels.astype(int) - read_image(path)).max() <= 3  # decoders round colours differently


@pytest.mark.parametrize('mode', ['L', 'P', '1', 'RGBA', 'LA'])
@pytest.mark.parametrize('suffix', ['.tif', '.png'])
def test_other_colours_are_those_of_the_pipeline(tmp_path, mode, suffix):
    path = tmp_path / f'picture{suffix}'
    picture = Image.fromarray(SMOOTH).convert(mode)
    picture.save(path)
    pixels, _ = by_rows(open_raster(path))
    np.testing.assert_array_equal(pixels, read_image(path))


def test_white_is_zero(tmp_path):
    tifffile.imwrite(tmp_path / 'picture.tif', PIXELS[..., 0], photometric='miniswhite')
    np.testing.assert_array_equal(by_rows(open_raster(tmp_path / 'picture.tif'))[0][..., 1], 255 - PIXELS[..., 0])


def test_turned_pictures_are_turned(tmp_path):
    for suffix in ('.tif', '.jpg'):
        exif = Image.Exif()
        exif[274] = 6
        Image.fromarray(SMOOTH).save(tmp_path / f'p{suffix}', exif=exif)
        raster = open_raster(tmp_path / f'p{suffix}')
        assert raster.shape == (210, 150)
        np.testing.assert_array_equal(by_rows(raster)[0], read_image(tmp_path / f'p{suffix}'))


def test_what_is_no_8_bit_colour_picture_is_refused(tmp_path):
    path = tmp_path / 'picture.tif'
    for pixels, options, message in (
        (PIXELS.astype(np.uint16), dict(photometric='rgb'), 'uint16 pixels'),
        (PIXELS[..., 0].astype(np.float32), {}, 'float32 pixels'),
        (np.dstack([PIXELS, PIXELS[..., 0]]), dict(photometric='rgb', extrasamples=['unspecified']), '4 bands'),
    ):
        tifffile.imwrite(path, pixels, **options)
        with pytest.raises(ValueError, match=message):
            open_raster(path)
    tifffile.imwrite(path, np.stack([PIXELS] * 2), photometric='rgb')
    with pytest.raises(ValueError, match='2 pages'):
        open_raster(path)
    path.write_bytes(b'II*\0\x08')
    with pytest.raises(ValueError, match='damaged'):
        open_raster(path)
    with pytest.raises(FileNotFoundError, match='none.tif'):
        open_raster(tmp_path / 'none.tif')


def test_limits_of_formats_without_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 1000)
    Image.fromarray(PIXELS).save(tmp_path / 'picture.png')
    tifffile.imwrite(tmp_path / 'one.tif', PIXELS, photometric='rgb', compression='zlib', rowsperstrip=150)
    tifffile.imwrite(tmp_path / 'plain.tif', PIXELS, photometric='rgb', rowsperstrip=150)
    assert min(shape_of(Picture('', tmp_path / 'picture.png'))) > 10**9
    for name in ('picture.png', 'one.tif'):
        with pytest.raises(ValueError, match='too large to be decoded'):
            open_raster(tmp_path / name)
    np.testing.assert_array_equal(by_rows(open_raster(tmp_path / 'plain.tif'))[0], PIXELS)


@pytest.mark.parametrize(
    'options, place',
    [
        (dict(STRIPS, compression='zlib'), (slice(40, 80), slice(None))),
        (dict(TILED, compression='zlib'), (slice(0, 64), slice(48, 96))),
        pytest.param(dict(STRIPS, compression='lzw'), (slice(40, 80), slice(None)), marks=WITH_CODECS),
        pytest.param(
            dict(TILED, compression='jpeg', photometric='rgb'), (slice(0, 64), slice(48, 96)), marks=WITH_CODECS
        ),
    ],
)
def test_a_block_of_damaged_data_is_named_once_and_the_rest_is_read(tmp_path, options, place):
    path = tmp_path / 'picture.tif'
    tifffile.imwrite(path, SMOOTH, **{'photometric': 'rgb', **options})
    whole = by_rows(open_raster(path))[0]
    with tifffile.TiffFile(path) as tiff:
        offset, count = tiff.pages[0].dataoffsets[1], tiff.pages[0].databytecounts[1]
    content = bytearray(path.read_bytes())
    content[offset : offset + count] = bytes(count)
    path.write_bytes(content)
    raster = open_raster(path)
    pixels, broken = by_rows(raster)
    expected = np.zeros((150, 210), bool)
    expected[place] = True
    np.testing.assert_array_equal(broken, expected)
    np.testing.assert_array_equal(pixels[~broken], whole[~broken])
    (damage,) = raster.damage.values()
    first = f'rows {place[0].start} to {place[0].stop - 1}'
    assert damage.startswith(first) and ('columns 48 to 95' in damage) == ('tile' in options)


@pytest.mark.parametrize('options', [STRIPS, TILED, dict(STRIPS, compression='zlib')])
def test_a_file_that_ends_too_early(tmp_path, options):
    path = tmp_path / 'picture.tif'
    tifffile.imwrite(path, PIXELS, photometric='rgb', **options)
    path.write_bytes(path.read_bytes()[:-100])
    raster = open_raster(path)
    pixels, broken = by_rows(raster)
    assert broken[-1, -1] and not broken[:100].any()
    np.testing.assert_array_equal(pixels[~broken], PIXELS[~broken])
    assert 'too early' in ''.join(raster.damage.values())


def test_a_memory_map_is_read_by_rows(tmp_path):
    np.save(tmp_path / 'pixels.npy', PIXELS)
    pixels = np.load(tmp_path / 'pixels.npy', mmap_mode='r')
    np.testing.assert_array_equal(by_rows(ArrayRaster('map', pixels))[0], PIXELS)


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / 'picture.tif', PIXELS, photometric='rgb')
    monkeypatch.setitem(sys.modules, 'tifffile', None)
    with pytest.raises(ImportError, match=r'tifffile is needed.*mmseg_deeplab\[large\]'):
        open_raster(tmp_path / 'picture.tif')
    monkeypatch.setitem(sys.modules, 'openslide', None)
    (tmp_path / 'slide.svs').write_bytes(b'')
    with pytest.raises(ImportError, match=r'openslide is needed.*openslide-python'):
        open_raster(tmp_path / 'slide.svs')


def test_slides(tmp_path):
    """OpenSlide opens any tiled TIFF as a slide."""
    pytest.importorskip('openslide', reason='OpenSlide is not installed')
    path = tmp_path / 'slide.svs'
    pixels = cv2.resize(PIXELS, (900, 700))
    tifffile.imwrite(path, pixels, photometric='rgb', tile=(256, 256), compression='zlib')
    raster = open_raster(path)
    assert type(raster).__name__ == 'SlideRaster' and raster.shape == (700, 900)
    np.testing.assert_array_equal(by_rows(raster, 300)[0], pixels)
    path.write_bytes(b'no slide')
    with pytest.raises(ValueError, match='slide.svs cannot be read'):
        open_raster(path)


@pytest.mark.parametrize('shape', [(1, 1), (256, 256), (300, 700)])
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_a_label_map_comes_back(tmp_path, shape, dtype):
    labels = np.random.default_rng(1).integers(0, 5, shape, dtype=dtype)
    like = ArrayRaster('picture', np.zeros((*shape, 3), np.uint8))
    path = tmp_path / 'new' / 'mask.tif'
    palette = [(10 * k, k, 255 - k) for k in range(5)]
    write_tiff(path, np.array_split(labels, 7), dtype, like, palette, void=np.iinfo(dtype).max)
    np.testing.assert_array_equal(np.concatenate(list(label_bands(path))), labels)
    with Image.open(path) as picture:
        assert picture.mode == ('P' if dtype == np.uint8 else 'I;16')
        np.testing.assert_array_equal(np.array(picture), labels)
        if dtype == np.uint8:
            np.testing.assert_array_equal(np.array(picture.convert('RGB')), np.array(palette, np.uint8)[labels])
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0]
        assert page.is_tiled and page.compression == 8 and page.nodata == np.iinfo(dtype).max


def test_an_interrupted_file_is_no_file(tmp_path):
    def bands():
        yield np.zeros((300, 400), np.uint8)
        raise RuntimeError('stopped')

    like = ArrayRaster('picture', np.zeros((600, 400, 3), np.uint8))
    with pytest.raises(RuntimeError, match='stopped'):
        write_tiff(tmp_path / 'mask.tif', bands(), np.uint8, like, void=255)
    assert not list(tmp_path.iterdir())


def test_place_on_earth_is_kept(tmp_path):
    rasterio = pytest.importorskip('rasterio', reason='rasterio is not installed')
    path = tmp_path / 'earth.tif'
    place = rasterio.transform.from_origin(500_000, 4_600_000, 0.5, 0.5)
    with rasterio.open(
        path, 'w', 'GTiff', width=210, height=150, count=3, dtype='uint8', crs='EPSG:32633', transform=place,
        tiled=True, blockxsize=64, blockysize=64, compress='deflate', photometric='RGB',
    ) as file:  # fmt: skip
        file.write(PIXELS.transpose(2, 0, 1))
    raster = open_raster(path)
    np.testing.assert_array_equal(by_rows(raster)[0], PIXELS)
    write_tiff(tmp_path / 'mask.tif', [PIXELS[..., 0] % 4], np.uint8, raster, [(9, 8, 7)] * 4, void=255)
    with rasterio.open(tmp_path / 'mask.tif') as mask:
        assert mask.crs.to_epsg() == 32633 and mask.transform == place and mask.nodata == 255
        np.testing.assert_array_equal(mask.read(1), PIXELS[..., 0] % 4)
        assert mask.colormap(1)[2] == (9, 8, 7, 255)
