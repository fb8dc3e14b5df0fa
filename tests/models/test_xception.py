"""AlignedXception against the published numbers of its ImageNet models and the table of the release."""

import pytest
import torch
from model_helpers import gradients_missing, rates_of
from torch import nn

from mmseg_deeplab.models import AlignedXception
from mmseg_deeplab.models.complexity import complexity

CLASSIFIER = 2048 * 1000 + 1000  # parameters of the ImageNet classifier, which is not part of a backbone


@pytest.mark.parametrize(('depth', 'millions'), [(41, 26.97), (65, 39.92), (71, 42.34)])
def test_parameters_are_those_of_the_imagenet_models(depth, millions):
    # timm's model index of the converted TensorFlow models, with the classifier.
    with torch.device('meta'):
        model = AlignedXception(depth)
    parameters = sum(p.numel() for p in model.parameters())
    assert (parameters + CLASSIFIER) / 1e6 == pytest.approx(millions, abs=0.005)


def test_multiply_adds_and_activations_are_those_of_the_imagenet_model():
    # timm's card of its Xception-41 at 299 x 299: 9.2 billion multiply-adds, 39.9 million activations.
    with torch.device('meta'):
        total = complexity(AlignedXception(41, 32), (299, 299))[0]
    assert (total.multiply_adds + CLASSIFIER) / 1e9 == pytest.approx(9.2, abs=0.05)
    assert total.activations / 1e6 == pytest.approx(39.9, abs=0.05)


@pytest.mark.parametrize(('depth', 'entry', 'middle'), [(41, 3, 8), (65, 3, 16), (71, 5, 16)])
def test_names_are_those_of_timm(depth, entry, middle):
    with torch.device('meta'):
        model = AlignedXception(depth)
    names = set(model.state_dict())
    assert len(model.blocks) == entry + middle + 2
    for unit in ('stem.0.conv.weight', 'stem.1.bn.running_var'):
        assert unit in names
    convs = [f'conv{i}.{part}.weight' for i in (1, 2, 3) for part in ('conv_dw', 'bn_dw', 'conv_pw', 'bn_pw')]
    with_shortcut = {i for i in range(len(model.blocks)) if f'blocks.{i}.shortcut.conv.weight' in names}
    assert with_shortcut == {*range(entry), entry + middle}  # 'conv' skips; middle flow 'sum', last block 'none'
    for i in range(len(model.blocks)):
        assert all(f'blocks.{i}.stack.{conv}' in names for conv in convs)


def _kinds(block: nn.Module) -> list[str]:
    return [type(m).__name__ for m in block.stack.modules() if not list(m.children())]


def test_relu_is_before_each_separable_convolution_and_in_the_last_block_after_each_batch_norm():
    with torch.device('meta'):
        model = AlignedXception(65)
    for block in model.blocks[:-1]:
        assert _kinds(block) == ['ReLU', 'Conv2d', 'BatchNorm2d', 'Conv2d', 'BatchNorm2d'] * 3
    assert _kinds(model.blocks[-1]) == ['Conv2d', 'BatchNorm2d', 'ReLU'] * 6
    assert model.blocks[-1].shortcut is None
    assert not any(isinstance(m, nn.ReLU) for m in model.blocks[0].shortcut.modules())
    assert [[m.eps for m in model.modules() if isinstance(m, nn.BatchNorm2d)][i] for i in (0, 5, -1)] == [1e-3] * 3


def test_the_stride_is_in_the_third_separable_convolution_and_the_shortcut():
    with torch.device('meta'):
        model = AlignedXception(65, 32)
    for i in (0, 1, 2, 19):
        stack = model.blocks[i].stack
        assert [stack[n].conv_dw.stride[0] for n in (1, 3, 5)] == [1, 1, 2]
        assert model.blocks[i].shortcut.conv.stride == (2, 2)
        assert model.blocks[i].shortcut.conv.kernel_size == (1, 1)


