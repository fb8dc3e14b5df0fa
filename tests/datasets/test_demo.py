"""The demo dataset is the first thing a user trains on: same pixels everywhere, never over somebody's own files."""

import json

import numpy as np
import pytest
from PIL import Image

from mmseg_deeplab.datasets import demo
from mmseg_deeplab.datasets.demo import DemoDataset, draw_picture, make_demo_dataset


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    path = tmp_path_factory.mktemp('demo') / 'set'
    assert make_demo_dataset(path, train=12, val=3)
    return path


def test_layout_is_pascal_voc(root):
    names = (root / 'ImageSets/Segmentation/train.txt').read_text().split()
    assert len(names) == 12
    assert len((root / 'ImageSets/Segmentation/val.txt').read_text().split()) == 3
    for name in names:
        image = Image.open(root / f'JPEGImages/{name}.jpg')
        mask = Image.open(root / f'SegmentationClass/{name}.png')
        assert image.mode == 'RGB' and mask.mode == 'P' and image.size == mask.size
        assert set(np.unique(mask)) <= {*range(7), 255}
        # the first rows of the VOC colour map, as the development kit prints them
        assert mask.getpalette()[:12] == [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0]


def test_every_class_occurs_and_objects_have_a_void_border(root):
    masks = [np.array(Image.open(path)) for path in sorted((root / 'SegmentationClass').iterdir())]
    assert set(np.unique(np.concatenate([mask.ravel() for mask in masks]))) == {*range(7), 255}
    for mask in masks:
        for a, b in ((mask[:, :-1], mask[:, 1:]), (mask[:-1], mask[1:])):
            touching = (a != b) & (a != 255) & (b != 255)
            assert not touching.any(), 'two classes touch without void between them'


def _colours_and_labels(indices):
    colours, labels = [], []
    for index in indices:
        image, mask = draw_picture(np.random.default_rng([1, index]))
        colours.append((image.astype(int) // 32 @ [64, 8, 1])[mask != 255])
        labels.append(mask[mask != 255])
    return np.concatenate(colours), np.concatenate(labels)


def test_colour_does_not_tell_the_class():
    """A classifier of pixel colours (the likeliest class of each of 512 bins) finds nothing on new pictures."""
    colours, labels = _colours_and_labels(range(60))
    table = np.zeros((512, 7))
    np.add.at(table, (colours, labels), 1 / np.bincount(labels)[labels])  # classes weigh the same
    colours, labels = _colours_and_labels(range(60, 90))
    predicted = table.argmax(1)[colours]
    ious = [((predicted == c) & (labels == c)).sum() / ((predicted == c) | (labels == c)).sum() for c in range(7)]
    assert max(ious[1:]) < 0.15 and np.mean(ious) < 0.15


def test_same_pixels_every_time(root, tmp_path):
    make_demo_dataset(tmp_path / 'again', train=12, val=3)
    files = sorted(path.relative_to(root) for path in root.rglob('*.*'))
    assert files and all((root / f).read_bytes() == (tmp_path / 'again' / f).read_bytes() for f in files if f.suffix)


def test_complete_set_is_left_alone_and_a_damaged_one_is_made_again(tmp_path):
    root = tmp_path / 'set'
    make_demo_dataset(root, train=2, val=1)
    before = (root / demo.FINGERPRINT).stat().st_mtime_ns
    assert not make_demo_dataset(root, train=2, val=1)
    assert (root / demo.FINGERPRINT).stat().st_mtime_ns == before
    (root / 'JPEGImages/train_0000.jpg').unlink()
    assert make_demo_dataset(root, train=2, val=1)
    assert (root / 'JPEGImages/train_0000.jpg').is_file()
    assert [path.name for path in tmp_path.iterdir()] == ['set'], 'no leftovers beside it'


def test_other_size_replaces_only_what_was_generated(tmp_path):
    make_demo_dataset(tmp_path / 'set', train=2, val=1)
    assert make_demo_dataset(tmp_path / 'set', train=1, val=1)
    assert json.loads((tmp_path / 'set' / demo.FINGERPRINT).read_text())['train'] == 1

    own = tmp_path / 'own'
    own.mkdir()
    (own / 'holiday.jpg').write_text('mine')
    with pytest.raises(FileExistsError, match='is not a demo dataset'):
        make_demo_dataset(own)
    assert (own / 'holiday.jpg').read_text() == 'mine'


def test_missing_set_names_the_command(tmp_path):
    with pytest.raises(FileNotFoundError, match='tools/make_demo_dataset.py'):
        DemoDataset(data_root=str(tmp_path / 'none'), ann_file='ImageSets/Segmentation/train.txt')
