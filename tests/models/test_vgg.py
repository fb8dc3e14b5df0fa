"""DeepLabVGG: sizes, rates, names, the hole algorithm, and its place under other heads."""

import pytest
import torch
from model_helpers import gradients_missing, segmentor
from torch import nn

from mmseg_deeplab.models import DeepLabVGG

# VGG-16 in torchvision: index in `features`, input and output channels of its 13 convolutions.
TORCHVISION = [
    (0, 3, 64),
    (2, 64, 64),
    (5, 64, 128),
    (7, 128, 128),
    (10, 128, 256),
    (12, 256, 256),
    (14, 256, 256),
    (17, 256, 512),
    (19, 512, 512),
    (21, 512, 512),
    (24, 512, 512),
    (26, 512, 512),
    (28, 512, 512),
]


@pytest.fixture(scope='module')
def vgg():
    torch.manual_seed(0)
    model = DeepLabVGG().eval()
    model.init_weights()
    return model


def sizes(size, **kwargs):
    with torch.device('meta'):
        return [f.shape[2] for f in DeepLabVGG(**kwargs)(torch.empty(1, 3, size, size))]


def test_sizes_are_those_of_caffe():
    # Inputs of 8k + 1 pixels: 321 to 161, 81 and 41, and pool4, pool5 keep the size.
    assert sizes(321) == [321, 161, 81, 41, 41, 41]
    assert sizes(513)[3:] == [65, 65, 65]
    # On even sizes Caffe's pools make n / 2 + 1, PyTorch's n / 2.
    assert sizes(320)[1] == 161
    assert sizes(320, ceil_mode=False)[1] == 160


def test_declared_features(vgg):
    features = vgg(torch.randn(1, 3, 33, 49))
    assert tuple(f.shape[1] for f in features) == vgg.feature_channels == (3, 64, 128, 256, 512, 512)
    assert features[vgg.low_level_index].shape[2:] == (9, 13)


def test_only_conv5_is_atrous(vgg):
    convs = [m for m in vgg.modules() if isinstance(m, nn.Conv2d)]
    assert [c.dilation[0] for c in convs] == [1] * 10 + [2] * 3
    assert all(c.stride == (1, 1) for c in convs)
    pools = [m for m in vgg.modules() if isinstance(m, nn.MaxPool2d)]
    assert [(p.kernel_size, p.stride, p.padding, p.dilation) for p in pools] == [
        (3, stride, 1, 1) for stride in (2, 2, 2, 1, 1)
    ]


def test_conv5_computes_the_strided_network_densely(vgg):
    # The hole algorithm (v1, section 3.1): conv5 with rate 2 on unsubsampled features, seen at every second cell, is
    # conv5 of the network whose pool4 strides.
    layers = list(vgg.features)[23:30]
    strided = [nn.MaxPool2d(3, 2, padding=1)]
    for layer in layers[1:]:
        if isinstance(layer, nn.Conv2d):
            dense, layer = layer, nn.Conv2d(512, 512, 3, padding=1)
            layer.load_state_dict(dense.state_dict())
        strided.append(layer)
    x = torch.randn(1, 512, 9, 13)
    with torch.no_grad():
        torch.testing.assert_close(
            nn.Sequential(*layers)(x)[..., ::2, ::2], nn.Sequential(*strided)(x), atol=1e-4, rtol=1e-4
        )


def test_torchvisions_file_loads_as_it_is(vgg, tmp_path):
    state = {'classifier.6.bias': torch.zeros(1000)}
    for index, before, after in TORCHVISION:
        state[f'features.{index}.weight'] = torch.full((after, before, 3, 3), float(index))
        state[f'features.{index}.bias'] = torch.full((after,), -float(index))
    assert {k: v.shape for k, v in vgg.state_dict().items()} == {
        k: v.shape for k, v in state.items() if k.startswith('features')
    }
    torch.save(state, tmp_path / 'vgg16.pth')
    model = DeepLabVGG(init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'vgg16.pth')))
    model.init_weights()
    assert model.features[28].weight.unique().item() == 28
    assert model.features[28].bias.unique().item() == -28


def test_frozen_leaves_nothing_to_train():
    with torch.device('meta'):
        assert not any(p.requires_grad for p in DeepLabVGG(frozen=True).parameters())


def test_no_other_output_stride():
    with pytest.raises(ValueError, match=r'output_stride=16 .* choose one of \(8, 32\): DeepLabVGG has conv5'):
        DeepLabVGG(output_stride=16)


def test_it_goes_under_v3plus_by_config_alone():
    torch.manual_seed(0)
    model = segmentor(
        dict(type='DeepLabVGG'),
        dict(type='DeepLabV3PlusHead', channels=8, decoder_channels=8, rates=(6,)),
        output_stride=8,
        norm_cfg=dict(type='BN'),
    )
    logits = model(torch.randn(2, 3, 33, 33))
    assert logits.shape == (2, 3, 9, 9)  # stride 4: pool2 is the low-level tap
    assert model.decode_head.low_level.conv.in_channels == 128
    logits.square().mean().backward()
    assert gradients_missing(model) == []


def test_batch_norm_has_the_places_of_torchvision():
    """vgg16_bn: 13 batch norms, each straight after its convolution; the last is features.41."""
    model = DeepLabVGG(batch_norm=True, norm_cfg=dict(type='BN', eps=1e-4))
    places = [i for i, layer in enumerate(model.features) if isinstance(layer, nn.BatchNorm2d)]
    assert places == [1, 4, 8, 11, 15, 18, 21, 25, 28, 31, 35, 38, 41]
    assert all(isinstance(model.features[i - 1], nn.Conv2d) and model.features[i].eps == 1e-4 for i in places)
    model.init_weights()
    sum(feature.square().mean() for feature in model(torch.randn(2, 3, 33, 33))).backward()
    assert gradients_missing(model) == []


def test_a_frozen_trunk_keeps_its_batch_norm():
    model = DeepLabVGG(frozen=True, batch_norm=True).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model(torch.randn(2, 3, 33, 33))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
