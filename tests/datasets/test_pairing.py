"""Which mask is whose: by names, patterns and lists, as people have them."""

import codecs

import numpy as np
import pytest
from PIL import Image

from mmseg_deeplab.datasets import ImageMaskFolder
from mmseg_deeplab.datasets.pairing import NamePattern
from mmseg_deeplab.errors import UserError, UserFileNotFoundError


def fill(root, images, masks):
    for names, pixel in ((images, (1, 2, 3)), (masks, 1)):
        for name in names:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            shape = (2, 3, 3) if isinstance(pixel, tuple) else (2, 3)
            Image.fromarray(np.full(shape, pixel, np.uint8)).save(path)
    (root / 'classes.txt').write_text('sky\nroad\n')


def pairs(root, **options):
    dataset = ImageMaskFolder(data_root=str(root), **options)
    items = [dataset.get_data_info(index) for index in range(len(dataset))]
    return [tuple(item[key].removeprefix(f'{root}/') for key in ('img_path', 'seg_map_path')) for item in items]


ONE = dict(data_prefix=dict(img_path='', seg_map_path=''))


@pytest.mark.parametrize(
    ('options', 'images', 'masks'),
    [
        (dict(image_pattern='{}_sat.jpg', mask_pattern='{}_mask.png'), ['images/7_sat.jpg'], ['masks/7_mask.png']),
        (dict(image_pattern='{}_sat.jpg', mask_pattern='{}_mask.png', **ONE), ['a/7_sat.jpg'], ['a/7_mask.png']),
        (dict(image_pattern='{}.png', mask_pattern='{}_mask.png', **ONE), ['7.png'], ['7_mask.png']),
        (dict(mask_pattern='{}_mask.png', **ONE), ['7.png', '8.jpg'], ['7_mask.png', '8_mask.png']),
        (ONE, ['7.jpg'], ['7.png']),
        (dict(image_pattern='{}/image.tif', mask_pattern='{}/mask.png', **ONE), ['p1/image.tif'], ['p1/mask.png']),
        (dict(image_pattern='{}/{}_i.png', mask_pattern='{}/{}_m.png', **ONE), ['p/p_i.png'], ['p/p_m.png']),
        (dict(image_pattern='im{}.jpg', mask_pattern='gt{}.png'), ['images/im1.jpg'], ['masks/gt1.png']),
        (dict(image_pattern='[{}].jpg', mask_pattern='({}).png'), ['images/[1].jpg'], ['masks/(1).png']),
        (dict(seg_map_suffix='_L.png'), ['images/my photo.JPG'], ['masks/my photo_L.png']),
    ],
)
def test_patterns(tmp_path, options, images, masks):
    fill(tmp_path, images, masks)
    assert pairs(tmp_path, **options) == [*zip(images, masks, strict=True)]


def test_files_that_do_not_fit_the_pattern_are_no_images(tmp_path):
    fill(tmp_path, ['images/7_sat.jpg', 'images/7_nir.jpg', 'images/8.jpg'], ['masks/7.png'])
    assert pairs(tmp_path, image_pattern='{}_sat.jpg') == [('images/7_sat.jpg', 'masks/7.png')]


LINES = [
    '7',
    '7.jpg',
    'images/7.jpg',
    '/images/7.jpg',
    './images/7.jpg',
    'images\\7.jpg',
    'images/7',
    '{root}/images/7.jpg',
]


@pytest.mark.parametrize('line', LINES)
def test_a_list_of_names_or_files(tmp_path, line):
    fill(tmp_path, ['images/7.jpg', 'images/8.jpg'], ['masks/7.png', 'masks/8.png'])
    (tmp_path / 'list.txt').write_text(f'8\n{line.format(root=tmp_path)}\n')
    expected = [('images/8.jpg', 'masks/8.png'), ('images/7.jpg', 'masks/7.png')]
    assert pairs(tmp_path, ann_file='list.txt') == expected


@pytest.mark.parametrize('gap', [' ', '\t', ',', ', ', ' ; ', '   '])
@pytest.mark.parametrize('files', ['7.jpg{}x.png', 'images/7.jpg{}masks/x.png', '/images/7.jpg{}/masks/x.png', '7{}x'])
def test_a_list_of_pairs(tmp_path, gap, files):
    fill(tmp_path, ['images/7.jpg'], ['masks/x.png'])
    (tmp_path / 'list.txt').write_text(files.format(gap))
    assert pairs(tmp_path, ann_file='list.txt') == [('images/7.jpg', 'masks/x.png')]


def test_blanks_in_names(tmp_path):
    fill(tmp_path, ['images/my photo.jpg', 'images/my.jpg'], ['masks/my photo.png', 'masks/the mask.png'])
    (tmp_path / 'list.txt').write_text('my photo.jpg\nmy photo.jpg the mask.png\nmy.jpg\tthe mask.png\n')
    assert [mask for _, mask in pairs(tmp_path, ann_file='list.txt')] == [
        'masks/my photo.png',
        'masks/the mask.png',
        'masks/the mask.png',
    ]


