"""A bad file must give its name and the reason before the loss sees it; scaled labels must stay on their pixels."""

import io
import pickle

import cv2
import mmseg.datasets
import numpy as np
import pytest
from mmseg.registry import DATASETS, TRANSFORMS
from PIL import Image

from mmseg_deeplab.datasets import FitIntoSquare
from mmseg_deeplab.datasets.transforms import LoadImage, LoadLabels, RandomScale


def _image(path, **save):
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    Image.fromarray(pixels).save(path, **save)
    return pixels


def _labels(tmp_path, mask, num_classes=5, ignore_index=255, **results):
    path = tmp_path / 'mask.png'
    Image.fromarray(np.asarray(mask)).save(path)
    results = {'seg_map_path': str(path), 'seg_fields': [], **results}
    return LoadLabels(num_classes, ignore_index)(results)['gt_seg_map']


class TestLoadImage:
    def test_colour_image_is_bgr(self, tmp_path):
        pixels = _image(tmp_path / 'a.png')
        results = LoadImage()({'img_path': str(tmp_path / 'a.png')})
        np.testing.assert_array_equal(results['img'], pixels[..., ::-1])
        assert results['img_shape'] == results['ori_shape'] == (40, 60)

    def test_it_is_the_loader_of_stock_pipelines(self):
        assert type(TRANSFORMS.build(dict(type='LoadImageFromFile'))) is LoadImage

    def test_grey_becomes_three_channels_and_alpha_is_dropped(self, tmp_path):
        grey = np.arange(200, dtype=np.uint8).reshape(10, 20)
        Image.fromarray(grey).save(tmp_path / 'grey.png')
        image = LoadImage()({'img_path': str(tmp_path / 'grey.png')})['img']
        np.testing.assert_array_equal(image, np.stack([grey] * 3, -1))
        rgba = np.dstack([grey, grey + 1, grey + 2, np.full_like(grey, 7)])
        Image.fromarray(rgba).save(tmp_path / 'rgba.png')
        image = LoadImage()({'img_path': str(tmp_path / 'rgba.png')})['img']
        np.testing.assert_array_equal(image, rgba[..., 2::-1])

    @pytest.mark.parametrize('channels', [1, 3])
    def test_16_bits_are_refused_by_name(self, tmp_path, channels):
        path = str(tmp_path / 'deep.png')
        cv2.imwrite(path, np.full((8, 8, channels), 4000, np.uint16))
        with pytest.raises(ValueError, match=r'deep\.png cannot be read: it has uint16 pixels, 8 bits are needed'):
            LoadImage()({'img_path': path})

    @pytest.mark.parametrize('suffix', ['jpg', 'png'])
    @pytest.mark.parametrize('keep', [0, 100, 0.5])
    def test_damaged_files_are_named(self, tmp_path, suffix, keep):
        path = tmp_path / f'damaged.{suffix}'
        _image(path)
        content = path.read_bytes()
        path.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
        with pytest.raises(ValueError, match=rf'damaged\.{suffix} cannot be read: the file is '):
            LoadImage()({'img_path': str(path)})

    def test_missing_file(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r'image .*none\.jpg does not exist'):
            LoadImage()({'img_path': str(tmp_path / 'none.jpg')})
        assert LoadImage(ignore_empty=True)({'img_path': str(tmp_path / 'none.jpg')}) is None
        with pytest.raises(FileNotFoundError, match=r'mask .*none\.png does not exist'):
            LoadLabels(5)({'seg_map_path': str(tmp_path / 'none.png'), 'seg_fields': []})


