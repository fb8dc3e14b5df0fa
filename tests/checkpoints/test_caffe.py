"""Caffe's files are read as they are, whole or not at all and within bounds, and compute what the release does."""

import tarfile
import time

import caffe_networks as nets
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from caffe_files import NEW, OLD, blob, layer, write_by_protobuf, write_caffemodel
from caffe_networks import CaffeNet
from mmengine.config import Config
from mmseg.registry import MODELS
from plain_network import Net, assert_same
from source_networks import IMAGE, caffe_vgg
from tensorflow_files import chunk, varint, whole
from test_convert import vgg_without_trunk

from mmseg_deeplab.checkpoints import load_file
from mmseg_deeplab.checkpoints.convert import convert_state
from mmseg_deeplab.checkpoints.options import options_that_differ
from mmseg_deeplab.checkpoints.sources import read_source
from mmseg_deeplab.cli import main
from mmseg_deeplab.errors import UserError
from mmseg_deeplab.inference import init_model

random = np.random.default_rng(0)
STATE = {
    'conv1_1.weight': random.random((4, 3, 3, 3), np.float32),
    'conv1_1.bias': random.random(4, np.float32),
    'fc6.weight': random.random((5, 36), np.float32),
    'fc6.bias': random.random(5, np.float32),
    'fc8_voc12.weight': random.random((1, 5, 1, 1), np.float32),
    'fc8_voc12.bias': random.random(1, np.float32),
}
NORM = {
    'bn_conv1.running_mean': random.random(4, np.float32),
    'bn_conv1.running_var': random.random(4, np.float32),
    'bn_conv1.factor': np.array([999.982], np.float32),
    'scale_conv1.weight': random.random(4, np.float32),
    'scale_conv1.bias': random.random(4, np.float32),
}


def same(path, wanted):
    found = read_source(path).state
    assert {name: value.tolist() for name, value in found.items()} == {n: v.tolist() for n, v in wanted.items()}
    assert all(tuple(found[name].shape) == wanted[name].shape for name in wanted)


