"""Mask values are taken exactly as they were written, or refused with file and values; never cast.

Siblings of one kind: bool, 1, 2, 4, 8 and 16 bits of PNG; unsigned, signed and floating TIFF of 8 to 64 bits; palettes;
JPEG; pages; what is written; ids of .mat files. And masks are turned by one rule.
"""

import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image
from test_images import BLOCKS, tiff, with_orientation

from mmseg_deeplab.datasets import LoadImage, LoadLabels, transforms
from mmseg_deeplab.datasets.headers import turn
from mmseg_deeplab.datasets.masks import exact_labels, look_up, read_colours, read_mask, write_mask
from mmseg_deeplab.errors import UserError

VALUES = np.arange(6, dtype=np.uint8).reshape(2, 3)


def packed_png(path, values, bits):
    """A grey PNG of 1, 2 or 4 bits a sample; Pillow itself writes the first only."""
    height, width = values.shape
    rows = b''
    for row in values:
        text = ''.join(f'{value:0{bits}b}' for value in row)
        text = text.ljust(-(-len(text) // 8) * 8, '0')
        rows += b'\0' + int(text, 2).to_bytes(len(text) // 8, 'big')
    content = b'\x89PNG\r\n\x1a\n'
    for kind, data in (
        (b'IHDR', struct.pack('>IIBBBBB', width, height, bits, 0, 0, 0, 0)),
        (b'IDAT', zlib.compress(rows)),
        (b'IEND', b''),
    ):  # fmt: skip
        content += struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
    path.write_bytes(content)
    return path


class TestExactValuesAreTaken:
    @pytest.mark.parametrize('bits', [1, 2, 4])
    def test_few_bits(self, tmp_path, bits):
        """Pillow shows the grey of 4 bits, 0 to 15, as 0, 17, ... 255."""
        values = np.arange(2**bits).reshape(1, -1).repeat(3, 0)
        np.testing.assert_array_equal(read_mask(packed_png(tmp_path / 'm.png', values, bits)), values)

    @pytest.mark.parametrize('mode', ['L', 'P', 'I;16'])
    def test_png(self, tmp_path, mode):
        image = Image.fromarray(VALUES.astype(np.uint16) if mode == 'I;16' else VALUES)
        if mode == 'P':
            image.putpalette([9] * 768)
        image.save(tmp_path / 'm.png')
        mask = read_mask(tmp_path / 'm.png')
        assert mask.dtype == np.uint8
        np.testing.assert_array_equal(mask, VALUES)

    @pytest.mark.parametrize(
        ('kind', 'number'),
        [
            (np.uint8, 1), (np.int8, 2), (np.uint16, 1), (np.int16, 2), (np.uint32, 1), (np.int32, 2), (np.float32, 3),
        ],
    )  # fmt: skip
    def test_tiff(self, tmp_path, kind, number):
        path = tiff(tmp_path / 'm.tif', VALUES[..., None].astype(kind), _339=number)
        np.testing.assert_array_equal(read_mask(path), VALUES)

    def test_bool(self):
        assert exact_labels(np.array([[True, False]]), 'mask').tolist() == [[1, 0]]


class TestOthersAreRefused:
    @pytest.mark.parametrize(
        ('kind', 'number', 'values', 'shown'),
        [
            (np.float32, 3, [0.5, 1.5, 2], '0.5, 1.5 (float32)'),
            (np.float32, 3, [np.nan, 1, 2], 'nan'),
            (np.float32, 3, [np.inf, 1, 2], 'inf'),
            (np.float32, 3, [-1, 1, 2], '-1 (float32)'),
            (np.int8, 2, [-1, 1, 2], '-1 (int8)'),
            (np.int16, 2, [-1, 1, 300], '-1, 300'),
            (np.int32, 2, [-1, 1, 100000], '-1, 100000'),
            (np.uint16, 1, [256, 1, 65535], '256, 65535'),
            (np.uint32, 1, [256, 1, 2], '256'),
        ],
    )
    def test_tiff(self, tmp_path, kind, number, values, shown):
        path = tiff(tmp_path / 'm.tif', np.array(values, kind).reshape(1, 3, 1), _339=number)
        for read in (read_mask, lambda path: LoadLabels(5)(dict(seg_map_path=str(path), seg_fields=[]))):
            with pytest.raises(UserError, match=r'mask .*m\.tif holds') as caught:
                read(path)
            assert shown in str(caught.value)

    def test_16_bit_png(self, tmp_path):
        Image.fromarray(np.array([[0, 256]], np.uint16)).save(tmp_path / 'm.png')
        with pytest.raises(UserError, match=r'm\.png holds values up to 256'):
            read_mask(tmp_path / 'm.png')

    @pytest.mark.parametrize('photometric', [0])
    def test_inverted_tiff(self, tmp_path, photometric):
        path = tiff(tmp_path / 'm.tif', VALUES[..., None], _262=photometric)
        with pytest.raises(UserError, match='inverted grey'):
            read_mask(path)

    def test_jpeg(self, tmp_path):
        Image.fromarray(VALUES).save(tmp_path / 'm.jpg')
        with pytest.raises(UserError, match='JPEG, which changes values'):
            read_mask(tmp_path / 'm.jpg')

    @pytest.mark.parametrize('suffix', ['tif', 'png', 'gif'])
    def test_pages(self, tmp_path, suffix):
        pages = [Image.fromarray(VALUES), Image.fromarray(VALUES[::-1].copy())]
        pages[0].save(tmp_path / f'm.{suffix}', save_all=True, append_images=pages[1:])
        with pytest.raises(UserError, match='has 2 pages'):
            read_mask(tmp_path / f'm.{suffix}')

    @pytest.mark.parametrize(('mode', 'channels'), [('LA', 2), ('RGB', 3), ('RGBA', 4)])
    @pytest.mark.parametrize('suffix', ['png', 'tif'])
    def test_channels(self, tmp_path, mode, channels, suffix):
        Image.new(mode, (3, 2)).save(tmp_path / f'm.{suffix}')
        with pytest.raises(UserError, match=f'has {channels} channels'):
            read_mask(tmp_path / f'm.{suffix}')

    def test_bands_that_pillow_has_no_name_for(self, tmp_path):
        with pytest.raises(UserError, match='has 7 channels'):
            read_mask(tiff(tmp_path / 'm.tif', np.zeros((2, 3, 7), np.uint8)))

    @pytest.mark.parametrize('values', [[[-1]], [[256]], [[0.5]], [[np.nan]]])
    def test_nothing_is_cast_when_it_is_written(self, tmp_path, values):
        with pytest.raises(UserError, match=r'm\.png, to be written, holds'):
            write_mask(tmp_path / 'm.png', np.array(values))
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize('ids', [[[-1]], [[3]], [[0.5]], [[np.nan]]])
    def test_ids_that_are_not_in_a_table(self, ids):
        table = np.array([7, 8, 9], np.uint8)
        assert look_up(table, np.array([[2.0, 0.0]]), 'a.mat').tolist() == [[9, 7]]
        with pytest.raises(UserError, match=r'a\.mat holds the ids .*known are 0\.\.2'):
            look_up(table, np.array(ids), 'a.mat')

    @pytest.mark.parametrize('kind', ['CMYK', 'rgb16', 'grey16', 'float'])
    def test_colours_that_would_be_converted(self, tmp_path, kind):
        path = tmp_path / 'm.tif'
        if kind == 'CMYK':
            Image.new('CMYK', (3, 2)).save(path)
        elif kind == 'float':
            tiff(path, np.ones((2, 3, 1), np.float32), _339=3)
        else:
            path = tmp_path / 'm.png'
            cv2.imwrite(str(path), np.full((2, 3, 3) if kind == 'rgb16' else (2, 3), 1000, np.uint16))
        with pytest.raises(UserError, match=r'exact in 8-bit RGB only'):
            read_colours(path)


PICTURE = BLOCKS
STORED = np.kron(np.arange(12, dtype=np.uint8).reshape(3, 4), np.ones((16, 16), np.uint8))  # a class for each block


def load(tmp_path, **kwargs):
    results = LoadImage()(dict(img_path=str(tmp_path / 'a.jpg'), seg_map_path=str(tmp_path / 'm.png'), seg_fields=[]))
    return LoadLabels(12, **kwargs)(results)


def agree(results):
    """Each block of the picture has its own colour; the labels must be those of the colours that they lie on."""
    colours = BLOCKS[8::16, 8::16].reshape(-1, 3).astype(int)
    shown = results['img'][..., ::-1].astype(int)
    centres = np.s_[8::16, 8::16]
    nearest = np.abs(shown[centres][..., None, :] - colours).sum(-1).argmin(-1)
    return (nearest == results['gt_seg_map'][centres]).mean()


@pytest.mark.parametrize('orientation', range(1, 9))
class TestPictureAndMaskAreTurnedByOneRule:
    def test_drawn_on_the_picture_as_it_is_shown(self, tmp_path, orientation):
        with_orientation(PICTURE, tmp_path / 'a.jpg', orientation, 'JPEG')
        write_mask(tmp_path / 'm.png', turn(STORED, orientation))
        assert agree(load(tmp_path)) == 1

    def test_with_a_tag_of_its_own(self, tmp_path, orientation):
        with_orientation(PICTURE, tmp_path / 'a.jpg', orientation, 'JPEG')
        with_orientation(STORED, tmp_path / 'm.png', orientation, 'PNG')
        assert agree(load(tmp_path)) == 1
        if orientation != 1:
            with pytest.raises(UserError, match="EXIF orientation .*drawn_on='stored' is for masks without"):
                load(tmp_path, drawn_on='stored')

    def test_tiff_with_a_tag_of_its_own(self, tmp_path, orientation):
        with_orientation(STORED, tmp_path / 'm.tif', orientation, 'TIFF')
        np.testing.assert_array_equal(read_mask(tmp_path / 'm.tif'), turn(STORED, orientation))

    def test_drawn_on_the_stored_pixels(self, tmp_path, orientation):
        with_orientation(PICTURE, tmp_path / 'a.jpg', orientation, 'JPEG')
        write_mask(tmp_path / 'm.png', STORED)
        assert agree(load(tmp_path, drawn_on='stored')) == 1

    def test_the_doubt_is_said(self, tmp_path, orientation, monkeypatch):
        said = []
        monkeypatch.setattr(transforms, 'print_log', lambda text, **_: said.append(text))
        with_orientation(np.kron(BLOCKS[:, :48], np.ones((1, 1, 1), np.uint8)), tmp_path / 'a.jpg', orientation, 'JPEG')
        write_mask(tmp_path / 'm.png', STORED[:, :48])
        results = dict(img_path=str(tmp_path / 'a.jpg'), seg_map_path=str(tmp_path / 'm.png'), seg_fields=[])
        labels = LoadLabels(12)
        for _ in range(3):
            labels(LoadImage()(dict(results, seg_fields=[])))
        assert len(said) == (orientation != 1)
        assert all('a.jpg' in text and "LoadLabels(drawn_on='stored')" in text for text in said)

    def test_a_size_that_does_not_fit_names_the_option(self, tmp_path, orientation):
        with_orientation(PICTURE, tmp_path / 'a.jpg', orientation, 'JPEG')
        write_mask(tmp_path / 'm.png', STORED)
        if orientation > 4:
            with pytest.raises(UserError, match="EXIF rotation that the mask lacks.*drawn_on='stored'"):
                load(tmp_path)
        else:
            load(tmp_path)


def test_the_option_is_checked():
    with pytest.raises(UserError, match="drawn_on='x': choose"):
        LoadLabels(drawn_on='x')
