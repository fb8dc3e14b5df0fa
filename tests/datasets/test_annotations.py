"""COCO, CVAT and Label Studio through `prepare`: what is painted, what is named, and what is refused."""

import copy
import json
import random
import re

import numpy as np
import pytest
from annotation_files import (
    HEIGHT,
    ONE,
    ROWS,
    SQUARE,
    TOOLS,
    WIDTH,
    coco,
    cvat,
    drawn,
    percent,
    photograph,
    polygon,
    region,
    shape,
    studio,
    write,
)
from PIL import Image

from mmseg_deeplab.datasets import ImageMaskFolder
from mmseg_deeplab.datasets.classes_file import read_classes
from mmseg_deeplab.datasets.prepare import PLANS, parsing, prepare
from mmseg_deeplab.errors import UserError


@pytest.fixture
def src(tmp_path):
    return tmp_path / 'src'


@pytest.fixture
def dst(tmp_path):
    return tmp_path / 'dst'


def make(tool, src, dst, **options):
    return prepare(tool, src, dst, workers=0, **options)


def mask(dst, name='a.png'):
    return np.array(Image.open(dst / 'masks' / name))


def refused(told, tool, src, dst, **options):
    with pytest.raises(UserError, match=told):
        make(tool, src, dst, **options)
    return not dst.exists()


@pytest.mark.parametrize(('tool', 'content', 'expected'), [r[1:] for r in ROWS], ids=[f'{r[1]}: {r[0]}' for r in ROWS])
def test_shapes(src, dst, tool, content, expected):
    write(src, tool, content)
    if isinstance(expected, str):
        refused(re.escape(expected), tool, src, dst)
    else:
        make(tool, src, dst)
        np.testing.assert_array_equal(mask(dst), expected)


SQUARES = {
    'coco': coco(polygon(SQUARE)),
    'cvat': cvat(shape('box', xtl=1, ytl=1, xbr=4, ybr=3)),
    'label-studio': studio(region('polygonlabels', points=percent(SQUARE))),
}
NOTHING = {'coco': coco(), 'cvat': cvat(), 'label-studio': studio()}


def named(tool, name):
    """The content with another name of its picture."""
    return {'coco': lambda: coco(polygon(SQUARE), file_name=name), 'cvat': lambda: cvat(name=name)}.get(
        tool, lambda: studio(region('polygonlabels', points=percent(SQUARE)), image=name)
    )()


