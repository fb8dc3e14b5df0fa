"""Each original's layout, small, through the preparation of its name: right indices, right lists, source untouched."""

import base64
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from mmseg.datasets import COCOStuffDataset, PascalContextDataset
from PIL import Image

from mmseg_deeplab.datasets.classes_file import read_classes
from mmseg_deeplab.datasets.prepare import PLANS, prepare, runner
from mmseg_deeplab.datasets.prepare.coco_stuff import IDS
from mmseg_deeplab.datasets.prepare.pascal_context import LABELS
from mmseg_deeplab.errors import UserError


def put(path, content):
    """Write an image (array), a .mat (dict) or text, with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, dict):
        scipy.io.savemat(path, content)
    elif isinstance(content, str):
        path.write_text(content)
    else:
        Image.fromarray(np.asarray(content)).save(path)


def read(path):
    return np.array(Image.open(path))


def u8(rows):
    return np.array(rows, np.uint8)


IMAGE = np.zeros((2, 3, 3), np.uint8)


@pytest.fixture
def src(tmp_path):
    return tmp_path / 'src'


@pytest.fixture
def dst(tmp_path):
    return tmp_path / 'dst'


def make(name, src, dst, **options):
    """Prepare in this process, and check that the source is as before."""
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in src.rglob('*')}
    summary = prepare(name, src, dst, workers=0, **options)
    assert {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in src.rglob('*')} == before
    return summary


def voc_and_sbd(src):
    """VOC: a (train), b (val). SBD: a, b, c (train), d (val)."""
    for split, names in dict(train='a\n', val='b\n', trainval='a\nb\n').items():
        put(src / f'VOCdevkit/VOC2012/ImageSets/Segmentation/{split}.txt', names)
    for name in 'abcd':
        put(src / f'VOCdevkit/VOC2012/JPEGImages/{name}.jpg', IMAGE)
        struct = dict(
            GTcls=dict(Segmentation=u8([[0, 20, 7]] * 2), Boundaries=np.zeros((20, 1)), CategoriesPresent=[7])
        )
        put(src / f'benchmark_RELEASE/dataset/cls/{name}.mat', struct)
    for name in 'ab':
        put(src / f'VOCdevkit/VOC2012/SegmentationClass/{name}.png', u8([[0, 255, 5]] * 2))
    put(src / 'benchmark_RELEASE/dataset/train.txt', 'a\nb\nc\n')
    put(src / 'benchmark_RELEASE/dataset/val.txt', 'd\n')


class TestVocAug:
    def test_lists_and_masks(self, src, dst):
        voc_and_sbd(src)
        summary = make('voc-aug', src, dst)
        lists = {p.stem: p.read_text().split() for p in (dst / 'ImageSets/Segmentation').iterdir()}
        # trainaug = SBD and VOC train, without VOC val
        assert lists == dict(
            train=['a'], val=['b'], trainval=['a', 'b'], trainaug=['a', 'c', 'd'], trainvalaug=['a', 'b', 'c', 'd']
        )
        np.testing.assert_array_equal(read(dst / 'SegmentationClassAug/a.png'), [[0, 255, 5]] * 2)  # VOC's own
        np.testing.assert_array_equal(read(dst / 'SegmentationClassAug/c.png'), [[0, 20, 7]] * 2)
        assert (dst / 'JPEGImages/d.jpg').is_file() and (dst / 'SegmentationClass/b.png').is_file()
        # 4 masks of 6 pixels: 8 background, 4 void, 4 bottle (5), 4 tvmonitor (20), 4 car (7)
        assert summary.pixels[[0, 255, 5, 20, 7]].tolist() == [8, 4, 4, 4, 4]
        assert 'bottle         ' in str(summary) and '16.67%        2' in str(summary)

    def test_continues_after_an_interruption_and_reports_bad_files_in_the_end(self, src, dst):
        voc_and_sbd(src)
        bad = src / 'benchmark_RELEASE/dataset/cls/c.mat'
        good = bad.read_bytes()
        bad.write_bytes(good[:20])
        with pytest.raises(ValueError, match=r'(?s)1 of 4 masks failed; the others are done:.*cls/c\.mat: '):
            make('voc-aug', src, dst)
        assert not (dst / 'ImageSets').exists(), 'lists come last: they name only what is there'
        done = (dst / 'SegmentationClassAug/d.png').stat().st_mtime_ns
        bad.write_bytes(good)
        summary = make('voc-aug', src, dst)
        assert (summary.done, summary.skipped) == (4, 3)
        assert (dst / 'SegmentationClassAug/d.png').stat().st_mtime_ns == done
        assert summary.pixels.sum() == 24, 'masks that were there are counted too'

    def test_other_processes_give_the_same(self, src, dst, tmp_path):
        voc_and_sbd(src)
        make('voc-aug', src, dst)
        prepare('voc-aug', src, tmp_path / 'parallel', workers=2, copy=True)
        files = sorted(path.relative_to(dst) for path in dst.rglob('*.*') if path.is_file())
        assert len(files) >= 9
        assert all((dst / f).read_bytes() == (tmp_path / 'parallel' / f).read_bytes() for f in files)
        assert not (tmp_path / 'parallel/JPEGImages').is_symlink()

    def test_source_and_destination_must_be_apart(self, src):
        voc_and_sbd(src)
        for inner in (src, src / 'VOCdevkit', src.parent):
            with pytest.raises(ValueError, match='must be apart'):
                prepare('voc-aug', src, inner)

    def test_missing_parts_are_named(self, src, dst):
        put(src / 'VOC2012/ImageSets/Segmentation/trainval.txt', 'a')
        with pytest.raises(FileNotFoundError, match='SBD .* is not below .*no cls found'):
            prepare('voc-aug', src, dst)


class TestPascalContext:
    def test_labels(self):
        # The numbers as published with the 59-class benchmark, in its order.
        published = """0 2 259 260 415 324 9 258 144 18 19 22 23 397 25 284 158 159 416 33 162 420 454 295 296 427 44
            45 46 308 59 440 445 31 232 65 354 424 68 326 72 458 34 207 80 355 85 347 220 349 360 98 187 104 105 366
            189 368 113 115"""
        assert [0, *LABELS] == sorted(map(int, published.split()))

    def test_masks_and_lists(self, src, dst):
        for split, names in dict(train='a\nnomask\n', val='b\n').items():
            put(src / f'VOCdevkit/VOC2010/ImageSets/Main/{split}.txt', names)
        put(src / 'VOCdevkit/VOC2010/JPEGImages/a.jpg', IMAGE)
        for name in 'ab':
            put(src / f'trainval/{name}.mat', dict(LabelMap=np.array([[2, 458, 1], [415, 459, 260]], np.uint16)))
        make('pascal-context', src, dst)
        names = PascalContextDataset.METAINFO['classes']
        mask = read(dst / 'SegmentationClassContext/a.png')
        assert [[names[i] for i in row] for row in mask][0] == ['aeroplane', 'wood', 'background']
        assert mask[1, 1] == 0
        assert (dst / 'ImageSets/SegmentationContext/train.txt').read_text() == 'a\n'
        assert (dst / 'ImageSets/SegmentationContext/val.txt').read_text() == 'b\n'


class TestPersonPart:
    def test_parts_are_merged_and_images_without_persons_left_out(self, src, dst):
        for split, names in dict(train='a\nb\n', val='c\n').items():
            put(src / f'VOC2010/ImageSets/Main/{split}.txt', names)
        put(src / 'VOC2010/JPEGImages/a.jpg', IMAGE)

        def mask(*pixels):
            full = np.zeros((3, 3), np.uint8)
            full.ravel()[list(pixels)] = 1
            return full

        def part(name, *pixels):
            return dict(part_name=name, mask=mask(*pixels))

        parts = [
            part('hair', 0),
            part('neck', 1),
            part('ruarm', 2),
            part('lhand', 3),
            part('luleg', 4),
            part('rfoot', 5),
        ]
        person = {'class': 'person', 'mask': mask(0), 'parts': parts}
        dog = {'class': 'dog', 'mask': mask(7), 'parts': [part('tail', 7)]}
        whole = {'class': 'person', 'mask': mask(8), 'parts': np.zeros((0, 0))}
        put(src / 'Annotations_Part/a.mat', dict(anno=dict(imname='a', objects=[person, dog])))
        put(src / 'Annotations_Part/b.mat', dict(anno=dict(imname='b', objects=dog)))
        put(src / 'Annotations_Part/c.mat', dict(anno=dict(imname='c', objects=[whole, person])))
        summary = make('person-part', src, dst)
        # 1511.03339: head, torso, upper arms, lower arms, upper legs, lower legs
        np.testing.assert_array_equal(read(dst / 'SegmentationPersonPart/a.png'), [[1, 2, 3], [4, 5, 6], [0, 0, 0]])
        assert (dst / 'ImageSets/PersonPart/train.txt').read_text() == 'a\n'
        assert (dst / 'ImageSets/PersonPart/val.txt').read_text() == 'c\n'
        assert summary.done == 2


class TestCityscapes:
    def test_train_ids(self, src, dst):
        put(src / 'leftImg8bit/train/ulm/ulm_0_leftImg8bit.png', IMAGE)
        # road, car, bicycle, licence plate (-1), unlabelled, rail track
        ids = u8([[7, 26, 33], [255, 0, 10]])
        for split in ('train', 'test'):
            put(src / f'gtFine/{split}/ulm/ulm_0_gtFine_labelIds.png', ids)
        make('cityscapes', src, dst)
        mask = read(dst / 'gtFine/train/ulm/ulm_0_gtFine_labelTrainIds.png')
        np.testing.assert_array_equal(mask, [[0, 13, 18], [255, 255, 255]])
        assert not (dst / 'gtFine/test').exists()
        assert (dst / 'leftImg8bit/train/ulm/ulm_0_leftImg8bit.png').is_file()


class TestAde20k:
    def test_linked_and_checked(self, src, dst):
        put(src / 'ADEChallengeData2016/images/training/a.jpg', IMAGE)
        put(src / 'ADEChallengeData2016/annotations/training/a.png', u8([[0, 1, 150]]))
        summary = make('ade20k', src, dst)
        np.testing.assert_array_equal(read(dst / 'annotations/training/a.png'), [[0, 1, 150]])
        assert 'wall ' in str(summary) and summary.pixels[[1, 150]].tolist() == [1, 1]
        put(src / 'ADEChallengeData2016/annotations/training/b.png', u8([[151]]))
        with pytest.raises(ValueError, match=r'b\.png: holds the value 151, .* not the full ADE20K'):
            make('ade20k', src, dst)


class TestCocoStuff:
    def test_ids(self):
        names = COCOStuffDataset.METAINFO['classes']
        # COCO's own ids of some things, and COCO-Stuff's of its first and last stuff (labels.txt)
        for number, name in {1: 'person', 13: 'stop sign', 90: 'toothbrush', 92: 'banner', 182: 'wood'}.items():
            assert names[IDS.index(number)] == name
        assert len(IDS) == len(names) == 171

    def test_10k(self, src, dst):
        put(src / 'imageLists/train.txt', 'a\n')
        put(src / 'imageLists/test.txt', 'b\n')
        for name in 'ab':
            put(src / f'images/{name}.jpg', IMAGE)
            put(src / f'annotations/{name}.mat', dict(S=np.array([[0, 1, 182], [92, 90, 13]], np.uint16)))
        make('coco-stuff10k', src, dst)
        mask = read(dst / 'annotations/train2014/a_labelTrainIds.png')
        np.testing.assert_array_equal(mask, [[0, 1, 171], [81, 80, 12]])
        assert (dst / 'images/test2014/b.jpg').is_file()

    @pytest.mark.parametrize(
        'images, maps',
        [
            ('.', 'stuffthingmaps_trainval2017'),
            ('images', 'annotations'),
            ('.', 'coco/annotations'),
            ('images', '.'),
            ('images', 'annotations/stuffthingmaps_trainval2017'),
        ],
    )
    def test_164k(self, src, dst, images, maps):
        for split in ('train2017', 'val2017'):
            put(src / images / f'{split}/a.jpg', IMAGE)
            put(src / maps / f'{split}/a.png', u8([[255, 0, 181], [91, 89, 12]]))
        make('coco-stuff164k', src, dst)
        mask = read(dst / 'annotations/val2017/a_labelTrainIds.png')
        np.testing.assert_array_equal(mask, [[255, 0, 170], [80, 79, 11]])
        assert (dst / 'images/train2017/a.jpg').is_file()

    def test_164k_without_maps(self, src, dst):
        put(src / 'train2017/a.jpg', IMAGE)
        with pytest.raises(FileNotFoundError, match='no maps of COCO-Stuff 164k below .*: unzip stuffthingmaps'):
            make('coco-stuff164k', src, dst)


class TestCamVid:
    def test_original_colours(self, src, dst):
        # sky, building, wall, lane marking, sidewalk, truck, child, traffic light, void, and a colour of no class
        colours = [(128, 128, 128), (128, 0, 0), (64, 192, 0), (128, 0, 192), (0, 0, 192)]
        colours += [(192, 128, 192), (192, 128, 64), (0, 64, 64), (0, 0, 0), (1, 2, 3)]
        for name in 'ab':
            put(src / f'701_StillsRaw_full/{name}.png', IMAGE)
            put(src / f'LabeledApproved_full/{name}_L.png', u8([colours]))
        with pytest.raises(ValueError, match=r'train\.txt is missing'):
            make('camvid', src, dst)
        put(src / 'train.txt', '/SegNet/CamVid/train/a.png /SegNet/CamVid/trainannot/a.png\n')  # as in SegNet's lists
        put(src / 'val.txt', 'b\n')
        summary = make('camvid', src, dst)
        np.testing.assert_array_equal(read(dst / 'ann_dir/train/a.png'), [[0, 1, 1, 3, 4, 8, 9, 6, 255, 255]])
        assert summary.unknown == {(1, 2, 3): 2} and '(1, 2, 3): 2 pixels' in str(summary)
        assert (dst / 'img_dir/val/b.png').is_file()

    def test_the_originals_size_is_halved(self, src, dst):
        """The config's crop holds a whole image of 480 x 360."""
        pixels = np.random.default_rng(0).integers(0, 256, (720, 960, 3), np.uint8)
        colours = np.zeros((720, 960, 3), np.uint8)
        colours[100:300, 200:400] = (128, 128, 128)
        put(src / '701_StillsRaw_full/a.png', pixels)
        put(src / 'LabeledApproved_full/a_L.png', colours)
        put(src / 'train.txt', 'a\n')
        (dst / 'img_dir/train').mkdir(parents=True)
        (dst / 'img_dir/train/a.png').symlink_to(src / '701_StillsRaw_full/a.png')
        make('camvid', src, dst)
        expected = np.full((360, 480), 255)
        expected[50:150, 100:200] = 0
        np.testing.assert_array_equal(read(dst / 'ann_dir/train/a.png'), expected)
        means = pixels.reshape(360, 2, 480, 2, 3).mean((1, 3))
        assert abs(read(dst / 'img_dir/train/a.png') - means).max() <= 0.5

    def test_segnets_folders(self, src, dst):
        put(src / 'CamVid/train/a.png', IMAGE)
        put(src / 'CamVid/trainannot/a.png', u8([[0, 10, 11]]))
        make('camvid', src, dst)
        np.testing.assert_array_equal(read(dst / 'ann_dir/train/a.png'), [[0, 10, 255]])


