"""Albumentations through one transform: void stays void, labels stay labels, and draws can be repeated."""

import numpy as np
import pytest
from mmseg.registry import TRANSFORMS

from mmseg_deeplab.datasets.transforms import LABELS
from mmseg_deeplab.errors import UserError

albumentations = pytest.importorskip(
    'albumentations', reason='albumentations (extra [albumentations]) is not installed'
)
EXAMPLE = [dict(type='Rotate', limit=30, p=0.5), dict(type='RandomBrightnessContrast', p=0.5)]  # of docs/configs.md


def sample(shape=(40, 60), bands=3, dtype=np.uint8):
    rng = np.random.default_rng(0)
    mask = rng.integers(0, 2, shape).astype(np.uint8)
    mask[:6] = 255
    image = rng.integers(0, 200, (*shape, bands)).astype(dtype)
    return dict(img=image, gt_seg_map=mask, seg_fields=['gt_seg_map'], img_path='a.png', img_shape=shape)


def albu(*transforms, **options):
    return TRANSFORMS.build(dict(type='Albu', transforms=list(transforms), **options))


@pytest.mark.parametrize(
    'transform',
    [
        dict(type='Rotate', limit=(30, 30), p=1),
        dict(type='Affine', rotate=(20, 20), translate_px=7, p=1),
        dict(type='ShiftScaleRotate', rotate_limit=(40, 40), p=1),
        dict(type='Perspective', p=1, fit_output=False),
        dict(type='ElasticTransform', alpha=50, border_mode=0, p=1),
        dict(type='PadIfNeeded', min_height=80, min_width=80, border_mode=0, p=1),
        dict(type='OneOf', transforms=[dict(type='Rotate', limit=(30, 30), p=1)], p=1),
    ],
    ids=lambda each: each['type'],
)
def test_what_comes_from_outside_is_void(transform):
    """A mask of class 1 alone: there is nothing else in it that could come out, but void."""
    results = sample()
    results['gt_seg_map'][:] = 1
    np.random.seed(0)
    mask = albu(transform)(results)['gt_seg_map']
    assert {*np.unique(mask)} <= {1, 255}
    assert (mask == 1).any()
    if transform['type'] not in ('ElasticTransform', 'Perspective'):  # these may see nothing from outside
        assert (mask == 255).any()


def test_void_of_the_mask_moves_with_the_picture():
    results = sample()
    before, image = results['gt_seg_map'].copy(), results['img'].copy()
    found = albu(dict(type='HorizontalFlip', p=1))(results)
    np.testing.assert_array_equal(found['gt_seg_map'], before[:, ::-1])
    np.testing.assert_array_equal(found['img'], image[:, ::-1])


def test_pictures_are_rgb_for_albumentations():
    results = sample()
    image = results['img'].copy()  # BGR
    found = albu(dict(type='RGBShift', r_shift_limit=(20, 20), g_shift_limit=0, b_shift_limit=0, p=1))(results)
    np.testing.assert_array_equal(found['img'], image + np.array([0, 0, 20], np.uint8))


def test_draws_follow_numpy():
    transform, seen = albu(*EXAMPLE), []
    for seed in (1, 2, 1):
        np.random.seed(seed)
        seen.append([transform(sample())['img'] for _ in range(6)])
    np.testing.assert_array_equal(seen[0], seen[2])
    assert not np.array_equal(seen[0], seen[1])


def test_several_labels_a_pixel_and_other_bands():
    results = sample(bands=5, dtype=np.float32)
    maps = {f'{LABELS}{k}': (np.arange(2400).reshape(40, 60) % (k + 2) == 0).astype(np.uint8) for k in range(3)}
    results.pop('gt_seg_map')
    results.update(seg_fields=[*maps], **{key: each.copy() for key, each in maps.items()})
    image = results['img'].copy()
    found = albu(dict(type='CenterCrop', height=20, width=30, p=1), dict(type='VerticalFlip', p=1))(results)
    for key, each in maps.items():
        np.testing.assert_array_equal(found[key], each[10:30, 15:45][::-1])
    np.testing.assert_array_equal(found['img'], image[10:30, 15:45][::-1])
    assert found['img_shape'] == (20, 30) and 'masks' not in found


@pytest.mark.parametrize(
    ('transform', 'options', 'told'),
    [
        (dict(type='Rotat'), {}, 'albumentations has no such transform'),
        (dict(type='Rotate', mask_interpolation=1), {}, 'labels between two classes'),
        (dict(type='Rotate'), dict(additional_targets={'img2': 'image'}), 'additional_targets has no effect'),
    ],
)
def test_what_can_not_be_meant(transform, options, told):
    with pytest.raises(UserError, match=told):
        albu(transform, **options)