@pytest.mark.parametrize('tool', TOOLS)
class TestEveryTool:
    def test_what_is_made_trains(self, src, dst, tool):
        write(src, tool, SQUARES[tool])
        make(tool, src, dst)
        dataset = ImageMaskFolder(data_root=str(dst))
        info = dataset.get_data_info(0)
        assert info['img_path'].endswith('images/a.png') and info['seg_map_path'].endswith('masks/a.png')

    def test_a_mask_is_made_anew_where_its_shapes_changed(self, src, dst, tool):
        write(src, tool, SQUARES[tool])
        make(tool, src, dst)
        assert make(tool, src, dst).skipped == 1
        write(src, tool, NOTHING[tool])
        assert make(tool, src, dst).skipped == 0
        assert not mask(dst).any()

    def test_a_picture_without_a_shape_is_background_and_named(self, src, dst, tool):
        write(src, tool, NOTHING[tool])
        summary = str(make(tool, src, dst))
        assert '1 x a picture without a shape: all of it is background (the first: annotations' in summary
        assert not mask(dst).any()

    @pytest.mark.parametrize(('names', 'index', 'elsewhere'), [('dog\ncat', 1, 255), ('cat\nBackground', 0, 1)])
    def test_a_classes_file_gives_the_order_and_the_background(self, src, dst, tmp_path, tool, names, index, elsewhere):
        write(src, tool, SQUARES[tool])
        (tmp_path / 'classes.txt').write_text(names)
        make(tool, src, dst, classes=tmp_path / 'classes.txt')
        np.testing.assert_array_equal(mask(dst), np.where(ONE == 1, index, elsewhere))

    def test_a_label_that_the_classes_file_lacks(self, src, dst, tmp_path, tool):
        write(src, tool, SQUARES[tool])
        (tmp_path / 'classes.txt').write_text('cow\nbackground')
        assert refused("1 x the label 'cat' is not among the classes", tool, src, dst, classes=tmp_path / 'classes.txt')

    def test_a_picture_of_another_size(self, src, dst, tool):
        write(src, tool, SQUARES[tool], picture=(9, 6))
        refused('annotated as 8 x 6 pixels, but it has 9 x 6', tool, src, dst)

    def test_sizes_are_of_the_picture_as_it_is_shown(self, src, dst, tool):
        write(src, tool, SQUARES[tool])
        exif = Image.Exif()
        exif[274] = 6
        Image.new('RGB', (HEIGHT, WIDTH)).save(src / 'a.png', exif=exif)
        make(tool, src, dst)
        assert mask(dst).shape == (HEIGHT, WIDTH)
        Image.new('RGB', (WIDTH, HEIGHT)).save(src / 'a.png', exif=exif)
        refused('but it has 6 x 8, turned by its EXIF orientation 6', tool, src, dst)

    def test_a_damaged_picture(self, src, dst, tool):
        write(src, tool, SQUARES[tool])
        (src / 'a.png').write_bytes((src / 'a.png').read_bytes()[:-20])
        refused('a.png.*damaged', tool, src, dst)

    @pytest.mark.parametrize('name', ['/etc/hostname', '../../x.jpg', '..\\..\\x.jpg', 'a/../../../x.jpg', '../x.jpg'])
    def test_nothing_outside_is_read(self, src, dst, tmp_path, tool, name):
        (tmp_path / 'x.jpg').write_bytes(b'')
        write(src / 'deep', tool, named(tool, name))
        assert refused('nothing outside of that folder is read|has 0 pictures', tool, src, dst)

    @pytest.mark.parametrize('name', ['b.png', 'day/a.png', 'a.png/b.png', 'A.png', '..', '/', 'a\u2028.png', ''])
    def test_a_picture_that_is_not_there(self, src, dst, tool, name):
        write(src, tool, named(tool, name))
        assert refused('is missing below|none of a file|has 0 pictures|fits', tool, src, dst)

    def test_a_picture_in_a_folder_of_its_own(self, src, dst, tool):
        write(src / 'labels', tool, SQUARES[tool], picture=None)
        photograph(src / 'pictures/a.png')
        make(tool, src, dst)
        assert (dst / 'images/pictures/a.png').is_file()
        np.testing.assert_array_equal(mask(dst, 'pictures/a.png'), ONE)

    def test_two_pictures_of_one_name(self, src, dst, tool):
        write(src / 'labels', tool, SQUARES[tool], picture=None)
        for folder in ('day', 'night'):
            photograph(src / folder / 'a.png')
        assert refused('1 x a name fits several pictures', tool, src, dst)
        name = '/data/night/a.png' if tool == 'label-studio' else 'night/a.png'
        write(src / 'labels', tool, named(tool, name), picture=None)
        make(tool, src, dst)
        assert (dst / 'masks/night/a.png').is_file() and not (dst / 'masks/day').exists()

    def test_masks_of_one_name(self, src, dst, tool):
        write(src, tool, SQUARES[tool])
        write(src / 'more', tool, named(tool, 'a.jpg'), picture=None)
        Image.new('RGB', (WIDTH, HEIGHT)).save(src / 'a.jpg')
        assert refused('1 x pictures share the name of their mask', tool, src, dst)

    def test_a_picture_that_is_annotated_twice(self, src, dst, tool):
        write(src, tool, SQUARES[tool])
        write(src / 'more', tool, SQUARES[tool], picture=None)
        assert refused('1 x a picture is annotated twice', tool, src, dst)

    def test_what_is_left_out_is_named(self, src, dst, tool):
        write(src, tool, SQUARES[tool])
        suffix = '.xml' if tool == 'cvat' else '.json'
        (src / f'other{suffix}').write_text('<annotation/>' if tool == 'cvat' else '{"a": 1}')
        Image.new('RGB', (1, 1)).save(src / 'b.jpg')
        (src / '.hidden.json').write_text('{')
        summary = str(make(tool, src, dst))
        assert f'1 x a {suffix} file that is not of {TOOLS[tool]}, left out (the first: other{suffix})' in summary
        assert '1 x a picture that no annotation names, left out (the first: b.jpg)' in summary

    def test_no_file_of_the_tool(self, src, dst, tool):
        photograph(src / 'a.png')
        told = f'holds no pictures annotated in a file of {TOOLS[tool]}'
        assert refused(told, tool, src, dst)
        write(src, tool, '<other/>' if tool == 'cvat' else [dict(image='a.png', label=[])])
        assert refused(rf'{told}; 1 x a \.\w+ file that is not of {TOOLS[tool]}, left out', tool, src, dst)

    def test_a_file_larger_than_any_text(self, src, dst, tool):
        write(src, tool, SQUARES[tool])
        with open(next(src.glob('annotations.*')), 'r+b') as file:
            file.truncate(2**40)
        assert refused('is larger than (256|512) MiB', tool, src, dst)

    def test_more_pixels_than_memory_holds(self, src, dst, tool):
        content = json.dumps(SQUARES[tool]) if tool != 'cvat' else SQUARES[tool]
        for old, new in (('"width": 8', '"width": 10000000'), ('width="8"', 'width="10000000"')):
            content = content.replace(old, new)
        content = content.replace('"original_width": 8', '"original_width": 10000000')
        content = re.sub(r'(height"?(?:: |="))6', r'\g<1>10000000', content)
        write(src, tool, content)
        assert refused('too large to be decoded: 10000000 x 10000000', tool, src, dst)


