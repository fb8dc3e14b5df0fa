"""What is said of a published setting that no longer holds."""

import pytest
from preflight_helpers import said

from mmseg_deeplab.preflight.advice import advice


def test_nothing_is_said_of_the_demo(cfg):
    cfg.auto_scale_lr = dict(base_batch_size=8, enable=False)
    assert list(advice(cfg)) == []


@pytest.mark.parametrize('devices, accumulated, rate', [(1, 1, 0.0125), (2, 1, 0.025), (1, 3, 0.0375)])
def test_a_rate_that_was_chosen_for_another_batch(cfg, monkeypatch, devices, accumulated, rate):
    """Linear scaling (1706.02677), which is what --auto-scale-lr does."""
    monkeypatch.setenv('WORLD_SIZE', str(devices))
    cfg.auto_scale_lr = dict(base_batch_size=8, enable=False)
    cfg.train_dataloader.batch_size = 2
    cfg.optim_wrapper.accumulative_counts = accumulated
    (line,) = advice(cfg)
    assert 'learning rate 0.05 was chosen for batches of 8 images' in line
    assert f'this run has {2 * devices * accumulated}' in line and f'optim_wrapper.optimizer.lr={rate:.3g}' in line
    cfg.auto_scale_lr.enable = True
    assert list(advice(cfg)) == []


def test_a_schedule_that_ends_after_the_training(cfg):
    cfg.auto_scale_lr = None
    cfg.param_scheduler[0].end = 30000
    (line,) = advice(cfg)
    assert 'ends at iteration 800' in line and '30000' in line and 'param_scheduler.0.end=800' in line


@pytest.mark.parametrize('crop', [(65, 97), 65])
def test_a_crop_that_is_smaller_in_the_pipeline_only(cfg, crop):
    cfg.auto_scale_lr = None
    crops = [step for step in cfg.train_dataloader.dataset.pipeline if 'crop_size' in step]
    crops[0].crop_size = crop
    (line,) = advice(cfg)
    assert line.startswith('Crops are 65 x ') and 'RandomCrop' in line and 'padded to 97 x 97' in line
    cfg.train_dataloader.dataset = dict(type='ConcatDataset', datasets=[cfg.train_dataloader.dataset])
    assert list(advice(cfg)) == [line]


def test_it_reaches_the_log(cfg):
    """A logger that was asked in the silence of the checks would otherwise remember to be silent."""
    cfg.auto_scale_lr = dict(base_batch_size=8, enable=False)
    cfg.train_dataloader.batch_size = 2
    text = said(cfg)
    assert 'was chosen for batches of 8 images' in text
    assert 'tensors with lr' not in text  # of a part that was tried
