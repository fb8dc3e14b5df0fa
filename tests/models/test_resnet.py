"""DeepLabResNet: rates, shapes, names and refusals."""

import pytest
import torch
from mmseg.models.backbones import ResNet as MMSegResNet
from mmseg.models.backbones import ResNetV1d
from model_helpers import gradients_missing, randomize, rates_of

from mmseg_deeplab.errors import UserError
from mmseg_deeplab.models import DeepLabResNet


@pytest.mark.parametrize(
    ('output_stride', 'block3', 'block4'), [(8, [1, 2, 2, 2, 2, 2], [4, 8, 16]), (16, [1] * 6, [2, 4, 8])]
)
def test_multi_grid_124_gives_the_rates_of_the_paper(output_stride, block3, block4):
    model = DeepLabResNet(50, output_stride, multi_grid=(1, 2, 4), base_channels=4)
    assert rates_of(model.layer3) == block3
    assert rates_of(model.layer4) == block4  # v3, section 3.2.1: (2, 4, 8) at output stride 16


def test_without_multi_grid_the_unit_that_lost_its_stride_keeps_the_old_rate():
    model = DeepLabResNet(50, 8, base_channels=4)
    assert rates_of(model.layer3) == [1, 2, 2, 2, 2, 2]
    assert rates_of(model.layer4) == [2, 4, 4]
    caffe = DeepLabResNet(50, 8, rate_of_lost_stride='new', base_channels=4)
    assert rates_of(caffe.layer3) == [2] * 6
    assert rates_of(caffe.layer4) == [4] * 3


@pytest.mark.parametrize(
    ('multi_grid', 'rates'),
    # v3, Figure 3: block4 to block7 at 2, 4, 8, 16 at output stride 16.
    [((1, 1, 1), [[2] * 3, [4] * 3, [8] * 3, [16] * 3]), ((1, 2, 1), [[2, 4, 2], [4, 8, 4], [8, 16, 8], [16, 32, 16]])],
)
def test_the_cascade_doubles_its_rate_with_every_block(multi_grid, rates):
    model = DeepLabResNet(50, 16, multi_grid=multi_grid, num_blocks=7, base_channels=4)
    assert [rates_of(getattr(model, f'layer{i}')) for i in (4, 5, 6, 7)] == rates


