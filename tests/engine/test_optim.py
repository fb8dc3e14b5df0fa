"""DeepLabOptimWrapperConstructor: the groups of the papers' tables, written out by hand."""

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.optim import build_optim_wrapper
from mmseg.registry import MODELS, PARAM_SCHEDULERS
from mmseg.utils import register_all_modules
from torch import nn

from mmseg_deeplab.engine import DeepLabOptimWrapperConstructor

register_all_modules()
LOSS = dict(type='SegCrossEntropy')


def groups(model, optim_wrapper):
    """(learning rate, weight decay): number of tensors, in the order of the optimizer's groups."""
    optimizer = build_optim_wrapper(model, ConfigDict(optim_wrapper)).optimizer
    return {(g['lr'], g['weight_decay']): len(g['params']) for g in optimizer.param_groups}


def from_config(repo, name, **decode_head):
    """Model, without memory, and optimizer of a config."""
    cfg = Config.fromfile(repo / 'configs' / name)
    cfg.model.decode_head.update(decode_head)
    with torch.device('meta'):
        return MODELS.build(cfg.model), cfg.optim_wrapper


def assert_groups(found, expected):
    assert list(found.values()) == list(expected.values())
    for key, value in zip(found, expected, strict=True):
        assert key == pytest.approx(value)


def test_v1_largefov_is_the_solver_and_lr_multipliers_of_the_release(repo):
    # 13 convolutions of VGG, fc6 and fc7: weights x 1 with decay, biases x 2 without; fc8 x 10 and x 20.
    expected = {(1e-3, 5e-4): 15, (2e-3, 0): 15, (1e-2, 5e-4): 1, (2e-2, 0): 1}
    assert_groups(groups(*from_config(repo, 'deeplabv1_vgg16_voc.py')), expected)


@pytest.mark.parametrize('name', ['deeplabv1_vgg16_msc_voc.py', 'ablations/deeplabv1_vgg16_4x4_msc_voc.py'])
def test_the_second_phase_of_v1_trains_the_branches_and_fc8(repo, name):
    # 5 branches of 3 convolutions, and fc8, at x 1 and x 2, decay 1 and 0 (release); trunk, fc6 and fc7 are frozen.
    assert_groups(groups(*from_config(repo, name)), {(1e-3, 5e-4): 16, (2e-3, 0): 16})
    assert_groups(groups(*from_config(repo, name, frozen_fc8=True)), {(1e-3, 5e-4): 15, (2e-3, 0): 15})


def test_v2_resnet_trains_no_batch_norm_and_four_classifiers(repo):
    # 104 convolutions without bias; ASPP's 4 weights x 10 with decay and 4 biases x 20 without.
    expected = {(2.5e-4, 5e-4): 104, (2.5e-3, 5e-4): 4, (5e-3, 0): 4}
    assert_groups(groups(*from_config(repo, 'deeplabv2_r101_voc.py')), expected)


def test_v2_vgg_has_fc6_and_fc7_at_the_trunks_rate_in_each_branch(repo):
    expected = {(1e-3, 5e-4): 13 + 8, (2e-3, 0): 13 + 8, (1e-2, 5e-4): 4, (2e-2, 0): 4}
    assert_groups(groups(*from_config(repo, 'deeplabv2_vgg16_voc.py')), expected)


def test_v3plus_leaves_depthwise_weights_without_decay(repo):
    # MobileNetV2 has 17 depthwise convolutions, ASPP 3, the decoder 2.
    model, _ = from_config(repo, 'deeplabv3plus_mobilenetv2_voc.py', num_classes=21)
    wrapper = dict(
        constructor='DeepLabOptimWrapperConstructor',
        optimizer=dict(type='SGD', lr=0.007, weight_decay=4e-5),
        paramwise_cfg=dict(depthwise_decay_mult=0),
    )
    found = groups(model, wrapper)
    assert set(found) == {(0.007, 4e-5), (0.007, 0)}
    assert found[0.007, 0] == 17 + 3 + 2
    assert sum(found.values()) == len(list(model.parameters()))


class Small(nn.Module):
    """A grouped, a depthwise and a one-channel convolution, batch norm, and a head of MMSegmentation."""

    def __init__(self):
        super().__init__()
        self.depthwise = nn.Conv2d(4, 8, 3, groups=4)
        self.grouped = nn.Conv2d(8, 8, 3, groups=2)
        self.single = nn.Conv2d(1, 1, 3)
        self.norm = nn.BatchNorm2d(8)
        self.head = MODELS.build(
            dict(type='FCNHead', in_channels=8, channels=4, num_classes=3, norm_cfg=None, loss_decode=LOSS)
        )