@pytest.mark.parametrize('tool', ['coco', 'label-studio'])
@pytest.mark.parametrize('text', ['{', '[1', '\x00', '[' * 10**5, '{"images":' * 10**5, '1' * 5000])
def test_no_json(src, dst, tool, text):
    write(src, tool, text)
    assert refused(rf'annotations\.json is no JSON of {TOOLS[tool]}', tool, src, dst)


LAUGHS = '<!DOCTYPE a [<!ENTITY a "ha">' + ''.join(
    f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip('abcdefgh', 'bcdefghi', strict=True)
)


@pytest.mark.parametrize(
    ('text', 'told'),
    [
        ('', 'no element found'),
        ('<annotations>', 'no element found'),
        ('<annotations></b>', 'mismatched tag'),
        ('<annotations>&a;</annotations>', 'undefined entity'),
        ('<?xml version="1.0" encoding="nonsense"?><annotations/>', 'unknown encoding'),
        ('<a>' * 33 + '</a>' * 33, 'more than 32 elements'),
        (LAUGHS + ']><annotations>&i;</annotations>', 'declares a document type'),
        ('<!DOCTYPE annotations SYSTEM "file:///etc/hostname"><annotations/>', 'declares a document type'),
        ('<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/hostname">]><annotations>&b;</annotations>', 'document type'),
    ],
)
def test_no_xml(src, dst, text, told):
    write(src, 'cvat', text)
    assert refused(rf'annotations\.xml .*{told}', 'cvat', src, dst)


def test_xml_of_another_encoding(src, dst):
    write(src, 'cvat', cvat(shape('box', 'café', xtl=1, ytl=1, xbr=4, ybr=3), labels=('café',)))
    text = (src / 'annotations.xml').read_text()
    (src / 'annotations.xml').write_bytes(text.replace('"1.0"', '"1.0" encoding="utf-16"').encode('utf-16'))
    make('cvat', src, dst)
    assert read_classes(dst / 'classes.txt').names == ('background', 'café')