@pytest.mark.parametrize(
    ('output_stride', 'middle', 'first_exit', 'last'), [(32, 1, 1, 1), (16, 1, 1, 2), (8, 2, 2, 4)]
)
def test_rates_are_those_of_the_release(output_stride, middle, first_exit, last):
    with torch.device('meta'):
        model = AlignedXception(65, output_stride)
        grid = AlignedXception(65, output_stride, multi_grid=(1, 2, 4))
    assert rates_of(model.blocks[:3]) == [1] * 9
    assert rates_of(model.blocks[3:19]) == [middle] * 48
    assert rates_of(model.blocks[19]) == [first_exit] * 3
    assert rates_of(model.blocks[20]) == [last] * 3
    assert rates_of(grid.blocks[20]) == [last, 2 * last, 4 * last]


@pytest.mark.parametrize(('depth', 'block'), [(41, 1), (65, 1), (71, 2)])
def test_the_low_level_tap_is_the_second_separable_convolution_before_the_stride(depth, block):
    torch.manual_seed(0)
    model = AlignedXception(depth).eval()
    seen = {}
    model.blocks[block].stack.conv2.bn_pw.register_forward_hook(lambda *args: seen.update(tap=args[2].clone()))
    with torch.no_grad():
        tap = model(torch.randn(1, 3, 33, 65))[model.low_level_index]
    assert tap.shape == (1, 256, 9, 17)  # stride 4
    torch.testing.assert_close(tap, seen['tap'])
    assert (tap < 0).any()  # before the ReLU


@pytest.mark.parametrize('depth', [41, 71])
@pytest.mark.parametrize('output_stride', [8, 16, 32])
def test_features_have_the_declared_channels_and_strides(depth, output_stride):
    model = AlignedXception(depth, output_stride).eval()
    with torch.no_grad():
        features = model(torch.zeros(1, 3, 33, 65))
    assert tuple(f.shape[1] for f in features) == model.feature_channels == (256, 728, 728, 2048)
    flow = min(16, output_stride)
    strides = [4, flow, flow, output_stride]
    assert [tuple(f.shape[2:]) for f in features] == [(32 // s + 1, 64 // s + 1) for s in strides]


def test_a_block_by_hand():
    # Entry block of one channel with all weights 1 and batch norm as identity: three 3x3 sums around a strided
    # shortcut. The single 1 spreads over 7 x 7; the middle of a 3x3 x 3x3 x 3x3 sum is 7 x 7.
    from mmseg_deeplab.models.backbones.xception import XceptionBlock

    block = XceptionBlock(1, (1, 1, 1), 2, (1, 1, 1), dict(type='BN', eps=0.0), 'conv').eval()
    for module in block.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.ones_(module.weight)
    x = torch.zeros(1, 1, 9, 9)
    x[0, 0, 4, 4] = 1
    row = torch.tensor([1.0, 3, 6, 7, 6, 3, 1])  # (1 1 1) * (1 1 1) * (1 1 1)
    expected = torch.zeros(9, 9)
    expected[1:8, 1:8] = row[:, None] * row[None]
    expected[4, 4] += 1  # the shortcut
    torch.testing.assert_close(block(x)[0, 0], expected[::2, ::2])


def test_a_stated_norm_keeps_its_own_eps():
    with torch.device('meta'):
        model = AlignedXception(41, norm_cfg=dict(type='BN', eps=1e-5, momentum=3e-4))
    assert (model.stem[0].norm.eps, model.stem[0].norm.momentum) == (1e-5, 3e-4)
    assert model.blocks[-1].stack.conv3.bn_pw.eps == 1e-5


def test_every_parameter_gets_a_gradient():
    torch.manual_seed(0)
    model = AlignedXception(41)
    sum(feature.square().mean() for feature in model(torch.randn(2, 3, 65, 65))).backward()
    assert gradients_missing(model) == []


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(depth=50), r'depth=50 is unknown; choose one of \(41, 65, 71\)'),
        (dict(variant='timm'), r"variant='timm' is unknown; choose one of \('release', 'jfzhang95'\)"),
        (dict(output_stride=4), r'choose one of \(8, 16, 32\)'),
        (dict(multi_grid=(1, 2)), 'one positive factor for each of the 3 units'),
    ],
)
def test_what_cannot_be_is_refused_with_what_can(arguments, message):
    with pytest.raises(ValueError, match=message):
        AlignedXception(**arguments)
