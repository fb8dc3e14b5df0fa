"""Folders, split files, images and masks."""

import copy

import cv2
import numpy as np
import pytest
from preflight_helpers import NUM_TRAIN, image_of, mask_of, names, problem, read_mask, said, write_mask

from mmseg_deeplab.preflight import check


def test_a_missing_folder(cfg):
    cfg.train_dataloader.dataset.data_root = 'data/nowhere'
    message = problem(cfg)
    assert "train_dataloader.dataset.data_root: folder 'data/nowhere' does not exist" in message
    assert '--data-root' in message


def test_a_missing_folder_below_the_root(cfg):
    cfg.train_dataloader.dataset.data_prefix.img_path = 'Pictures'
    message = problem(cfg)
    assert 'data_prefix.img_path' in message and 'Pictures' in message and 'JPEGImages' in message


def test_a_missing_split_file(cfg):
    cfg.train_dataloader.dataset.ann_file = 'ImageSets/Segmentation/trainaug.txt'
    message = problem(cfg)
    assert 'train_dataloader.dataset.ann_file' in message and 'trainaug.txt' in message and 'train.txt' in message


def test_an_empty_split(cfg, data):
    (data / 'ImageSets' / 'Segmentation' / 'train.txt').write_text('')
    message = problem(cfg)
    assert 'train_dataloader.dataset: no images' in message and 'train.txt' in message


def test_an_image_that_the_split_names_but_is_not_there(cfg, data):
    image = image_of(data, 5)
    image.unlink()
    message = problem(cfg)
    assert str(image) in message and 'does not exist' in message


def test_an_image_without_mask(cfg, data):
    """All masks are looked for, not only those of the sample."""
    mask = mask_of(data, NUM_TRAIN - 1)
    mask.unlink()
    message = problem(cfg)
    assert f'has no mask: {mask}' in message and 'seg_map_suffix' in message


@pytest.mark.parametrize('loader', ['LoadLabels', 'LoadAnnotations'])
def test_label_values_out_of_range(cfg, data, loader):
    if loader == 'LoadAnnotations':
        cfg.train_dataloader.dataset.pipeline[1] = dict(type=loader)
    mask = read_mask(mask_of(data, 0))
    mask[:2, :2], mask[2:4, 2:4] = 30, 44
    write_mask(mask_of(data, 0), mask)
    message = problem(cfg)
    assert str(mask_of(data, 0)) in message and '30, 44' in message and '0..6' in message


@pytest.mark.parametrize('loader', ['LoadLabels', 'LoadAnnotations'])
def test_image_and_mask_of_different_size(cfg, data, loader):
    if loader == 'LoadAnnotations':
        cfg.train_dataloader.dataset.pipeline[1] = dict(type=loader)
    mask = read_mask(mask_of(data, 0))
    write_mask(mask_of(data, 0), mask[:-3])
    message = problem(cfg)
    assert str(mask_of(data, 0)) in message
    assert f'{mask.shape[1]} x {mask.shape[0] - 3}' in message and f'{mask.shape[1]} x {mask.shape[0]}' in message


def test_masks_are_looked_at_when_labels_are_loaded_after_a_resize(cfg, data):
    """As in test pipelines that don't resize the labels."""
    pipeline = cfg.test_dataloader.dataset.pipeline
    pipeline.insert(1, dict(type='Resize', scale=(33, 33), keep_ratio=True))
    check(cfg, 'test')
    mask = data / 'SegmentationClass' / f'{names(data, "val")[0]}.png'
    write_mask(mask, np.full_like(read_mask(mask), 30))
    message = problem(cfg, 'test')
    assert str(mask) in message and 'values 30' in message
    mask.unlink()
    assert f'has no mask: {mask}' in problem(cfg, 'test')


@pytest.mark.parametrize('loader', [dict(type='LoadLabels', num_classes=7), dict(type='mmseg.LoadAnnotations')])
def test_masks_are_looked_at_under_test_time_augmentation(cfg, data, loader):
    cfg.test_dataloader.dataset.pipeline = copy.deepcopy(cfg.tta_pipeline)
    groups = cfg.tta_pipeline[1].transforms
    assert [step.type for group in groups for step in group].count('LoadLabels') == 1
    cfg.test_dataloader.dataset.pipeline[1].transforms = [
        [loader] if group[0].type == 'LoadLabels' else group for group in groups
    ]
    check(cfg, 'test')
    mask = data / 'SegmentationClass' / f'{names(data, "val")[0]}.png'
    write_mask(mask, np.full_like(read_mask(mask), 30))
    message = problem(cfg, 'test')
    assert str(mask) in message and 'values 30' in message
    write_mask(mask, read_mask(mask)[:-3])
    assert str(mask) in problem(cfg, 'test')
    mask.unlink()
    assert f'has no mask: {mask}' in problem(cfg, 'test')


@pytest.mark.parametrize('content', [b'', b'not an image', None], ids=['empty', 'text', 'truncated'])
def test_a_damaged_image(cfg, data, content):
    image = image_of(data, 0)
    image.write_bytes(image.read_bytes()[:60] if content is None else content)
    message = problem(cfg)
    assert str(image) in message and 'cannot be read' in message


def test_a_damaged_mask(cfg, data):
    mask = mask_of(data, 0)
    mask.write_bytes(mask.read_bytes()[: mask.stat().st_size // 2])
    message = problem(cfg)
    assert str(mask) in message and 'cannot be read' in message


def test_a_sample_is_checked_unless_all_is_asked_for(cfg, data):
    """A bad mask between the samples is found with --check-all only."""
    write_mask(mask_of(data, 1), np.full_like(read_mask(mask_of(data, 1)), 99))
    check(cfg, 'train')
    assert str(mask_of(data, 1)) in problem(cfg, check_all=True)


@pytest.mark.parametrize('tta', [False, True])
def test_a_batch_of_different_sizes(cfg, generated, tta):
    """Images of the demo are of many sizes."""
    if tta:
        cfg.test_dataloader.dataset.pipeline = copy.deepcopy(cfg.tta_pipeline)
    check(cfg, 'test')
    cfg.test_dataloader.batch_size = 2
    message = problem(cfg, 'test')
    assert 'test_dataloader.batch_size is 2' in message and message.endswith('Set test_dataloader.batch_size=1')
    for name in names(generated, 'val')[:2]:
        image = generated / 'JPEGImages' / f'{name}.jpg'
        height, width = cv2.imread(str(image)).shape[:2]
        assert str(image) in message if tta else f'{image} has {width} x {height}' in message


def test_batches_of_images_that_are_made_one_size_pass(cfg):
    cfg.val_dataloader.batch_size = 2
    assert 'val_dataloader.batch_size is 2' in problem(cfg)
    cfg.val_dataloader.dataset.pipeline.insert(1, dict(type='Resize', scale=(64, 64), keep_ratio=False))
    check(cfg, 'train')


@pytest.mark.parametrize('label', [0, 3])
def test_masks_of_one_class_are_told_of(cfg, data, label):
    """All are looked for, not only the sample; void is no other class, and one mask of another class is enough."""
    for index in range(NUM_TRAIN):
        mask = np.full_like(read_mask(mask_of(data, index)), label)
        mask[:4] = 255 if label else 0
        write_mask(mask_of(data, index), mask)
    told = f'show class {label} ('
    assert told in (text := said(cfg)) and 'of 7 classes: there is nothing to tell it from' in text
    mask = read_mask(mask_of(data, 1))  # not in the sample
    mask[:9] = 5
    write_mask(mask_of(data, 1), mask)
    assert told not in said(cfg)
