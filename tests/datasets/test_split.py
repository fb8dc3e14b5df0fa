"""Groups of near-duplicates fall on one side of a split as a whole."""

import hashlib

import numpy as np
import pytest
from PIL import Image

from mmseg_deeplab.datasets import ImageMaskFolder, image_mask_folder
from mmseg_deeplab.datasets.split import compile_groups, divide, group_of, groups_of
from mmseg_deeplab.errors import UserError


def folder(root, names):
    for name in names:
        for kind, shape in (('images', (2, 3, 3)), ('masks', (2, 3))):
            path = root / kind / f'{name}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.zeros(shape, np.uint8)).save(path)
    (root / 'classes.txt').write_text('sky\nroad\n')
    return root


def side(root, split, **options):
    dataset = ImageMaskFolder(data_root=str(root), split=split, **options)
    images = [dataset.get_data_info(index)['img_path'] for index in range(len(dataset))]
    return [path.split('images/')[1].removesuffix('.png') for path in images]


PATIENTS = [f'p{patient}_{slice_}' for patient in range(10) for slice_ in range(4)]


def test_no_group_is_on_both_sides(tmp_path):
    root = folder(tmp_path, PATIENTS)
    train, val = (side(root, split, group_by=r'p\d+', val_ratio=0.3) for split in ('train', 'val'))
    assert sorted(train + val) == sorted(PATIENTS)
    assert len(val) == 12 and not {name[:2] for name in train} & {name[:2] for name in val}
    # those whose SHA-256, as `printf p0 | sha256sum` gives it, comes first
    first = sorted({name[:2] for name in PATIENTS}, key=lambda group: hashlib.sha256(group.encode()).hexdigest())[:3]
    assert {name[:2] for name in val} == {*first}


def test_the_sizes_are_said(tmp_path, monkeypatch):
    root, said = folder(tmp_path, PATIENTS), []
    monkeypatch.setattr(image_mask_folder, 'print_log', lambda text, logger: said.append(text))
    side(root, 'val', group_by=r'p\d+')
    expected = 'split by group: train 32 pictures of 8 groups, val 8 of 2 (20.0%; val_ratio=0.2)'
    assert said == [f'{root}/images: {expected}']


@pytest.mark.parametrize(
    ('expression', 'name', 'group'),
    [
        (r'p\d+', 'day/p12_3', 'p12'),
        (r'p(\d+)', 'day/p12_3', '12'),
        (r'^([^/]+)/', 'day/p12_3', 'day'),
        (r'(.+)_\d+$', 'day/p12_3', 'day/p12'),
        (r'(p\d+).*(left|right)', 'p1_x_left', 'p1\0left'),
        (r'(a\d)|(b\d)', 'b7', 'b7'),
        (r'q', 'p1', None),
        (r'x*', 'p1', None),
        (r'(x*)p', 'p1', None),
    ],
)
def test_the_group_of_a_name(expression, name, group):
    assert group_of(name, compile_groups(expression)) == group


@pytest.mark.parametrize(
    ('sizes', 'ratio', 'val'), [((10, 10, 10), 0.2, 10), ((80, 10, 10), 0.2, 20), ((5, 5), 0.5, 5)]
)
def test_the_share_is_as_near_as_whole_groups_can_be(sizes, ratio, val):
    groups = {f'g{n}': [f'g{n}_{i}' for i in range(size)] for n, size in enumerate(sizes)}
    names = [name for group in groups.values() for name in group]
    train, val_names = divide(names, ratio, groups)
    assert len(val_names) == val and sorted(train + val_names) == sorted(names)


@pytest.mark.parametrize('seed', range(20))
def test_any_groups(seed):
    """Both sides hold whole groups and something, in any order of the names."""
    rng = np.random.default_rng(seed)
    names = [f'{group}_{i}' for i, group in enumerate(rng.geometric(0.3, rng.integers(20, 60)))]
    groups = groups_of(names, compile_groups(r'^\d+'))
    ratio = float(rng.choice([0.01, 0.2, 0.5, 0.99]))
    train, val = divide(names, ratio, groups)
    assert train and val and sorted(train + val) == sorted(names)
    assert not {name.split('_')[0] for name in train} & {name.split('_')[0] for name in val}
    shuffled = rng.permutation(names).tolist()
    assert (train, val) == divide(shuffled, ratio, groups_of(shuffled, compile_groups(r'^\d+')))


@pytest.mark.parametrize(
    ('options', 'told'),
    [
        (dict(split='val', group_by=r'q\d+'), "finds no group in 40 of 40 names of pictures, the first: 'p0_0'"),
        (dict(split='val', group_by=r'p[1-9]'), "finds no group in 4 of 40 names of pictures, the first: 'p0_0'"),
        (dict(split='val', group_by='p'), "puts 40 of 40 pictures into one group, 'p': they can not be divided"),
        (dict(split='val', group_by='(p'), r"group_by='\(p' is no regular expression"),
        (dict(split='val', group_by=b'p'), "group_by=b'p' is no regular expression"),
        (dict(split='val', group_by=5), 'group_by=5 is no regular expression'),
        (dict(group_by='p'), "group_by has no effect here: it divides images where split='train' or 'val'"),
    ],
)
def test_groups_that_can_not_be(tmp_path, options, told):
    root = folder(tmp_path, PATIENTS)
    with pytest.raises(UserError, match=told):
        ImageMaskFolder(data_root=str(root), **options)


def test_one_group_holds_nearly_all(tmp_path):
    names = [f'a_{i}' for i in range(19)] + ['b_0']
    with pytest.raises(UserError, match="puts 19 of 20 pictures into one group, 'a'"):
        side(folder(tmp_path, names), 'train', group_by='[ab]')
