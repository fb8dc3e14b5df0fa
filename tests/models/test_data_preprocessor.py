"""Flipped crops have their padding where the releases have it: they pad right and below, crop, then flip."""

import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS

from mmseg_deeplab.models import SegDataPreProcessor

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
CROP = (33, 41)


def build(**kwargs):
    init_default_scope('mmseg')
    cfg = dict(type='SegDataPreProcessor', mean=MEAN, std=STD, pad_val=0, seg_pad_val=255)
    return MODELS.build({**cfg, 'size': CROP, **kwargs})


def sample(height, width, direction, crop=CROP):
    """An image, its mask, and what a training pipeline makes of them; a flip by `direction`, None is none."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (height, width, 3), np.uint8)
    mask = rng.integers(0, 5, (height, width), np.uint8)
    flip = dict(type='RandomFlip', prob=1.0 if direction else 0.0, direction=direction or 'horizontal')
    pipeline = Compose([dict(type='RandomCrop', crop_size=crop), flip, dict(type='PackSegInputs')])
    results = dict(img=image, gt_seg_map=mask, seg_fields=['gt_seg_map'], img_shape=image.shape[:2])
    return image, mask, pipeline({**results, 'ori_shape': image.shape[:2]})


def batch(preprocessor, *samples, training=True):
    data = dict(inputs=[s['inputs'] for s in samples], data_samples=[s['data_samples'] for s in samples])
    return preprocessor(data, training)


@pytest.mark.parametrize('direction', [None, 'horizontal', 'vertical', 'diagonal'])
@pytest.mark.parametrize('size', [(20, 30), (33, 30), (20, 41), (33, 41)])
def test_padding_is_flipped_with_the_crop(size, direction):
    image, mask, packed = sample(*size, direction)
    padded = np.broadcast_to(np.array(MEAN), (*CROP, 3)).copy()  # normalised, that is 0
    labels = np.full(CROP, 255)
    padded[: size[0], : size[1]], labels[: size[0], : size[1]] = image, mask
    axes = {None: (), 'horizontal': (1,), 'vertical': (0,), 'diagonal': (0, 1)}[direction]
    wanted = (np.flip(padded, axes) - MEAN) / STD
    data = batch(build(), packed)
    torch.testing.assert_close(data['inputs'][0].double(), torch.tensor(wanted).permute(2, 0, 1), rtol=1e-4, atol=1e-5)
    assert np.array_equal(data['data_samples'][0].gt_sem_seg.data[0], np.flip(labels, axes))


def test_images_of_a_batch_are_padded_each_by_its_own_flip():
    packed = [sample(20, 30, 'horizontal')[2], sample(20, 30, None)[2]]
    data = batch(build(size=None, size_divisor=32), *packed)
    left, right = (s.gt_sem_seg.data[0] == 255 for s in data['data_samples'])
    assert left[:20, :2].all() and not left[:20, 2:].any()
    assert right[:20, 30:].all() and not right[:20, :30].any()


def test_test_images_are_padded_right_and_below():
    _, _, packed = sample(20, 30, 'horizontal')
    packed['data_samples'].set_metainfo(dict(flip=True, flip_direction='horizontal'))
    data = batch(build(size=None, test_cfg=dict(size=CROP)), packed, training=False)
    assert not data['inputs'][0, :, :, 30:].any() and data['inputs'][0, :, :20, :30].any()


def test_it_is_the_one_of_every_config():
    assert type(build()) is SegDataPreProcessor
