"""Of a picture nothing is dropped, converted, turned or made up without a word.

Siblings of one kind: bits (16-bit PNG and TIFF of greys and colours, floats, signed), bands (two, four, five), colours
(CMYK, Lab), pages (TIFF, animated PNG, GIF and WebP), orientation 1 to 8 in each format, damage in each format, size.
"""

import io
import struct
import sys
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from mmseg_deeplab.datasets import LoadImage
from mmseg_deeplab.datasets.headers import read_header, turn
from mmseg_deeplab.errors import UserError

RNG = np.random.default_rng(0)
BLOCKS = np.kron(RNG.integers(0, 255, (3, 4, 3), np.uint8), np.ones((16, 16, 1), np.uint8))
CENTRES = np.s_[8::16, 8::16]
NOISE = RNG.integers(0, 255, (64, 80, 3), np.uint8)


def load(path, **kwargs):
    return LoadImage(**kwargs)(dict(img_path=str(path)))


def tiff(path, planes, **tags):
    """A TIFF of interleaved samples (H, W, bands), as scanners of satellites write them; `tags` by number."""
    height, width, bands = planes.shape
    entries = {
        256: (4, width), 257: (4, height), 258: (3, 8 * planes.itemsize), 259: (3, 1), 262: (3, 1 if bands < 3 else 2),
        273: (4, 8), 277: (3, bands), 278: (4, height), 279: (4, planes.nbytes), 284: (3, 1),
    }  # fmt: skip
    entries |= {int(key.lstrip('_')): (3, value) for key, value in tags.items()}
    lists, directory = b'', b''
    start = 8 + planes.nbytes
    after = start + 2 + 12 * len(entries) + 4
    for tag, (kind, value) in sorted(entries.items()):
        values = value if isinstance(value, tuple) else (value,) * (bands if tag == 258 else 1)
        packed = b''.join(struct.pack('<I' if kind == 4 else '<H', v) for v in values)
        if len(packed) > 4:
            packed, lists = struct.pack('<I', after + len(lists)), lists + packed
        directory += struct.pack('<HHI', tag, kind, len(values)) + packed.ljust(4, b'\0')
    head = b'II*\0' + struct.pack('<I', start)
    path.write_bytes(
        head + planes.tobytes() + struct.pack('<H', len(entries)) + directory + struct.pack('<I', 0) + lists
    )
    return path


class TestWhatIsTaken:
    """As it is: colours, greys as three equal channels, palettes as their colours; alpha is left out."""

    @pytest.mark.parametrize('mode', ['1', 'L', 'LA', 'P', 'PA', 'RGB', 'RGBA'])
    @pytest.mark.parametrize('suffix', ['png', 'tif', 'bmp', 'webp'])
    def test_modes(self, tmp_path, mode, suffix):
        image = Image.fromarray(BLOCKS).convert('RGB' if mode == 'PA' else mode)
        image = image.quantize(16).convert('PA') if mode == 'PA' else image
        path = tmp_path / f'a.{suffix}'
        try:
            image.save(path, **({'lossless': True} if suffix == 'webp' else {}))
        except (OSError, ValueError):
            pytest.skip(f'{suffix} has no {mode}')
        with Image.open(path) as stored:
            expected = np.array(stored.convert('RGB'))
        np.testing.assert_array_equal(load(path)['img'][..., ::-1], expected)

    def test_a_fourth_band_that_is_alpha(self, tmp_path):
        planes = RNG.integers(0, 255, (8, 9, 4), np.uint8)
        for kind in (1, 2):
            planes[..., 3] = 255  # of associated alpha, colours are multiplied by it
            image = load(tiff(tmp_path / 'a.tif', planes, _338=kind))['img']
            np.testing.assert_array_equal(image[..., ::-1], planes[..., :3])

    def test_thumbnails_and_overviews_are_no_pages(self, tmp_path):
        small = Image.fromarray(BLOCKS[::2, ::2])
        small.encoderinfo = dict(tiffinfo={254: 1})
        Image.fromarray(BLOCKS).save(tmp_path / 'a.tif', save_all=True, append_images=[small])
        with Image.open(tmp_path / 'a.tif') as image:
            assert image.n_frames == 2
            image.seek(1)
            if image.tag_v2.get(254) != 1:
                pytest.skip('this version of Pillow does not write what kind of page it is')
        np.testing.assert_array_equal(load(tmp_path / 'a.tif')['img'][..., ::-1], BLOCKS)

    def test_a_phones_second_picture_is_no_page(self, tmp_path):
        image = Image.fromarray(BLOCKS)
        image.save(tmp_path / 'a.jpg', 'MPO', save_all=True, append_images=[image.resize((8, 8))])
        assert load(tmp_path / 'a.jpg')['img'].shape == BLOCKS.shape


