"""What the run builds beside the network and its data."""

import threading
from collections import OrderedDict

import numpy as np
import pytest
from mmengine.logging import print_log
from mmengine.visualization import Visualizer
from preflight_helpers import names, problem, read_mask, write_mask

from mmseg_deeplab.engine import DeepLabRunner
from mmseg_deeplab.preflight import check


@pytest.mark.parametrize('mode', ['train', 'test'])
def test_a_run_without_data(cfg, mode):
    cfg[f'{mode}_dataloader'] = None
    assert problem(cfg, mode) == f'{mode}ing needs a {mode}_dataloader'


@pytest.mark.parametrize(
    'step, told',
    [
        (dict(type='RandomCrop', crop_size=(0, 0)), '(RandomCrop): AssertionError: assert crop_size[0] > 0'),
        (dict(type='RandomScale', scales=[]), '(RandomScale): scales=[]: give one or more positive factors'),
        (dict(type='Resize'), '(Resize): '),
        (dict(type='TestTimeAug', transforms=[[dict(type='RandomFlip', prob=2.0)]]), '(TestTimeAug): '),
    ],
)
def test_a_transform_that_can_not_be_built(cfg, step, told):
    cfg.train_dataloader.dataset.pipeline[2] = step
    assert f'train_dataloader.dataset.pipeline.2 {told}' in problem(cfg)


def test_a_transform_of_a_wrapped_dataset(cfg):
    inner = cfg.train_dataloader.dataset
    inner.pipeline[2] = dict(type='RandomScale', scales=[-1])
    cfg.train_dataloader.dataset = dict(type='ConcatDataset', datasets=[inner])
    assert 'train_dataloader.dataset.datasets.0.pipeline.2 (RandomScale): scales=[-1]' in problem(cfg)


