"""Keys and plain values that nothing reads or that can not be meant."""

import copy

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import LoggerHook
from mmengine.model.weight_init import PretrainedInit
from mmengine.optim import OptimWrapper, PolyLR
from mmengine.runner import IterBasedTrainLoop, LogProcessor
from mmengine.visualization import LocalVisBackend
from mmseg.models import SegDataPreProcessor
from mmseg.visualization import SegLocalVisualizer
from preflight_helpers import mask_of, problem, read_mask, write_mask

from mmseg_deeplab.datasets.demo import DemoDataset
from mmseg_deeplab.datasets.transforms import LoadLabels
from mmseg_deeplab.engine.exact_resume import ResumableSampler
from mmseg_deeplab.evaluation import SegmentationMetric
from mmseg_deeplab.models import DeepLab
from mmseg_deeplab.models.tta import DeepLabTTA
from mmseg_deeplab.preflight import PreflightError, check, check_options
from mmseg_deeplab.preflight.keys import check_keys, value_at
from mmseg_deeplab.preflight.kinds import name_of
from mmseg_deeplab.preflight.signatures import parameters, wrong_type


@pytest.mark.parametrize(
    'options, told',
    [
        ({'model.decode_head.num_clases': 7}, ['model.decode_head.num_clases', "did you mean 'num_classes'"]),
        ({'model.ouput_stride': 8}, ['model.ouput_stride', "did you mean 'output_stride'"]),
        ({'model.test_cfg.mod': 'slide'}, ['model.test_cfg.mod', "did you mean 'mode'"]),
        ({'model.backbone.widht': 0.5}, ['model.backbone.widht', "did you mean 'width'"]),
        ({'model.decode_head.type': 'DeepLabV3PlusHaed'}, ['decode_head.type', "did you mean 'DeepLabV3PlusHead'"]),
        ({'train_dataloader.batchsize': 4}, ['train_dataloader.batchsize', "did you mean 'batch_size'"]),
        ({'train_dataloader.dataset.ann_fiel': 'x'}, ['dataset.ann_fiel', "did you mean 'ann_file'"]),
        ({'train_dataloader.dataset.data_prefix.img_pth': 'x'}, ['data_prefix.img_pth', "did you mean 'img_path'"]),
        ({'train_dataloader.dataset.pipeline.4.porb': 0.1}, ['pipeline.4.porb', "did you mean 'prob'"]),
        ({'train_cfg.max_iter': 10}, ['train_cfg.max_iter', "did you mean 'max_iters'"]),
        ({'optim_wrapper.optimizer.momentun': 0.9}, ['optimizer.momentun', "did you mean 'momentum'"]),
        ({'optim_wrapper.acumulative_counts': 2}, ["did you mean 'accumulative_counts'"]),
        ({'param_scheduler.0.powr': 1}, ['param_scheduler.0.powr', "did you mean 'power'"]),
        ({'default_hooks.checkpoint.max_keep_ckpt': 1}, ["did you mean 'max_keep_ckpts'"]),
        ({'default_hooks.checkpiont': dict(type='CheckpointHook')}, ['default_hooks.checkpiont', "'checkpoint'"]),
        ({'model.data_preprocessor.test_cfg.sise': 5}, ['data_preprocessor.test_cfg.sise', "did you mean 'size'"]),
        ({'model.train_cfg.foo': 1}, ['model.train_cfg.foo', "train_cfg takes no 'foo'"]),
        ({'optim_wrapper.clip_grad.max_nrom': 1}, ['clip_grad.max_nrom', "did you mean 'max_norm'"]),
        ({'env_cfg.dist_cfg.bakend': 'gloo'}, ['env_cfg.dist_cfg.bakend', "did you mean 'backend'"]),
        ({'custom_hooks.0.foo': 1}, ['custom_hooks', 'must be a list']),
        ({'randomness.sed': 1}, ['randomness.sed', "did you mean 'seed'"]),
        ({'env_cfg.cudnn_bechmark': True}, ["did you mean 'cudnn_benchmark'"]),
        ({'auto_scale_lr.enabled': True}, ['auto_scale_lr.enabled', "did you mean 'enable'"]),
        ({'strategy': dict(type='FSDPStrategy')}, ["'strategy'", 'DeepLabRunner would ignore it']),
        ({'train_dataloder': {}}, ['train_dataloder', "did you mean 'train_dataloader'"]),
        ({'train_dataloader.batch_size': 'two'}, ["train_dataloader.batch_size' is 'two'", 'needs int']),
        ({'optim_wrapper.optimizer.lr': 'fast'}, ["optim_wrapper.optimizer.lr' is 'fast'", 'needs float']),
        ({'train_dataloader.batch_size': 2.5}, ["train_dataloader.batch_size' is 2.5", 'needs int above 0']),
        ({'val_dataloader.batch_size': 0}, ["val_dataloader.batch_size' is 0", 'needs int above 0']),
        ({'train_dataloader.num_workers': -1}, ["train_dataloader.num_workers' is -1", 'needs int of 0 or more']),
        ({'train_cfg.max_iters': 100.5}, ["train_cfg.max_iters' is 100.5", 'needs int above 0']),
        ({'train_cfg.max_iters': -5}, ["train_cfg.max_iters' is -5", 'needs int above 0']),
        ({'train_cfg.val_interval': 0}, ["train_cfg.val_interval' is 0", 'needs int above 0']),
        ({'optim_wrapper.optimizer.lr': 0.0}, ["optim_wrapper.optimizer.lr' is 0.0", 'needs float above 0']),
        ({'optim_wrapper.optimizer.lr': -0.01}, ["optim_wrapper.optimizer.lr' is -0.01", 'needs float above 0']),
        ({'optim_wrapper.accumulative_counts': 0}, ["accumulative_counts' is 0", 'needs int above 0']),
        ({'default_hooks.logger.interval': 0}, ["default_hooks.logger.interval' is 0", 'needs int above 0']),
        ({'optim_wrapper.clip_grad': 35}, ["clip_grad' is 35", 'dict(max_norm=35)']),
        ({'model.data_preprocessor.size': 'abc'}, ["data_preprocessor.size' is 'abc'", '(height, width)']),
        ({'model.data_preprocessor.test_cfg.size': 513}, ["test_cfg.size' is 513", '(height, width)']),
        ({'randomness.seed': 'abc'}, ["randomness.seed' is 'abc'", 'needs int of 0 or more']),
        ({'auto_scale_lr.base_batch_size': 'abc'}, ["base_batch_size' is 'abc'", 'needs int above 0']),
        ({'train_cfg.max_iters': '4k'}, ["train_cfg.max_iters' is '4k'", 'needs int']),
        ({'model.decode_head.num_classes': 'seven'}, ["model.decode_head.num_classes' is 'seven'", 'needs int']),
    ],
)
def test_a_wrong_key_or_type_is_named(cfg, options, told):
    cfg = copy.deepcopy(cfg)
    cfg._cfg_dict.pop('train_dataloader') if 'train_dataloder' in options else None
    cfg.merge_from_dict(options)
    message = problem(cfg)
    for words in told:
        assert words in message