class TestWhatIsRefused:
    @pytest.mark.parametrize('bands', [2, 4, 5, 8])
    def test_bands(self, tmp_path, bands):
        planes = RNG.integers(0, 255, (8, 9, bands), np.uint8)
        extra = bands - (1 if bands < 3 else 3)
        path = tiff(tmp_path / 'a.tif', planes, _338=(0,) * extra)
        with pytest.raises(UserError, match=rf'a\.tif has {bands} bands, of which only {1 if bands < 3 else 3} would'):
            load(path)

    def test_bands_of_no_stated_meaning(self, tmp_path):
        path = tiff(tmp_path / 'a.tif', RNG.integers(0, 255, (8, 9, 4), np.uint8))
        with pytest.raises(UserError, match='4 bands'):
            load(path)

    @pytest.mark.parametrize(('kind', 'number'), [(np.uint16, 1), (np.int16, 2), (np.float32, 3), (np.int8, 2)])
    @pytest.mark.parametrize('bands', [1, 3])
    def test_bits_of_tiff(self, tmp_path, kind, number, bands):
        planes = np.ones((8, 9, bands), kind)
        path = tiff(tmp_path / 'a.tif', planes, _339=(number,) * bands)
        with pytest.raises(UserError, match=rf'a\.tif cannot be read: it has {"u" * (number == 1)}.*8 bits are needed'):
            load(path)

    @pytest.mark.parametrize('backend', ['cv2', 'pillow'])
    @pytest.mark.parametrize('shape', [(8, 9), (8, 9, 3), (8, 9, 4)])
    def test_bits_of_png(self, tmp_path, shape, backend):
        cv2.imwrite(str(tmp_path / 'a.png'), RNG.integers(0, 65535, shape, np.uint16))
        with pytest.raises(UserError, match=r'a\.png cannot be read: it has uint16 pixels'):
            load(tmp_path / 'a.png', imdecode_backend=backend)

    @pytest.mark.parametrize(('mode', 'suffix'), [('CMYK', 'jpg'), ('CMYK', 'tif'), ('LAB', 'tif')])
    def test_colours(self, tmp_path, mode, suffix):
        Image.new(mode, (9, 8)).save(tmp_path / f'a.{suffix}')
        with pytest.raises(UserError, match=rf'(?i)a\.{suffix} has {mode} pixels; convert it to RGB'):
            load(tmp_path / f'a.{suffix}')

    @pytest.mark.parametrize('suffix', ['tif', 'png', 'gif', 'webp'])
    def test_pages(self, tmp_path, suffix):
        other = Image.fromarray(BLOCKS[::-1].copy())
        Image.fromarray(BLOCKS).save(tmp_path / f'a.{suffix}', save_all=True, append_images=[other])
        with pytest.raises(UserError, match='has 2 pages, of which only the first'):
            load(tmp_path / f'a.{suffix}')

    @pytest.mark.parametrize('suffix', ['png', 'tif', 'bmp'])
    def test_files_that_unpack_to_more_than_memory_holds(self, tmp_path, suffix):
        """A small file of very many pixels; Pillow's limit is what counts."""
        Image.new('1', (40000, 5000)).save(tmp_path / f'a.{suffix}')
        with pytest.raises(UserError, match=r'too large to be decoded.*200000000|too large.*40000 x 5000'):
            load(tmp_path / f'a.{suffix}')


