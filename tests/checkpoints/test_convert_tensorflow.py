"""Variables of the TensorFlow release: its three backbones, its heads, batch norm folded or not, and the real files."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from plain_network import Net, assert_same, resize

from mmseg_deeplab.checkpoints.conversion import build, convert_file, fit_to_model
from mmseg_deeplab.checkpoints.convert import convert_state, detect_format
from mmseg_deeplab.checkpoints.load import load_file
from mmseg_deeplab.checkpoints.options import options_that_differ

IMAGE = torch.randn(2, 3, 65, 81, generator=torch.Generator().manual_seed(1))
CLASSES = 5
NORM = tuple(f'BatchNorm/{name}' for name in ('gamma', 'beta', 'moving_mean', 'moving_variance'))
# expansion, channels, repeats, stride (MobileNetV2, Table 2)
ROWS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


class TensorFlow(Net):
    """Variables in TensorFlow's names and layouts: HWIO, depthwise HWIM."""

    folded = False

    def layer(self, x, scope, out=None, k=1, stride=1, rate=1, act=F.relu, eps=None):
        """A convolution (depthwise without `out`), batch norm or the bias it left, and an activation."""
        channels = x.shape[1]
        if out is None:
            weight = self.make(f'{scope}/depthwise_weights', (k, k, channels, 1), (2 / k / k) ** 0.5)
            x = F.conv2d(x, weight.permute(2, 3, 0, 1), None, stride, rate * (k // 2), rate, channels)
        else:
            weight = self.make(f'{scope}/weights', (k, k, channels, out), (2 / channels / k / k) ** 0.5)
            x = F.conv2d(x, weight.permute(3, 2, 0, 1), None, stride, rate * (k // 2), rate)
        if self.folded:
            x = x + self.make(f'{scope}/biases', (x.shape[1],), 0.1)[:, None, None]
        else:
            names = tuple(f'{scope}/{name}' for name in NORM)
            x = self.norm(x, names, eps or self.eps)
        return act(x)

    def norm(self, x, names, eps):
        n = (x.shape[1],)
        gamma, beta = self.make(names[0], n, 0.1, 1), self.make(names[1], n, 0.1)
        mean, var = self.make(names[2], n, 0.1), self.make(names[3], n, 0.1, 1).abs_()
        return F.batch_norm(x, mean, var, gamma, beta, eps=eps)


def linear(x):
    return x


def divisible(channels):
    """Rounded to a multiple of 8, at least 8."""
    return max(8, int(channels + 4) // 8 * 8)


def mobilenet(net, x, width=1.0, output_stride=16, eps=1e-3):
    """Features, and the depthwise output of the second residual at stride 4."""
    x = net.layer(x, 'MobilenetV2/Conv', divisible(32 * width), 3, stride=2, act=F.relu6, eps=eps)
    stride, rate, index, low = 2, 1, 0, None
    for expansion, base, repeats, first in ROWS:
        out = divisible(base * width)
        for i in range(repeats):
            s = first if i == 0 else 1
            if s == 2 and stride == output_stride:
                s, after = 1, rate * 2
            else:
                stride, after = stride * s, rate
            scope = f'MobilenetV2/expanded_conv{f"_{index}" if index else ""}'
            y = x
            if expansion > 1:
                y = net.layer(y, f'{scope}/expand', x.shape[1] * expansion, act=F.relu6, eps=eps)
            y = net.layer(y, f'{scope}/depthwise', k=3, stride=s, rate=rate, act=F.relu6, eps=eps)
            if index == 2:
                low = y
            y = net.layer(y, f'{scope}/project', out, act=linear, eps=eps)
            x = x + y if x.shape == y.shape else y
            rate, index = after, index + 1
    return low, x


def xception41(net, x):
    """Features at output stride 16, and the low-level tap of entry block 2."""
    eps = 1e-3
    x = net.layer(x, 'xception_41/entry_flow/conv1_1', 32, 3, stride=2, eps=eps)
    x = net.layer(x, 'xception_41/entry_flow/conv1_2', 64, 3, eps=eps)
    entry = [(f'entry_flow/block{i}/unit_1', (c,) * 3, 2) for i, c in ((1, 128), (2, 256), (3, 728))]
    middle = [(f'middle_flow/block1/unit_{i}', (728,) * 3, 1) for i in range(1, 9)]
    for scope, widths, stride in [*entry, *middle, ('exit_flow/block1/unit_1', (728, 1024, 1024), 1)]:
        scope = f'xception_41/{scope}/xception_module'
        y = x
        for i, width in enumerate(widths, start=1):
            s, unit = (stride if i == 3 else 1), f'{scope}/separable_conv{i}'
            y = net.layer(F.relu(y), f'{unit}_depthwise', k=3, stride=s, act=linear, eps=eps)
            y = net.layer(y, f'{unit}_pointwise', width, act=linear, eps=eps)
            if 'entry_flow/block2' in scope and i == 2:
                low = y
        if 'middle' not in scope:
            x = net.layer(x, f'{scope}/shortcut', widths[-1], stride=stride, act=linear, eps=eps)
        x = x + y
    for i, width in enumerate((1536, 1536, 2048), start=1):
        scope = f'xception_41/exit_flow/block2/unit_1/xception_module/separable_conv{i}'
        x = net.layer(x, f'{scope}_depthwise', k=3, rate=2, eps=eps)
        x = net.layer(x, f'{scope}_pointwise', width, eps=eps)
    return low, x


def resnet50_beta(net, x):
    """Features at output stride 16; strides are in the last unit of a block, on its 3x3 convolution.

    The low-level features are the end point `block1/unit_2/bottleneck_v1/conv3`: no shortcut is added, and no ReLU.
    """
    for i, (out, stride) in enumerate(((64, 2), (64, 1), (128, 1)), start=1):
        x = net.layer(x, f'resnet_v1_50/conv1_{i}', out, 3, stride=stride)
    x = F.max_pool2d(x, 3, 2, 1)
    rates = (1, 1, 1, 2)
    strides = (2, 2, 1, 1)  # of the last units; block3 would reach 32
    for block, (units, stride, rate) in enumerate(zip((3, 4, 6, 3), strides, rates, strict=True), start=1):
        width = 4 * 2 ** (block - 1)
        for unit in range(1, units + 1):
            s = stride if unit == units else 1
            scope = f'resnet_v1_50/block{block}/unit_{unit}/bottleneck_v1'
            y = net.layer(net.layer(x, f'{scope}/conv1', width), f'{scope}/conv2', width, 3, stride=s, rate=rate)
            y = net.layer(y, f'{scope}/conv3', 4 * width, act=linear)
            if scope.endswith('block1/unit_2/bottleneck_v1'):
                low = y
            shortcut = x[:, :, ::s, ::s]
            if unit == 1:
                shortcut = net.layer(x, f'{scope}/shortcut', 4 * width, stride=s, act=linear)
            x = F.relu(shortcut + y)
    return low, x


def separable(net, x, scope, out, rate=1):
    return net.layer(net.layer(x, f'{scope}_depthwise', k=3, rate=rate), f'{scope}_pointwise', out)


def plain(net, x, scope, out, rate=1):
    return net.layer(x, scope, out, 3, rate=rate)


def head(net, low, x, conv, decoder=True, rates=(6, 12, 18)):
    """ASPP with the pooled branch first; the decoder; logits before the last resize."""
    parts = [net.layer(x.mean((2, 3), keepdim=True), 'image_pooling', 8), net.layer(x, 'aspp0', 8)]
    parts[0] = parts[0].expand_as(parts[1])
    parts += [conv(net, x, f'aspp{i}', 8, rate) for i, rate in enumerate(rates, start=1)]
    x = net.layer(torch.cat(parts, 1), 'concat_projection', 8)
    if decoder:
        low = net.layer(low, 'decoder/feature_projection0', 6)
        x = torch.cat([resize(x, low, True), low], 1)
        x = conv(net, conv(net, x, 'decoder/decoder_conv0', 8), 'decoder/decoder_conv1', 8)
    weight = net.make('logits/semantic/weights', (1, 1, 8, CLASSES), 0.3)
    return F.conv2d(x, weight.permute(3, 2, 0, 1), net.make('logits/semantic/biases', (CLASSES,), 0.1))


def half_mobilenet_v3(net, x):
    low, x = mobilenet(net, x, width=0.5)
    return head(net, low, x, plain, decoder=False, rates=())


def folded_mobilenet_v3plus(net, x):
    net.folded = True
    return head(net, *mobilenet(net, x, width=0.5), separable)


def xception41_v3plus(net, x):
    return head(net, *xception41(net, x), separable)


def resnet50_v3plus(net, x):
    return head(net, *resnet50_beta(net, x), plain)


NETWORKS = (half_mobilenet_v3, folded_mobilenet_v3plus, xception41_v3plus, resnet50_v3plus)


@pytest.mark.parametrize('network', NETWORKS, ids=lambda network: network.__name__)
@torch.no_grad()
def test_whole_models(network):
    net = TensorFlow()
    expected = network(net, IMAGE)
    net.make('global_step', ())
    net.make('aspp0/weights/Momentum', (1,))
    assert detect_format(net.state) == 'tensorflow'
    conversion = convert_state(net.state)
    assert set(conversion.dropped) == {'global_step', 'aspp0/weights/Momentum'}
    assert bool(conversion.notes) == net.folded
    model = build(conversion.model).eval()
    fit_to_model(conversion, model, 'test', [])
    assert_same(model.decode_head(model.backbone(IMAGE)), expected)
    assert model.align_corners


@torch.no_grad()
def test_the_eps_of_backbone_and_head_are_told_apart():
    """slim's MobileNetV2 has 1e-3, the release's ASPP and decoder 1e-5; the segmentor's is for both."""
    net = TensorFlow()
    half_mobilenet_v3(net, IMAGE)
    wanted = convert_state(net.state).model
    without = {part: {k: v for k, v in wanted[part].items() if k != 'norm_cfg'} for part in ('backbone', 'decode_head')}
    for own, expected in (({}, ['model.decode_head.norm_cfg.eps']), (dict(norm_cfg=dict(eps=1e-5)), [])):
        cfg = {**wanted, **without, 'norm_cfg': dict(type='SyncBN', eps=1e-3)}
        cfg['decode_head'] = {**cfg['decode_head'], **own}
        assert [line.split('=')[0] for line in options_that_differ(wanted, cfg)] == expected
        differs = build({**cfg, 'norm_cfg': dict(type='BN', eps=1e-3)}).decode_head.aspp.project.bn.eps != 1e-5
        assert differs == bool(expected)


@torch.no_grad()
def test_folded_norms_are_exact_at_any_eps():
    """The variance that makes a batch norm do nothing is 1 - eps of the model that is loaded."""
    net = TensorFlow()
    net.folded = True
    expected = half_mobilenet_v3(net, IMAGE)
    for eps in (1e-3, 1e-5):
        conversion = convert_state(net.state)
        model = build(
            dict(conversion.model, backbone=dict(conversion.model['backbone'], norm_cfg=dict(type='BN', eps=eps)))
        )
        fit_to_model(conversion, model.eval(), 'test', [])
        assert_same(model.decode_head(model.backbone(IMAGE)), expected)


@torch.no_grad()
def test_imagenet_weights_of_the_beta_resnet_start_the_papers_configs(repo, tmp_path):
    """The release's variable names, at a width of 4; depth and width are the only things to change in the config."""
    from mmengine.config import Config
    from mmseg.registry import MODELS

    net = TensorFlow()
    _, expected = resnet50_beta(net, IMAGE)
    net.make('resnet_v1_50/logits/weights', (1, 1, 128, 1001))
    np.savez(tmp_path / 'resnet.npz', **{name: value.numpy() for name, value in net.state.items()})
    convert_file(tmp_path / 'resnet.npz', tmp_path / 'beta.pth', 'tensorflow')
    for version in ('deeplabv3', 'deeplabv3plus'):
        backbone = Config.fromfile(repo / f'configs/{version}_r50_voc.py').model.backbone
        backbone.update(base_channels=4, stem_channels=(64, 64, 128), multi_grid=None)  # the file's own rates
        backbone.init_cfg.checkpoint = str(tmp_path / 'beta.pth')
        backbone = MODELS.build(backbone)
        backbone.init_weights()
        assert_same(backbone.eval()(IMAGE)[-1], expected)


def test_unknown_layers_are_refused():
    with pytest.raises(ValueError, match='layer MobilenetV3/expanded_conv/expand is unknown'):
        convert_state({'MobilenetV3/expanded_conv/expand/weights': torch.zeros(1, 1, 1, 1)})


class TestReleasedFiles:
    @torch.no_grad()
    def test_deeplab_v3_mobilenet_v2(self, real_data, repo, tmp_path):
        """The file's network as its README describes it, in plain functions, against the config and the checkpoint."""
        from mmengine.config import Config

        source, config = real_data / 'weights/deeplabv3_mnv2_voc.npz', repo / 'configs/deeplabv3_mobilenetv2_voc.py'
        text = convert_file(source, tmp_path / 'out.pth', 'tensorflow', config)
        assert '--calibrate' in text and 'other options' not in text and 'Dropped' not in text
        checkpoint = load_file(tmp_path / 'out.pth')
        model = build(Config.fromfile(config).model).eval()
        model.load_state_dict(checkpoint['state_dict'])

        net = TensorFlow(state={k: torch.from_numpy(v) for k, v in np.load(source).items()})
        net.folded = True
        count = len(net.state)
        low, x = mobilenet(net, IMAGE)
        parts = [net.layer(x.mean((2, 3), keepdim=True), 'image_pooling', 256), net.layer(x, 'aspp0', 256)]
        x = net.layer(torch.cat([parts[0].expand_as(parts[1]), parts[1]], 1), 'concat_projection', 256)
        weight = net.state['logits/semantic/weights'].permute(3, 2, 0, 1)
        expected = F.conv2d(x, weight, net.state['logits/semantic/biases'])
        assert len(net.state) == count  # all of the file, and nothing else
        got = model.decode_head(model.backbone(IMAGE))
        assert_same(got, expected)

    @torch.no_grad()
    def test_mobilenet_v2_starts_a_training(self, real_data, tmp_path):
        from mmseg.registry import MODELS

        source = real_data / 'weights/mobilenet_v2_imagenet.npz'
        text = convert_file(source, tmp_path / 'out.pth')
        assert 'classification network beyond the features: 4' in text
        init = dict(type='Pretrained', checkpoint=str(tmp_path / 'out.pth'), prefix='backbone')
        backbone = MODELS.build(dict(type='DeepLabMobileNetV2', norm_cfg=dict(type='BN', eps=1e-3), init_cfg=init))
        backbone.init_weights()
        net = TensorFlow(state={k: torch.from_numpy(v) for k, v in np.load(source).items()})
        net.folded = True
        low, x = mobilenet(net, IMAGE)
        features = backbone.eval()(IMAGE)
        assert_same(features[0], low)
        assert_same(features[-1], x)
