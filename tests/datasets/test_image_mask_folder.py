"""A user's own folder: any image kind, indices or colours, lists or shares; mistakes are named as the data are read."""

import numpy as np
import pytest
from mmseg.registry import DATASETS
from PIL import Image

from mmseg_deeplab.datasets import ImageMaskFolder
from mmseg_deeplab.datasets.classes_file import Classes, colours_to_indices, read_classes
from mmseg_deeplab.errors import UserError, UserFileNotFoundError

PIPELINE = [dict(type='LoadImage'), dict(type='LoadLabels')]


@pytest.fixture
def root(tmp_path):
    for index in range(10):
        suffix = ('jpg', 'png', 'tif')[index % 3]
        folder = tmp_path / 'images' / ('north' if index < 5 else 'south')
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 5, 3), index, np.uint8)).save(folder / f'{index}.{suffix}')
        (tmp_path / 'masks' / folder.name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 5), index % 3, np.uint8)).save(tmp_path / 'masks' / folder.name / f'{index}.png')
    (tmp_path / 'classes.txt').write_text('# my classes\nsky\n\nroad\nfield\n')
    return tmp_path


def names(dataset):
    return [
        item['img_path'].split('images/')[1].split('.')[0] for item in map(dataset.get_data_info, range(len(dataset)))
    ]


def test_all_images_with_their_masks(root):
    dataset = ImageMaskFolder(data_root=str(root), pipeline=PIPELINE)
    assert dataset.metainfo['classes'] == ('sky', 'road', 'field')
    assert len(dataset) == 10
    for index in range(10):
        sample = dataset[index]
        number = int(sample['img_path'].rpartition('/')[2].split('.')[0])
        assert (sample['gt_seg_map'] == number % 3).all()


def test_shares_are_disjoint_complete_and_the_same_everywhere(root):
    train = names(ImageMaskFolder(data_root=str(root), split='train', val_ratio=0.3))
    val = names(ImageMaskFolder(data_root=str(root), split='val', val_ratio=0.3))
    assert len(val) == 3 and not {*train} & {*val} and len(train) == 7
    # by the SHA-256 of the names, as `printf %s NAME | sha256sum` gives them
    assert val == ['north/3', 'north/4', 'south/9']


def test_list_of_names(root):
    (root / 'train.txt').write_text('south/7\nnorth/1\n')
    assert names(ImageMaskFolder(data_root=str(root), ann_file='train.txt')) == ['south/7', 'north/1']
    (root / 'train.txt').write_text('south/70\n')
    with pytest.raises(FileNotFoundError, match=r"train\.txt names 'south/70', which is not in .*images"):
        ImageMaskFolder(data_root=str(root), ann_file='train.txt')
    (root / 'train.txt').write_text('\n')
    with pytest.raises(FileNotFoundError, match=r'train\.txt is empty'):
        ImageMaskFolder(data_root=str(root), ann_file='train.txt')


def test_masks_as_colours(root):
    (root / 'classes.txt').write_text('sky, 0, 0, 255\nroad, #808080\nvoid, 0, 0, 0\n')
    colours = np.array([[[0, 0, 255], [128, 128, 128], [0, 0, 0]]], np.uint8)
    for path in (root / 'masks').rglob('*.png'):
        Image.fromarray(np.tile(colours, (4, 1, 1))[:, [0, 1, 2, 0, 0]]).save(path)
    dataset = ImageMaskFolder(data_root=str(root), masks='colours', pipeline=PIPELINE)
    np.testing.assert_array_equal(dataset[0]['gt_seg_map'], [[0, 1, 255, 0, 0]] * 4)
    assert dataset.metainfo['palette'] == [[0, 0, 255], [128, 128, 128]]
    Image.fromarray(np.full((4, 5, 3), 7, np.uint8)).save(root / 'masks/north/0.png')
    with pytest.raises(ValueError, match=r'north/0\.png holds 1 colours .* lacks: \(7, 7, 7\) \(20 pixels\)'):
        dataset[0]