def test_all_faults_are_told_at_once(src, dst):
    content = coco(*[dict(bbox=[1, 1, 1, 1])] * 3, polygon([1, 2]), polygon(SQUARE))
    write(src, 'coco', content)
    assert refused(
        r'4 annotations below .*src can not be used, and nothing was written: 3 x a box without a segmentation '
        r'\(the first: annotations\.json, annotation 1\); 1 x a polygon is not .* \(the first: .* annotation 4\)',
        'coco',
        src,
        dst,
    )


def test_the_order_of_classes_is_that_of_the_file(src, dst):
    write(src, 'coco', coco(polygon(SQUARE), categories=('zebra', 'ape', '_background_', 'void')))
    make('coco', src, dst)
    assert read_classes(dst / 'classes.txt').names == ('zebra', 'ape', '_background_')
    np.testing.assert_array_equal(mask(dst), np.where(ONE == 1, 0, 2))
    write(src, 'cvat', cvat(labels=('zebra', 'ape')))
    make('cvat', src, dst.with_name('cvat'))
    assert read_classes(dst.with_name('cvat') / 'classes.txt').names == ('background', 'zebra', 'ape')


def test_several_files_of_coco(src, dst):
    """Ids are of their file, names of all."""
    write(src / 'train', 'coco', coco(polygon(SQUARE)))
    write(src / 'val', 'coco', coco(polygon(SQUARE), categories=('dog', 'cat')))
    make('coco', src, dst)
    assert read_classes(dst / 'classes.txt').names == ('background', 'cat', 'dog')
    np.testing.assert_array_equal(mask(dst, 'train/a.png'), ONE)
    np.testing.assert_array_equal(mask(dst, 'val/a.png'), ONE * 2)


@pytest.mark.parametrize(
    ('change', 'told'),
    [
        (dict(images={}), 'images holds something without id, file_name, width, height'),
        (dict(images=[dict(id=1)]), 'images holds something without'),
        (dict(images=[dict(id=1, file_name='a.png', width=8.0, height=6)]), 'no numbers of pixels'),
        (dict(images=[dict(id=1, file_name='a.png', width=True, height=6)]), 'no numbers of pixels'),
        (dict(images=[dict(id=1, file_name='a.png', width=-8, height=-6)]), 'no numbers of pixels'),
        (dict(images=[dict(id=1, file_name=['a.png'], width=8, height=6)]), 'none of a file'),
        (dict(images=[dict(id=[1], file_name='a.png', width=8, height=6)]), 'neither a whole number nor text'),
        (dict(images=[dict(id=7, file_name=n, width=8, height=6) for n in ('a.png', 'b.png')]), 'id is given twice'),
        (dict(images=[dict(id=n, file_name='a.png', width=8, height=6) for n in (7, 8)]), 'is annotated twice'),
        (dict(categories=5), 'categories holds something without'),
        (dict(categories=[dict(id=10, name=n) for n in ('cat', 'dog')]), 'id is given twice'),
        (dict(categories=[dict(id=n, name='cat') for n in (10, 11)]), "two categories are called 'cat'"),
        (dict(categories=[dict(id=10, name='a, 1')]), "label 'a, 1' is no name of a class"),
        (dict(categories=[dict(id=10, name=5)]), 'label 5 is no name of a class'),
        (dict(categories=[dict(id=n, name=f'c{n}') for n in range(256)]), 'there are 257 classes'),
        (dict(annotations=[5]), 'annotations holds something without'),
        (dict(annotations=[dict(image_id=[7], category_id=10)]), 'image_id is of nothing'),
        (dict(annotations=[dict(image_id=True, category_id=10)]), 'image_id is of nothing'),
    ],
)
def test_what_can_not_be_in_coco(src, dst, change, told):
    write(src, 'coco', dict(coco(polygon(SQUARE)), **change))
    assert refused(told, 'coco', src, dst)


