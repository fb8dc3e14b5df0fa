"""Any backbone under any head that its features allow, ours under theirs and theirs under ours."""

import pytest
import torch
from mmseg.registry import MODELS
from model_helpers import gradients_missing, segmentor

BACKBONES = {
    'resnet': dict(type='DeepLabResNet', depth=50, base_channels=4),
    'xception': dict(type='AlignedXception', depth=41),
    'mobilenet': dict(type='DeepLabMobileNetV2', width=0.25),
}
HEADS = {
    'v3': dict(type='DeepLabV3Head', channels=8),
    'v3 cascade head': dict(type='DeepLabV3CascadeHead'),
    'v3plus': dict(type='DeepLabV3PlusHead', channels=8, decoder_channels=8),
    'v3plus separable': dict(
        type='DeepLabV3PlusHead', channels=8, decoder_channels=8, separable_aspp=True, separable_decoder=True
    ),
}
THEIRS = {
    'FCNHead': dict(type='FCNHead', channels=8, num_convs=1),
    'ASPPHead': dict(type='ASPPHead', channels=8, dilations=(1, 2, 4)),
    'PSPHead': dict(type='PSPHead', channels=8),
    'DepthwiseSeparableASPPHead': dict(
        type='DepthwiseSeparableASPPHead', channels=8, dilations=(1, 2, 4), c1_in_channels=16, c1_channels=4
    ),
}


@pytest.mark.parametrize('head', HEADS)
@pytest.mark.parametrize('backbone', BACKBONES)
def test_backbones_under_heads(backbone, head):
    model = segmentor(BACKBONES[backbone], HEADS[head], num_classes=4).train()
    logits = model(torch.randn(2, 3, 33, 33))
    assert logits.shape == (2, 4, *(2 * (9,) if 'plus' in head else 2 * (3,)))
    assert logits.isfinite().all()


@pytest.mark.parametrize('head', THEIRS)
def test_our_backbone_under_mmsegmentations_heads(head):
    torch.manual_seed(0)
    config = dict(THEIRS[head], in_channels=128, in_index=3, norm_cfg=dict(type='BN'))
    model = segmentor(BACKBONES['resnet'], config, output_stride=8)
    logits = model(torch.randn(2, 3, 65, 65))
    assert logits.shape == (2, 3, *(2 * (17,) if 'Separable' in head else 2 * (9,)))
    logits.square().mean().backward()
    assert gradients_missing(model) == []


def test_our_backbone_in_mmsegmentations_segmentor():
    model = MODELS.build(
        dict(
            type='EncoderDecoder',
            backbone=dict(BACKBONES['resnet'], output_stride=16),
            decode_head=dict(THEIRS['ASPPHead'], in_channels=128, in_index=3, num_classes=3, norm_cfg=dict(type='BN')),
            test_cfg=dict(mode='whole'),
        )
    )
    assert model(torch.randn(2, 3, 65, 65)).shape == (2, 3, 5, 5)


@pytest.mark.parametrize(('head', 'size'), [('DeepLabV3PlusHead', 17), ('DeepLabV3Head', 9)])
def test_mmsegmentations_backbone_under_our_head(head, size):
    torch.manual_seed(0)
    extra = dict(low_level_channels=16, decoder_channels=8) if head == 'DeepLabV3PlusHead' else {}
    model = MODELS.build(
        dict(
            type='EncoderDecoder',
            backbone=dict(
                type='ResNetV1c',
                depth=50,
                base_channels=4,
                stem_channels=4,
                strides=(1, 2, 1, 1),
                dilations=(1, 1, 2, 4),
                norm_cfg=dict(type='BN'),
            ),
            decode_head=dict(
                type=head, in_channels=128, in_index=3, channels=8, output_stride=8, num_classes=3, **extra
            ),
            test_cfg=dict(mode='whole'),
        )
    )
    logits = model(torch.randn(2, 3, 65, 65))
    assert logits.shape == (2, 3, size, size)
    logits.square().mean().backward()
    assert gradients_missing(model) == []


def test_an_auxiliary_head_of_mmsegmentation():
    auxiliary = dict(
        type='FCNHead', in_channels=64, in_index=2, channels=8, num_convs=1, num_classes=3, norm_cfg=dict(type='BN')
    )
    model = segmentor(BACKBONES['resnet'], HEADS['v3'], auxiliary_head=auxiliary)
    assert model.with_auxiliary_head


@pytest.mark.parametrize('key', ['in_index', 'low_level_index'])
def test_a_feature_map_that_is_not_there_is_refused_with_those_that_are(key):
    with pytest.raises(ValueError, match=rf'{key}=7: DeepLabMobileNetV2 has 4 feature maps.*choose one of 0 to 3'):
        segmentor(BACKBONES['mobilenet'], dict(HEADS['v3plus'], **{key: 7}))