class TestTheFile:
    @pytest.mark.parametrize(
        'options', [dict(), dict(packed=False), dict(double=True), dict(packed=False, double=True)]
    )
    @pytest.mark.parametrize('kind', [NEW, OLD])
    def test_every_way_to_write_it(self, kind, options, tmp_path):
        wanted = STATE if kind == OLD else {**STATE, **NORM}  # batch norm is younger than the old kind
        write_caffemodel(tmp_path / 'vgg16_20M.caffemodel', wanted, kind, **options)
        same(tmp_path / 'vgg16_20M.caffemodel', wanted)

    def test_as_the_library_writes_it(self, tmp_path):
        pytest.importorskip('google.protobuf')
        write_by_protobuf(tmp_path / 'a.caffemodel', {**STATE, **NORM})
        same(tmp_path / 'a.caffemodel', {**STATE, **NORM})

    def test_its_content_says_what_it_is(self, tmp_path):
        for kind in (NEW, OLD):
            write_caffemodel(tmp_path / 'weights.bin', STATE, kind)
            same(tmp_path / 'weights.bin', STATE)

    def test_a_damaged_length_is_found(self, tmp_path):
        write_caffemodel(tmp_path / 'a.caffemodel', STATE)
        content = (tmp_path / 'a.caffemodel').read_bytes()
        for size in (len(content) // 3, len(content) // 2, len(content) - 1):
            (tmp_path / 'a.caffemodel').write_bytes(content[:size])
            with pytest.raises(UserError, match=r'a\.caffemodel \(\d+ bytes\) is cut short or damaged'):
                read_source(tmp_path / 'a.caffemodel')

    @pytest.mark.parametrize(
        'content, message',
        [
            (layer('c', 'Convolution', [chunk(7, chunk(1, varint(2**40))) + chunk(5, bytes(4))]), r'1 values'),
            (layer('c', 'Convolution', [chunk(7, chunk(1, varint(2**64 - 1))) + chunk(5, bytes(4))]), r'1 values'),
            (layer('c', 'Convolution', [chunk(7, chunk(1, varint(3) * 10**5)) + chunk(5, bytes(4))]), '100000 axes'),
            (layer('c', 'Convolution', [whole(1, 2) + chunk(5, bytes(8))], OLD), r'\(2, 0, 0, 0\) has 2 values'),
            (layer('c', 'Convolution', [chunk(5, bytes(7))]), 'cut short'),
            (layer('c', 'Convolution', [whole(5, 3)]), 'a number in the place of bytes'),
            (layer('c', 'Convolution', [blob(np.array([np.nan], np.float32))]), 'not finite'),
            (layer('c', 'Convolution', [blob(np.ones(1))]) * 2, 'two layers are called c'),
            (chunk(100, chunk(1, b'\xff') + chunk(7, blob(np.ones(1)))), 'no text'),
            (chunk(2, chunk(1, chunk(1, b'conv1'))), 'before 2014, V0: upgrade it'),
            (whole(100, 5), 'a number in the place of bytes'),
            (chunk(100, b'')[:-1] + b'\xff\xff\xff\xff\xff\xff\xff\xff\x7f', 'beyond the end'),
            (chunk(100, b'') * 500_000, 'many times the size'),
            (chunk(1, b'no layers'), 'holds no parameters'),
        ],
    )
    def test_files_that_are_none(self, content, message, tmp_path):
        (tmp_path / 'a.caffemodel').write_bytes(content)
        begin = time.monotonic()
        with pytest.raises(UserError, match=rf'a\.caffemodel.*{message}'):
            read_source(tmp_path / 'a.caffemodel')
        assert time.monotonic() - begin < 10


SIZES = ((65, 97), (70, 93))


def padded(network):
    """Images are padded with the mean to 8k + 1 pixels, scores resized to their size, as Interp does.

    With inputs at 3/4 of the size to 32k + 1, of which there are 8k + 1 at that scale; the release's crops are so.
    """
    step = 32 if network is nets.caffe_v2_msc else 8

    def forward(net, x):
        height, width = x.shape[2:]
        x = F.pad(x, (0, -(width - 1) % step, 0, -(height - 1) % step))
        logits = F.interpolate(network(net, x), x.shape[2:], mode='bilinear', align_corners=True)
        return logits[:, :, :height, :width]

    return forward


@pytest.mark.parametrize(
    'network, kind, head',
    [
        (caffe_vgg, OLD, 'DeepLabV1Head'),
        (nets.caffe_v1_msc, OLD, 'DeepLabV1MScHead'),
        (nets.caffe_v2_vgg, NEW, 'DeepLabV2Head'),
        (nets.caffe_v2, NEW, 'DeepLabV2Head'),
        (nets.caffe_v2_msc, NEW, 'DeepLabV2Head'),
    ],
)
@torch.no_grad()
def test_one_command(network, kind, head, tmp_path, capsys):
    """convert X.caffemodel Y.pth, then the written config: scores at full size as the release computes them."""
    net = CaffeNet()
    pictures = [random.integers(0, 256, (*size, 3), dtype=np.uint8) for size in SIZES]
    expected = []
    for picture in pictures:
        x = torch.from_numpy(picture.transpose(2, 0, 1).astype(np.float32))  # blue, green, red
        expected.append(padded(network)(net, (x - torch.tensor([104.008, 116.669, 122.675])[:, None, None])[None]))
    state = nets.with_copies(net.state) if network is nets.caffe_v2_msc else net.state
    write_caffemodel(tmp_path / 'train2_iter_20000.caffemodel', state, kind)
    main(['convert', str(tmp_path / 'train2_iter_20000.caffemodel'), str(tmp_path / 'new.pth')])
    assert 'all that the model has' in capsys.readouterr().out
    config = Config.fromfile(tmp_path / 'new.py')
    assert config.model.decode_head.type == head
    config.model.data_preprocessor.test_cfg = None  # a crop of 513 would take a minute
    model = init_model(config, str(tmp_path / 'new.pth'), device='cpu')
    for picture, wanted in zip(pictures, expected, strict=True):
        inputs = [torch.from_numpy(picture.transpose(2, 0, 1).copy())]
        data = model.data_preprocessor(dict(inputs=inputs, data_samples=[]))
        got = model.encode_decode(data['inputs'], [{}])
        assert_same(got[..., : picture.shape[0], : picture.shape[1]], wanted)


def state_of(network=nets.caffe_v2):
    net = CaffeNet()
    with torch.no_grad():
        network(net, IMAGE)
    return net.state


SMALLER = {'model.backbone.depth', 'model.backbone.base_channels', 'model.decode_head.fc_channels'}


@pytest.mark.parametrize(
    'network, config',
    [(nets.caffe_v2_msc, 'deeplabv2_r101_voc'), (nets.caffe_v2_vgg, 'deeplabv2_vgg16_voc'),
     (nets.caffe_v1_msc, 'deeplabv1_vgg16_msc_voc')],
)  # fmt: skip
def test_the_configs_are_those_of_the_release(network, config, repo, monkeypatch):
    """They differ from what its files need in the sizes of these small networks only."""
    monkeypatch.setattr(nets, 'CLASSES', 21)
    state = state_of(network)
    found = convert_state(nets.with_copies(state) if network is nets.caffe_v2_msc else state)
    lines = options_that_differ(found.model, Config.fromfile(repo / f'configs/{config}.py').model)
    assert {line.split('=')[0] for line in lines} <= SMALLER, lines


class TestResNet:
    def test_a_backbone_alone(self):
        """As ResNet-101-model.caffemodel, with its ImageNet classifier."""
        state = {name: value for name, value in state_of().items() if not name.startswith('fc1_')}
        state['fc1000.weight'], state['fc1000.bias'] = torch.zeros(1000, 64), torch.zeros(1000)
        found = convert_state(state)
        assert found.holds == ('backbone.',) and set(found.dropped) == {'fc1000.weight', 'fc1000.bias'}
        assert found.model['backbone']['strided_conv'] == '1x1' and found.model['backbone']['ceil_mode']

    @pytest.mark.parametrize('kernel, rates', [(3, (12,)), (1, ())])
    def test_one_classifier(self, kernel, rates):
        state = {name: value for name, value in state_of().items() if not name.startswith('fc1_')}
        state['fc1_voc12.weight'], state['fc1_voc12.bias'] = torch.ones(21, 64, kernel, kernel), torch.zeros(21)
        found = convert_state(state)
        assert found.model['decode_head']['rates'] == rates and 'multi_scale_inputs' not in found.model
        assert any('one scale' in note for note in found.notes)

    def test_the_scaled_inputs_share_all_weights(self):
        state = nets.with_copies(state_of())
        found = convert_state(state)
        assert found.model['multi_scale_inputs'] == (1.0, 0.75, 0.5) and found.model['scaled_size'] == 'corners'
        assert len(found.dropped) == len(state) * 2 // 3 and all('res0' in name for name in found.dropped)
        state['res3b1_branch2a_res05.weight'] = state['res3b1_branch2a.weight'] + 1
        with pytest.raises(UserError, match=r'res3b1_branch2a_res05\.weight is not as res3b1_branch2a\.weight'):
            convert_state(state)

    def test_sums_without_a_factor(self):
        """Caffe takes a factor of 0, of a network that never ran, as a mean and variance of 0."""
        state = state_of()
        state['bn_conv1.factor'] = torch.zeros(1)
        found = convert_state(state).state_dict
        assert found['backbone.bn1.running_mean'].abs().max() == found['backbone.bn1.running_var'].abs().max() == 0
        state['bn_conv1.factor'] = torch.ones(2)
        with pytest.raises(UserError, match='bn_conv1 has no mean, variance and factor'):
            convert_state(state)


@pytest.mark.parametrize('kernel, rate, variant', [(4, 4, '4x4'), (7, 4, '7x7')])
@torch.no_grad()
def test_whole_networks_with_4096_filters(kernel, rate, variant):
    """Their fc6 and fc7 are trained, so nothing is left out of them."""
    random = torch.Generator().manual_seed(0)
    net = Net()
    x = torch.randn(1, 2, 9, 9, generator=random)
    scores = F.relu(net.conv(x, 'fc6', 4096, kernel, rate=rate, bias=True))
    scores = net.conv(F.relu(net.conv(scores, 'fc7', 4096, bias=True)), 'fc8_voc12', 21, bias=True)
    found = convert_state({'conv1_1.weight': torch.zeros(64, 3, 3, 3), **net.state})
    assert found.holds == ('',) and found.model['decode_head']['variant'] == variant
    head = MODELS.build(dict(found.model['decode_head'], in_channels=2)).eval()
    begin = 'decode_head.'
    head.load_state_dict({k.removeprefix(begin): v for k, v in found.state_dict.items() if k.startswith(begin)})
    assert_same(head((x,)), scores)
    assert any("variant='4x4-rate8'" in note for note in found.notes) == (variant == '4x4')
    with pytest.raises(UserError, match=f'--variant LargeFOV takes .*4096, decimated for {variant}'):
        convert_state({'conv1_1.weight': torch.zeros(64, 3, 3, 3), **net.state}, 'vgg', 'LargeFOV')


def test_the_branches_of_v2_are_no_start_of_v1():
    state = {'conv1_1.weight': torch.zeros(64, 3, 3, 3), 'fc6_1.weight': torch.zeros(8, 512, 3, 3)}
    with pytest.raises(UserError, match='--variant 4x4 takes .*this file has those of the branches of v2'):
        convert_state(state, 'vgg', '4x4')
    with pytest.raises(UserError, match=r'fc6 \(8, 512, 5, 5\) is of no head of v1'):
        convert_state({'conv1_1.weight': torch.zeros(64, 3, 3, 3), 'fc6.weight': torch.zeros(8, 512, 5, 5)})
    odd = {'conv1_1.weight': torch.zeros(64, 3, 3, 3), 'fc6.weight': torch.zeros(4096, 50)}
    with pytest.raises(UserError, match=r'fc6\.weight \(4096, 50\) has another shape than in the layout of vgg'):
        convert_state(odd)
    with pytest.raises(UserError, match='VGG-16 has no convolution 4 in stage 3'):
        convert_state({'conv1_1.weight': torch.zeros(64, 3, 3, 3), 'conv3_4.weight': torch.zeros(1)})


def test_vgg_of_imagenet(tmp_path):
    """VGG_ILSVRC_16_layers.caffemodel: matrices in four sides, and 1000 classes that are left out."""
    state = vgg_without_trunk(('fc6', 'fc7'), 2)
    state = {name: value.float()[:, :98] if name == 'fc7.weight' else value.float() for name, value in state.items()}
    write_caffemodel(tmp_path / 'VGG_ILSVRC_16_layers.caffemodel', state, OLD)
    found = read_source(tmp_path / 'VGG_ILSVRC_16_layers.caffemodel').state
    assert found['fc6.weight'].shape == (4096, 98) and found['fc6.bias'].shape == (4096,)
    converted = convert_state(found)
    assert set(converted.dropped) == {'fc8.weight'} and converted.model['decode_head']['variant'] == 'LargeFOV'
    assert converted.state_dict['decode_head.fc6.weight'].shape == (1024, 2, 3, 3)


def test_in_an_archive(tmp_path):
    write_caffemodel(tmp_path / 'a.caffemodel', STATE)
    with tarfile.open(tmp_path / 'a.tar.gz', 'w:gz') as archive:
        archive.add(tmp_path / 'a.caffemodel', 'deeplab/a.caffemodel')
    same(tmp_path / 'a.tar.gz', STATE)
    with pytest.raises(UserError, match=r'is no checkpoint of PyTorch but a model of Caffe: convert it'):
        load_file(tmp_path / 'a.caffemodel')