@pytest.mark.parametrize(
    ('segmentation', 'told'),
    [
        (5, 'neither polygons nor run lengths'),
        ('abc', 'neither polygons nor run lengths'),
        (SQUARE, 'not three or more points'),
        ([[1, 1, 4, 1, 4]], 'not three or more points'),
        ([[1, 1, 4, 1, 4, 3, 1]], 'not three or more points'),
        ([[1, 1, 4, 1, 4, '3']], 'not three or more points'),
        ([[1, 1, 4, 1, 4, float('nan')]], 'not three or more points'),
        ([[1, 1, 4, 1, 4, float('inf')]], 'not three or more points'),
        ([[1, 1, 4, 1, 4, 1e30]], 'not three or more points'),
        ([[1, 1, 4, 1, 4, True]], 'not three or more points'),
        (dict(counts=[48]), 'another size'),
        (dict(size=[6, 8]), 'neither whole numbers nor text'),
        (dict(size=[6, 8], counts=[48.0]), 'neither whole numbers nor text'),
        (dict(size=[6, 8], counts=[True, 47]), 'neither whole numbers nor text'),
        (dict(size=[6, 8], counts=[49]), 'annotation 1: its run lengths are of 49 pixels'),
        (dict(size=[6, 8], counts=[-1, 49]), 'some of them negative'),
        (dict(size=[6, 8], counts='72W1 '), "hold ' '"),
    ],
)
def test_segmentations_that_can_not_be(src, dst, segmentation, told):
    write(src, 'coco', coco(dict(segmentation=segmentation)))
    refused(told, 'coco', src, dst)


@pytest.mark.parametrize(
    ('wrong', 'told'),
    [
        (shape('polygon', points='1,1;4,1'), 'not three or more points'),
        (shape('polygon', points='1,1;4,1;4'), 'not three or more points'),
        (shape('polygon', points='1,1;4,1;4,x'), 'not three or more points'),
        (shape('polygon', points='1,1;4,1;4,nan'), 'not three or more points'),
        (shape('polygon', points='1,1;4,1;4,1e30'), 'not three or more points'),
        (shape('polygon'), 'not three or more points'),
        (shape('box', xtl=1, ytl=1, xbr=4), 'no four corners'),
        (shape('box', xtl=1, ytl=1, xbr=4, ybr=3, rotation='x'), 'no four corners'),
        (shape('ellipse', cx=1, cy=1, rx=0, ry=1), 'no centre, radii above 0'),
        (shape('ellipse', cx=1, cy=1), 'no centre, radii above 0'),
        (shape('mask', rle='6', left=0, top=0, width=3), 'no left, top, width and height'),
        (shape('mask', rle='6', left=-1, top=0, width=3, height=2), 'reaches beyond its picture'),
        (shape('mask', rle='6', left=6, top=0, width=3, height=2), 'reaches beyond its picture'),
        (shape('mask', rle='6.0', left=0, top=0, width=3, height=2), 'no whole numbers'),
        (shape('mask', left=0, top=0, width=3, height=2), 'no whole numbers'),
        (shape('mask', rle='7,-1', left=0, top=0, width=3, height=2), 'negative'),
        (shape('box', xtl=1, ytl=1, xbr=4, ybr=3, z_order='x'), 'z_order is no whole number'),
        (shape('box', '', xtl=1, ytl=1, xbr=4, ybr=3), "label '' is not among"),
        (shape('skeleton'), '1 x a skeleton is not filled'),
        (shape('cuboid'), '1 x a cuboid is not filled'),
    ],
)
def test_shapes_that_can_not_be_in_cvat(src, dst, wrong, told):
    write(src, 'cvat', cvat(wrong))
    refused(told, 'cvat', src, dst)


def test_tags_of_cvat_are_named(src, dst):
    write(src, 'cvat', cvat(shape('tag'), shape('box', xtl=1, ytl=1, xbr=4, ybr=3)))
    assert '1 x a tag, which says nothing of pixels, left out' in str(make('cvat', src, dst))
    np.testing.assert_array_equal(mask(dst), ONE)


def task(kind, **value):
    return studio(region(kind, **value))