@pytest.mark.parametrize(
    'options, told',
    [
        ({'train_dataloader.batch_size': None}, "batch_size' is None"),
        ({'train_dataloader.num_workers': None}, "num_workers' is None"),
        ({'train_dataloader.prefetch_factor': 0}, "prefetch_factor' is 0"),
        ({'train_dataloader.timeout': -1}, 'train_dataloader: timeout'),
        ({'train_dataloader.num_batch_per_epoch': 0}, "num_batch_per_epoch' is 0"),
        ({'train_dataloader.dataset': None}, 'train_dataloader.dataset is None'),
        ({'train_dataloader.dataset.data_root': 5}, 'dataset.data_root is 5, but it needs a path'),
        ({'train_dataloader.dataset.backend_args': dict(backend='none')}, 'train_dataloader.dataset: '),
        ({'train_dataloader.collate_fn': dict(type='nothing')}, 'train_dataloader.collate_fn'),
        ({'val_dataloader.sampler.type': 'ResumableSampler'}, 'ResumableSampler has no end'),
        ({'val_dataloader.sampler.type': 'InfiniteSampler'}, 'InfiniteSampler has no end'),
        ({'val_dataloader.drop_last': True}, 'val_dataloader.drop_last'),
        ({'val_dataloader': None}, 'val_dataloader is missing beside'),
        ({'optim_wrapper': None}, 'training needs a optim_wrapper'),
        ({'optim_wrapper.optimizer': None}, 'optim_wrapper.optimizer is None'),
        ({'optim_wrapper.optimizer.type': 'SDG'}, "did you mean 'SGD'"),
        ({'optim_wrapper.optimizer.lr': float('inf')}, "optimizer.lr' is inf"),
        ({'optim_wrapper.optimizer.lr': float('nan')}, "optimizer.lr' is nan"),
        ({'optim_wrapper.optimizer.momentum': 5}, "momentum' is 5"),
        ({'optim_wrapper.optimizer.weight_decay': -1}, "weight_decay' is -1"),
        ({'optim_wrapper.optimizer.weight_decay': float('inf')}, "weight_decay' is inf"),
        ({'optim_wrapper.type': 'AmpOptimWrapper'}, 'optim_wrapper (AmpOptimWrapper): '),
        ({'optim_wrapper.clip_grad': dict(max_norm='a')}, "max_norm' is 'a'"),
        ({'optim_wrapper.paramwise_cfg': dict(bias_lr_mult=-1)}, 'a learning rate of -0.05'),
        ({'optim_wrapper.paramwise_cfg': dict(bias_lr=1)}, "['bias_lr'] unknown"),
        ({'param_scheduler': 5}, 'param_scheduler is 5'),
        ({'param_scheduler.0.power': -5}, 'param_scheduler.0 (PolyLR): '),
        ({'param_scheduler.0.end': 0}, 'end should be larger than begin'),
        ({'param_scheduler.0.end': 1.5}, "param_scheduler.0.end' is 1.5"),
        ({'param_scheduler.0.eta_min': -1}, 'a learning rate of '),
        ({'param_scheduler.0.by_epoch': True}, "param_scheduler.0.by_epoch' is True"),
        ({'param_scheduler': [dict(type='StepLR', step_size=0, by_epoch=False)]}, 'param_scheduler.0 (StepLR): '),
        ({'train_cfg.type': 'IterTrainLoop'}, "did you mean 'IterBasedTrainLoop'"),
        ({'train_cfg.val_interval': None}, "val_interval' is None"),
        ({'val_cfg.type': 'ValidLoop'}, "did you mean 'ValLoop'"),
        ({'val_evaluator': None}, 'val_evaluator is missing beside'),
        ({'val_evaluator.class_subset': 5}, 'val_evaluator: '),
        ({'val_evaluator.collect_device': 'tpu'}, "val_evaluator.collect_device' is 'tpu'"),
        ({'val_evaluator.format_only': True}, 'needs output_dir'),
        ({'default_hooks.checkpoint.save_best': 'mIoU2'}, 'no such score: choose one of aAcc, mIoU'),
        ({'default_hooks.checkpoint.save_best': 'Kappa'}, "save_best='Kappa': it is not known whether more"),
        ({'default_hooks.checkpoint.max_keep_ckpts': 1.5}, "max_keep_ckpts' is 1.5"),
        ({'default_hooks.checkpoint.filename_tmpl': 'last.pth'}, 'would overwrite the one before'),
        ({'default_hooks.visualization': None}, 'default_hooks.visualization is None'),
        ({'default_hooks.visualization.interval': 0}, "visualization.interval' is 0"),
        ({'default_hooks.logger.priority': 'SOMETIMES'}, 'default_hooks.logger.priority: '),
        ({'custom_hooks': [5]}, 'custom_hooks.0 is 5'),
        ({'custom_hooks': [dict(type='DenseCRFHook', workers='a')]}, "custom_hooks.0.workers' is 'a'"),
        ({'custom_hooks': [dict(type='DenseCRFHook', bi_xy_std=0)]}, 'custom_hooks.0 (DenseCRFHook): '),
        ({'custom_hooks': [dict(type='DenseCRFHook', bi_w=float('nan'))]}, "custom_hooks.0.bi_w' is nan"),
        (
            {'custom_hooks': [dict(type='EMAHook', momentum=5)]},
            'custom_hooks.0 (ExponentialMovingAverage): momentum',
        ),
        ({'visualizer.vis_backends.0.type': 'Foo'}, "visualizer.vis_backends.0.type': nothing is registered"),
        ({'visualizer': 5}, 'visualizer is 5'),
        ({'randomness.seed': 2**32}, 'randomness.seed'),
        ({'log_level': 'LOUD'}, "log_level is 'LOUD'"),
        ({'log_level': 'info'}, "log_level is 'info'"),
        ({'default_scope': 'mmsg'}, "default_scope is 'mmsg'"),
        ({'runner_type': 'DeepLabRuner'}, "did you mean 'DeepLabRunner'"),
        ({'randomness': None}, 'randomness is None'),
        ({'env_cfg.mp_cfg': None}, 'env_cfg.mp_cfg is None'),
        ({'env_cfg.resource_limit': 'a'}, "resource_limit' is 'a'"),
        ({'train_cfg.dynamic_intervals': 5}, "dynamic_intervals' is 5"),
        ({'log_level': None}, 'log_level is None'),
        ({'log_processor.window_size': 'a'}, "log_processor.window_size' is 'a'"),
        ({'env_cfg.mp_cfg.mp_start_method': 'frok'}, "mp_start_method' is 'frok'"),
        ({'launcher': 'torchrun'}, "launcher is 'torchrun'"),
    ],
)
def test_what_would_end_in_a_traceback_or_a_ruined_run(cfg, options, told):
    if 'default_hooks.visualization' in options:
        cfg.default_hooks.visualization = None
    else:
        cfg.merge_from_dict(options)
    assert told in problem(cfg)