class TestLoadLabels:
    def test_indices_and_void_pass_from_palette_and_grey_masks(self, tmp_path):
        mask = np.array([[0, 4, 255]], np.uint8)
        np.testing.assert_array_equal(_labels(tmp_path, mask), mask)
        image = Image.fromarray(mask)
        image.putpalette(list(range(256)) * 3)
        image.save(tmp_path / 'p.png')
        results = LoadLabels(5)({'seg_map_path': str(tmp_path / 'p.png'), 'seg_fields': []})
        np.testing.assert_array_equal(results['gt_seg_map'], mask)
        assert results['seg_fields'] == ['gt_seg_map']

    @pytest.mark.parametrize(
        ('mask', 'options', 'message'),
        [
            ([[0, 5]], {}, r'mask.png holds the values 5; allowed are 0\.\.4 .* reduce_zero_label=True'),
            ([[0, 6, 9]], {}, r'holds the values 6, 9; .* more classes than its config'),
            ([[0, 255]], dict(ignore_index=0), r'255 is the usual void value but ignore_index is 0'),
            ([[0, 128, 192]], {}, r'values 128, 192; .* colour-masks'),
            ([[0, 1, 6]], dict(reduce_zero_label=True), r'holds the values 6; allowed are 1\.\.5 '),
        ],
    )
    def test_values_outside_are_named_with_the_likely_cause(self, tmp_path, mask, options, message):
        with pytest.raises(ValueError, match=message):
            _labels(tmp_path, np.array(mask, np.uint8), **options)

    def test_16_bit_masks(self, tmp_path):
        np.testing.assert_array_equal(_labels(tmp_path, np.array([[0, 3]], np.uint16)), [[0, 3]])
        with pytest.raises(ValueError, match='mask.png holds values up to 256'):  # 256 would wrap to class 0
            _labels(tmp_path, np.array([[0, 256]], np.uint16))

    def test_colour_mask(self, tmp_path):
        with pytest.raises(ValueError, match=r'mask\.png has 3 channels; .* colour-masks'):
            _labels(tmp_path, np.zeros((4, 4, 3), np.uint8))

    def test_size_must_be_the_images(self, tmp_path):
        with pytest.raises(ValueError, match=r'mask\.png is 6 x 4 pixels, its image is 7 x 4 pixels'):
            _labels(tmp_path, np.zeros((4, 6), np.uint8), ori_shape=(4, 7))
        with pytest.raises(ValueError, match='EXIF rotation'):
            _labels(tmp_path, np.zeros((4, 6), np.uint8), ori_shape=(6, 4))

    @pytest.mark.parametrize('keep', [0, 40])
    def test_damaged_masks_are_named(self, tmp_path, keep):
        buffer = io.BytesIO()
        Image.fromarray(np.random.default_rng(0).integers(0, 5, (50, 50), np.uint8)).save(buffer, 'PNG')
        (tmp_path / 'cut.png').write_bytes(buffer.getvalue()[:keep])
        with pytest.raises(ValueError, match=r'cut\.png cannot be read: the file is '):
            LoadLabels(5)({'seg_map_path': str(tmp_path / 'cut.png'), 'seg_fields': []})

    def test_reduce_zero_label_and_label_map_act_as_in_mmseg(self, tmp_path):
        mask = np.array([[0, 1, 2, 3, 4, 5, 255]] * 2, np.uint8)
        mine = _labels(tmp_path, mask, reduce_zero_label=True)
        np.testing.assert_array_equal(mine, [[255, 0, 1, 2, 3, 4, 255]] * 2)
        label_map = {0: 255, 1: 0, 2: 1, 3: 0, 4: 255}
        results = dict(reduce_zero_label=True, label_map=label_map)
        stock = TRANSFORMS.build(dict(type='LoadAnnotations'))(
            dict(seg_map_path=str(tmp_path / 'mask.png'), seg_fields=[], **results)
        )
        np.testing.assert_array_equal(_labels(tmp_path, mask, **results), stock['gt_seg_map'])

    def test_more_classes_than_labels_hold(self):
        LoadLabels(255)
        with pytest.raises(ValueError, match='num_classes=256: labels have 8 bits'):
            LoadLabels(256)

    def test_without_a_mask_nothing_happens(self):
        assert LoadLabels(5)({'img_path': 'x'}) == {'img_path': 'x'}