@pytest.mark.parametrize(
    ('wrong', 'told'),
    [
        (studio(5), 'a None is not filled'),
        (studio(dict(type='polygonlabels')), 'no value, original_width and original_height'),
        (studio(dict(region('polygonlabels'), original_width='8')), 'no value, original_width and original_height'),
        (studio(dict(region('polygonlabels', points=percent(SQUARE)), image_rotation=90)), 'turned in Label Studio'),
        (studio(dict(region('brush'), value=dict(rle=[]))), "a 'brush' is without a label"),
        (task('polygonlabels', points=[[1, 1], [2, 2]]), 'not three or more points'),
        (task('polygonlabels', points=[[1, 1], [2, 2], [3]]), 'not three or more points'),
        (task('polygonlabels', points='abc'), 'not three or more points'),
        (task('polygonlabels', points=percent(SQUARE), closed=False), 'not closed'),
        (task('ellipselabels', x=1, y=1, radiusX=0, radiusY=1), 'not above 0'),
        (task('rectanglelabels', x=1, y=1, width=5), 'a region is none of'),
        (task('rectanglelabels', x=1, y=1, width=5, height='5'), 'a region is none of'),
        (task('rectanglelabels', x=120, y=1, width=5, height=5), 'lies outside of its picture'),
        (task('brushlabels', rle=[256]), 'no list of bytes'),
        (task('brushlabels', rle='abc'), 'no list of bytes'),
        (task('brushlabels', rle=10**12), 'no list of bytes'),
        (task('polygonlabels', label=5, points=percent(SQUARE)), 'no name of a class'),
        (studio(annotations=5), 'annotations of a task are no list'),
        (studio(annotations=[5]), 'annotations of a task are no list'),
        (studio(annotations=[dict(result=5)]), 'annotations of a task are no list'),
        (studio(data=5), 'a task has 0 pictures'),
        (studio(data=dict(left='a.png', right='b.png')), 'a task has 2 pictures'),
        (
            studio(
                region('polygonlabels', points=percent(SQUARE)),
                dict(region('polygonlabels', points=percent(SQUARE)), original_width=9),
            ),
            'of pictures of several sizes',
        ),
    ],
)
def test_what_can_not_be_in_label_studio(src, dst, wrong, told):
    write(src, 'label-studio', wrong)
    assert refused(told, 'label-studio', src, dst)


def test_what_label_studio_says_beside_pixels_is_named(src, dst):
    drawn_one = region('polygonlabels', points=percent(SQUARE))
    tasks = studio(drawn_one, dict(type='choices', value=dict(choices=['sunny'])))
    tasks += studio(id=6, annotations=[], image='b.png') + studio(
        id=7, annotations=[dict(was_cancelled=True, result=[])]
    )
    write(src, 'label-studio', tasks)
    summary = str(make('label-studio', src, dst))
    assert '1 x choices of a task or region, which say nothing of pixels, left out' in summary
    assert '2 x a task that nobody annotated (predictions do not count), left out' in summary
    np.testing.assert_array_equal(mask(dst), ONE)


@pytest.mark.parametrize(
    'address',
    [
        'a.png',
        '/data/upload/3/a.png',
        '/data/upload/3/0a1b2c3d-a.png',
        '/data/local-files/?d=scans/a.png',
        'https://pictures.example/store/a.png?signature=x',
        's3://bucket/store/a.png',
        'C:\\scans\\a.png',
    ],
)
def test_addresses_of_label_studio(src, dst, address):
    write(src, 'label-studio', studio(region('polygonlabels', points=percent(SQUARE)), image=address))
    make('label-studio', src, dst)
    np.testing.assert_array_equal(mask(dst), ONE)


def test_names_with_blanks_and_letters_of_label_studio(src, dst):
    content = studio(
        region('polygonlabels', points=percent(SQUARE)), image='/data/upload/1/0a1b2c3d-my%20caf%C3%A9.png'
    )
    write(src, 'label-studio', content, name='my café.png')
    make('label-studio', src, dst)
    np.testing.assert_array_equal(mask(dst, 'my café.png'), ONE)


