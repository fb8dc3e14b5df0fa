"""Settings that contradict each other, found by one step on a small generated batch."""

import copy
import random
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config, ConfigDict
from preflight_helpers import STOCK, problem

from mmseg_deeplab.preflight import check
from mmseg_deeplab.preflight.model import build
from mmseg_deeplab.preflight.step import check_prediction, check_step


@pytest.mark.parametrize(
    'options, told',
    [
        ({'model.decode_head.out_channels': 1}, ['model.decode_head', 'out_channels=1']),
        ({'model.decode_head.ignore_index': 0}, ['model.decode_head', 'ignore_index=0']),
        ({'model.data_preprocessor.seg_pad_val': 0}, ['model.data_preprocessor.seg_pad_val=0', '255']),
        ({'train_dataloader.dataset.ignore_index': 9}, ['model.decode_head.ignore_index is 255', 'void is 9']),
        ({'val_evaluator.ignore_index': 3}, ['val_evaluator.ignore_index is 3', 'void is 255']),
        ({'val_evaluator.class_subset': ['dragon']}, ['val_evaluator', "class_subset='dragon'"]),
        ({'model.decode_head.channels': 0}, ['model.decode_head', 'numbers of channels', '0?']),
        ({'model.norm_cfg.momentum': 5}, ['momentum=5', 'from 0 to 1']),
        ({'model.data_preprocessor.std': [0, 0, 0]}, ['model.data_preprocessor', 'std=[0', 'must be positive']),
        (
            {'model.decode_head.loss_decode': dict(type='SegCrossEntropy', class_weight=[1, 2])},
            ['class_weight has 2 entries', '7 classes'],
        ),
        (
            {'model.decode_head.loss_decode': dict(type='SegCrossEntropy', loss_weight=float('inf'))},
            ['the loss is not finite', 'decode.loss_ce is inf'],
        ),
        ({'model.test_cfg.mode': 'slide'}, ['model.test_cfg.crop_size', '(height, width)']),
        ({'model.test_cfg.mode': 'slid'}, ["mode' is 'slid'", "'whole' or 'slide'"]),
        (
            {'model.test_cfg': dict(mode='slide', crop_size=(97, 97), stride=(0, 97))},
            ["model.test_cfg.stride' is (0, 97)"],
        ),
        (
            {'model.test_cfg': dict(mode='slide', crop_size=(97, 97), stride=(200, 97))},
            ['model.test_cfg.stride=(200, 97) is larger than crop_size=(97, 97)'],
        ),
        ({'train_dataloader.dataset.pipeline.3.crop_size': (161, 161)}, ['161 x 161', '97 x 97', 'set both']),
        ({'train_dataloader.dataset.pipeline.3.crop_size': 161}, ['pipeline.3 (RandomCrop)', '161 x 161']),
    ],
)
def test_settings_that_contradict_each_other(cfg, options, told):
    cfg.merge_from_dict(options)
    message = problem(cfg)
    for words in told:
        assert words in message


@pytest.fixture
def of_mmsegmentation(cfg) -> Config:
    """A network and losses of MMSegmentation, which check nothing themselves."""
    stock = Config.fromfile(STOCK / 'deeplabv3plus' / 'deeplabv3plus_r18-d8_4xb2-80k_cityscapes-512x1024.py').model
    cfg.model = stock
    cfg.model.pretrained = None
    cfg.model.decode_head.num_classes = cfg.model.auxiliary_head.num_classes = 7
    return cfg


def test_a_loss_that_can_not_take_void_is_named(of_mmsegmentation):
    of_mmsegmentation.model.decode_head.loss_decode = dict(type='CrossEntropyLoss', use_mask=True)
    message = problem(of_mmsegmentation)
    assert message.startswith('model.decode_head.loss_decode (CrossEntropyLoss) fails in the first training step')
    assert 'right half void (255)' in message


def test_void_of_heads_of_mmsegmentation(of_mmsegmentation):
    of_mmsegmentation.model.auxiliary_head.ignore_index = 0
    message = problem(of_mmsegmentation)
    assert message.startswith(
        'model.auxiliary_head.ignore_index is 0, but void is 255 in the masks of train_dataloader'
    )


def test_padding_of_models_of_mmsegmentation(of_mmsegmentation):
    of_mmsegmentation.model.data_preprocessor.seg_pad_val = 0
    assert 'model.data_preprocessor.seg_pad_val is 0, so that padding is learnt' in problem(of_mmsegmentation)


def test_one_score_under_a_softmax_of_mmsegmentation(of_mmsegmentation):
    for part in ('decode_head', 'auxiliary_head'):
        of_mmsegmentation.model[part].update(num_classes=2, out_channels=1)
    message = problem(of_mmsegmentation)
    assert message.startswith('model.decode_head.out_channels is 1, one score for two classes')
    assert 'use_sigmoid=True' in message


def test_weights_of_a_loss_of_mmsegmentation_for_another_number_of_classes(of_mmsegmentation):
    of_mmsegmentation.model.auxiliary_head.loss_decode.class_weight = [1.0] * 19
    message = problem(of_mmsegmentation)
    assert 'model.auxiliary_head.loss_decode.class_weight has 19 entries, but there are 7 classes' in message


