"""The decoder of v3+."""

import pytest
import torch
import torch.nn.functional as F
from model_helpers import gradients_missing, randomize, segmentor

from mmseg_deeplab.models import DeepLabV3PlusHead

BACKBONES = {
    'resnet': (dict(type='DeepLabResNet', depth=50, base_channels=4), 16),
    'resnet of the release': (
        dict(type='DeepLabResNet', depth=50, base_channels=4, strided_unit='last', stem_channels=(4, 4, 8)),
        16,
    ),
    'xception': (dict(type='AlignedXception', depth=41), 256),
    'mobilenet': (dict(type='DeepLabMobileNetV2'), 144),
    'mobilenet, output': (dict(type='DeepLabMobileNetV2', low_level='output'), 24),
}


def test_the_decoder_has_the_layers_of_the_paper():
    head = DeepLabV3PlusHead(2048, 21, low_level_channels=256)
    assert head.low_level.conv.weight.shape == (48, 256, 1, 1)  # Table 1
    assert [conv.conv.weight.shape for conv in head.decoder] == [(256, 304, 3, 3), (256, 256, 3, 3)]  # Table 2
    assert head.conv_seg.weight.shape == (21, 256, 1, 1)


def test_logits_step_by_step():
    # v3+, Figure 2: encoder first, then the low-level features.
    head = randomize(DeepLabV3PlusHead(12, 3, 6, channels=8, rates=(2,), low_level_width=5, decoder_channels=7)).eval()
    low, high = torch.randn(2, 6, 17, 21), torch.randn(2, 12, 5, 6)
    encoder = F.interpolate(head.aspp(high), (17, 21), mode='bilinear', align_corners=True)
    x = torch.cat([encoder, head.low_level(low)], dim=1)
    for conv in head.decoder:
        x = conv(x)
    torch.testing.assert_close(head((low, torch.randn(2, 1, 9, 9), high)), head.conv_seg(x))


@pytest.mark.parametrize(
    ('arguments', 'kernels', 'width'),
    # [3x3, 256], the same three times, [3x3, 128], [1x1, 256].
    [
        (dict(decoder_kernels=(3,)), [3], 256),
        (dict(decoder_kernels=(3, 3, 3)), [3, 3, 3], 256),
        (dict(decoder_kernels=(3,), decoder_channels=128), [3], 128),
        (dict(decoder_kernels=(1,)), [1], 256),
    ],
)
def test_rows_of_table_2(arguments, kernels, width):
    head = DeepLabV3PlusHead(8, 3, 4, rates=(2,), **arguments)
    assert [conv.conv.kernel_size[0] for conv in head.decoder] == kernels
    assert head.conv_seg.in_channels == width
    assert head((torch.randn(2, 4, 17, 17), torch.randn(2, 8, 5, 5))).shape == (2, 3, 17, 17)


@pytest.mark.parametrize('name', BACKBONES)
def test_the_segmentor_connects_the_low_level_features_at_stride_4(name):
    backbone, channels = BACKBONES[name]
    model = segmentor(backbone, dict(type='DeepLabV3PlusHead', channels=8, decoder_channels=8))
    assert model.decode_head.low_level.conv.in_channels == channels
    model.eval()
    with torch.no_grad():
        assert model(torch.randn(1, 3, 65, 97)).shape == (1, 3, 17, 25)
        assert model(torch.randn(1, 3, 64, 70)).shape == (1, 3, 16, 18)


@pytest.mark.parametrize('separable', [False, True])
def test_every_parameter_gets_a_gradient(separable):
    torch.manual_seed(0)
    head = dict(type='DeepLabV3PlusHead', channels=8, decoder_channels=8)
    head.update(separable_aspp=separable, separable_decoder=separable)
    model = segmentor(BACKBONES['resnet of the release'][0], head)
    model(torch.randn(2, 3, 65, 65)).square().mean().backward()
    assert gradients_missing(model) == []


def test_another_low_level_index():
    model = segmentor(BACKBONES['resnet'][0], dict(type='DeepLabV3PlusHead', channels=8, low_level_index=1))
    assert model.decode_head.low_level.conv.in_channels == 32
    assert model.eval()(torch.randn(1, 3, 65, 65)).shape == (1, 3, 9, 9)  # stride 8


def test_two_steps_of_refinement():
    """v3+, Table 2, "Conv2 and Conv3": the maps of block2 at stride 8 first, then those of block1 at stride 4."""
    head = dict(type='DeepLabV3PlusHead', channels=8, decoder_channels=7, decoder_kernels=(3,), mid_level_index=1)
    model = segmentor(BACKBONES['resnet'][0], head)
    randomize(model).eval()
    head = model.decode_head
    assert (head.mid_level.conv.in_channels, head.low_level.conv.in_channels) == (32, 16)
    assert [conv.conv.weight.shape for conv in (*head.mid_decoder, *head.decoder)] == [(7, 56, 3, 3), (7, 55, 3, 3)]
    low, mid, block3, high = features = model.extract_feat(torch.randn(1, 3, 65, 97))
    x = F.interpolate(head.aspp(high), (9, 13), mode='bilinear', align_corners=True)
    x = head.mid_decoder(torch.cat([x, head.mid_level(mid)], dim=1))
    x = F.interpolate(x, (17, 25), mode='bilinear', align_corners=True)
    x = head.decoder(torch.cat([x, head.low_level(low)], dim=1))
    torch.testing.assert_close(head(features), head.conv_seg(x))