@pytest.mark.parametrize('output_stride', [8, 16, 32, 64, 128, 256])
def test_the_cascade_reaches_the_output_strides_of_table_1(output_stride):
    model = DeepLabResNet(50, output_stride, num_blocks=7, base_channels=4).eval()
    assert model(torch.zeros(1, 3, 257, 257))[-1].shape[2:] == (256 // output_stride + 1,) * 2
    assert len(model.feature_channels) == 7


@pytest.mark.parametrize('strided_unit', ['first', 'last'])
@pytest.mark.parametrize('output_stride', [8, 16, 32])
@pytest.mark.parametrize('size', [(65, 97), (64, 70)])
def test_features_have_the_declared_channels_and_strides(output_stride, strided_unit, size):
    model = DeepLabResNet(50, output_stride, strided_unit=strided_unit, base_channels=4).eval()
    features = model(torch.zeros(1, 3, *size))
    assert tuple(f.shape[1] for f in features) == model.feature_channels == (16, 32, 64, 128)
    assert features[model.low_level_index].shape[2:] == tuple(-(-s // 4) for s in size)
    assert features[-1].shape[2:] == tuple(-(-s // output_stride) for s in size)


def test_the_low_level_features_of_the_release_are_before_the_stride():
    # TensorFlow: block1/unit_2/bottleneck_v1/conv3 of three units, of which the third strides.
    model = DeepLabResNet(101, strided_unit='last', base_channels=4)
    assert [unit.conv2.stride[0] for unit in model.layer1] == [1, 1, 2]
    assert [unit.conv2.stride[0] for unit in model.layer4] == [1, 1, 1]
    first = DeepLabResNet(101, base_channels=4)
    assert [unit.conv2.stride[0] for unit in first.layer1] == [1, 1, 1]
    assert first.layer2[0].conv2.stride == (2, 2)


@torch.no_grad()
def test_the_low_level_features_of_the_release_are_before_addition_and_relu():
    # slim's bottleneck: conv3 has batch norm and no activation; the shortcut is added to it, then comes the ReLU.
    torch.manual_seed(0)
    model = DeepLabResNet(50, 16, strided_unit='last', low_level='branch', base_channels=4).eval()
    whole = DeepLabResNet(50, 16, strided_unit='last', base_channels=4).eval()
    whole.load_state_dict(model.state_dict())
    x = torch.randn(1, 3, 65, 97)
    seen = {}
    model.layer1[1].bn3.register_forward_hook(lambda module, inputs, output: seen.update(branch=output.clone()))
    low_level, *features = model(x)
    outputs = whole(x)
    assert torch.equal(low_level, seen['branch']) and low_level.min() < 0
    before = whole.layer1[0](whole.maxpool(whole.relu(whole.bn1(whole.conv1(x)))))
    torch.testing.assert_close(torch.relu(low_level + before), outputs[0])
    for mine, other in zip(features, outputs[1:], strict=True):
        torch.testing.assert_close(mine, other)
    first = DeepLabResNet(50, 16, low_level='branch', base_channels=4).eval()
    assert first(x)[0].shape == (1, 16, 17, 25) and first(x)[0].min() < 0


def test_the_rates_of_block4_as_they_are():
    # MMSegmentation's d16-mg124: multi_grid (1, 2, 4) there is the dilation itself.
    for output_stride in (8, 16):
        assert rates_of(DeepLabResNet(50, output_stride, block4_rates=(1, 2, 4), base_channels=4).layer4) == [1, 2, 4]


def test_stride_on_the_1x1_convolution():
    model = DeepLabResNet(50, 32, strided_conv='1x1', base_channels=4)
    assert (model.layer2[0].conv1.stride, model.layer2[0].conv2.stride) == ((2, 2), (1, 1))


def test_ceil_mode_is_caffes_size_on_even_inputs():
    for ceil_mode, expected in ((False, 80), (True, 81)):
        model = DeepLabResNet(50, 8, ceil_mode=ceil_mode, base_channels=4).eval()
        assert model(torch.zeros(1, 3, 320, 9))[0].shape[2] == expected


def test_names_and_shapes_are_those_of_mmsegmentation_and_torchvision():
    # MMSegmentation's ResNet loads torchvision's files, so that its names are torchvision's too.
    theirs = MMSegResNet(101, norm_cfg=dict(type='BN')).state_dict()
    ours = DeepLabResNet(101).state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}


def test_it_computes_mmsegmentations_resnet_at_the_nominal_stride():
    torch.manual_seed(0)
    theirs = MMSegResNet(50, base_channels=8, stem_channels=64, norm_cfg=dict(type='BN'))
    theirs.eval()
    ours = DeepLabResNet(50, 32, base_channels=8).eval()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(1, 3, 64, 96)
    for mine, other in zip(ours(x), theirs(x), strict=True):
        torch.testing.assert_close(mine, other)


@pytest.mark.parametrize(
    ('output_stride', 'strides', 'dilations'),
    [(32, (1, 2, 2, 2), (1, 1, 1, 1)), (16, (1, 2, 2, 1), (1, 1, 1, 2)), (8, (1, 2, 1, 1), (1, 1, 2, 4))],
)
def test_it_computes_mmsegmentations_resnet_v1d(output_stride, strides, dilations):
    torch.manual_seed(0)
    cfg = dict(base_channels=8, stem_channels=16, contract_dilation=True, norm_cfg=dict(type='BN'))
    theirs = randomize(ResNetV1d(depth=50, strides=strides, dilations=dilations, **cfg))
    theirs.eval()
    ours = DeepLabResNet(50, output_stride, base_channels=8, stem_channels=(8, 8, 16), avg_down=True).eval()
    ours.load_state_dict(theirs.state_dict())
    for size in ((64, 96), (65, 81), (70, 93)):
        x = torch.randn(1, 3, *size)
        for mine, other in zip(ours(x), theirs(x), strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5 * other.abs().max().item())


def test_a_shortcut_without_convolution_has_nothing_to_average_before():
    with pytest.raises(UserError, match=r"avg_down=True averages before .* strided_unit='last'"):
        DeepLabResNet(50, 16, strided_unit='last', avg_down=True)


@pytest.mark.parametrize('in_file', [4, 7])
def test_the_cascade_starts_from_imagenet_weights_or_its_own(in_file, tmp_path):
    torch.manual_seed(0)
    source = DeepLabResNet(50, num_blocks=in_file, base_channels=4).state_dict()
    torch.save(source, tmp_path / 'file.pth')
    init = dict(type='Pretrained', checkpoint=str(tmp_path / 'file.pth'))
    model = DeepLabResNet(50, num_blocks=7, base_channels=4, init_cfg=init)
    model.init_weights()
    state = model.state_dict()
    assert all(torch.equal(state[name], value) for name, value in source.items())
    if in_file == 4:  # the rest at random, as from scratch: He's, by fan out
        weight = model.layer6[1].conv2.weight
        assert weight.std().item() == pytest.approx((2 / (9 * weight.shape[0])) ** 0.5, rel=0.1)
    torch.save({name: value for name, value in source.items() if 'layer3' not in name}, tmp_path / 'file.pth')
    with pytest.raises(ValueError, match=r'does not fit DeepLabResNet: \d+ parameters are missing'):
        DeepLabResNet(50, num_blocks=7, base_channels=4, init_cfg=init).init_weights()


def test_every_parameter_gets_a_gradient():
    torch.manual_seed(0)
    model = DeepLabResNet(50, 16, num_blocks=5, stem_channels=(4, 4, 8), base_channels=4)
    sum(feature.square().mean() for feature in model(torch.randn(2, 3, 65, 65))).backward()
    assert gradients_missing(model) == []


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(depth=18), r'depth=18 is unknown; choose one of \(50, 101, 152\)'),
        (dict(output_stride=4), r'output_stride=4 .* choose one of \(8, 16, 32\)'),
        (dict(output_stride=12), r'choose one of \(8, 16, 32\)'),
        (dict(output_stride=64), r'choose one of \(8, 16, 32\)'),
        (dict(output_stride=128, num_blocks=5), r'choose one of \(8, 16, 32, 64\)'),
        (dict(multi_grid=(1, 2)), 'one positive factor for each of the 3 units'),
        (dict(block4_rates=(1, 2)), 'one positive rate for each of the 3 units'),
        (dict(block4_rates=(1, 2, 0)), 'one positive rate'),
        (dict(block4_rates=(1, 2, 4), multi_grid=(1, 2, 4)), 'give DeepLabResNet one of them'),
        (dict(low_level='sum'), "choose one of .'output', 'branch'."),
        (dict(num_blocks=8), 'num_blocks=8 is unknown'),
        (dict(strided_unit='second'), "choose one of .'first', 'last'."),
        (dict(strided_conv='5x5'), 'strided_conv'),
        (dict(rate_of_lost_stride='other'), 'rate_of_lost_stride'),
    ],
)
def test_what_cannot_be_is_refused_with_what_can(arguments, message):
    with pytest.raises(ValueError, match=message):
        DeepLabResNet(**{'depth': 50, 'base_channels': 4, **arguments})