class TestColourMasks:
    CLASSES = 'building, #3C1098\nland, 132, 41, 246\nvoid, 0, 0, 0\n'

    def test_tiles_of_a_satellite_set(self, src, dst):
        building, land = (0x3C, 0x10, 0x98), (132, 41, 246)
        for tile in ('Tile 1', 'Tile 2'):  # equal names in both
            put(src / f'{tile}/images/part_001.jpg', IMAGE)
            put(src / f'{tile}/masks/part_001.png', u8([[building, land, (0, 0, 0)], [(61, 16, 150), land, (9, 9, 9)]]))
        put(src / 'classes.txt', self.CLASSES)
        summary = make('colour-masks', src, dst)
        np.testing.assert_array_equal(read(dst / 'masks/Tile 2/part_001.png'), [[0, 1, 255], [255, 1, 255]])
        assert (dst / 'images/Tile 1/part_001.jpg').is_file()
        assert summary.unknown == {(61, 16, 150): 2, (9, 9, 9): 2}
        assert '2 unknown values became void (33.33%)' in str(summary)
        assert read_classes(dst / 'classes.txt') == read_classes(src / 'classes.txt')

    def test_tolerance_gathers_near_colours(self, src, dst):
        put(src / 'images/a.jpg', IMAGE)
        put(src / 'masks/a.png', u8([[(61, 16, 150), (132, 41, 246), (70, 16, 152)]]))
        put(src / 'classes.txt', self.CLASSES)
        summary = make('colour-masks', src, dst, tolerance=2)
        np.testing.assert_array_equal(read(dst / 'masks/a.png'), [[0, 1, 255]])
        assert summary.unknown == {(70, 16, 152): 1}

    def test_other_options_or_sources_make_the_masks_anew(self, src, dst):
        """A mask that is there must not outlive the class table, the tolerance or the file that it was made from."""
        other = src.parent / 'classes.txt'
        put(other, 'land, 132, 41, 246\nbuilding, #3C1098\n')
        put(src / 'images/a.jpg', IMAGE)
        put(src / 'masks/a.png', u8([[(61, 16, 150), (132, 41, 246)]]))
        put(src / 'classes.txt', self.CLASSES)

        def prepared(**options):
            assert make('colour-masks', src, dst, **options).skipped == 0
            return read(dst / 'masks/a.png').tolist()

        assert prepared() == [[255, 1]]
        summary = make('colour-masks', src, dst)
        assert '1 masks (1 were there already; their unknown values are not counted)' in str(summary)
        assert prepared(tolerance=2) == [[0, 1]]
        assert prepared(tolerance=2, classes=other) == [[1, 0]]
        put(src / 'masks/a.png', u8([[(132, 41, 246), (132, 41, 246)]]))
        os.utime(src / 'masks/a.png', (0, 0))  # the file system's own times may be as coarse as seconds
        assert prepared(tolerance=2, classes=other) == [[0, 0]]

    def test_a_damaged_mask_is_made_anew(self, src, dst):
        put(src / 'images/a.jpg', IMAGE)
        put(src / 'masks/a.png', u8([[(132, 41, 246)]]))
        put(src / 'classes.txt', self.CLASSES)
        put(dst / 'masks/a.png', 'no picture')
        assert make('colour-masks', src, dst).skipped == 0
        np.testing.assert_array_equal(read(dst / 'masks/a.png'), [[1]])

    def test_suffixes_of_capitals(self, src, dst):
        put(src / 'images/a.JPG', IMAGE)
        put(src / 'masks/a.PNG', u8([[(132, 41, 246)]]))
        put(src / 'classes.txt', self.CLASSES)
        make('colour-masks', src, dst)
        np.testing.assert_array_equal(read(dst / 'masks/a.png'), [[1]])

    def test_missing_mask_is_named(self, src, dst):
        put(src / 'images/a.jpg', IMAGE)
        put(src / 'classes.txt', self.CLASSES)
        with pytest.raises(FileNotFoundError, match=r'1 images have no mask, the first: .*a\.jpg'):
            make('colour-masks', src, dst)