@pytest.mark.parametrize('name', DeepLabRunner.optional_hooks)
def test_hooks_that_the_runner_can_do_without(cfg, name):
    """docs/configs.md says so of each; the runner and preflight ask one list."""
    cfg.default_hooks[name] = None
    check(cfg, 'train')


def test_a_score_of_another_metric(cfg):
    cfg.val_evaluator = dict(type='IoUMetric', iou_metrics=['mDice'])
    assert 'choose one of aAcc, mDice, mAcc' in problem(cfg)
    cfg.default_hooks.checkpoint.save_best = 'mDice'
    check(cfg, 'train')


def test_a_score_before_the_crf(cfg):
    cfg.default_hooks.checkpoint.update(save_best='before_crf/mIoU', rule='greater')
    assert 'no such score' in problem(cfg)
    cfg.custom_hooks = [dict(type='RefinerHook', refiner='guided')]  # whose scores are those after it alone
    assert 'no such score' in problem(cfg)
    cfg.custom_hooks = [dict(type='DenseCRFHook', stages=['val'])]
    check(cfg, 'train')
    cfg.val_evaluator = dict(type='SegmentationMetric', prefix='own')
    assert 'own/before_crf/mIoU' in problem(cfg)
    cfg.default_hooks.checkpoint.save_best = 'own/before_crf/mIoU'
    check(cfg, 'train')


@pytest.mark.parametrize('rate', ['a', True, [0.1]])
def test_a_rate_that_is_no_number(cfg, rate):
    cfg.optim_wrapper.optimizer.lr = rate
    assert f"'optim_wrapper.optimizer.lr' is {rate!r}" in problem(cfg)


def test_masks_of_void_alone(cfg, data):
    for split in ('train', 'val'):
        for name in names(data, split):
            mask = data / 'SegmentationClass' / f'{name}.png'
            write_mask(mask, np.full_like(read_mask(mask), 255))
        assert f'{split}: all masks in' in problem(cfg) and 'nothing to learn or to score' in problem(cfg)
        mask = data / 'SegmentationClass' / f'{names(data, split)[1]}.png'  # not in the sample
        write_mask(mask, np.ones_like(read_mask(mask)))
    check(cfg, 'train')


def test_a_single_class(cfg):
    for split in ('train', 'val'):
        cfg[f'{split}_dataloader'].dataset.metainfo = dict(classes=('ring',))
    cfg.model.pop('num_classes', None)
    cfg.model.decode_head.num_classes = 1
    assert "Give the dataset a second class, such as classes=('background', 'object')" in problem(cfg)


@pytest.mark.parametrize('mode', ['train', 'test'])
def test_other_threads_can_write_to_the_log_afterwards(cfg, mode, monkeypatch):
    """As in a process that has no visualizer yet, where MMEngine's way to ask for one leaves its lock closed."""
    monkeypatch.setattr(Visualizer, '_instance_dict', OrderedDict())
    check(cfg, mode)
    thread = threading.Thread(target=print_log, args=('said', 'current'), daemon=True)
    thread.start()
    thread.join(30)
    assert not thread.is_alive()
