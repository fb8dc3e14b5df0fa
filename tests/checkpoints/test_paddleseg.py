"""PaddleSeg's files: other DeepLabs than the published ones, what is none, and its own code where it is installed."""

import pickle

import numpy as np
import paddle_networks as paddles
import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmseg.structures import SegDataSample
from paddle_networks import PUBLISHED
from plain_network import OS8_NEW, OS16_NEW, Net, assert_same
from source_networks import CLASSES, IMAGE

from mmseg_deeplab.checkpoints.conversion import convert_file, fit_to_model
from mmseg_deeplab.checkpoints.convert import convert_state, detect_format
from mmseg_deeplab.checkpoints.options import build
from mmseg_deeplab.inference import init_model

CORNERS = {'decode_head.align_corners': True, 'data_preprocessor.test_cfg': dict(size=(1025, 2049))}
DEFAULTS = {'backbone.multi_grid': (1, 1, 1), 'decode_head.rates': (3, 6, 9)}


def built(conversion, **options):
    """The model that fits, in eval mode, with other options at paths of its config."""
    cfg = Config(dict(model=conversion.model))
    cfg.merge_from_dict({f'model.{path}': value for path, value in options.items()})
    model = build(cfg.model).eval()
    fit_to_model(conversion, model, 'test', [])
    return model


def shown(value):
    """As a note writes a value."""
    return f'dict(size={value["size"]})' if isinstance(value, dict) else repr(value)


def saved(net, path):
    """As paddle.save writes a state dict: arrays, and PaddlePaddle's own names of them."""
    state = {name: value.numpy() for name, value in net.state.items()}
    names = {name: f'conv2d_{i}.w_0' for i, name in enumerate(state)}
    path.write_bytes(pickle.dumps({**state, 'StructuredToParameterName@@': names}, 4))
    return path


@torch.no_grad()
def test_backbones_alone():
    net = Net()
    expected = paddles.resnet_vd(net, IMAGE)
    net.make('out.weight', (16, 10))
    conversion = convert_state(net.state)
    assert conversion.source == 'paddleseg' and set(conversion.dropped) == {'out.weight'}
    model = built(conversion, **{'backbone.output_stride': 32})
    for got, wanted in zip(model['backbone'](IMAGE), expected, strict=True):
        assert_same(got, wanted)


@pytest.mark.parametrize(
    'options, network',
    [
        ({'decode_head.align_corners': True}, dict(align_corners=True)),
        (DEFAULTS, dict(stages=OS8_NEW, rates=(6, 12, 18))),
        ({'backbone.multi_grid': (1, 1, 1), 'output_stride': 16}, dict(stages=OS16_NEW, rates=(6, 12, 18))),
    ],
)
@torch.no_grad()
def test_others_than_the_published_ones_as_the_note_says(options, network):
    net = Net()
    expected = paddles.v3plus(net, IMAGE, **network)
    conversion = convert_state(net.state)
    (note,) = conversion.notes
    for path, value in options.items():
        assert f'model.{path}={shown(value)}' in note
    model = built(conversion, **options)
    assert_same(model.decode_head(model.backbone(IMAGE)), expected)


@pytest.mark.parametrize('classes, corners', [(21, False), (19, True), (19, False)])
@torch.no_grad()
def test_the_padding_of_its_data_sets(classes, corners, tmp_path):
    """VOC's images to 512 x 512 with 127.5, Cityscapes' not at all, but for the file of 769, to 1025 x 2049."""
    side = {(21, False): (512, 512), (19, False): (70, 93), (19, True): (129, 257)}[classes, corners]
    picture = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 70, 93), dtype=np.uint8))
    right, below = side[1] - 93, side[0] - 70
    x = (F.pad(picture.float(), (0, right, 0, below), value=127.5) / 255 - 0.5) / 0.5
    net = Net()
    expected = paddles.v3plus(net, x[None], align_corners=corners, classes=classes)
    expected = F.interpolate(expected, side, mode='bilinear', align_corners=corners)[..., :70, :93]
    said = convert_file(saved(net, tmp_path / 'model.pdparams'), tmp_path / 'new.pth')
    assert f'Class names are those of {"PascalVOC" if classes == 21 else "Cityscapes"}Dataset' in said
    config = Config.fromfile(tmp_path / 'new.py')
    if corners:
        assert all(f'model.{path}={shown(value)}' in said for path, value in CORNERS.items())
        config.model.decode_head.align_corners = True
        config.model.data_preprocessor.test_cfg = dict(size=side)  # the whole size would take half a minute
    model = init_model(config, str(tmp_path / 'new.pth'), device='cpu')
    data = model.data_preprocessor(dict(inputs=[picture.flip(0)], data_samples=[SegDataSample(metainfo={})]))
    assert tuple(data['inputs'].shape[2:]) == side
    assert_same(model.encode_decode(data['inputs'], [{}])[..., :70, :93], expected)


def network(*names):
    return dict.fromkeys(names, torch.zeros(1))


HEAD = ('head.aspp.aspp_blocks.0._conv.weight', 'head.decoder.conv.weight')