@pytest.mark.parametrize(
    'options',
    [
        {'optim_wrapper.clip_grad': dict(type='norm', max_norm=1, norm_type='inf', error_if_nonfinite=True)},
        {'optim_wrapper.clip_grad': dict(type='value', clip_value=0.1, foreach=False)},
        {'env_cfg.dist_cfg': dict(backend='gloo', timeout=1800, init_backend='torch', port=29501)},
        {'model.data_preprocessor.test_cfg': dict(size_divisor=32)},
        {'model.train_cfg': dict(num_points=2048, oversample_ratio=3, importance_sample_ratio=0.75)},
        {'custom_hooks': [dict(type='EMAHook', priority='NORMAL')]},
        {'custom_hooks': None},
        {'optim_wrapper.optimizer.lr': 1, 'train_dataloader.num_workers': 0, 'randomness.seed': None},
    ],
)
def test_keys_that_the_stack_reads_pass(cfg, options):
    cfg.merge_from_dict(options)
    check_keys(cfg)


@pytest.mark.parametrize(
    'key, told',
    [
        ('data_root', '--data-root'),
        ('num_classes', 'model.num_classes'),
        ('train_pipeline', 'train_dataloader.dataset.pipeline'),
        ('custom_imports.imports', 'imports run before'),
        ('modle.output_stride', "did you mean 'model'"),
        ('zzz', "no key 'zzz' is read"),
    ],
)
def test_an_option_that_nothing_reads_is_refused(cfg, key, told):
    """The stack takes all of these silently, and trains on as if they had not been given."""
    with pytest.raises(PreflightError, match=told):
        check_options(cfg, {key: 1})