class TestClassMasks:
    """A file for each class of a picture."""

    CAT = u8([[0, 1, 1], [0, 1, 1]])
    DOG = u8([[0, 0, 1], [0, 0, 0]])
    WRITTEN = [[0, 1, 2], [0, 1, 1]]  # fewer pixels lie above

    @pytest.mark.parametrize('called', ['{label}/{name}', '{name}/{label}', '{name}_{label}', '{name}-{label}'])
    @pytest.mark.parametrize('white', [1, 255])
    def test_the_ways_to_call_them(self, src, dst, called, white):
        for name in ('a', 'sub/a.b'):
            put(src / f'set/images/{name}.png', IMAGE)
            put(src / f'set/masks/{called.format(name=name, label="cat")}.png', self.CAT * white)
            put(src / f'set/masks/{called.format(name=name, label="dog")}.png', self.DOG * white)
        summary = make('class-masks', src, dst)
        assert read_classes(dst / 'classes.txt').names == ('background', 'cat', 'dog')
        for name in ('a', 'sub/a.b'):
            assert read(dst / f'masks/{name}.png').tolist() == self.WRITTEN
            assert (dst / f'images/{name}.png').is_symlink()
        assert 'no pixel' not in str(summary)

    def test_any_two_colours_and_formats(self, src, dst):
        put(src / 'images/a.jpg', IMAGE)
        put(src / 'masks/cat/a.bmp', np.repeat(self.CAT[..., None] * u8([200, 0, 9]), 1, 2))
        put(src / 'masks/dog/a.PNG', self.DOG.astype(bool))
        put(src / 'masks/cow/a.png', u8(np.zeros((2, 3))))
        make('class-masks', src, dst)
        assert read_classes(dst / 'classes.txt').names == ('background', 'cat', 'cow', 'dog')
        assert read(dst / 'masks/a.png').tolist() == [[0, 1, 3], [0, 1, 1]]

    def test_of_equal_areas_the_later_class_lies_above_and_the_hidden_one_is_told(self, src, dst, tmp_path):
        put(src / 'images/a.png', IMAGE)
        for label in ('dog', 'cat'):
            put(src / f'masks/{label}/a.png', self.DOG)
        put(tmp_path / 'classes.txt', 'dog\ncat\n')
        summary = make('class-masks', src, dst, classes=tmp_path / 'classes.txt')
        assert read(dst / 'masks/a.png').tolist() == [[255, 255, 1], [255, 255, 255]]
        assert '1 masks have no pixel in the result:' in str(summary) and 'masks/dog/a.png' in str(summary)

    def test_void_and_background_by_their_names(self, src, dst):
        put(src / 'images/a.png', IMAGE)
        put(src / 'images/none.png', IMAGE)
        put(src / 'masks/a_void.png', self.DOG)
        put(src / 'masks/a_Background.png', 1 - self.CAT)
        put(src / 'masks/a_cat.png', self.CAT)
        put(src / 'masks/notes.txt', 'x')
        summary = str(make('class-masks', src, dst))
        assert read_classes(dst / 'classes.txt').names == ('Background', 'cat')
        assert read(dst / 'masks/a.png').tolist() == [[0, 1, 255], [0, 1, 1]]
        assert '1 x a picture without a mask' in summary and '1 x a .txt file among the masks' in summary

    def test_the_longest_name_of_a_picture_counts(self, src, dst):
        for name in ('a', 'a_b'):
            put(src / f'images/{name}.png', IMAGE)
        put(src / 'masks/a_b_cat.png', self.CAT)
        put(src / 'masks/a_cat.png', self.DOG)
        make('class-masks', src, dst)
        assert read(dst / 'masks/a_b.png').tolist() == self.CAT.tolist()
        assert read(dst / 'masks/a.png').tolist() == self.DOG.tolist()

    def test_a_changed_mask_is_made_anew(self, src, dst):
        put(src / 'images/a.png', IMAGE)
        put(src / 'masks/a_cat.png', self.CAT)
        make('class-masks', src, dst)
        put(src / 'masks/a_cat.png', u8(np.ones((2, 3))))
        os.utime(src / 'masks/a_cat.png', ns=(0, 0))
        assert make('class-masks', src, dst).skipped == 0
        assert read(dst / 'masks/a.png').tolist() == [[1] * 3] * 2

    @pytest.mark.parametrize(
        ('name', 'content', 'told'),
        [
            ('masks/b_cat.png', DOG, '1 x a mask is of no picture'),
            ('masks/a_dog.bmp', DOG, '1 x a picture has two masks of a class'),
            ('masks/a_cow.png', DOG, "1 x the class 'cow' is not among the classes"),
            ('masks/a_x,y.png', DOG, "'x,y' is no name of a class"),
            ('images/a.bmp', IMAGE, '1 x pictures share the name of their masks'),
            ('masks/a_cat.png', u8([[0, 1, 2], [0, 1, 2]]), 'holds 3 colours .*that of one class is black'),
            ('masks/a_cat.png', u8([[1, 2, 2], [1, 1, 1]]), 'holds 2 colours'),
            ('masks/a_cat.png', DOG[:1], 'a_cat.png: it has 3 x 1 pixels, but its picture has 3 x 2'),
            ('masks/a_cat.png', DOG.astype(np.uint16), '16-bit grey'),
        ],
    )
    def test_what_can_not_be_used(self, src, dst, tmp_path, name, content, told):
        put(src / 'images/a.png', IMAGE)
        put(src / 'masks/a_dog.png', self.DOG)
        put(src / name, content)
        put(tmp_path / 'classes.txt', 'background\ncat\ndog\n')
        with pytest.raises(UserError, match=told):
            make('class-masks', src, dst, classes=tmp_path / 'classes.txt')
        assert not (dst / 'masks/a.png').exists()

    def test_no_masks(self, src, dst):
        put(src / 'images/a.png', IMAGE)
        with pytest.raises(UserError, match='no masks of the pictures in .*images: of .*the folder does not exist'):
            make('class-masks', src, dst)