def test_a_head_behind_other_channels_is_named(cfg):
    cfg.model.auxiliary_head = dict(type='FCNHead', in_channels=3, channels=8, num_classes=7)
    message = problem(cfg)
    assert message.startswith('model.auxiliary_head (FCNHead) fails in the first training step')
    assert 'expected input' in message


def test_sides_that_a_loss_on_small_logits_can_not_take(cfg, repo):
    """v1 and v2 subsample the labels: 8k + 1 pixels."""
    cfg.model = Config.fromfile(repo / 'configs' / 'deeplabv1_vgg16_demo.py').model
    cfg.model.backbone.init_cfg = None
    cfg.model.data_preprocessor.size = (96, 96)
    cfg.model.pop('crop_size', None)
    cfg.train_dataloader.dataset.pipeline[3].crop_size = (96, 96)
    assert '8k + 1 pixels' in problem(cfg)


@pytest.mark.parametrize(
    'name, metainfo',
    [
        ('classes', dict(classes=('background', 'zebra'), palette=[[0, 0, 0], [1, 1, 1]])),
        ('palette', dict(palette=[[9, 9, 9]] * 7)),
    ],
)
def test_members_of_a_concatenation_that_differ(cfg, name, metainfo):
    first = cfg.train_dataloader.dataset
    other = copy.deepcopy(first)
    other.metainfo = metainfo
    cfg.train_dataloader.dataset = ConfigDict(type='ConcatDataset', datasets=[first, other])
    message = problem(cfg)
    assert f'train_dataloader.dataset.datasets.1 has another {name} than' in message or 'num_classes' in message


def test_members_of_a_concatenation_with_another_reduce_zero_label(cfg):
    first = cfg.train_dataloader.dataset
    other = copy.deepcopy(first)
    other.reduce_zero_label = True
    cfg.train_dataloader.dataset = ConfigDict(type='ConcatDataset', datasets=[first, other])
    assert 'datasets.1 has another reduce_zero_label than train_dataloader.dataset.datasets.0' in problem(cfg)


@pytest.mark.parametrize('wrapper', [dict(type='ConcatDataset'), dict(type='RepeatDataset', times=2)])
def test_wrapped_datasets_that_agree_pass(cfg, wrapper):
    inner = cfg.train_dataloader.dataset
    wrapped = dict(datasets=[inner, inner]) if wrapper['type'] == 'ConcatDataset' else dict(dataset=inner)
    cfg.train_dataloader.dataset = ConfigDict(**wrapper, **wrapped)
    check(cfg, 'train')


def test_a_wrapper_that_can_not_be_built_is_named(cfg):
    cfg.train_dataloader.dataset = ConfigDict(type='RepeatDataset', tims=2, dataset=cfg.train_dataloader.dataset)
    assert "config key 'train_dataloader.dataset.tims': RepeatDataset takes no 'tims'" in problem(cfg)


def test_a_pipeline_that_packs_nothing(cfg):
    cfg.val_dataloader.dataset.pipeline.pop()
    message = problem(cfg)
    assert message.startswith('val_dataloader.dataset.pipeline gives no') and "type='PackSegInputs'" in message


def test_a_transform_that_fails_on_a_sample_is_named(cfg):
    cfg.train_dataloader.dataset.pipeline.insert(0, dict(type='RandomFlip', prob=1.0))
    assert 'train_dataloader.dataset.pipeline.0 (RandomFlip): ' in problem(cfg)


def test_nothing_is_left_behind(cfg):
    """Neither in the generators, nor in the config, nor on the disk."""
    before = cfg.pretty_text
    torch.manual_seed(3), np.random.seed(3), random.seed(3)
    expected = torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random()
    torch.manual_seed(3), np.random.seed(3), random.seed(3)
    check(cfg, 'train')
    assert (torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random()) == expected
    assert cfg.pretty_text == before
    assert not Path(cfg.work_dir).exists()


def test_a_big_network_takes_seconds(repo):
    cfg = Config.fromfile(repo / 'configs' / 'deeplabv3plus_xception65_voc.py')
    cfg.model.backbone.init_cfg = None
    begun = time.process_time()
    model = build(cfg)
    check_step(model, cfg, None, 255)
    check_prediction(model, cfg, None)
    assert time.process_time() - begun < 20  # about 1.5 s on an idle core


def test_a_network_that_needs_larger_images_raises_no_alarm(cfg, monkeypatch):
    """What fails on the small batch is tried with the shapes of training before anything is said."""
    model = build(cfg)
    forward = model.backbone.forward

    def picky(x):
        if x.shape[-1] < 97:
            raise ValueError('too small')
        return forward(x)

    model.backbone.forward = picky
    model.data_preprocessor.size = (130, 130)  # cut to 66
    check_step(model, cfg, None, 255)
    model.data_preprocessor.size = (66, 66)
    with pytest.raises(ValueError, match='too small'):
        check_step(model, cfg, None, 255)
