"""Every kind of file of the table in docs/inputs.md: what is taken, exactly, and what is refused, with its words."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from annotation_files import ROWS, TOOLS
from mmseg.registry import TRANSFORMS
from PIL import Image

from mmseg_deeplab.datasets import ImageMaskFolder
from mmseg_deeplab.errors import UserError

GREY8 = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
RGB8 = np.arange(36, dtype=np.uint8).reshape(3, 4, 3) * 7
RGBA8 = np.arange(48, dtype=np.uint8).reshape(3, 4, 4) * 5
GREY16 = GREY8.astype(np.uint16) * 17
RGB16 = RGB8.astype(np.uint16) * 17
RGBA16 = RGBA8.astype(np.uint16) * 17
CUBE = np.arange(3 * 4 * 13).reshape(3, 4, 13)
LABELS = (np.arange(12).reshape(3, 4) % 3).astype(np.uint8)
R = dict(value_range=(0, 4400))
LOAD = [dict(type='LoadImage'), dict(type='LoadLabels')]


def png(array):
    """By OpenCV, which writes 16 bits; channels as RGB(A)."""
    order = {3: [2, 1, 0], 4: [2, 1, 0, 3]}.get(array.shape[2] if array.ndim == 3 else 1)
    return lambda path: cv2.imwrite(str(path), array[..., order] if order else array)


def pil(image, **options):
    return lambda path: image.save(path, **options)


def npy(array):
    return lambda path: np.save(path, array)


def tiff(array, **options):
    def write(path):
        tifffile = pytest.importorskip('tifffile', reason='tifffile (extra [large]) is not installed')
        tifffile.imwrite(path, array, **options)

    return write


def tiff_lzw(array):
    def write(path):
        pytest.importorskip('imagecodecs', reason='imagecodecs is not installed')
        tiff(array, compression='lzw', photometric='rgb', extrasamples=['unassalpha'])(path)

    return write


def exif(orientation):
    found = Image.Exif()
    found[274] = orientation
    return found


def palette():
    image = Image.fromarray(LABELS)
    image.putpalette([9, 8, 7, 60, 50, 40, 200, 100, 0] + [0] * 759)
    return image


PALETTE = np.array([[9, 8, 7], [60, 50, 40], [200, 100, 0]], np.uint8)[LABELS]
GREY3 = np.stack([GREY8] * 3, -1)
PLAIN, MINISBLACK = {}, dict(photometric='minisblack')
BLOCKS = np.repeat(np.repeat(np.array([[0, 40], [80, 120], [160, 200]], np.uint8), 8, 0), 8, 1)  # which a JPEG keeps


def see_through(path):
    palette().save(path, transparency=1)


def gif(pictures):
    return pil(palette(), save_all=True, append_images=[Image.fromarray(GREY8)] * (pictures - 1))


def cut(write, count=20):
    return lambda path: (write(path), path.write_bytes(path.read_bytes()[:-count]))


# what it is, name, how it is written, arguments of LoadImage, pixels in the order of the network (RGB), or a message
IMAGES = [
    ('8-bit RGB, PNG', 'a.png', png(RGB8), PLAIN, RGB8),
    ('8-bit RGB, BMP', 'a.bmp', pil(Image.fromarray(RGB8)), PLAIN, RGB8),
    ('8-bit RGB, TIFF', 'a.tif', pil(Image.fromarray(RGB8)), PLAIN, RGB8),
    ('8-bit RGB, lossless WebP', 'a.webp', pil(Image.fromarray(RGB8), lossless=True), PLAIN, RGB8),
    ('8-bit RGB with alpha, PNG', 'a.png', png(RGBA8), PLAIN, RGBA8[..., :3]),
    ('8-bit grey, PNG', 'a.png', png(GREY8), PLAIN, GREY3),
    ('8-bit grey, TIFF', 'a.tif', pil(Image.fromarray(GREY8)), PLAIN, GREY3),
    ('palette, PNG', 'a.png', lambda path: palette().save(path), PLAIN, PALETTE),
    (
        '8-bit RGB with EXIF orientation 3, PNG',
        'a.png',
        pil(Image.fromarray(RGB8), exif=exif(3)),
        PLAIN,
        RGB8[::-1, ::-1],
    ),
    ('16-bit grey, PNG', 'a.png', png(GREY16), PLAIN, 'it has uint16 pixels, 8 bits are needed'),
    ('16-bit RGB, PNG', 'a.png', png(RGB16), PLAIN, 'it has uint16 pixels, 8 bits are needed'),
    ('float grey, TIFF', 'a.tif', pil(Image.fromarray(GREY8.astype(np.float32))), PLAIN, 'it has float32 pixels'),
    ('CMYK, JPEG', 'a.jpg', pil(Image.new('CMYK', (4, 3))), PLAIN, 'has CMYK pixels; convert it to RGB'),
    (
        'two pages, TIFF',
        'a.tif',
        pil(Image.fromarray(RGB8), save_all=True, append_images=[Image.fromarray(RGB8)]),
        PLAIN,
        'has 2 pages',
    ),
    ('an array, npy', 'a.npy', npy(RGB8), PLAIN, 'damaged or not an image'),
    ('an empty file', 'a.png', lambda path: path.write_bytes(b''), PLAIN, 'the file is empty'),
    ('text that is called PNG', 'a.png', lambda path: path.write_text('no picture'), PLAIN, 'not an image'),
    ('8-bit RGB, LZW-compressed TIFF', 'a.tif', pil(Image.fromarray(RGB8), compression='tiff_lzw'), PLAIN, RGB8),
    (
        '8-bit RGB, deflated TIFF',
        'a.tif',
        pil(Image.fromarray(RGB8), compression='tiff_adobe_deflate'),
        PLAIN,
        RGB8,
    ),
    ('8-bit RGB, BigTIFF', 'a.tif', pil(Image.fromarray(RGB8), big_tiff=True), PLAIN, RGB8),
    (
        '8-bit RGB, TIFF band by band',
        'a.tif',
        tiff(RGB8.transpose(2, 0, 1), planarconfig='separate', photometric='rgb'),
        PLAIN,
        RGB8,
    ),
    ('8-bit RGB, TIFF in tiles', 'a.tif', tiff(RGB8, tile=(16, 16), photometric='rgb'), PLAIN, RGB8),
    ('8-bit grey, TIFF in tiles', 'a.tif', tiff(GREY8, tile=(16, 16)), PLAIN, GREY3),
    ('8-bit RGB, TIFF in deflated tiles', 'a.tif', tiff(RGB8, tile=(16, 16), compression='zlib'), PLAIN, RGB8),
    (
        '8-bit RGB with alpha, TIFF in tiles',
        'a.tif',
        tiff(RGBA8, tile=(16, 16), photometric='rgb', extrasamples=['unassalpha']),
        PLAIN,
        RGBA8[..., :3],
    ),
    (
        '8-bit RGB with orientation 3, TIFF in tiles',
        'a.tif',
        tiff(RGB8, tile=(16, 16), extratags=[(274, 3, 1, 3, True)]),
        PLAIN,
        RGB8[::-1, ::-1],
    ),
    ('8-bit RGB, TIFF in tiles cut short', 'a.tif', cut(tiff(RGB8, tile=(16, 16)), 700), PLAIN, 'damaged'),
    ('8-bit RGB, big-endian TIFF', 'a.tif', tiff(RGB8, byteorder='>', photometric='rgb'), PLAIN, RGB8),
    ('16-bit RGB, TIFF', 'a.tif', tiff(RGB16, photometric='rgb'), PLAIN, '8 bits are needed'),
    ('8-bit grey, JPEG', 'a.jpg', pil(Image.fromarray(BLOCKS), quality=100), PLAIN, np.stack([BLOCKS] * 3, -1)),
    (
        '8-bit grey with EXIF orientation 6, JPEG',
        'a.jpg',
        pil(Image.fromarray(BLOCKS), quality=100, exif=exif(6)),
        PLAIN,
        np.rot90(np.stack([BLOCKS] * 3, -1), -1),
    ),
    ('8-bit grey with alpha, PNG', 'a.png', pil(Image.fromarray(RGB8[..., :2], 'LA')), PLAIN, RGB8[..., [0, 0, 0]]),
    ('palette with a transparent colour, PNG', 'a.png', see_through, PLAIN, PALETTE),
    (
        'black and white of 1 bit, PNG',
        'a.png',
        pil(Image.fromarray(LABELS > 0)),
        PLAIN,
        255 * np.stack([LABELS > 0] * 3, -1),
    ),
    ('palette, GIF', 'a.gif', gif(1), PLAIN, PALETTE),
    ('two pictures, GIF', 'a.gif', gif(2), PLAIN, 'has 2 pages'),
    ('8-bit RGB, PNG called .jpg', 'a.jpg', lambda path: Image.fromarray(RGB8).save(path, 'PNG'), PLAIN, RGB8),
    ('8-bit RGB, PNG cut short', 'a.png', cut(png(RGB8)), PLAIN, 'damaged'),
    ('8-bit grey, PNG, band 0', 'a.png', png(GREY8), dict(bands=(0,)), GREY8[..., None]),
    (
        '12 bits in 16-bit grey, PNG',
        'a.png',
        png(GREY16 + np.uint16(300)),
        dict(bands=(0,), value_range=(0, 4095)),
        GREY16[..., None] + 300,
    ),
    (
        'uint16, LZW-compressed TIFF of 4 bands',
        'a.tif',
        tiff_lzw(RGBA16),
        dict(bands=(3, 0), **R),
        RGBA16[..., [3, 0]],
    ),
    (
        'uint16, deflated BigTIFF of 13 bands',
        'a.tif',
        tiff(CUBE.astype(np.uint16), planarconfig='contig', compression='zlib', bigtiff=True, **MINISBLACK),
        dict(bands=(12, 0), **R),
        CUBE[..., [12, 0]],
    ),
    (
        'uint16, big-endian TIFF of 13 bands',
        'a.tif',
        tiff(CUBE.astype(np.uint16), planarconfig='contig', byteorder='>', **MINISBLACK),
        dict(bands=(12, 0), **R),
        CUBE[..., [12, 0]],
    ),
    (
        'float32 with NaN, TIFF',
        'a.tif',
        tiff(np.where(LABELS, GREY8, np.float32('nan')), **MINISBLACK),
        dict(bands=(0,), **R),
        'NaN or infinite',
    ),
    ('big-endian uint16, npy', 'a.npy', npy(GREY16.astype('>u2')), dict(bands=(0,), **R), GREY16[..., None]),
    ('Fortran order, npy', 'a.npy', npy(np.asfortranarray(RGB16)), dict(bands=(0, 1, 2), **R), RGB16),
    (
        'int32 beyond 2^24, npy',
        'a.npy',
        npy(GREY8.astype(np.int32) + 2**24 + 1),
        dict(bands=(0,), value_range=(0, 2**25)),
        'beyond 16777216',
    ),
    ('complex, npy', 'a.npy', npy(GREY8 * 1j), dict(bands=(0,), **R), 'complex'),
    ('objects, npy', 'a.npy', npy(GREY8.astype(object)), dict(bands=(0,), **R), 'object'),
    ('cut short, npy', 'a.npy', cut(npy(RGB16)), dict(bands=(0,), **R), 'expected 72 bytes got 52'),
    ('an archive, npz', 'a.npz', lambda path: np.savez(path, GREY8), dict(bands=(0,), **R), 'npz'),
    ('16-bit grey, PNG, band 0', 'a.png', png(GREY16), dict(bands=(0,), **R), GREY16[..., None]),
    ('16-bit grey, PNG, band 0 without a range', 'a.png', png(GREY16), dict(bands=(0,)), 'state what is black'),
    ('16-bit RGB, PNG, bands 0 1 2', 'a.png', png(RGB16), dict(bands=(0, 1, 2), **R), RGB16),
    ('16-bit RGB, PNG, bands 2 0', 'a.png', png(RGB16), dict(bands=(2, 0), **R), RGB16[..., [2, 0]]),
    (
        '8-bit RGB with alpha, PNG, bands 3 0 1 2',
        'a.png',
        png(RGBA8),
        dict(bands=(3, 0, 1, 2)),
        RGBA8[..., [3, 0, 1, 2]],
    ),
    ('16-bit RGB with alpha, PNG, 4 bands', 'a.png', png(RGBA16), dict(bands=(0, 1, 2, 3), **R), RGBA16),
    ('8-bit RGB, PNG, band 3', 'a.png', png(RGB8), dict(bands=(0, 1, 3)), 'has 3 bands, 0 to 2'),
    ('palette, PNG, bands 0 1 2', 'a.png', lambda path: palette().save(path), dict(bands=(0, 1, 2)), PALETTE),
    (
        'black and white of 1 bit, PNG, band 0',
        'a.png',
        pil(Image.fromarray(LABELS > 0)),
        dict(bands=(0,)),
        'has 1-bit greys',
    ),
    ('uint8, npy (H, W)', 'a.npy', npy(GREY8), dict(bands=(0,)), GREY8[..., None]),
    (
        'uint16, npy (H, W, 13), 4 bands',
        'a.npy',
        npy(CUBE.astype(np.uint16)),
        dict(bands=(7, 3, 2, 1), **R),
        CUBE[..., [7, 3, 2, 1]],
    ),
    (
        'int16, npy, 13 bands',
        'a.npy',
        npy(CUBE.astype(np.int16) - 50),
        dict(bands=tuple(range(13)), value_range=(-50, 200)),
        CUBE - 50,
    ),
    (
        'float32, npy, 2 bands',
        'a.npy',
        npy(CUBE[..., :2].astype(np.float32) / 4),
        dict(bands=(1, 0), **R),
        CUBE[..., [1, 0]] / 4,
    ),
    ('float64, npy, 1 band', 'a.npy', npy(GREY8 / 8), dict(bands=(0,), **R), GREY8[..., None] / 8),
    ('a value beyond the range, npy', 'a.npy', npy(GREY16 + 4000), dict(bands=(0,), **R), 'outside of value_range'),
    ('NaN, npy', 'a.npy', npy(GREY8 * np.nan), dict(bands=(0,), **R), 'NaN or infinite'),
    (
        'four axes, npy',
        'a.npy',
        npy(np.zeros((1, 2, 3, 4))),
        dict(bands=(0,), **R),
        r'(H, W) or (H, W, bands) is needed',
    ),
    (
        'uint8, TIFF of 13 bands, pixel by pixel',
        'a.tif',
        tiff(CUBE.astype(np.uint8), planarconfig='contig', **MINISBLACK),
        dict(bands=(12, 0, 5)),
        CUBE[..., [12, 0, 5]],
    ),
    (
        'uint16, TIFF of 13 bands, band by band',
        'a.tif',
        tiff(CUBE.astype(np.uint16).transpose(2, 0, 1), planarconfig='separate', **MINISBLACK),
        dict(bands=(4, 9), **R),
        CUBE[..., [4, 9]],
    ),
    (
        'float32, TIFF of 1 band',
        'a.tif',
        tiff(GREY8.astype(np.float32), **MINISBLACK),
        dict(bands=(0,), **R),
        GREY8[..., None],
    ),
    (
        '13 pages, TIFF',
        'a.tif',
        tiff(CUBE.astype(np.uint16).transpose(2, 0, 1), **MINISBLACK),
        dict(bands=(0,), **R),
        'pages',
    ),
]

# what it is, name, how it is written, labels or a message; three classes, 0 to 2
MASKS = [
    ('mask: 8-bit grey, PNG', 'm.png', png(LABELS), LABELS),
    ('mask: palette, PNG', 'm.png', lambda path: palette().save(path), LABELS),
    ('mask: 16-bit grey, PNG', 'm.png', png(LABELS.astype(np.uint16)), LABELS),
    ('mask: 1 bit, PNG', 'm.png', pil(Image.fromarray(LABELS > 0)), (LABELS > 0).astype(np.uint8)),
    ('mask: BMP', 'm.bmp', pil(Image.fromarray(LABELS)), LABELS),
    ('mask: TIFF', 'm.tif', pil(Image.fromarray(LABELS)), LABELS),
    ('mask: float TIFF of whole numbers', 'm.tif', pil(Image.fromarray(LABELS.astype(np.float32))), LABELS),
    ('mask: void (255)', 'm.png', png(LABELS + np.uint8(253) * (LABELS == 2)), np.where(LABELS == 2, 255, LABELS)),
    ('mask: palette with a transparent colour, PNG', 'm.png', see_through, LABELS),
    ('mask: GIF', 'm.gif', pil(palette()), LABELS),
    ('mask: LZW-compressed TIFF', 'm.tif', pil(Image.fromarray(LABELS), compression='tiff_lzw'), LABELS),
    ('mask: BigTIFF', 'm.tif', pil(Image.fromarray(LABELS), big_tiff=True), LABELS),
    ('mask: 32-bit TIFF', 'm.tif', pil(Image.fromarray(LABELS.astype(np.int32))), LABELS),
    ('mask: grey with alpha', 'm.png', pil(Image.fromarray(np.stack([LABELS] * 2, -1), 'LA')), 'has 2 channels'),
    ('mask: npy', 'm.npy', npy(LABELS), 'damaged or not an image'),
    ('mask: two pages', 'm.tif', pil(palette(), save_all=True, append_images=[palette()]), 'has 2 pages'),
    ('mask: float TIFF with fractions', 'm.tif', pil(Image.fromarray(LABELS + np.float32(0.5))), 'no class index'),
    ('mask: values above 255', 'm.png', png(LABELS.astype(np.uint16) + 300), 'fit 8 bits'),
    ('mask: a value that is no class', 'm.png', png(LABELS + np.uint8(5)), 'holds the values 5, 6, 7'),
    ('mask: RGB', 'm.png', png(RGB8), 'has 3 channels'),
    ('mask: JPEG', 'm.jpg', pil(Image.fromarray(LABELS)), 'is a JPEG, which changes values'),
    ('mask: another size', 'm.png', png(LABELS[:2]), 'its image is 4 x 3 pixels'),
    (
        'mask: cut short',
        'm.png',
        lambda path: (png(LABELS)(path), path.write_bytes(path.read_bytes()[:-20])),
        'damaged',
    ),
]
SETS = np.stack([LABELS == 0, LABELS < 2, LABELS == 2], -1).astype(np.uint8)  # several labels a pixel
HOLES = np.where(LABELS[..., None] == 1, np.uint8(255), SETS)
# as above, with `masks='bands'` of an ImageMaskFolder
BANDS = [
    ('several labels: npy (H, W, 3)', 'm.npy', npy(SETS), SETS),
    ('several labels: bool, npy', 'm.npy', npy(SETS.astype(bool)), SETS),
    ('several labels: float of whole numbers, npy', 'm.npy', npy(SETS.astype(np.float32)), SETS),
    ('several labels: void (255) of one class, npy', 'm.npy', npy(HOLES), HOLES),
    ('several labels: TIFF of 3 bands', 'm.tif', tiff(SETS, photometric='minisblack', planarconfig='contig'), SETS),
    ('several labels: RGB, PNG', 'm.png', png(SETS), SETS),
    ('several labels: 4 bands for 3 classes', 'm.png', png(np.dstack([SETS, LABELS])), 'has 4 bands'),
    ('several labels: (3, H, W) in place of (H, W, 3)', 'm.npy', npy(SETS.transpose(2, 0, 1)), 'has 4 bands'),
    ('several labels: 255 and 128', 'm.npy', npy(SETS * np.uint8(128)), 'holds the values 128'),
    ('several labels: fractions', 'm.npy', npy(SETS * 0.5), 'no class index: 0.5'),
    ('several labels: palette, PNG', 'm.png', lambda path: palette().save(path), 'is a PNG of palette pixels'),
    ('several labels: JPEG', 'm.jpg', pil(Image.fromarray(SETS)), 'is a JPEG'),
    ('several labels: another size', 'm.npy', npy(SETS[:2]), 'its image is 4 x 3 pixels'),
]


# what it is, image and mask below images/ and masks/
NAMES = [
    ('blanks', 'a picture 1.png', 'a picture 1.png'),
    ('letters of other scripts', 'Straße-日本.png', 'Straße-日本.png'),
    ('dots', 'v1.2.tile.png', 'v1.2.tile.png'),
    ('a suffix in capitals', 'A.JPG', 'A.png'),
    ('.jpeg', 'a.jpeg', 'a.png'),
    ('folders', 'one/two/a.webp', 'one/two/a.png'),
    ('percent, brackets and stars', '100%[1]*.bmp', '100%[1]*.png'),
    ('a leading dash', '-a.tif', '-a.png'),
    ('200 characters', 'a' * 200 + '.png', 'a' * 200 + '.png'),
]
# what it is, bytes of a list of the pictures "a" and "b b"
LISTS = [
    ('UTF-8', b'a\nb b\n'),
    ('UTF-8 with a mark', b'\xef\xbb\xbfa\nb b\n'),
    ('UTF-16', 'a\nb b\n'.encode('utf-16')),
    ('lines end with CR LF, the last with nothing', b'a\r\nb b'),
    ('empty lines and blanks around', b'\n  a \n\n\tb b\n\n'),
    ('files', b'a.png\nb b.png\n'),
    ('files from the root', b'images/a.png\n./images/b b.png\n'),
    ('Windows paths', b'images\\a.png\r\nimages\\b b.png\r\n'),
    ('pairs with a tab', b'a.png\tmasks/a.png\nb b.png\tmasks/b b.png\n'),
    ('pairs with a comma', b'a.png,a.png\nb b.png,b b.png\n'),
]


def folder(root, pairs):
    """A root as ImageMaskFolder reads it."""
    for image, mask in pairs:
        for kind, name in (('images', image), ('masks', mask)):
            path = root / kind / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(RGB8 if kind == 'images' else LABELS).save(path)
    (root / 'classes.txt').write_text('one\ntwo\nthree\n')


@pytest.mark.parametrize(('image', 'mask'), [row[1:] for row in NAMES], ids=[row[0] for row in NAMES])
def test_names(tmp_path, image, mask):
    folder(tmp_path, [(image, mask)])
    (sample,) = ImageMaskFolder(data_root=str(tmp_path), pipeline=LOAD)
    assert sample['img_path'] == str(tmp_path / 'images' / image)
    np.testing.assert_array_equal(sample['gt_seg_map'], LABELS)


@pytest.mark.parametrize('text', [row[1] for row in LISTS], ids=[row[0] for row in LISTS])
def test_lists(tmp_path, text):
    folder(tmp_path, [(f'{name}.png', f'{name}.png') for name in ('a', 'b b', 'c')])
    (tmp_path / 'list.txt').write_bytes(text)
    samples = ImageMaskFolder(data_root=str(tmp_path), ann_file='list.txt', pipeline=LOAD)
    found = [(Path(sample['img_path']).name, Path(sample['seg_map_path']).name) for sample in samples]
    assert found == [('a.png', 'a.png'), ('b b.png', 'b b.png')]


@pytest.mark.parametrize(('name', 'write', 'expected'), [row[1:] for row in BANDS], ids=[row[0] for row in BANDS])
def test_masks_of_several_labels(tmp_path, name, write, expected):
    write(tmp_path / name)
    load = TRANSFORMS.build(dict(type='LoadLabels'))
    results = dict(seg_map_path=str(tmp_path / name), ori_shape=(3, 4), seg_fields=[], mask_bands=True, mask_classes=3)
    if isinstance(expected, str):
        with pytest.raises(UserError, match=re.escape(expected)) as told:
            load(results)
        assert str(tmp_path / name) in str(told.value)
        return
    results = load({**results, 'img': np.zeros((3, 4, 3), np.uint8)})
    assert len(results['seg_fields']) == 3
    packed = TRANSFORMS.build(dict(type='PackSegInputs'))(results)
    np.testing.assert_array_equal(packed['data_samples'].gt_sem_seg.data.permute(1, 2, 0), expected)


def test_some_of_several_labels(tmp_path):
    """A subset of the classes, in another order."""
    np.save(tmp_path / 'm.npy', HOLES)
    results = dict(seg_map_path=str(tmp_path / 'm.npy'), seg_fields=[], mask_bands=True, label_map={0: 1, 1: 255, 2: 0})
    results = TRANSFORMS.build(dict(type='LoadLabels'))(results)
    found = np.stack([results[key] for key in results['seg_fields']], -1)
    np.testing.assert_array_equal(found, HOLES[..., [2, 0]])


@pytest.mark.parametrize(
    ('name', 'write', 'options', 'expected'), [row[1:] for row in IMAGES], ids=[r[0] for r in IMAGES]
)
def test_images(tmp_path, name, write, options, expected):
    write(tmp_path / name)
    load = TRANSFORMS.build(dict(type='LoadImage', **options))
    if isinstance(expected, str):
        with pytest.raises(UserError, match=re.escape(expected)) as told:
            load(dict(img_path=str(tmp_path / name)))
        assert str(tmp_path / name) in str(told.value)
        return
    image = load(dict(img_path=str(tmp_path / name)))['img']
    np.testing.assert_array_equal(image[..., ::-1] if image.shape[2] == 3 else image, expected)


@pytest.mark.parametrize(('name', 'write', 'expected'), [row[1:] for row in MASKS], ids=[row[0] for row in MASKS])
def test_masks(tmp_path, name, write, expected):
    write(tmp_path / name)
    load = TRANSFORMS.build(dict(type='LoadLabels', num_classes=3))
    results = dict(seg_map_path=str(tmp_path / name), ori_shape=(3, 4), seg_fields=[])
    if isinstance(expected, str):
        with pytest.raises(UserError, match=re.escape(expected)) as told:
            load(results)
        assert str(tmp_path / name) in str(told.value)
    else:
        np.testing.assert_array_equal(load(results)['gt_seg_map'], expected)


def lines():
    """The rows of the page."""
    for what, _, _, options, expected in IMAGES:
        asked = ', '.join(f'{key}={value}' for key, value in options.items())
        asked = asked and f'`{asked}`'
        yield f'| {what} | {asked} | {outcome(expected)} |'
    for what, _, _, expected in [*MASKS, *BANDS]:
        yield f'| {what} |  | {outcome(expected)} |'
    for what, image, mask in NAMES:
        yield f'| name: {what} | `{image}`, `{mask}` | paired |' if len(image) < 99 else f'| name: {what} |  | paired |'
    for what, _ in LISTS:
        yield f'| list: {what} |  | paired |'
    for what, tool, _, expected in ROWS:  # tests/datasets/test_annotations.py
        yield f'| {TOOLS[tool]}: {what} | `{tool}` | {outcome(expected) if isinstance(expected, str) else "painted"} |'


def outcome(expected):
    return f'refused: "{expected}"' if isinstance(expected, str) else 'as it is stored'


def test_the_page_has_these_rows(repo):
    page = (repo / 'docs/inputs.md').read_text()
    rows = [line for line in page.splitlines() if line.startswith('|')][2:]
    assert rows == [*lines()] and len(rows) >= 40
