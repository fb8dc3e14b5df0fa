"""Masks drawn in black and white, and the shares of a folder."""

import numpy as np
import pytest
from mmengine.config import Config
from preflight_helpers import problem, read_mask, write_mask

from mmseg_deeplab.preflight import PreflightError, check


@pytest.fixture
def black_and_white(cfg, tmp_path) -> Config:
    """Two classes whose masks were drawn with 0 and 255."""
    (tmp_path / 'images').mkdir()
    (tmp_path / 'masks').mkdir()
    (tmp_path / 'classes.txt').write_text('ground, 0, 0, 0\nbuilding, 255, 255, 255\n')
    for index in range(6):
        write_mask(tmp_path / 'images' / f'{index}.png', np.zeros((40, 50, 3), np.uint8))
        mask = np.zeros((40, 50), np.uint8)
        mask[:20] = 255
        write_mask(tmp_path / 'masks' / f'{index}.png', mask)
    for split in ('train', 'val', 'test'):
        pipeline = cfg[f'{split}_dataloader'].dataset.pipeline
        cfg[f'{split}_dataloader'].dataset = dict(
            type='ImageMaskFolder',
            data_root=str(tmp_path),
            split='val' if split == 'test' else split,
            pipeline=pipeline,
        )
    cfg.model.num_classes = 2
    return cfg


def test_masks_of_0_and_255_are_refused_and_the_advice_works(black_and_white, tmp_path):
    """255 is void: a network that says ground everywhere would score 100."""
    message = problem(black_and_white)
    assert "masks' (5 of 5 read) hold only class 0 (ground) and 255 (void, not learnt)" in message
    assert '2 classes' in message and "masks='colours'" in message and "'building, 255, 255, 255'" in message
    for split in ('train', 'val'):
        black_and_white[f'{split}_dataloader'].dataset.masks = 'colours'
    check(black_and_white, 'train')


def test_zero_reduced_by_mistake_is_named(black_and_white, tmp_path):
    for path in (tmp_path / 'masks').iterdir():
        write_mask(path, read_mask(path) // 255)
    check(black_and_white, 'train')
    for split in ('train', 'val'):
        black_and_white[f'{split}_dataloader'].dataset.reduce_zero_label = True
    assert 'reduce_zero_label=True makes 0 void' in problem(black_and_white)


def test_masks_that_lack_a_class_pass_where_void_is_not_met(black_and_white, tmp_path):
    for path in (tmp_path / 'masks').iterdir():
        write_mask(path, np.zeros((40, 50), np.uint8))
    check(black_and_white, 'train')


def test_images_without_masks_pass(black_and_white, tmp_path):
    dataset = black_and_white.test_dataloader.dataset
    dataset.data_prefix = dict(img_path='images')
    black_and_white.test_evaluator = dict(type='SegmentationMetric', format_only=True, output_dir=str(tmp_path / 'out'))
    for path in (tmp_path / 'masks').iterdir():
        path.unlink()
    (tmp_path / 'masks').rmdir()
    check(black_and_white, 'test')


@pytest.mark.parametrize('ratio, told', [(0.5, 'both trained on and validated on'), (0.1, 'in neither split')])
def test_shares_of_different_ratios(black_and_white, ratio, told):
    black_and_white.val_dataloader.dataset.val_ratio = ratio
    message = problem(black_and_white)
    assert f'val_ratio is 0.2 in train_dataloader.dataset but {ratio} in val' in message and told in message


def test_groups_of_different_expressions(black_and_white):
    black_and_white.val_dataloader.dataset.group_by = '.'
    message = problem(black_and_white)
    assert "group_by is None in train_dataloader.dataset but '.' in val" in message
    assert 'can be both trained on and validated on or in neither split. Set both alike' in message


@pytest.mark.parametrize('option', [dict(group_by='.'), dict(val_ratio=0.5)])
def test_shares_of_a_test_are_compared_with_those_of_training(black_and_white, option):
    for split in ('train', 'val'):
        black_and_white[f'{split}_dataloader'].dataset.update(option)
    with pytest.raises(PreflightError, match=f"{[*option][0]} is .* but .* in test_dataloader's: images of"):
        check(black_and_white, 'test')


def test_the_share_of_a_single_image_is_empty(black_and_white, tmp_path):
    for index in range(1, 6):
        (tmp_path / 'images' / f'{index}.png').unlink()
    write_mask(tmp_path / 'masks' / '0.png', np.ones((40, 50), np.uint8))
    message = problem(black_and_white)
    assert 'val_dataloader.dataset: 1 image found in ' in message and 'val_ratio=0.2 is empty; add' in message


def test_batches_of_equal_images_pass(black_and_white):
    for split in ('train', 'val'):
        black_and_white[f'{split}_dataloader'].dataset.update(masks='colours', val_ratio=0.5)
    black_and_white.val_dataloader.batch_size = 2
    check(black_and_white, 'train')