def test_each_multiplier_reaches_its_parameters_and_no_other():
    model = Small()
    multipliers = dict(
        classifier_lr_mult=10, bias_lr_mult=2, bias_decay_mult=0.1, norm_decay_mult=0.3, depthwise_decay_mult=0.7
    )
    optimizer = DeepLabOptimWrapperConstructor(
        dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=1.0, weight_decay=1.0)), multipliers
    )(model).optimizer
    setting = {id(p): (g['lr'], g['weight_decay']) for g in optimizer.param_groups for p in g['params']}
    found = {name: setting[id(p)] for name, p in model.named_parameters()}
    plain = ['grouped', 'single', 'head.convs.0.conv', 'head.convs.1.conv', 'head.conv_cat.conv']
    expected = {f'{name}.weight': (1, 1) for name in plain}
    expected |= {f'{name}.bias': (2, 0.1) for name in [*plain, 'depthwise']}
    expected |= {'depthwise.weight': (1, 0.7), 'norm.weight': (1, 0.3), 'norm.bias': (1, 0.3)}
    expected |= {'head.conv_seg.weight': (10, 1), 'head.conv_seg.bias': (20, 0.1)}
    assert found == expected
    assert len(optimizer.param_groups) == len(set(expected.values()))
    assert optimizer.param_groups[0]['lr'] == 1  # what the log shows


def test_frozen_parameters_are_left_out():
    model = Small()
    model.requires_grad_(False)
    wrapper = dict(optimizer=dict(type='SGD', lr=1.0, weight_decay=0.0))
    with pytest.raises(ValueError, match='every parameter of the model is frozen'):
        DeepLabOptimWrapperConstructor(wrapper, dict(bias_lr_mult=2))(model)
    model.single.requires_grad_(True)
    optimizer = DeepLabOptimWrapperConstructor(wrapper, dict(bias_lr_mult=2))(model).optimizer
    assert [len(g['params']) for g in optimizer.param_groups] == [1, 1]


def test_what_cannot_be_is_refused():
    sgd = dict(type='SGD', lr=1.0, weight_decay=0.0)
    with pytest.raises(ValueError, match=r"\['biases_lr_mult'\] unknown; .* reads \('classifier_lr_mult'"):
        DeepLabOptimWrapperConstructor(dict(optimizer=sgd), dict(biases_lr_mult=2))
    with pytest.raises(ValueError, match='optimizer.weight_decay must be given'):
        DeepLabOptimWrapperConstructor(dict(optimizer=dict(type='SGD', lr=1.0)), dict(bias_lr_mult=2))


@pytest.mark.parametrize(
    ('schedule', 'iterations', 'factors'),
    [
        # v1: a tenth every 2000 of 6000; v2: (1 - i / 20000) ** 0.9.
        ('step_6k', 6000, {0: 1, 1999: 1, 2000: 0.1, 3999: 0.1, 4000: 0.01, 5999: 0.01}),
        ('poly_20k', 20000, {0: 1, 10000: 0.5**0.9, 15000: 0.25**0.9, 19000: 0.05**0.9}),
    ],
)
def test_the_schedule_multiplies_every_group(repo, schedule, iterations, factors):
    cfg = Config.fromfile(repo / f'configs/_base_/schedules/{schedule}.py')
    assert cfg.train_cfg.max_iters == iterations
    model = MODELS.build(
        dict(type='FCNHead', in_channels=2, channels=2, num_classes=3, norm_cfg=None, loss_decode=LOSS)
    )
    optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    trained = optim_wrapper.optimizer.param_groups  # the wrapper adds one for the log
    first = [g['lr'] for g in trained]
    assert [lr / first[0] for lr in first] == pytest.approx([1, 2, 10, 20])
    (scheduler,) = cfg.param_scheduler
    scheduler = PARAM_SCHEDULERS.build(dict(optimizer=optim_wrapper, end=iterations, **scheduler))
    for i in range(max(factors) + 1):
        if i in factors:
            expected = [lr * factors[i] for lr in first]
            assert [g['lr'] for g in trained] == pytest.approx(expected, rel=2e-3), i
        optim_wrapper.step()
        scheduler.step()