class TestRandomScale:
    def test_sizes_are_those_of_the_scales_rounded_down(self):
        np.random.seed(0)
        scale = RandomScale()
        sizes = {scale({'img': np.zeros((375, 500, 3), np.uint8)})['img_shape'] for _ in range(200)}
        # TF release, preprocess_utils: int(dim * scale) for 0.5, 0.75, ..., 2.0
        assert sizes == {(187, 250), (281, 375), (375, 500), (468, 625), (562, 750), (656, 875), (750, 1000)}

    @pytest.mark.parametrize('factor', [0.5, 0.75, 1.25, 1.5, 2.0])
    def test_labels_stay_on_their_pixels(self, factor):
        """The image is a ramp of x, the labels are x rounded: after scaling they still agree without bias."""
        x = np.tile(np.arange(200, dtype=np.uint8), (8, 1))
        results = RandomScale((factor,))({'img': np.dstack([x] * 3), 'gt_seg_map': x, 'seg_fields': ['gt_seg_map']})
        assert results['gt_seg_map'].shape == results['img_shape'] == (int(8 * factor), int(200 * factor))
        difference = results['img'][..., 0].astype(float) - results['gt_seg_map']
        assert abs(difference[:, 5:-5].mean()) <= 0.13  # stock nearest labels are off by 0.4 at 1.25
        assert set(np.unique(results['gt_seg_map'])) <= set(range(200))

    def test_scales_must_be_positive(self):
        with pytest.raises(ValueError, match=r'scales=\(0, 1\)'):
            RandomScale((0, 1))


def _resized(picture, size, at):
    """Each pixel of a picture (H, W) at size (h, w) by its place, corners on corners; `at` reads the picture there."""
    (height, width), (h, w) = picture.shape, size
    places = [[(y * (height - 1) / (h - 1), x * (width - 1) / (w - 1)) for x in range(w)] for y in range(h)]
    return np.array([[at(picture, *place) for place in row] for row in places])


def _bilinear(picture, y, x):
    top, left = min(int(y), picture.shape[0] - 2), min(int(x), picture.shape[1] - 2)
    v, u = y - top, x - left
    a, b, c, d = picture[top : top + 2, left : left + 2].astype(float).flatten()
    return (1 - v) * ((1 - u) * a + u * b) + v * ((1 - u) * c + u * d)


class TestFitIntoSquare:
    """The TensorFlow release's resize of ADE20K: resize_to_range with 513, 513 and a factor of 16."""

    @pytest.mark.parametrize(
        ('size', 'expected'),
        [
            ((512, 683), (385, 513)),  # 512 x 513 / 683 = 384.6, down to 384, up to 16 x 24 + 1
            ((300, 1000), (161, 513)),  # 153.9, 153, 161
            ((1000, 300), (513, 161)),
            ((513, 513), (513, 513)),
            ((256, 256), (513, 513)),
            ((100, 200), (257, 513)),  # 256.5, 256, 257
            ((2, 2000), (1, 513)),  # 0.5: at least one row
        ],
    )
    def test_sides_are_rounded_as_in_the_release(self, size, expected):
        results = FitIntoSquare()(
            dict(img=np.zeros((*size, 3), np.uint8), gt=np.zeros(size, np.uint8), seg_fields=['gt'])
        )
        assert results['img'].shape[:2] == results['gt'].shape == results['img_shape'] == expected

    @pytest.mark.parametrize('size', [(20, 31), (60, 41), (33, 33)])
    def test_image_and_labels_have_their_corners_on_corners(self, size):
        rng = np.random.default_rng(0)
        image, labels = rng.integers(0, 256, (*size, 3), np.uint8), rng.integers(0, 150, size, np.uint8)
        found = FitIntoSquare(33, 4)(dict(img=image.copy(), gt=labels.copy(), seg_fields=['gt']))
        new = found['img'].shape[:2]
        for channel in range(3):
            wanted = _resized(image[..., channel], new, _bilinear)
            assert abs(found['img'][..., channel] - wanted).max() <= 0.501  # rounded to bytes
        nearest = _resized(labels, new, lambda picture, y, x: picture[int(y + 0.5), int(x + 0.5)])
        assert np.array_equal(found['gt'], nearest)
        for corner in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
            assert found['gt'][corner] == labels[corner] and (found['img'][corner] == image[corner]).all()

    @pytest.mark.parametrize(('size', 'factor'), [(512, 16), (1, 16), (513, 0)])
    def test_a_size_off_the_grid_is_refused(self, size, factor):
        with pytest.raises(ValueError, match='multiple of the factor plus one'):
            FitIntoSquare(size, factor)