def damaged(content, how):
    if how == 'cut':
        return content[: len(content) // 2]
    if how == 'cut at the end':
        return content[:-20]
    middle = len(content) // 2
    return content[:middle] + bytes(200) + content[middle + 200 :]


class TestDamage:
    @pytest.mark.parametrize('how', ['cut', 'cut at the end'])
    @pytest.mark.parametrize(
        ('format', 'options'),
        [
            ('JPEG', {}), ('JPEG', dict(progressive=True)), ('PNG', {}), ('BMP', {}), ('WEBP', {}), ('TIFF', {}),
            ('TIFF', dict(compression='tiff_lzw')), ('TIFF', dict(compression='tiff_adobe_deflate')),
        ],
    )  # fmt: skip
    def test_cut_short(self, tmp_path, format, options, how):
        Image.fromarray(NOISE).save(tmp_path / 'whole', format, **options)
        (tmp_path / 'a').write_bytes(damaged((tmp_path / 'whole').read_bytes(), how))
        load(tmp_path / 'whole')
        with pytest.raises(UserError, match='image .*/a cannot be read: the file is damaged'):
            load(tmp_path / 'a')

    @pytest.mark.parametrize(
        ('format', 'options'),
        [
            ('JPEG', {}), ('JPEG', dict(quality=95, subsampling=0)), ('JPEG', dict(progressive=True)), ('PNG', {}),
            ('TIFF', dict(compression='tiff_lzw')), ('TIFF', dict(compression='tiff_adobe_deflate')),
        ],
    )  # fmt: skip
    def test_zeros_in_the_middle(self, tmp_path, format, options, capfd):
        Image.fromarray(NOISE).save(tmp_path / 'whole', format, **options)
        (tmp_path / 'a').write_bytes(damaged((tmp_path / 'whole').read_bytes(), 'zeros'))
        with pytest.raises(UserError, match='image .*/a cannot be read: the file is damaged'):
            load(tmp_path / 'a')
        assert 'Corrupt JPEG' not in capfd.readouterr().err

    def test_zeros_anywhere_in_real_photographs(self, real_data, tmp_path):
        """A hole that takes as many blocks as it makes is no error to libjpeg."""
        photographs = sorted(real_data.rglob('*.jpg'))[::40][:25]
        assert len(photographs) > 5
        for photograph in photographs:
            content = photograph.read_bytes()
            load(photograph)
            for place in np.linspace(len(content) // 8, len(content) - 300, 4).astype(int):
                (tmp_path / 'a.jpg').write_bytes(content[:place] + bytes(200) + content[place + 200 :])
                with pytest.raises(UserError, match=r'a\.jpg cannot be read: the file is damaged'):
                    load(tmp_path / 'a.jpg')

    def test_even_pictures_may_be_all_zeros(self, tmp_path):
        for colour in ('black', 'white', 'gray'):
            for options in ({}, dict(optimize=True), dict(progressive=True)):
                Image.new('RGB', (600, 500), colour).save(tmp_path / 'a.jpg', **options)
                load(tmp_path / 'a.jpg')

    def test_standard_error_of_others_goes_on(self, tmp_path, capfd, monkeypatch):
        Image.fromarray(NOISE).save(tmp_path / 'a.jpg')
        decode = cv2.imdecode

        def talkative(*args):
            sys.__stderr__.write('somebody else\n')
            sys.__stderr__.flush()
            import os

            os.write(2, b'and another\n')
            return decode(*args)

        monkeypatch.setattr(cv2, 'imdecode', talkative)
        load(tmp_path / 'a.jpg')
        assert 'and another' in capfd.readouterr().err

    def test_a_wrong_checksum_in_a_png_names_the_part(self, tmp_path):
        Image.fromarray(NOISE).save(tmp_path / 'a.png')
        content = (tmp_path / 'a.png').read_bytes()
        note = struct.pack('>I4s', 3, b'tEXt') + b'a\0b' + struct.pack('>I', zlib.crc32(b'something else'))
        (tmp_path / 'a.png').write_bytes(content[:33] + note + content[33:])
        with pytest.raises(UserError, match='checksum of its part tEXt'):
            load(tmp_path / 'a.png')

    @pytest.mark.parametrize(
        'content', [b'text', b'\xff\xd8\xff', b'\x89PNG\r\n\x1a\n', b'II*\0', b'II*\0\x08\0\0\0', b'BM']
    )
    def test_heads_without_a_body(self, tmp_path, content):
        (tmp_path / 'a.png').write_bytes(content)
        with pytest.raises(UserError, match=r'a\.png cannot be read'):
            load(tmp_path / 'a.png')


def with_orientation(image, path, orientation, format):
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(image).save(path, format, exif=exif, **({'quality': 100} if format in ('JPEG', 'WEBP') else {}))


@pytest.mark.parametrize('orientation', range(1, 9))
class TestOrientation:
    def test_turn_is_what_pillow_does(self, orientation):
        image = Image.fromarray(BLOCKS)
        image.getexif()[274] = orientation
        np.testing.assert_array_equal(turn(BLOCKS, orientation), np.array(ImageOps.exif_transpose(image)))

    @pytest.mark.parametrize('format', ['JPEG', 'PNG', 'TIFF', 'WEBP'])
    def test_every_format_is_turned(self, tmp_path, orientation, format):
        with_orientation(BLOCKS, tmp_path / 'a', orientation, format)
        results = load(tmp_path / 'a')
        shown = results['img'][..., ::-1].astype(int)
        expected = turn(BLOCKS, orientation)
        assert shown.shape == expected.shape == (*results['ori_shape'], 3)
        assert np.abs(shown - expected)[CENTRES].max() < 25  # of JPEG
        assert results['exif_orientation'] == orientation

    @pytest.mark.parametrize('format', ['JPEG', 'PNG', 'TIFF', 'WEBP'])
    def test_or_stays_as_it_is_stored(self, tmp_path, orientation, format):
        with_orientation(BLOCKS, tmp_path / 'a', orientation, format)
        results = load(tmp_path / 'a', color_type='color_ignore_orientation')
        assert np.abs(results['img'][..., ::-1].astype(int) - BLOCKS)[CENTRES].max() < 25
        assert results['exif_orientation'] == 1


def test_a_header_that_pillow_can_not_read(tmp_path):
    header = read_header(tiff(tmp_path / 'a.tif', np.zeros((5, 7, 9), np.uint16)).read_bytes(), 'image a')
    assert (header.size, header.bands, header.bits, header.colours) == ((7, 5), 9, 16, 'RGB')
    with pytest.raises(OSError):
        Image.open(io.BytesIO((tmp_path / 'a.tif').read_bytes()))