class TestNothingIsLostInTheMask:
    def test_shapes_beyond_the_picture_are_cut_and_named(self, src, dst):
        write(src, 'coco', coco(polygon([-5, 1, 4, 1, 4, 3, -5, 3]), polygon([5, 4, 8.5, 4, 8.5, 6.5, 5, 6.5])))
        summary = str(make('coco', src, dst))
        assert '1 x a shape reaches beyond its picture, and is cut at the edge' in summary
        expected = drawn('........', '1111....', '1111....', '........', '.....111', '.....111')
        np.testing.assert_array_equal(mask(dst), expected)

    def test_shapes_without_a_pixel_are_named(self, src, dst):
        write(src, 'coco', coco(polygon(SQUARE), polygon(SQUARE, category_id=11), polygon([6, 4, 6.1, 4, 6.1, 4.1])))
        summary = str(make('coco', src, dst))
        assert '2 shapes have no pixel in their masks:' in summary
        assert 'annotation 1: others lie above all of it' in summary
        assert 'annotation 3: it covers no pixel' in summary
        np.testing.assert_array_equal(mask(dst), ONE * 2)  # of equal areas the later

    def test_keypoints_beside_a_segmentation_are_named(self, src, dst):
        write(src, 'coco', coco(polygon(SQUARE, keypoints=[1, 1, 2])))
        assert '1 x keypoints beside a segmentation, left out' in str(make('coco', src, dst))


LARGE = [None, True, -1, 0, 2**70, 1e300, float('nan'), '', 'a', '\0', '../x', [], {}, [[]], [None], {'a': 1}, 'a.png']


def mutated(value, random_):
    """The content with one value, key or element replaced, removed or doubled."""
    if isinstance(value, (dict, list)) and value and random_.random() < 0.85:
        key = random_.choice([*value] if isinstance(value, dict) else range(len(value)))
        value[key] = mutated(value[key], random_)
        if random_.random() < 0.05:
            del value[key]
        return value
    return copy.deepcopy(random_.choice(LARGE))


@pytest.mark.parametrize('tool', TOOLS)
def test_mutated_files_are_read_or_refused(src, dst, tool):
    """600 of each tool, each mask painted in this process, so that nothing else than UserError passes for a refusal."""
    random_, outcomes = random.Random(4), [0, 0]
    valid = [content for _, row_tool, content, expected in ROWS if row_tool == tool and not isinstance(expected, str)]
    write(src, tool, valid[0])
    for _ in range(600):
        content = random_.choice(valid)
        if tool == 'cvat':
            place, end = random_.choice([found.span(1) for found in re.finditer('"([^"]*)"', content)])
            if random_.random() < 0.5:  # anywhere
                place = random_.randrange(len(content))
                end = place + random_.randrange(1, 9)
            content = (
                content[:place] + ''.join(random_.choices('0-1.,;"<&e é9', k=random_.randrange(4))) + content[end:]
            )
        else:
            content = json.dumps(mutated(copy.deepcopy(content), random_))
        (src / ('annotations.xml' if tool == 'cvat' else 'annotations.json')).write_text(content)
        try:
            for job in PLANS[tool](src, dst).jobs:
                labels, _ = job.make(*job.args)
                assert labels.shape == (HEIGHT, WIDTH) and labels.dtype == np.uint8
            outcomes[0] += 1
        except UserError:
            outcomes[1] += 1
    assert min(outcomes) > 30, outcomes
    assert not dst.exists()


def test_numbers_are_bounded():
    far = parsing.FARTHEST
    assert parsing.numbers([far, -far, 0.5]) == (far, -far, 0.5)
    for wrong in ([far + 1], [float('nan')], [True], ['1'], 5, '12', None, [10**400]):
        assert parsing.numbers(wrong) is None
    assert parsing.numbers([1, 2], 3) is None