@pytest.mark.parametrize('reduce_zero_label, expected', [(False, [1, 255, 0]), (True, [255, 1, 255])])
def test_a_subset_of_the_classes(root, reduce_zero_label, expected):
    (root / 'classes.txt').write_text('sky, 0, 0, 1\nroad, 0, 0, 2\nfield, 0, 0, 3\n')
    options = dict(metainfo=dict(classes=('field', 'sky')), reduce_zero_label=reduce_zero_label)
    dataset = ImageMaskFolder(data_root=str(root), pipeline=PIPELINE, **options)
    assert [int(dataset[index]['gt_seg_map'][0, 0]) for index in range(3)] == expected
    assert dataset.metainfo['classes'] == ('field', 'sky')
    assert dataset.metainfo['palette'] == [[0, 0, 3], [0, 0, 1]]
    with pytest.raises(ValueError, match=r"metainfo\.classes: \['fjeld'\] are not in classes\.txt, which has \['sky'"):
        ImageMaskFolder(data_root=str(root), metainfo=dict(classes=('fjeld',)))


def test_images_without_masks(root):
    """Data to predict on, with the pipeline of the test."""
    prefix = dict(img_path='images')
    dataset = ImageMaskFolder(data_root=str(root), data_prefix=prefix, pipeline=PIPELINE)
    assert len(dataset) == 10 and dataset[0]['img'].shape == (4, 5, 3) and 'gt_seg_map' not in dataset[0]


def test_linked_folders_are_followed(root, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp('elsewhere')
    for folder in ('images', 'masks'):
        (root / folder / 'south').rename(elsewhere / folder)
        (root / folder / 'south').symlink_to(elsewhere / folder, target_is_directory=True)
    (root / 'images/north/back').symlink_to(root / 'images', target_is_directory=True)
    dataset = ImageMaskFolder(data_root=str(root))
    assert names(dataset) == [f'{"north" if index < 5 else "south"}/{index}' for index in range(10)]


def test_reduce_zero_label_makes_zero_void(root):
    dataset = ImageMaskFolder(data_root=str(root), pipeline=PIPELINE, reduce_zero_label=True)
    assert [int(dataset[i]['gt_seg_map'][0, 0]) for i in range(3)] == [255, 0, 1]


def test_mistakes(root):
    (root / 'masks/north/3.png').unlink()
    with pytest.raises(FileNotFoundError, match=r'1 of 10 images have no mask, the first: .*north/3\.png'):
        ImageMaskFolder(data_root=str(root))
    for options, message in [
        (dict(masks='rgb'), "masks='rgb'; choose 'indices', 'colours' or 'bands'"),
        (dict(split='test'), "split='test'; choose 'train', 'val'"),
        (dict(split='val', val_ratio=20), 'val_ratio=20 must lie between 0 and 1'),
        (dict(split='val', ann_file='val.txt'), 'give one of them'),
    ]:
        with pytest.raises(ValueError, match=message):
            ImageMaskFolder(data_root=str(root), **options)
    (root / 'images/north/3.bmp').write_bytes(b'')
    with pytest.raises(ValueError, match=r'3\.bmp and .*3\.jpg share their name'):
        ImageMaskFolder(data_root=str(root))
    (root / 'empty').mkdir()
    with pytest.raises(FileNotFoundError, match='empty holds no image'):
        ImageMaskFolder(data_root=str(root), data_prefix=dict(img_path='empty', seg_map_path='masks'))


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('', 'names no class'),
        (''.join(f'{i}\n' for i in range(256)), 'names 256 classes; masks have 8 bits'),
        ('a\na\n', r"names a class twice: \['a'\]"),
        ('a, 1, 2, 3\nb, 1, 2, 3\n', r'the same colour: \[\(1, 2, 3\)\]'),
        ('a, 1, 2, 3\nb\n', 'a colour to some classes only'),
        ('a, 1, 2\n', r"line 1: 'a, 1, 2' has no valid colour"),
        ('a\nb, 0, 0, 256\n', r"line 2: 'b, 0, 0, 256' has no valid colour"),
    ],
)
def test_classes_file_mistakes(tmp_path, text, message):
    (tmp_path / 'classes.txt').write_text(text)
    with pytest.raises(ValueError, match=message):
        read_classes(tmp_path / 'classes.txt')