class TestLabelme:
    def annotate(self, src, *shapes):
        content = dict(shapes=list(shapes), imagePath='a.jpg', imageHeight=6, imageWidth=8, imageData=None)
        put(src / 'day/a.json', json.dumps(content))
        put(src / 'day/a.jpg', np.zeros((6, 8, 3), np.uint8))

    def test_polygons(self, src, dst):
        square = dict(label='roof', shape_type='polygon', points=[[1, 1], [4, 1], [4, 3], [1, 3]])
        box = dict(label='chimney', shape_type='rectangle', points=[[3, 2], [2, 1]])
        void = dict(label='__ignore__', shape_type='polygon', points=[[6, 4], [7, 4], [7, 5], [6, 5]])
        self.annotate(src, square, box, void)
        make('labelme', src, dst)
        assert read_classes(dst / 'classes.txt').names == ('background', 'chimney', 'roof')
        expected = np.zeros((6, 8), int)
        expected[1:4, 1:5] = 2
        expected[1:3, 2:4] = 1  # drawn later: on top
        expected[4:6, 6:8] = 255
        np.testing.assert_array_equal(read(dst / 'masks/day/a.png'), expected)
        assert (dst / 'images/day/a.jpg').is_file()

    def test_a_new_label_renumbers_masks_that_are_there(self, src, dst):
        roof = dict(label='roof', shape_type='polygon', points=[[1, 1], [4, 1], [4, 3], [1, 3]])
        self.annotate(src, roof)
        make('labelme', src, dst)
        assert set(np.unique(read(dst / 'masks/day/a.png'))) == {0, 1}
        content = dict(shapes=[{**roof, 'label': 'car'}], imagePath='a.jpg', imageHeight=6, imageWidth=8)
        put(src / 'day/b.json', json.dumps(content))
        make('labelme', src, dst)
        assert read_classes(dst / 'classes.txt').names == ('background', 'car', 'roof')
        assert set(np.unique(read(dst / 'masks/day/a.png'))) == {0, 2}

    def test_unknown_labels_and_lines_are_refused(self, src, dst):
        self.annotate(src, dict(label='ruf', shape_type='polygon', points=[[0, 0], [1, 0], [1, 1]]))
        put(src / 'classes.txt', 'background\nroof\n')
        with pytest.raises(ValueError, match=r"a\.json: label 'ruf' is not in the classes file: background, roof"):
            make('labelme', src, dst, classes=src / 'classes.txt')
        self.annotate(src, dict(label='wire', shape_type='line', points=[[0, 0], [1, 0]]))
        with pytest.raises(ValueError, match="shape_type 'line' is not filled; draw a polygon"):
            make('labelme', src, dst)

    @pytest.mark.parametrize('names, index, elsewhere', [('roof', 0, 255), ('roof\nBackground', 0, 1)])
    def test_pixels_of_no_shape_are_the_background_or_void(self, src, dst, names, index, elsewhere):
        roof = dict(label='roof', shape_type='polygon', points=[[1, 1], [4, 1], [4, 3], [1, 3]])
        self.annotate(src, roof, dict(label='_background_', shape_type='rectangle', points=[[4, 3], [4, 3]]))
        put(src / 'classes.txt', names)
        make('labelme', src, dst, classes=src / 'classes.txt')
        expected = np.full((6, 8), elsewhere)
        expected[1:4, 1:5] = index
        expected[3, 4] = elsewhere
        np.testing.assert_array_equal(read(dst / 'masks/day/a.png'), expected)

    def test_names_of_void_and_background_in_any_case(self, src, dst):
        """A class called Void would be no class where the classes file is read again, and shift those behind it."""
        square = [[1, 1], [4, 1], [4, 3], [1, 3]]
        self.annotate(
            src,
            dict(label='wall', shape_type='rectangle', points=[[6, 4], [7, 5]]),
            dict(label='Void', shape_type='polygon', points=square),
            dict(label='Background', shape_type='rectangle', points=[[1, 1], [1, 1]]),
        )
        make('labelme', src, dst)
        assert read_classes(dst / 'classes.txt').names == ('background', 'wall')
        expected = np.zeros((6, 8), int)
        expected[4:6, 6:8] = 1
        expected[1:4, 1:5] = 255
        expected[1, 1] = 0
        np.testing.assert_array_equal(read(dst / 'masks/day/a.png'), expected)

    def test_more_labels_than_a_mask_holds(self, src, dst):
        self.annotate(src, *[dict(label=f'l{n}', points=[[0, 0], [1, 0], [1, 1]]) for n in range(255)])
        with pytest.raises(UserError, match='there are 256 classes, and masks have 8 bits'):
            make('labelme', src, dst)

    def test_masks_are_pasted_into_their_box(self, src, dst):
        drawn = np.array([[1, 0, 1], [0, 1, 1]], np.uint8)
        png = io.BytesIO()
        Image.fromarray(drawn * 255).convert('1').save(png, 'PNG')
        text = base64.b64encode(png.getvalue()).decode()
        self.annotate(src, dict(label='roof', shape_type='mask', points=[[2, 3], [4, 4]], mask=text))
        make('labelme', src, dst)
        expected = np.zeros((6, 8), int)
        expected[3:5, 2:5] = drawn
        np.testing.assert_array_equal(read(dst / 'masks/day/a.png'), expected)