def test_the_masks_of_a_list_say_nothing_where_none_are_read(tmp_path):
    fill(tmp_path, ['images/7.jpg'], [])
    (tmp_path / 'list.txt').write_text('7.jpg masks/7.png\n')
    dataset = ImageMaskFolder(data_root=str(tmp_path), data_prefix=dict(img_path='images'), ann_file='list.txt')
    assert 'seg_map_path' not in dataset.get_data_info(0)


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16-le', 'utf-16-be', 'utf-32-le', 'utf-32-be'])
def test_encoding_marks(tmp_path, encoding):
    fill(tmp_path, ['images/Straße.jpg'], ['masks/Straße.png'])
    mark = {'utf-16-le': codecs.BOM_UTF16_LE, 'utf-16-be': codecs.BOM_UTF16_BE, 'utf-32-le': codecs.BOM_UTF32_LE}
    mark |= {'utf-32-be': codecs.BOM_UTF32_BE}
    for name, text in (('list.txt', 'Straße\r\n'), ('classes.txt', 'Himmel\r\nStraße\r\n')):
        (tmp_path / name).write_bytes(mark.get(encoding, b'') + text.encode(encoding))
    dataset = ImageMaskFolder(data_root=str(tmp_path), ann_file='list.txt')
    assert len(dataset) == 1 and dataset.metainfo['classes'] == ('Himmel', 'Straße')


def test_hidden_files_are_left_out(tmp_path):
    fill(tmp_path, ['images/7.jpg'], ['masks/7.png'])
    for name in ('images/._7.jpg', 'images/.hidden/9.jpg', 'images/.DS_Store'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b'\0\5\x16\7')
    assert pairs(tmp_path) == [('images/7.jpg', 'masks/7.png')]


@pytest.mark.parametrize(
    ('masks', 'options', 'told'),
    [
        (
            ['masks/7_mask.png', 'masks/8_mask.png'],
            {},
            r"holds 2 \.png \(7_mask\.png, \.\.\.\)\. Is it mask_pattern='{}_mask",
        ),
        (['masks/7.tif'], {}, r"holds 1 \.tif \(7\.tif\)\. Is it mask_pattern='{}\.tif'"),
        (['masks/other.png'], {}, r'holds 1 \.png \(other\.png\)\. Set data_prefix, seg_map_suffix or mask_pattern'),
        ([], {}, 'the folder does not exist'),
        (['labels/7.png'], dict(data_prefix=dict(img_path='images', seg_map_path='annotations')), 'does not exist'),
    ],
)
def test_no_mask_at_all(tmp_path, masks, options, told):
    fill(tmp_path, ['images/7.jpg', 'images/8.jpg'], masks)
    with pytest.raises(UserFileNotFoundError, match=f'none of the images has a mask.*{told}'):
        ImageMaskFolder(data_root=str(tmp_path), **options)


@pytest.mark.parametrize(
    ('options', 'told'),
    [
        (dict(img_suffix='.png'), r"img_suffix has no effect here.*image_pattern='{}\.SUFFIX'"),
        (dict(val_ratio=0.3), "val_ratio has no effect here: it divides images where split='train' or 'val'"),
        (dict(val_ratio=0.3, ann_file='list.txt'), 'val_ratio has no effect here'),
        (dict(seg_map_suffix='.tif', mask_pattern='{}.png'), 'seg_map_suffix has no effect here: mask_pattern'),
        (dict(mask_pattern='{}.png', data_prefix=dict(img_path='images')), 'mask_pattern has no effect here'),
        (dict(seg_map_suffix='.tif', data_prefix=dict(img_path='images')), 'seg_map_suffix has no effect here'),
        (dict(image_pattern='sat.jpg'), r"image_pattern='sat\.jpg' is no pattern"),
        (dict(mask_pattern='/masks/{}.png'), 'mask_pattern=.* is no pattern'),
        (
            dict(image_pattern='{}.npy'),
            r"holds no image \(called as image_pattern='{}\.npy'\): the folder holds 1 \.jpg",
        ),
    ],
)
def test_what_can_not_be_meant(tmp_path, options, told):
    fill(tmp_path, ['images/7.jpg'], ['masks/7.png'])
    with pytest.raises(UserError, match=told):
        ImageMaskFolder(data_root=str(tmp_path), **options)


@pytest.mark.parametrize(
    ('line', 'told'),
    [
        ('7.jpg 9.png', r"list\.txt names the mask '9\.png', which is neither in .*masks nor in"),
        ('9.jpg 7.png', r"list\.txt names '9\.jpg 7\.png', which is not in .*images; .* the folder holds 1 \.jpg"),
    ],
)
def test_pairs_that_are_not_there(tmp_path, line, told):
    fill(tmp_path, ['images/7.jpg'], ['masks/7.png'])
    (tmp_path / 'list.txt').write_text(line)
    with pytest.raises(UserFileNotFoundError, match=told):
        ImageMaskFolder(data_root=str(tmp_path), ann_file='list.txt')


def test_a_pattern_reads_what_it_writes():
    for text in ('{}_sat.jpg', 'a/{}/b.{}.png', '{}', '(.*){}+'):
        pattern = NamePattern.of(text, 'image_pattern')
        assert pattern.name(pattern.file('north/7')) == 'north/7' and pattern.name('other/thing') in (
            None,
            'other/thing',
        )