def test_classes_file_of_windows_notepad(tmp_path):
    """It starts with a byte order mark, which is no part of the first name."""
    (tmp_path / 'classes.txt').write_bytes(b'\xef\xbb\xbfvoid, 0, 0, 0\r\nroad, 1, 2, 3\r\n')
    assert read_classes(tmp_path / 'classes.txt') == Classes(('road',), ((1, 2, 3),), ((0, 0, 0),))


def test_colours_to_indices_against_a_loop():
    rng = np.random.default_rng(0)
    classes = Classes(('a', 'b', 'c'), ((9, 0, 0), (0, 9, 0), (0, 0, 9)), ((1, 1, 1),))
    table = {**dict(zip(classes.palette, range(3), strict=True)), (1, 1, 1): 255}
    rgb = rng.choice([0, 1, 9], (30, 40, 3)).astype(np.uint8)
    labels, unknown = colours_to_indices(rgb, classes)
    expected = [[table.get(tuple(map(int, pixel)), 255) for pixel in row] for row in rgb]
    np.testing.assert_array_equal(labels, expected)
    assert sum(unknown.values()) == sum(tuple(map(int, p)) not in table for p in rgb.reshape(-1, 3))


@pytest.mark.parametrize('line', [', 1, 2, 3', ',', ' , #010203', '  ,1,2,3'])
def test_a_class_without_a_name(tmp_path, line):
    (tmp_path / 'classes.txt').write_text(f'sky\n{line}\n')
    with pytest.raises(ValueError, match=r'classes\.txt, line 2: .* has no name of a class'):
        read_classes(tmp_path / 'classes.txt')


def test_a_comment_may_be_indented(tmp_path):
    (tmp_path / 'classes.txt').write_text('sky\n  # road\nfield\n')
    assert read_classes(tmp_path / 'classes.txt').names == ('sky', 'field')


@pytest.mark.parametrize(
    ('content', 'words'),
    [(b'\xff\xfes\0k\0y', 'no text in UTF-8'), (b'sk\xffy', 'no text in UTF-8'), (None, 'cannot be read')],
)
def test_a_classes_file_or_list_that_can_not_be_read(tmp_path, content, words):
    for name, options in (('classes.txt', {}), ('list.txt', dict(ann_file='list.txt'))):
        (tmp_path / 'classes.txt').write_text('sky\nroad\n')
        (tmp_path / 'images').mkdir(exist_ok=True)
        Image.new('RGB', (3, 2)).save(tmp_path / 'images/a.png')
        (tmp_path / name).unlink(missing_ok=True)
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises((UserError, UserFileNotFoundError), match=rf'{name}.*{words}'):
            DATASETS.build(dict(type='ImageMaskFolder', data_root=str(tmp_path), test_mode=True, **options))


def test_one_class_has_nothing_to_be_told_from(tmp_path):
    (tmp_path / 'classes.txt').write_text('building, 255, 255, 255\nvoid, 0, 0, 0\n')
    with pytest.raises(UserError, match=r"classes\.txt gives one class, 'building'.*background"):
        DATASETS.build(dict(type='ImageMaskFolder', data_root=str(tmp_path)))
    (tmp_path / 'classes.txt').write_text('ground\nbuilding\n')
    with pytest.raises(UserError, match="one class, 'building'"):
        DATASETS.build(
            dict(type='ImageMaskFolder', data_root=str(tmp_path), metainfo=dict(classes=('building',)), lazy_init=True)
        )