def test_the_tool(src, dst, repo):
    voc_and_sbd(src)
    command = [sys.executable, str(repo / 'tools/prepare_dataset.py'), 'voc-aug', '--src', str(src), '--workers', '0']
    env = {
        **os.environ,
        'PYTHONPATH': os.pathsep.join([os.environ.get('PYTHONPATH', ''), str(repo)]).lstrip(os.pathsep),
    }
    done = subprocess.run([*command, '--dst', str(dst)], env=env, capture_output=True, text=True, cwd=Path(src).parent)
    assert done.returncode == 0, done.stderr
    assert '4 masks (0 were there already)' in done.stdout
    done = subprocess.run([*command, '--dst', str(src)], env=env, capture_output=True, text=True)
    assert done.returncode == 1 and 'must be apart' in done.stderr and 'Traceback' not in done.stderr


def test_unknown_name(src, dst):
    with pytest.raises(ValueError, match="unknown dataset 'vok'; choose one of voc-aug"):
        prepare('vok', src, dst)
    assert len(PLANS) == 14


class TestNothingOutside:
    """Names in lists and annotations of a download may hold anything."""

    NAMES = ('../../x', '../x', 'sub/../../x', '../JPEGImages/x')

    @staticmethod
    def everything(root):
        return sorted(path for path in root.rglob('*'))

    def refused(self, name, src, dst, tmp_path, **options):
        put(tmp_path / 'x.mat', dict(S=u8([[1]])))
        before = self.everything(src), sorted(path.name for path in tmp_path.iterdir())
        with pytest.raises(ValueError, match='outside'):
            prepare(name, src, dst, workers=0, **options)
        after = self.everything(src), sorted(path.name for path in tmp_path.iterdir() if path != dst)
        assert after == before
        assert self.everything(dst) == []

    @pytest.mark.parametrize('bad', NAMES)
    def test_coco_stuff(self, src, dst, tmp_path, bad):
        put(src / 'imageLists/train.txt', f'a\n{bad}\n')
        put(src / 'imageLists/test.txt', 'a\n')
        self.refused('coco-stuff10k', src, dst, tmp_path)

    @pytest.mark.parametrize('bad', NAMES)
    @pytest.mark.parametrize(
        'place', ['VOCdevkit/VOC2012/ImageSets/Segmentation/train.txt', 'benchmark_RELEASE/dataset/train.txt']
    )
    def test_voc_aug(self, src, dst, tmp_path, bad, place):
        voc_and_sbd(src)
        (src / place).write_text(f'a\n{bad}\n')
        self.refused('voc-aug', src, dst, tmp_path)

    @pytest.mark.parametrize('bad', NAMES[:3])
    @pytest.mark.parametrize(('name', 'folder'), [('pascal-context', 'trainval'), ('person-part', 'Annotations_Part')])
    def test_lists_of_voc_2010(self, src, dst, tmp_path, bad, name, folder):
        """Names whose .mat is found; others are no part of these sets."""
        for split in ('train', 'val'):
            put(src / f'VOC2010/ImageSets/Main/{split}.txt', f'{bad}\n')
        (src / 'VOC2010/JPEGImages').mkdir()
        put(src / folder / 'a.mat', dict(LabelMap=u8([[1]])))
        (src / folder / 'sub').mkdir()
        put(src / folder / f'{bad}.mat', dict(LabelMap=u8([[1]])))
        self.refused(name, src, dst, tmp_path)

    @pytest.mark.parametrize('bad', ['/etc/hostname', '../../x.jpg', '..\\..\\x.jpg', 'a/../../../x.jpg'])
    def test_labelme(self, src, dst, tmp_path, bad):
        (tmp_path / 'x.jpg').write_bytes(b'')
        content = dict(shapes=[], imagePath=bad, imageHeight=2, imageWidth=3)
        put(src / 'deep/a.json', json.dumps(content))
        self.refused('labelme', src, dst, tmp_path)

    def test_labelme_may_name_an_image_elsewhere_in_the_source(self, src, dst):
        put(src / 'images/a.jpg', IMAGE)
        put(
            src / 'polygons/a.json',
            json.dumps(dict(shapes=[], imagePath='../images/a.jpg', imageHeight=2, imageWidth=3)),
        )
        make('labelme', src, dst)
        assert (dst / 'images/polygons/a.jpg').resolve() == (src / 'images/a.jpg').resolve()

    def test_a_link_in_the_new_folder_is_not_written_through(self, src, dst, tmp_path):
        voc_and_sbd(src)
        dst.mkdir()
        (dst / 'SegmentationClassAug').symlink_to(src / 'VOCdevkit/VOC2012/SegmentationClass')
        with pytest.raises(ValueError, match=r'SegmentationClassAug leads to .*outside of --dst'):
            make('voc-aug', src, dst)


