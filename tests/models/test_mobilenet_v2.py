"""DeepLabMobileNetV2: rates, taps and names."""

import pytest
import torch
from mmseg.models.backbones import MobileNetV2 as MMSegMobileNetV2
from model_helpers import gradients_missing, randomize, rates_of

from mmseg_deeplab.models import DeepLabMobileNetV2


@pytest.mark.parametrize(
    ('output_stride', 'layer4_5', 'layer6', 'layer7'),
    # The release: the unit that lost its stride keeps the old rate, whatever follows doubles.
    [(32, [1] * 7, [1, 1, 1], [1]), (16, [1] * 7, [1, 2, 2], [2]), (8, [1] + [2] * 6, [2, 4, 4], [4])],
)
def test_rates(output_stride, layer4_5, layer6, layer7):
    model = DeepLabMobileNetV2(output_stride)
    assert rates_of(model.layer4) + rates_of(model.layer5) == layer4_5
    assert rates_of(model.layer6) == layer6
    assert rates_of(model.layer7) == layer7


@pytest.mark.parametrize('low_level', ['expansion', 'output'])
@pytest.mark.parametrize('output_stride', [8, 16, 32])
def test_features_have_the_declared_channels_and_strides(output_stride, low_level):
    model = DeepLabMobileNetV2(output_stride, low_level=low_level).eval()
    features = model(torch.zeros(1, 3, 65, 97))
    assert tuple(f.shape[1] for f in features) == model.feature_channels
    assert model.feature_channels == (144 if low_level == 'expansion' else 24, 32, 96, 320)
    strides = [4, 8, min(16, output_stride), output_stride]
    assert [tuple(f.shape[2:]) for f in features] == [(64 // s + 1, 96 // s + 1) for s in strides]


def test_the_taps_are_the_depthwise_output_and_the_result_of_the_same_unit():
    # TensorFlow: layer_4/depthwise_output, after its ReLU6.
    torch.manual_seed(0)
    model = DeepLabMobileNetV2(16).eval()
    seen = {}
    model.layer2[1].conv[1].register_forward_hook(lambda *args: seen.update(depthwise=args[2]))
    x = torch.randn(1, 3, 65, 65)
    features = model(x)
    torch.testing.assert_close(features[0], seen['depthwise'])
    other = DeepLabMobileNetV2(16, low_level='output').eval()
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(other(x)[0], model.layer2(model.layer1(model.conv1(x))))
        torch.testing.assert_close(other(x)[-1], features[-1])


def test_it_is_mmsegmentations_without_the_last_convolution():
    theirs = MMSegMobileNetV2(norm_cfg=dict(type='BN'), out_indices=(1, 2, 4, 6))
    theirs.eval()
    ours = DeepLabMobileNetV2(32, low_level='output').eval()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(1, 3, 64, 96)
    for mine, other in zip(ours(x), theirs(x), strict=True):
        torch.testing.assert_close(mine, other)


def test_tensorflow_padding_moves_even_sizes_only():
    torch.manual_seed(0)
    plain = randomize(DeepLabMobileNetV2(32, width=0.25)).eval()
    same = DeepLabMobileNetV2(32, width=0.25, padding='tensorflow').eval()
    same.load_state_dict(plain.state_dict())
    odd, even = torch.randn(1, 3, 65, 65), torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(plain(odd)[-1], same(odd)[-1])
    assert plain(even)[-1].shape == same(even)[-1].shape
    assert (plain(even)[-1] - same(even)[-1]).abs().max() > 1e-3


@pytest.mark.parametrize('output_stride', [8, 16])
def test_rows_at_rates_of_their_own(output_stride):
    # MMSegmentation's m-v2-d8: dilations of whole rows, whatever the strides.
    rates = (1, 1, 1, 2, 2, 4, 4)
    model = DeepLabMobileNetV2(output_stride, row_rates=rates, width=0.25)
    assert [set(rates_of(getattr(model, f'layer{i}'))) for i in range(1, 8)] == [{rate} for rate in rates]
    assert model(torch.zeros(1, 3, 65, 65))[-1].shape[2:] == (64 // output_stride + 1,) * 2


def test_the_last_convolution():
    # MobileNetV2, Table 2: 1280 channels, also at smaller widths.
    model = DeepLabMobileNetV2(16, width=0.25, last_conv=True).eval()
    assert model(torch.zeros(1, 3, 65, 65))[-1].shape == (1, 1280, 5, 5)
    assert model.feature_channels[-1] == 1280 and model.classifier_prefixes == ()


def test_every_parameter_gets_a_gradient():
    torch.manual_seed(0)
    model = DeepLabMobileNetV2(16)
    sum(feature.square().mean() for feature in model(torch.randn(2, 3, 65, 65))).backward()
    assert gradients_missing(model) == []


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(output_stride=4), r'choose one of \(8, 16, 32\)'),
        (dict(row_rates=(1, 2)), 'must hold a positive rate for each of the 7 rows'),
        (dict(row_rates=(1, 1, 1, 1, 1, 1, 0)), 'positive rate'),
        (dict(low_level='x'), r"low_level='x' is unknown; choose one of \('expansion', 'output'\)"),
        (dict(padding='same'), r"padding='same' is unknown; choose one of \('symmetric', 'tensorflow', 'input'\)"),
    ],
)
def test_what_cannot_be_is_refused_with_what_can(arguments, message):
    with pytest.raises(ValueError, match=message):
        DeepLabMobileNetV2(**arguments)
