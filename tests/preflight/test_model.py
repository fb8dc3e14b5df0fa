"""What is wrong with the network: a part that can not be built, classes, checkpoints."""

import pytest
from mmengine.config import Config
from preflight_helpers import STOCK, problem

from mmseg_deeplab.preflight import check


def test_an_output_stride_that_can_not_be(cfg):
    cfg.model.output_stride = 12
    message = problem(cfg)
    assert 'output_stride=12' in message and '8, 16, 32' in message


def test_head_and_dataset_with_different_classes(cfg):
    cfg.model.num_classes = 5
    message = problem(cfg)
    assert 'model.decode_head.num_classes is 5' in message and '7 classes (background' in message


def test_the_test_data_have_their_own_classes(cfg):
    """A dataset's METAINFO is what counts, also at test."""
    cfg.test_dataloader.dataset.metainfo = dict(classes=('ring', 'cross'))
    message = problem(cfg, 'test')
    assert 'test_dataloader has 2 classes (ring, cross)' in message


def test_one_image_per_device_under_image_pooling(cfg):
    cfg.train_dataloader.batch_size = 1
    message = problem(cfg)
    assert 'batch_size is 1' in message and 'image pooling' in message and 'batch_size=2' in message


def test_one_image_per_device_is_fine_with_frozen_batch_norm(cfg):
    cfg.train_dataloader.batch_size = 1
    cfg.model.frozen_bn = ['backbone', 'decode_head']
    check(cfg, 'train')


@pytest.mark.parametrize(
    'options, told',
    [
        ({'decode_head.rates': 6}, "model.decode_head (DeepLabV3PlusHead) can not be built: 'int' object"),
        ({'num_classes': [7]}, 'model.decode_head (DeepLabV3PlusHead) can not be built: '),
        ({'num_classes': -1}, 'model.decode_head (DeepLabV3PlusHead) can not be built: '),
        (
            {'decode_head.loss_decode': dict(class_weight=[1, 2])},
            'must contain the key "type", but got {\'class_weight\'',
        ),
        (
            {'decode_head.loss_decode': dict(type='SegCrossEntropy', class_weight='none')},
            'model.decode_head.loss_decode (SegCrossEntropy) can not be built: ',
        ),
        ({'backbone.width': 'wide'}, "config key 'model.backbone.width' is 'wide'"),
        ({'backbone.width': (1, 2)}, 'model.backbone (DeepLabMobileNetV2) can not be built: '),
        ({'backbone': None}, 'config key model.backbone is None'),
        ({'decode_head': 7}, 'config key model.decode_head is 7'),
    ],
)
def test_the_part_of_the_model_that_can_not_be_built_is_named(cfg, options, told):
    for key, value in options.items():
        part, _, setting = key.partition('.')
        if setting:
            cfg.model[part][setting] = value
        else:
            cfg.model[part] = value
    assert told in problem(cfg)


def test_two_parts_of_one_class_are_both_named(cfg):
    cfg.model = Config.fromfile(STOCK / 'fcn' / 'fcn_r18-d8_4xb2-80k_cityscapes-512x1024.py').model
    cfg.model.auxiliary_head.loss_decode = dict(use_sigmoid=True)
    assert 'model.decode_head or model.auxiliary_head (FCNHead) can not be built: ' in problem(cfg)


def test_a_missing_checkpoint(cfg):
    cfg.load_from = 'work_dirs/none.pth'
    assert "load_from: checkpoint 'work_dirs/none.pth' does not exist" in problem(cfg, 'test')


def test_a_missing_pretrained_backbone(cfg):
    cfg.model.backbone.init_cfg = dict(type='Pretrained', checkpoint='none.pth')
    assert "model.backbone.init_cfg.checkpoint: checkpoint 'none.pth'" in problem(cfg)
    check(cfg, 'test')  # a test loads its own weights