@pytest.mark.parametrize('key', ['model.output_stride', 'train_cfg.max_iters', 'load_from', 'tta_model.type', 'resume'])
def test_an_option_that_is_read_passes(cfg, key):
    check_options(cfg, {key: 1})


def test_the_arguments_of_a_class_are_its_own_and_those_of_its_bases():
    class Base:
        def __init__(self, near: int = 1, either: int | str = 1): ...

    class Child(Base):
        def __init__(self, own: bool, guessed=0.5, **kwargs):
            super().__init__(**kwargs)

    taken = parameters(Child)
    assert set(taken) == {'own', 'guessed', 'near', 'either'}
    assert wrong_type(taken['near'], '1') == 'int'
    assert wrong_type(taken['near'], 1.0) is None
    assert wrong_type(taken['either'], '1') is None
    assert wrong_type(taken['guessed'], 'half') == 'float'


# What a newer config writes in place of a name.
CLASSES = {
    'model': DeepLab,
    'model.data_preprocessor': SegDataPreProcessor,
    'train_dataloader.dataset': DemoDataset,
    'train_dataloader.dataset.pipeline.1': LoadLabels,
    'train_dataloader.sampler': ResumableSampler,
    'val_evaluator': SegmentationMetric,
    'optim_wrapper': OptimWrapper,
    'optim_wrapper.optimizer': torch.optim.SGD,
    'param_scheduler.0': PolyLR,
    'default_hooks.logger': LoggerHook,
    'train_cfg': IterBasedTrainLoop,
    'visualizer': SegLocalVisualizer,
    'visualizer.vis_backends.0': LocalVisBackend,
    'log_processor': LogProcessor,
    'tta_model': DeepLabTTA,
}


def _with_classes(cfg: Config) -> Config:
    for key, kind in CLASSES.items():
        group = value_at(cfg, key)
        assert name_of(group) in (kind.__name__, 'None'), key
        group['type'] = kind
    return cfg


@pytest.mark.parametrize('mode', ['train', 'test'])
def test_a_class_may_stand_where_a_name_does(cfg, mode):
    check(_with_classes(cfg), mode)


@pytest.mark.parametrize('key', CLASSES)
def test_a_wrong_key_of_a_class_is_named(cfg, key):
    if key == 'tta_model':
        pytest.skip('built by --tta only')
    value_at(_with_classes(cfg), key)['zzyzx'] = 1
    message = problem(cfg)
    assert message.startswith(f"config key '{key}.zzyzx': {CLASSES[key].__name__} takes no 'zzyzx' (it takes: ")


def test_a_masks_loader_that_is_a_class_is_used(cfg, data):
    cfg.train_dataloader.dataset.pipeline[1] = dict(type=LoadLabels, num_classes=7)
    write_mask(mask_of(data, 0), np.full_like(read_mask(mask_of(data, 0)), 30))
    assert 'values 30' in problem(cfg)


def test_a_missing_checkpoint_of_a_class_is_named(cfg):
    cfg.model.backbone.init_cfg = dict(type=PretrainedInit, checkpoint='none.pth')
    assert "model.backbone.init_cfg.checkpoint: checkpoint 'none.pth'" in problem(cfg)