class TestOfALabelmeFile:
    @pytest.mark.parametrize('missing', ['imagePath', 'imageHeight', 'imageWidth'])
    def test_what_is_missing_is_named(self, src, dst, missing):
        content = dict(shapes=[], imagePath='a.jpg', imageHeight=2, imageWidth=3)
        put(src / 'a.json', json.dumps({key: value for key, value in content.items() if key != missing}))
        with pytest.raises(ValueError, match=rf'a\.json lacks {missing}'):
            prepare('labelme', src, dst, workers=0)

    def test_more_pixels_than_memory_holds(self, src, dst):
        content = dict(shapes=[], imagePath='a.jpg', imageHeight=10**6, imageWidth=10**6)
        put(src / 'a.json', json.dumps(content))
        with pytest.raises(ValueError, match='too large to be decoded: 1000000 x 1000000'):
            prepare('labelme', src, dst, workers=0)

    @pytest.mark.parametrize('text', ['{', '[1', '\x00', '[' * 10**5, '{"shapes":' * 10**5, '1' * 5000])
    def test_no_json(self, src, dst, text):
        put(src / 'a.json', text)
        with pytest.raises(ValueError, match=r'a\.json is no JSON'):
            prepare('labelme', src, dst, workers=0)

    TRIANGLE = [[0, 0], [1, 0], [1, 1]]

    @pytest.mark.parametrize(
        'change, told',
        [
            (dict(imagePath=['a.jpg']), 'imagePath is'),
            (dict(imagePath='a\0.jpg'), 'imagePath is'),
            (dict(imageHeight='2'), 'no numbers of pixels'),
            (dict(imageHeight=-2, imageWidth=-3), 'no numbers of pixels'),
            (dict(imageWidth=float('nan')), 'no numbers of pixels'),
            (dict(imageWidth=True), 'no numbers of pixels'),
            (dict(shapes={}), 'needs a list'),
            (dict(shapes=5), 'needs a list'),
        ],
    )
    def test_what_can_not_be(self, src, dst, change, told):
        put(src / 'a.json', json.dumps(dict(dict(shapes=[], imagePath='a.jpg', imageHeight=2, imageWidth=3), **change)))
        with pytest.raises(UserError, match=rf'a\.json.*{told}'):
            prepare('labelme', src, dst, workers=0)

    @pytest.mark.parametrize(
        'shape, told',
        [
            (5, 'needs a label and points'),
            (dict(label='a'), 'needs a label and points'),
            (dict(label=5, points=TRIANGLE), 'no name of a class'),
            (dict(label=['a'], points=TRIANGLE), 'no name of a class'),
            (dict(label='a\nb', points=TRIANGLE), 'no name of a class'),
            (dict(label='a, 1, 2, 3', points=TRIANGLE), 'no name of a class'),
            (dict(label='#a', points=TRIANGLE), 'no name of a class'),
            (dict(label=' ', points=TRIANGLE), 'no name of a class'),
            (dict(label='a', points=[]), 'needs 3 or more'),
            (dict(label='a', points=[[0, 0], [1]]), 'needs 3 or more'),
            (dict(label='a', points=[[0, 0], [1, 0], [float('nan'), 1]]), 'needs 3 or more'),
            (dict(label='a', points=[[0, 0], [1, 0], [float('inf'), 1]]), 'needs 3 or more'),
            (dict(label='a', points=[[0, 0], [1, 0], [1e30, 1]]), 'needs 3 or more'),
            (dict(label='a', points=[[0, 0], [1, 0], ['1', 1]]), 'needs 3 or more'),
            (dict(label='a', shape_type='circle', points=[[0, 0]]), 'a circle needs 2'),
            (dict(label='a', shape_type='rectangle', points=[[0, 0]]), 'a rectangle needs 2'),
            (dict(label='a', shape_type=['polygon'], points=TRIANGLE), 'is not filled'),
            (dict(label='a', shape_type='mask', points=[[0, 0]]), 'no PNG in base64'),
            (dict(label='a', shape_type='mask', points=[[0, 0]], mask=5), 'no PNG in base64'),
            (dict(label='a', shape_type='mask', points=[[0, 0]], mask='%'), 'no PNG in base64'),
            (dict(label='a', shape_type='mask', points=[[0, 0]], mask='R0lGODlhAQABAAAAACw='), 'no PNG in base64'),
        ],
    )
    def test_shapes_that_can_not_be_drawn(self, src, dst, shape, told):
        put(src / 'a.jpg', np.zeros((6, 8, 3), np.uint8))
        put(src / 'a.json', json.dumps(dict(shapes=[shape], imagePath='a.jpg', imageHeight=6, imageWidth=8)))
        with pytest.raises(UserError, match=rf'a\.json.*{told}'):
            prepare('labelme', src, dst, workers=0)

    @pytest.mark.parametrize(
        'size, corner, told', [((9, 6), [0, 0], 'larger than its picture'), ((2, 2), [-1, 0], 'outs')]
    )
    def test_masks_beyond_the_picture(self, src, dst, size, corner, told):
        png = io.BytesIO()
        Image.new('1', size).save(png, 'PNG')
        shape = dict(label='a', shape_type='mask', points=[corner], mask=base64.b64encode(png.getvalue()).decode())
        put(src / 'a.jpg', np.zeros((6, 8, 3), np.uint8))
        put(src / 'a.json', json.dumps(dict(shapes=[shape], imagePath='a.jpg', imageHeight=6, imageWidth=8)))
        with pytest.raises(UserError, match=rf'a\.json.*{told}'):
            prepare('labelme', src, dst, workers=0)

    def test_a_file_larger_than_any_text(self, src, dst):
        """A sparse one, of which nothing is read."""
        put(src / 'a.json', '{')
        with open(src / 'a.json', 'r+b') as file:
            file.truncate(2**40)
        with pytest.raises(UserError, match=r'a\.json is larger than 256 MiB'):
            prepare('labelme', src, dst, workers=0)


def test_a_mask_that_was_damaged_since_is_made_anew(src, dst):
    voc_and_sbd(src)
    make('voc-aug', src, dst)
    path = dst / 'SegmentationClassAug/c.png'
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    summary = make('voc-aug', src, dst)
    assert summary.skipped == summary.done - 1
    assert path.read_bytes() == whole


def test_workers_are_the_cpus_that_are_allowed(monkeypatch):
    monkeypatch.setattr(runner, 'allowed_cpus', lambda: 1)
    monkeypatch.setattr(os, 'cpu_count', lambda: 64)
    monkeypatch.setattr(runner, 'ProcessPoolExecutor', None)
    with runner._mapper(None) as run:
        assert run is map
