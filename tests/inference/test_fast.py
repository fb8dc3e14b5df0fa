"""Folded batch norm, in place and in a copy."""

import copy

import pytest
import torch
from mmcv.cnn import ConvModule
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS
from torch import nn

from mmseg_deeplab.inference import fast_copy, fold_batch_norm, prepare_for_inference

SMALL = dict(
    mobilenet_v2=dict(type='DeepLabMobileNetV2', width=0.25),
    resnet=dict(type='DeepLabResNet', depth=50, base_channels=8),
)


def deeplab(backbone: str, norm: str = 'BN') -> nn.Module:
    """A small v3+ whose batch norm has statistics, scale and shift to get wrong."""
    torch.manual_seed(0)
    head = dict(type='DeepLabV3PlusHead', num_classes=5, channels=16, separable_aspp=True)
    with DefaultScope.overwrite_default_scope('mmseg'):
        cfg = dict(type='DeepLab', norm_cfg=dict(type=norm), backbone=SMALL[backbone], decode_head=head)
        model = MODELS.build(cfg)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean, std=0.2)
            nn.init.uniform_(layer.running_var, 0.5, 2)
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.2)
    return model.eval()


@pytest.mark.parametrize('backbone', SMALL)
def test_folding_leaves_no_batch_norm_and_the_same_answer(backbone):
    model = deeplab(backbone)
    layers = sum(isinstance(layer, nn.BatchNorm2d) for layer in model.modules())
    image = torch.randn(1, 3, 65, 97)
    with torch.no_grad():
        before = model(image)
        assert prepare_for_inference(model) == layers
        after = model(image)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in model.modules())
    torch.testing.assert_close(after, before, rtol=1e-5, atol=1e-5 * before.abs().max().item())


@pytest.mark.parametrize(
    'block, folds',
    [
        (nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)), 1),
        (nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4, affine=False)), 1),
        (nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.BatchNorm2d(4)), 0),
        (nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1)), 0),
        (nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, track_running_stats=False)), 0),
        (ConvModule(3, 3, 1, norm_cfg=dict(type='BN')), 1),
        (ConvModule(3, 3, 1, norm_cfg=dict(type='BN'), order=('norm', 'conv', 'act')), 0),
    ],
)
def test_only_batch_norm_directly_behind_a_convolution_folds(block, folds):
    for layer in block.modules():
        if isinstance(layer, nn.BatchNorm2d) and layer.running_mean is not None:
            nn.init.normal_(layer.running_mean)
    block.eval()
    x = torch.randn(2, 3, 5, 5)
    with torch.no_grad():
        before = block(x)
        assert fold_batch_norm(block) == folds
        torch.testing.assert_close(block(x), before)


def test_other_segmentors_are_left_as_they_are():
    class Other(nn.Sequential): ...

    model = Other(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    assert prepare_for_inference(model) == 0
    assert isinstance(model[1], nn.BatchNorm2d) and not model.training


def test_a_copy_is_folded_and_the_model_stays_as_it_was():
    model = deeplab('mobilenet_v2').train()
    before = copy.deepcopy(model.state_dict())
    faster = fast_copy(model)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in faster.modules()) and not faster.training
    assert model.training and list(model.state_dict()) == list(before)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