class TestClassCount:
    """A dataset of MMSegmentation says on each sample how many classes its masks have."""

    @pytest.fixture
    def folder(self, tmp_path):
        for name, values in dict(good=[0, 20, 255], bad=[0, 20, 21]).items():
            Image.new('RGB', (3, 1)).save(tmp_path / f'{name}.jpg')
            Image.fromarray(np.array([values], np.uint8)).save(tmp_path / f'{name}.png')
        return tmp_path

    @staticmethod
    def build(folder, kind='PascalVOCDataset', step=None, **kwargs):
        cfg = dict(type=kind, data_root=str(folder), data_prefix=dict(img_path='', seg_map_path=''), **kwargs)
        if kind == 'PascalVOCDataset':
            (folder / 'names.txt').write_text('good\nbad\n')
            cfg['ann_file'] = 'names.txt'
        return DATASETS.build(dict(cfg, pipeline=[dict(type='LoadImage'), step or dict(type='LoadLabels')]))

    def test_labels_of_a_stock_dataset_are_checked(self, folder):
        dataset = self.build(folder)
        assert isinstance(dataset, mmseg.datasets.PascalVOCDataset)
        assert dataset[0]['gt_seg_map'].tolist() == [[0, 20, 255]]
        with pytest.raises(ValueError, match=r'bad\.png holds the values 21; allowed are 0\.\.20 \(21 classes'):
            dataset[1]

    @pytest.mark.parametrize('wrapper', ['ConcatDataset', 'RepeatDataset', 'RepeatClasses'])
    def test_wrapped_and_in_another_process(self, folder, wrapper, tmp_path, monkeypatch):
        monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
        inner = self.build(folder)
        wrapped = dict(
            ConcatDataset=dict(datasets=[inner]),
            RepeatDataset=dict(dataset=inner, times=2),
            RepeatClasses=dict(dataset=inner, classes=('car',), times=2),
        )[wrapper]
        dataset = pickle.loads(pickle.dumps(DATASETS.build(dict(type=wrapper, **wrapped))))
        assert dataset[0]['gt_seg_map'].max() == 255
        with pytest.raises(ValueError, match=r'bad\.png holds the values 21'):
            dataset[1]

    def test_a_subset_of_classes_is_mapped_from_all_of_them(self, folder):
        dataset = self.build(folder, metainfo=dict(classes=('tvmonitor', 'background')))
        assert dataset[0]['gt_seg_map'].tolist() == [[1, 0, 255]]
        with pytest.raises(ValueError, match=r'allowed are 0\.\.20'):
            dataset[1]

    def test_without_names_of_classes_the_transform_says_how_many(self, folder):
        kwargs = dict(kind='BaseSegDataset', metainfo=dict(), img_suffix='.jpg')
        assert self.build(folder, **kwargs)[0]['gt_seg_map'].tolist() in ([[0, 20, 21]], [[0, 20, 255]])
        for index in range(2):
            with pytest.raises(ValueError, match=r'allowed are 0\.\.4'):
                self.build(folder, step=dict(type='LoadLabels', num_classes=5), **kwargs)[index]

    @pytest.mark.parametrize(('stated', 'limit'), [(21, 21), (20, 20), (150, 21)])
    def test_the_smaller_of_two_numbers_counts(self, folder, stated, limit):
        with pytest.raises(ValueError, match=rf'allowed are 0\.\.{limit - 1} '):
            self.build(folder, step=dict(type='LoadLabels', num_classes=stated))[1]
