"""Images of hard classes occur as often as asked, and the scan is read from its cache until a mask changes."""

import tracemalloc

import numpy as np
import pytest
from mmseg.datasets import PascalVOCDataset
from PIL import Image

from mmseg_deeplab.datasets import RepeatClasses, repeat_classes


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    for folder in ('JPEGImages', 'masks'):
        (tmp_path / folder).mkdir()
    # a: chair (9), b: dog (12), c: sofa (18) and void, d: background
    for name, values in dict(a=[0, 9], b=[0, 12], c=[18, 255], d=[0, 0]).items():
        Image.fromarray(np.array([values], np.uint8)).save(tmp_path / f'masks/{name}.png')
    (tmp_path / 'train.txt').write_text('a\nb\nc\nd\n')
    return tmp_path


def dataset(root, **options):
    prefix = dict(img_path='JPEGImages', seg_map_path='masks')
    return dict(type='PascalVOCDataset', data_root=str(root), ann_file='train.txt', data_prefix=prefix, **options)


def occurrences(wrapper):
    names = [wrapper.get_data_info(i)['img_path'][-5] for i in range(len(wrapper))]
    return {name: names.count(name) for name in names}


def test_images_of_hard_classes_are_repeated(root):
    wrapper = RepeatClasses(dataset(root), classes=('chair', 'sofa'), times=3)
    assert occurrences(wrapper) == dict(a=3, b=1, c=3, d=1)
    assert wrapper.metainfo['classes'] == PascalVOCDataset.METAINFO['classes']


def test_a_subset_of_classes_counts_in_its_own_order(root):
    metainfo = dict(classes=('dog', 'sofa'))
    assert occurrences(RepeatClasses(dataset(root, metainfo=metainfo), ('dog',))) == dict(a=1, b=2, c=1, d=1)


def test_scan_is_cached_until_a_mask_changes(root, monkeypatch):
    RepeatClasses(dataset(root), ('chair',))
    scans = []
    original = repeat_classes.LoadLabels
    monkeypatch.setattr(repeat_classes, 'LoadLabels', lambda *a, **k: scans.append(1) or original(*a, **k))
    assert len(RepeatClasses(dataset(root), ('chair',))) == 5 and not scans
    Image.fromarray(np.full((9, 9), 9, np.uint8)).save(root / 'masks/d.png')
    assert len(RepeatClasses(dataset(root), ('chair',))) == 6 and scans


def test_unknown_class(root):
    with pytest.raises(ValueError, match=r"classes=\['table'\] are not in the dataset; it has \('background'"):
        RepeatClasses(dataset(root), ('table',))


def test_other_colours_of_the_classes_are_another_scan(root):
    for folder in ('images', 'masks2'):
        (root / folder).mkdir()
    Image.new('RGB', (4, 4)).save(root / 'images/a.png')
    Image.new('RGB', (4, 4), (0, 0, 9)).save(root / 'masks2/a.png')
    prefix = dict(img_path='images', seg_map_path='masks2')
    folder = dict(type='ImageMaskFolder', data_root=str(root), data_prefix=prefix, masks='colours')
    (root / 'classes.txt').write_text('sky, 0, 0, 9\nroad, 9, 0, 0\n')
    assert len(RepeatClasses(folder, ('sky',))) == 2
    (root / 'classes.txt').write_text('road, 9, 0, 0\nsky, 0, 0, 9\n')
    assert len(RepeatClasses(folder, ('sky',))) == 2
    (root / 'classes.txt').write_text('sky, 9, 0, 0\nroad, 0, 0, 9\n')
    assert len(RepeatClasses(folder, ('sky',))) == 1


def test_without_a_cache_folder_the_masks_are_scanned_each_time(root, monkeypatch):
    (root / 'file').write_text('')
    monkeypatch.setenv('XDG_CACHE_HOME', str(root / 'file'))
    for _ in range(2):
        assert occurrences(RepeatClasses(dataset(root), ('chair',))) == dict(a=2, b=1, c=1, d=1)


def cache_of(root):
    (path,) = (root / 'cache').rglob('classes_*.npy')
    return path


@pytest.mark.parametrize('damage', ['empty', 'cut', 'text', 'shape', 'type', 'archive', 'objects'])
def test_a_damaged_cache_is_made_anew(root, damage):
    RepeatClasses(dataset(root), ('chair',))
    path = cache_of(root)
    whole = path.read_bytes()
    if damage in ('shape', 'type', 'objects'):
        other = dict(
            shape=np.zeros((3, 32), np.uint8), type=np.zeros((4, 32), np.float32), objects=np.array([{}], object)
        )
        np.save(path, other[damage])
    elif damage == 'archive':
        with open(path, 'wb') as file:
            np.savez(file, a=np.zeros((4, 32), np.uint8))
    else:
        path.write_bytes(dict(empty=b'', cut=whole[:-20], text=b'no array')[damage])
    assert occurrences(RepeatClasses(dataset(root), ('chair',))) == dict(a=2, b=1, c=1, d=1)
    assert path.read_bytes() == whole


def test_a_cache_is_written_whole_or_not_at_all(root, monkeypatch):
    def half(file, array):
        file.write(b'half of it')
        raise KeyboardInterrupt

    monkeypatch.setattr(np, 'save', half)
    with pytest.raises(KeyboardInterrupt):
        RepeatClasses(dataset(root), ('chair',))
    assert [path for path in (root / 'cache').rglob('*') if path.is_file()] == []


def test_masks_do_not_stay_in_memory(root, monkeypatch):
    """Of 24 large masks of 1 MB there is one at a time, whatever the number of threads."""
    monkeypatch.setattr(repeat_classes, 'LARGE', 2**19)
    names = [f'big{index}' for index in range(24)]
    for name in names:
        Image.new('L', (1024, 1024), 9).save(root / f'masks/{name}.png')
    (root / 'train.txt').write_text('\n'.join(names))
    monkeypatch.setattr(repeat_classes, 'allowed_cpus', lambda: 8)
    tracemalloc.start()
    assert len(RepeatClasses(dataset(root), ('chair',))) == 48
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * 1024**2


def test_a_class_that_no_mask_shows_is_said(root, monkeypatch):
    said = []
    monkeypatch.setattr(repeat_classes, 'print_log', lambda text, **_: said.append(text))
    RepeatClasses(dataset(root), ('chair', 'train', 'bus'))
    assert said == ["RepeatClasses: no mask shows ['train', 'bus']"]