@pytest.mark.parametrize(
    'state, message',
    [
        (network('conv2d_0.w_0', 'batch_norm_0.b_0', 'batch_norm_0.w_1'), r'numbered names .* \(conv2d_0\.w_0\)'),
        (network('backbone.bb_0_0.conv0._conv.weight', 'head.cls._batch_norm._mean'), 'network of PaddlePaddle'),
        (
            network('stem.conv._mean', 'head.fc.weight'),
            r'of PaddlePaddle has no counterpart here.*stem.conv._mean',
        ),
        (network('blocks.0.attn.qkv.weight', 'norm.bias'), 'networks other than DeepLab .* have no counterpart here'),
        (network('backbone.conv_layer1_1._conv.weight', *HEAD), r'this backbone .* has no counterpart .*conv_layer1_1'),
        (network('backbone.bb_0_0.conv0._conv.weight', HEAD[0], 'head.edge._mean'), 'no counterpart.*for its ASPP'),
    ],
)
def test_what_has_no_counterpart(state, message, tmp_path):
    path = tmp_path / 'a.pdparams'
    path.write_bytes(pickle.dumps({name: value.numpy() for name, value in state.items()}, 4))
    with pytest.raises(ValueError, match=message):
        convert_file(path, tmp_path / 'out.pth')
    assert not (tmp_path / 'out.pth').exists()


@torch.no_grad()
def test_other_depths_and_broken_layers_are_named():
    net = Net()
    paddles.v3plus(net, IMAGE)
    basic = {name: value for name, value in net.state.items() if '.conv2.' not in name}
    with pytest.raises(ValueError, match='ResNet-18 and 34 among them, have no counterpart'):
        convert_state(basic)  # as ResNet34_vd
    for name in ('head.aspp.aspp_blocks.1.piontwise_conv._conv.weight', 'head.aspp.conv_bn_relu._batch_norm._mean'):
        less = {key: value for key, value in net.state.items() if key != name}
        with pytest.raises(ValueError, match=r'parameters are unknown in the layout of paddleseg.*head\.aspp\.'):
            convert_state(less)


@pytest.mark.parametrize('name', ['DeepLabV3P', 'DeepLabV3'])
def test_it_computes_what_paddleseg_does(name, tmp_path):
    """Its own code, from its own file, at three sizes."""
    paddle = pytest.importorskip('paddle')
    models = pytest.importorskip('paddleseg.models')
    paddle.seed(0)
    backbone = models.backbones.ResNet50_vd(output_stride=8, multi_grid=(1, 2, 4))
    extra = {} if name == 'DeepLabV3P' else dict(backbone_indices=(3,))
    peer = getattr(models, name)(CLASSES, backbone, aspp_ratios=(1, 12, 24, 36), **extra)
    random = np.random.default_rng(0)
    for layer in peer.sublayers():
        if isinstance(layer, paddle.nn.BatchNorm2D):
            shape = layer._mean.shape
            for value, low in ((layer.weight, 0.7), (layer.bias, -0.3), (layer._mean, -0.3), (layer._variance, 0.7)):
                value.set_value(random.uniform(low, low + 0.6, shape).astype('float32'))
        elif isinstance(layer, paddle.nn.Conv2D):
            fan = np.prod(layer.weight.shape[1:])
            layer.weight.set_value(random.normal(0, (2 / fan) ** 0.5, layer.weight.shape).astype('float32'))
            if layer.bias is not None:
                layer.bias.set_value(random.normal(0, 0.1, layer.bias.shape).astype('float32'))
    peer.eval()
    plain = Net()
    with torch.no_grad():
        {'DeepLabV3P': paddles.v3plus, 'DeepLabV3': paddles.v3}[name](plain, IMAGE)
    assert set(peer.state_dict()) == set(plain.state)
    paddle.save(peer.state_dict(), str(tmp_path / 'model.pdparams'))
    convert_file(tmp_path / 'model.pdparams', tmp_path / 'new.pth')
    model = init_model(Config.fromfile(tmp_path / 'new.py'), str(tmp_path / 'new.pth'), device='cpu')
    for size in ((64, 96), (65, 81), (70, 93)):
        x = random.standard_normal((1, 3, *size)).astype('float32')
        with paddle.no_grad():
            expected = torch.from_numpy(peer(paddle.to_tensor(x))[0].numpy())
        with torch.no_grad():
            assert_same(model.encode_decode(torch.from_numpy(x), [{}]), expected)


def test_prefixes_are_taken_off(tmp_path):
    """DataParallel's, of a whole model and of a backbone alone."""
    net = Net()
    with torch.no_grad():
        paddles.v3plus(net, IMAGE, PUBLISHED)
    for part in ('', 'backbone.'):
        part_of = {f'_layers.{name}': value for name, value in net.state.items() if name.startswith(part)}
        with (tmp_path / 'a.pdparams').open('wb') as file:
            pickle.dump({name: value.numpy() for name, value in part_of.items()}, file, 4)
        convert_file(tmp_path / 'a.pdparams', tmp_path / f'new{bool(part)}.pth')
    assert detect_format(net.state) == 'paddleseg' and (tmp_path / 'newFalse.py').exists()
    assert not (tmp_path / 'newTrue.py').exists()
