"""What is frozen keeps its parameters and statistics in a real step of the optimizer; the rest learns."""

import copy

import pytest
import torch
from mmengine.structures import PixelData
from mmseg.registry import OPTIM_WRAPPER_CONSTRUCTORS
from mmseg.structures import SegDataSample
from model_helpers import segmentor

import mmseg_deeplab.engine  # noqa: F401
from mmseg_deeplab.errors import UserError

V3 = dict(type='DeepLabV3Head', channels=8, norm_cfg=dict(type='BN'))
RESNET = dict(type='DeepLabResNet', depth=50, base_channels=4)
MOBILENET = dict(type='DeepLabMobileNetV2', width=0.25)
XCEPTION = dict(type='AlignedXception', depth=41)
VGG = dict(type='DeepLabVGG', batch_norm=True)


def changed(model):
    """The names of all that a step changes, statistics included."""
    before = copy.deepcopy(model.state_dict())
    build = OPTIM_WRAPPER_CONSTRUCTORS.get('DeepLabOptimWrapperConstructor')
    cfg = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1, weight_decay=0.1))
    wrapper = build(cfg, dict(norm_decay_mult=0))(model.train())
    trained = {id(p) for group in wrapper.optimizer.param_groups for p in group['params']}
    assert trained == {id(p) for p in model.parameters() if p.requires_grad}
    labels = torch.zeros(1, 33, 33, dtype=torch.long)
    labels[:, :, 16:] = 1
    samples = [SegDataSample(gt_sem_seg=PixelData(data=labels), metainfo=dict(img_shape=(33, 33))) for _ in range(2)]
    losses = model(torch.randn(2, 3, 33, 33, generator=torch.Generator().manual_seed(0)), samples, mode='loss')
    wrapper.update_params(model.parse_losses(losses)[0])
    after = model.state_dict()
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize(('part', 'other'), [('backbone', 'decode_head'), ('decode_head', 'backbone')])
def test_a_frozen_part(part, other):
    names = changed(segmentor(MOBILENET, V3, frozen=(part,)))
    assert not [name for name in names if name.startswith(part)]
    learnt = {name.rpartition('.')[2] for name in names if name.startswith(other)}
    assert {'weight', 'running_mean', 'running_var'} <= learnt


@pytest.mark.parametrize(
    ('backbone', 'stages', 'frozen', 'first_free'),
    [
        (RESNET, 0, ('conv1', 'bn1'), 'layer1'),
        (RESNET, 2, ('conv1', 'bn1', 'layer1', 'layer2'), 'layer3'),
        (MOBILENET, 0, ('conv1',), 'layer1'),
        (MOBILENET, 3, ('conv1', 'layer1', 'layer2', 'layer3'), 'layer4'),
        (dict(MOBILENET, last_conv=True), 0, ('conv1',), 'conv2'),
        (dict(MOBILENET, last_conv=True), 6, ('conv1', 'layer1', 'layer6'), 'conv2'),
        (XCEPTION, 1, ('stem', 'blocks.0', 'blocks.1', 'blocks.2'), 'blocks.3'),
        (VGG, 1, ('features.0', 'features.1', 'features.3', 'features.4'), 'features.7'),
    ],
)
def test_frozen_stages(backbone, stages, frozen, first_free):
    names = changed(segmentor(backbone, V3, frozen_stages=stages, output_stride=8))
    assert not [name for name in names for part in frozen if name.startswith(f'backbone.{part}.')]
    assert [name for name in names if name.startswith(f'backbone.{first_free}.')]
    assert [name for name in names if name.startswith('decode_head.')]


@pytest.mark.parametrize(
    ('options', 'told'),
    [
        (dict(frozen='backbone'), "frozen='backbone': give a list"),
        (dict(frozen=('neck',)), r"frozen=\('neck',\): give a list of 'backbone' and 'decode_head'"),
        (dict(frozen_stages=8), 'frozen_stages=8: DeepLabMobileNetV2 has 7 stages'),
        (dict(frozen_stages=-2), 'frozen_stages=-2'),
        (dict(frozen_stages=True), 'frozen_stages=True'),
        (dict(frozen=('backbone',), frozen_stages=2), 'frozen_stages=2 has no effect'),
    ],
)
def test_what_can_not_be_frozen(options, told):
    with pytest.raises(UserError, match=told):
        segmentor(MOBILENET, V3, **options)


def test_an_encoder_of_another_library_has_no_stages_to_freeze():
    encoder = dict(type='MMSegEncoder', encoder=dict(type='ResNetV1c', depth=18, norm_cfg=dict(type='BN')))
    with pytest.raises(UserError, match=r"MMSegEncoder tells no stages; frozen=\('backbone',\) freezes it whole"):
        segmentor(encoder, V3, frozen_stages=0, output_stride=8)
    assert not [
        name for name in changed(segmentor(encoder, V3, frozen=('backbone',), output_stride=8)) if 'backbone' in name
    ]
