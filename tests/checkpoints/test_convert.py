"""Converted weights give the output of their source, computed here with plain functions from the published layout."""

import runpy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from functional import (
    OS8_NEW,
    OS8_OLD,
    OS16_GRID,
    OS16_NEW,
    OS16_OLD,
    Net,
    assert_same,
    resize,
    resnet,
    torchvision_aspp,
    torchvision_resnet,
)
from mmengine.config import Config

from mmseg_deeplab.checkpoints import CheckpointMismatchError, load_file
from mmseg_deeplab.checkpoints.convert import (
    FORMATS,
    build,
    convert_file,
    convert_state,
    detect_format,
    fit_to_model,
)
from mmseg_deeplab.checkpoints.convert.fit import options_that_differ
from mmseg_deeplab.checkpoints.convert.rules import IMAGENET

IMAGE = torch.randn(2, 3, 65, 81, generator=torch.Generator().manual_seed(1))
CLASSES = 5


def torchvision_v3(net, x):
    x = torchvision_resnet(net, x, 'backbone.', OS8_OLD)[-1]
    x = torchvision_aspp(net, x, 'classifier.0', (12, 24, 36))
    x = net.conv_bn_relu(x, 'classifier.1', 'classifier.2', 8, 3)
    net.make('aux_classifier.4.weight', (1,))
    return net.conv(x, 'classifier.4', CLASSES, bias=True)


def mmseg_backbone(net, x):
    for i, (out, stride) in enumerate(((32, 2), (32, 1), (64, 1))):
        x = net.conv_bn_relu(x, f'backbone.stem.{3 * i}', f'backbone.stem.{3 * i + 1}', out, 3, stride=stride)

    def conv(s, u, part):
        return f'backbone.layer{s + 1}.{u}.' + ('downsample.0' if part == 'shortcut' else f'conv{part}')

    def bn(s, u, part):
        return f'backbone.layer{s + 1}.{u}.' + ('downsample.1' if part == 'shortcut' else f'bn{part}')

    return resnet(net, F.max_pool2d(x, 3, 2, 1), OS8_OLD, conv, bn)


def mmseg_conv(net, x, name, out, k=1, **kwargs):
    return net.conv_bn_relu(x, f'decode_head.{name}.conv', f'decode_head.{name}.bn', out, k, **kwargs)


def mmseg_separable(net, x, name, out, rate=1):
    x = mmseg_conv(net, x, f'{name}.depthwise_conv', x.shape[1], 3, rate=rate, groups=x.shape[1])
    return mmseg_conv(net, x, f'{name}.pointwise_conv', out)


def mmseg_head(net, features, separable):
    x = features[-1]
    branch = mmseg_separable if separable else lambda *a, rate: mmseg_conv(*a, 3, rate=rate)
    parts = [mmseg_conv(net, x.mean((2, 3), keepdim=True), 'image_pool.1', 8)]
    parts.append(mmseg_conv(net, x, 'aspp_modules.0', 8))
    parts += [branch(net, x, f'aspp_modules.{i}', 8, rate=rate) for i, rate in enumerate((12, 24, 36), start=1)]
    parts[0] = parts[0].expand_as(parts[1])
    x = mmseg_conv(net, torch.cat(parts, 1), 'bottleneck', 8, 3)
    if separable:
        low = mmseg_conv(net, features[0], 'c1_bottleneck', 6)
        x = torch.cat([resize(x, low, False), low], 1)
        x = mmseg_separable(net, mmseg_separable(net, x, 'sep_bottleneck.0', 8), 'sep_bottleneck.1', 8)
    net.make('auxiliary_head.conv_seg.weight', (1,))
    return net.conv(x, 'decode_head.conv_seg', CLASSES, bias=True)


def mmseg_v3(net, x):
    return mmseg_head(net, mmseg_backbone(net, x), separable=False)


def mmseg_v3plus(net, x):
    return mmseg_head(net, mmseg_backbone(net, x), separable=True)


def kazuto_v2(net, x, begin='base.'):
    x = net.conv_bn_relu(x, f'{begin}layer1.conv1.conv', f'{begin}layer1.conv1.bn', 64, 7, stride=2)
    x = F.max_pool2d(x, 3, 2, 1, ceil_mode=True)
    parts = {1: 'reduce', 2: 'conv3x3', 3: 'increase', 'shortcut': 'shortcut'}

    def name(kind):
        return lambda s, u, part: f'{begin}layer{s + 2}.block{u + 1}.{parts[part]}.{kind}'

    x = resnet(net, x, OS8_NEW, name('conv'), name('bn'), stride_in='1x1')[-1]
    rates = enumerate((6, 12, 18, 24))
    return sum(net.conv(x, f'{begin}aspp.c{i}', CLASSES, 3, rate=rate, bias=True) for i, rate in rates)


def kazuto_old(net, x):
    logits = kazuto_v2(net, x, begin='scale.')
    for name in [name for name in net.state if 'aspp.c' in name]:
        net.state[name.replace('aspp.c', 'aspp.stages.c')] = net.state.pop(name)
    return logits


def caffe_vgg(net, x):
    """vgg16_20M's LargeFOV with its classifier."""
    for stage, (count, out) in enumerate(((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)), start=1):
        for i in range(count):
            x = F.relu(net.conv(x, f'conv{stage}_{i + 1}', out, 3, rate=2 if stage == 5 else 1, bias=True))
        x = F.max_pool2d(x, 3, 2 if stage < 4 else 1, 1, ceil_mode=True)
    x = F.avg_pool2d(x, 3, 1, 1)
    x = F.relu(net.conv(x, 'fc6', 1024, 3, rate=12, bias=True))
    x = F.relu(net.conv(x, 'fc7', 1024, bias=True))
    return net.conv(x, 'fc8_voc12', CLASSES, bias=True)


def vainf_separable(net):
    def branch(x, name, rate):
        x = net.conv(x, f'{name}.body.0', x.shape[1], 3, rate=rate, groups=x.shape[1])
        return net.conv(x, f'{name}.body.1', 8)

    return branch


def vainf_v3(net, x):
    x = torchvision_resnet(net, x, 'backbone.', OS16_OLD)[-1]
    x = torchvision_aspp(net, x, 'classifier.classifier.0', (6, 12, 18))
    x = net.conv_bn_relu(x, 'classifier.classifier.1', 'classifier.classifier.2', 8, 3)
    return net.conv(x, 'classifier.classifier.4', CLASSES, bias=True)


def vainf_v3plus(net, x, separable=False):
    low, *_, x = torchvision_resnet(net, x, 'backbone.', OS16_OLD)
    conv = vainf_separable(net) if separable else None
    x = torchvision_aspp(net, x, 'classifier.aspp', (6, 12, 18), branch=conv)
    low = net.conv_bn_relu(low, 'classifier.project.0', 'classifier.project.1', 48)
    x = torch.cat([low, resize(x, low, False)], 1)
    x = conv(x, 'classifier.classifier.0', 1) if conv else net.conv(x, 'classifier.classifier.0', 8, 3)
    x = F.relu(net.bn(x, 'classifier.classifier.1'))
    return net.conv(x, 'classifier.classifier.3', CLASSES, bias=True)


def vainf_v3plus_separable(net, x):
    return vainf_v3plus(net, x, separable=True)


def jfzhang95_v3plus(net, x):
    low, *_, x = torchvision_resnet(net, x, 'backbone.', OS16_GRID)
    parts = [net.conv_bn_relu(x, 'aspp.aspp1.atrous_conv', 'aspp.aspp1.bn', 8)]
    for i, rate in enumerate((6, 12, 18), start=2):
        parts.append(net.conv_bn_relu(x, f'aspp.aspp{i}.atrous_conv', f'aspp.aspp{i}.bn', 8, 3, rate=rate))
    pooled = net.conv_bn_relu(x.mean((2, 3), keepdim=True), 'aspp.global_avg_pool.1', 'aspp.global_avg_pool.2', 8)
    x = net.conv_bn_relu(torch.cat([*parts, pooled.expand_as(parts[0])], 1), 'aspp.conv1', 'aspp.bn1', 8)
    low = net.conv_bn_relu(low, 'decoder.conv1', 'decoder.bn1', 6)
    x = torch.cat([resize(x, low, True), low], 1)
    x = net.conv_bn_relu(x, 'decoder.last_conv.0', 'decoder.last_conv.1', 8, 3)
    x = net.conv_bn_relu(x, 'decoder.last_conv.4', 'decoder.last_conv.5', 8, 3)
    return net.conv(x, 'decoder.last_conv.8', CLASSES, bias=True)


def detectron2_conv(net, x, name, out, k=1, **kwargs):
    return net.conv_bn_relu(x, name, f'{name}.norm', out, k, **kwargs)


def detectron2_separable(net, x, name, out, k, **kwargs):
    x = detectron2_conv(net, x, f'{name}.depthwise', x.shape[1], k, groups=x.shape[1], **kwargs)
    return detectron2_conv(net, x, f'{name}.pointwise', out)


def detectron2_features(net, x, deep_stem):
    if deep_stem:
        for i, (out, stride) in enumerate(((64, 2), (64, 1), (128, 1)), start=1):
            x = detectron2_conv(net, x, f'backbone.stem.conv{i}', out, 3, stride=stride)
    else:
        x = detectron2_conv(net, x, 'backbone.stem.conv1', 64, 7, stride=2)

    def name(s, u, part):
        return f'backbone.res{s + 2}.{u}.' + ('shortcut' if part == 'shortcut' else f'conv{part}')

    return resnet(net, F.max_pool2d(x, 3, 2, 1), OS16_GRID, name, lambda *a: name(*a) + '.norm')


def detectron2_aspp(net, x, begin, separable):
    conv = detectron2_separable if separable else detectron2_conv
    parts = [detectron2_conv(net, x, f'{begin}.convs.0', 8)]
    parts += [conv(net, x, f'{begin}.convs.{i}', 8, 3, rate=rate) for i, rate in enumerate((6, 12, 18), start=1)]
    pooled = F.relu(net.conv(x.mean((2, 3), keepdim=True), f'{begin}.convs.4.1', 8, bias=True))
    return detectron2_conv(net, torch.cat([*parts, pooled.expand_as(parts[0])], 1), f'{begin}.project', 8)


def detectron2_v3(net, x):
    x = detectron2_features(net, x, deep_stem=False)[-1]
    x = detectron2_aspp(net, x, 'sem_seg_head.aspp', separable=False)
    return net.conv(x, 'sem_seg_head.predictor', CLASSES, bias=True)


def detectron2_v3plus(net, x, separable=False):
    low, *_, x = detectron2_features(net, x, deep_stem=True)
    x = detectron2_aspp(net, x, 'sem_seg_head.decoder.res5.project_conv', separable)
    low = detectron2_conv(net, low, 'sem_seg_head.decoder.res2.project_conv', 6)
    x = torch.cat([low, resize(x, low, False)], 1)
    fuse = 'sem_seg_head.decoder.res2.fuse_conv'
    if separable:
        x = detectron2_separable(net, x, fuse, 8, 5)
    else:
        x = detectron2_conv(net, detectron2_conv(net, x, f'{fuse}.0', 8, 3), f'{fuse}.1', 8, 3)
    return net.conv(x, 'sem_seg_head.predictor', CLASSES, bias=True)


def detectron2_v3plus_separable(net, x):
    return detectron2_v3plus(net, x, separable=True)


def smp_separable(net):
    def branch(x, name, rate):
        x = net.conv(x, f'{name}.0', x.shape[1], 3, rate=rate, groups=x.shape[1])
        return net.conv(x, f'{name}.1', 8)

    return branch


def smp_v3(net, x):
    x = torchvision_resnet(net, x, 'encoder.', OS8_NEW)[-1]
    x = torchvision_aspp(net, x, 'decoder.0', (12, 24, 36))
    x = net.conv_bn_relu(x, 'decoder.1', 'decoder.2', 8, 3)
    return net.conv(x, 'segmentation_head.0', CLASSES, bias=True)


def smp_v3plus(net, x):
    low, *_, x = torchvision_resnet(net, x, 'encoder.', OS16_NEW)
    conv = smp_separable(net)
    x = torchvision_aspp(net, x, 'decoder.aspp.0', (12, 24, 36), branch=conv)
    x = F.relu(net.bn(conv(x, 'decoder.aspp.1', 1), 'decoder.aspp.2'))
    low = net.conv_bn_relu(low, 'decoder.block1.0', 'decoder.block1.1', 6)
    x = torch.cat([resize(x, low, True), low], 1)
    x = F.relu(net.bn(conv(x, 'decoder.block2.0', 1), 'decoder.block2.1'))
    return net.conv(x, 'segmentation_head.0', CLASSES, bias=True)


# format, network, whether its resizes align corners
WHOLE = [
    ('torchvision', torchvision_v3, False),
    ('mmseg', mmseg_v3, False),
    ('mmseg', mmseg_v3plus, False),
    ('kazuto', kazuto_v2, False),
    ('kazuto', kazuto_old, False),
    ('vgg', caffe_vgg, True),
    ('vainf', vainf_v3, False),
    ('vainf', vainf_v3plus, False),
    ('vainf', vainf_v3plus_separable, False),
    ('jfzhang95', jfzhang95_v3plus, True),
    ('detectron2', detectron2_v3, False),
    ('detectron2', detectron2_v3plus, False),
    ('detectron2', detectron2_v3plus_separable, False),
    ('smp', smp_v3, True),
    ('smp', smp_v3plus, True),
]


@pytest.mark.parametrize('name, network, align_corners', WHOLE, ids=[network.__name__ for _, network, _ in WHOLE])
@torch.no_grad()
def test_whole_models(name, network, align_corners):
    net = Net()
    expected = network(net, IMAGE)
    assert detect_format(net.state) == name
    conversion = convert_state(net.state)
    assert conversion.holds == ('',)
    assert len(conversion.dropped) == sum(key.startswith('aux') for key in net.state)
    model = build(conversion.model).eval()
    fit_to_model(conversion, model, 'test', [])
    got = model.decode_head(model.backbone(IMAGE))
    assert_same(got, expected)
    assert model.align_corners == align_corners


def backbone_of(conversion):
    """The converted backbone, loaded strictly; its file must hold all of it and nothing else."""
    assert all(key.startswith('backbone.') for key in conversion.state_dict)
    assert 'decode_head' not in conversion.model
    model = build(conversion.model).eval()
    fit_to_model(conversion, model, 'test', [])
    return model['backbone']


@pytest.mark.parametrize('name', ['torchvision', 'mmseg', 'kazuto'])
@torch.no_grad()
def test_resnet_backbones(name):
    """Backbones alone, at output stride 8, with the classifier of their pretraining beside them."""
    net = Net()
    if name == 'torchvision':
        expected = torchvision_resnet(net, IMAGE, '', OS8_OLD)
    elif name == 'mmseg':
        expected = mmseg_backbone(net, IMAGE)
        net.state = {key.removeprefix('backbone.'): value for key, value in net.state.items()}
    else:
        expected = [kazuto_v2(net, IMAGE, begin='')]
        net.state = {key: value for key, value in net.state.items() if 'aspp' not in key}
    net.make('fc.weight', (10, 4))
    net.make('fc.bias', (10,))
    assert detect_format(net.state) == name
    conversion = convert_state(net.state)
    assert set(conversion.dropped) == {'fc.weight', 'fc.bias'}
    conversion.model['backbone']['output_stride'] = 8
    features = backbone_of(conversion)(IMAGE)
    if name != 'kazuto':  # there the whole model is compared above
        for got, wanted in zip(features, expected, strict=True):
            assert_same(got, wanted)


@torch.no_grad()
def test_torchvision_vgg16():
    """The trunk as it is; fc6 and fc7 decimated to LargeFOV's 3x3 positions and 1024 filters."""
    net = Net()
    x, place = IMAGE, 0
    for stage, (count, out) in enumerate(((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)), start=1):
        for _ in range(count):
            x = F.relu(net.conv(x, f'features.{place}', out, 3, rate=2 if stage == 5 else 1, bias=True))
            place += 2
        place += 1
        x = F.max_pool2d(x, 3, 2 if stage < 4 else 1, 1, ceil_mode=True)
    fc6 = torch.randint(-9, 9, (4096, 512, 7, 7), dtype=torch.int8)  # as float32 it takes 400 MB
    net.state['classifier.0.weight'] = fc6.flatten(1)
    for name, shape in (('0.bias', (4096,)), ('3.weight', (4096, 4096)), ('3.bias', (4096,)), ('6.weight', (5, 4096))):
        net.make(f'classifier.{name}', shape, 0.01)
    conversion = convert_state(net.state)
    assert set(conversion.dropped) == {'classifier.6.weight'}
    assert conversion.holds == ('backbone.', 'decode_head.fc6.', 'decode_head.fc7.')
    model = build(conversion.model).eval()
    fit_to_model(conversion, model, 'test', [])
    assert_same(model.backbone(IMAGE)[-1], x)
    assert torch.equal(model.decode_head.fc6.weight[3, :, 2, 1], fc6[12, :, 6, 3].float())
    assert torch.equal(model.decode_head.fc7.weight[5, 7], net.state['classifier.3.weight'][20, 28, None, None])


def timm_xception41(net, x):
    """Features at output stride 32, under timm's names."""

    def sep(x, name, out, stride=1, act=lambda x: x):
        x = net.conv(x, f'{name}.conv_dw', x.shape[1], 3, stride=stride, groups=x.shape[1])
        x = net.conv(act(net.bn(x, f'{name}.bn_dw')), f'{name}.conv_pw', out)
        return act(net.bn(x, f'{name}.bn_pw'))

    for i, (out, stride) in enumerate(((32, 2), (64, 1))):
        x = net.conv_bn_relu(x, f'stem.{i}.conv', f'stem.{i}.bn', out, 3, stride=stride)
    entry = [((c,) * 3, 2) for c in (128, 256, 728)]
    for i, (widths, stride) in enumerate([*entry, *[((728,) * 3, 1)] * 8, ((728, 1024, 1024), 2)]):
        y = x
        for j, width in enumerate(widths, start=1):
            y = sep(F.relu(y), f'blocks.{i}.stack.conv{j}', width, stride if j == 3 else 1)
        if stride == 2:
            name = f'blocks.{i}.shortcut'
            x = net.bn(net.conv(x, f'{name}.conv', widths[-1], stride=2), f'{name}.bn')
        x = x + y
    for j, width in enumerate((1536, 1536, 2048), start=1):
        x = sep(x, f'blocks.12.stack.conv{j}', width, act=F.relu)
    net.make('head.fc.weight', (10, 2048))
    return x


@torch.no_grad()
def test_timm_xception():
    net = Net(eps=1e-3)
    expected = timm_xception41(net, IMAGE)
    assert detect_format(net.state) == 'timm'
    conversion = convert_state(net.state)
    assert set(conversion.dropped) == {'head.fc.weight'}
    conversion.model['backbone']['output_stride'] = 32
    assert_same(backbone_of(conversion)(IMAGE)[-1], expected)


@torch.no_grad()
def test_vainf_mobilenet():
    """Every weight finds its place: features in the interior, which that codebase's padding does not reach."""
    net = Net()
    rows = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    begin = 'backbone.low_level_features.'
    x = F.relu6(net.bn(net.conv(IMAGE, f'{begin}0.0', 32, 3, stride=2), f'{begin}0.1'))
    index, low = 1, None
    for row, (expansion, out, repeats, stride) in enumerate(rows):
        for i in range(repeats):
            begin = f'backbone.{"low" if index < 4 else "high"}_level_features.{index}.conv.'
            y, place = x, 0
            if expansion > 1:
                y = F.relu6(net.bn(net.conv(y, f'{begin}0.0', 6 * x.shape[1]), f'{begin}0.1'))
                place = 1
            s, rate = (stride if i == 0 and row < 5 else 1), (2 if row == 6 or (row == 5 and i) else 1)
            y = net.conv(y, f'{begin}{place}.0', y.shape[1], 3, stride=s, rate=rate, groups=y.shape[1])
            y = F.relu6(net.bn(y, f'{begin}{place}.1'))
            y = net.bn(net.conv(y, f'{begin}{place + 1}', out), f'{begin}{place + 2}')
            x = x + y if x.shape == y.shape else y
            if index == 3:
                low = x
            index += 1
    x = torchvision_aspp(net, x, 'classifier.aspp', (6, 12, 18))
    low = net.conv_bn_relu(low, 'classifier.project.0', 'classifier.project.1', 48)
    x = net.conv_bn_relu(
        torch.cat([low, resize(x, low, False)], 1), 'classifier.classifier.0', 'classifier.classifier.1', 8, 3
    )
    expected = net.conv(x, 'classifier.classifier.3', CLASSES, bias=True)
    conversion = convert_state(net.state)
    assert any('border cells differ' in note for note in conversion.notes)
    model = build(conversion.model).eval()
    fit_to_model(conversion, model, 'test', [])
    assert_same(model.decode_head(model.backbone(IMAGE)), expected)


def test_jfzhang95_xception_gives_the_backbone():
    """Each of the 21 blocks' parameters arrives; sequences begin with a ReLU or, in block1, without."""
    net, expected = Net(), {}

    def sep(theirs, norm, ours, before, after):
        depthwise, pointwise = (before, 1, 3, 3), (after, before, 1, 1)
        for name, target, shape in (('conv1', 'conv_dw', depthwise), ('pointwise', 'conv_pw', pointwise)):
            expected[f'{ours}.{target}.weight'] = net.make(f'{theirs}.{name}.weight', shape)
        for name, target, channels in ((f'{theirs}.bn', 'bn_dw', before), (norm, 'bn_pw', after)):
            for part in ('weight', 'bias', 'running_mean', 'running_var'):
                expected[f'{ours}.{target}.{part}'] = net.make(f'{name}.{part}', (channels,))

    def conv_bn(conv, norm, ours, shape):
        expected[f'{ours}.conv.weight'] = net.make(f'{conv}.weight', shape)
        for part in ('weight', 'bias', 'running_mean', 'running_var'):
            expected[f'{ours}.bn.{part}'] = net.make(f'{norm}.{part}', shape[:1])

    conv_bn('backbone.conv1', 'backbone.bn1', 'backbone.stem.0', (32, 3, 3, 3))
    conv_bn('backbone.conv2', 'backbone.bn2', 'backbone.stem.1', (64, 32, 3, 3))
    channels = 64
    for block in range(1, 21):
        widths = {1: (128,) * 3, 2: (256,) * 3, 20: (728, 1024, 1024)}.get(block, (728,) * 3)
        before = channels
        for i, width in enumerate(widths):
            place = 3 * i + (block > 1)
            rep = f'backbone.block{block}.rep.'
            sep(f'{rep}{place}', f'{rep}{place + 1}', f'backbone.blocks.{block - 1}.stack.conv{i + 1}', before, width)
            before = width
        if block in (1, 2, 3, 20):
            skip = f'backbone.block{block}.skip'
            conv_bn(skip, f'{skip}bn', f'backbone.blocks.{block - 1}.shortcut', (widths[-1], channels, 1, 1))
        channels = widths[-1]
    for i, width in enumerate((1536, 1536, 2048)):
        sep(f'backbone.conv{i + 3}', f'backbone.bn{i + 3}', f'backbone.blocks.20.stack.conv{i + 1}', channels, width)
        channels = width
    net.make('aspp.aspp1.atrous_conv.weight', (1,))
    conversion = convert_state(net.state)
    assert set(conversion.dropped) == {'aspp.aspp1.atrous_conv.weight'}
    state = backbone_of(conversion).state_dict()
    for name, value in expected.items():
        assert torch.equal(state[name.removeprefix('backbone.')], value), name
    assert any('the head is not' in note for note in conversion.notes)


def test_refusals():
    with pytest.raises(ValueError, match='layout is not recognised.*Known'):
        convert_state({'a.weight': torch.zeros(1)})
    with pytest.raises(ValueError, match='unknown format .caffe.; choose auto or one of'):
        convert_state({'a.weight': torch.zeros(1)}, 'caffe')
    with pytest.raises(ValueError, match='MobileNetV3 is no backbone of the DeepLab papers'):
        convert_state({'classifier.0.convs.0.0.weight': torch.zeros(1), 'backbone.0.0.weight': torch.zeros(1)})
    net = Net()
    torchvision_v3(net, IMAGE)
    with pytest.raises(ValueError, match=r'1 of \d+ parameters are unknown.*extra\.weight'):
        convert_state({**net.state, 'extra.weight': torch.zeros(1)})
    shallow = {name: value for name, value in net.state.items() if not name.startswith('backbone.layer3.5')}
    with pytest.raises(ValueError, match='block3 of this ResNet has 5 bottleneck units.*ResNet-18'):
        convert_state(shallow)


SIZES = {'model.backbone.depth', 'model.backbone.base_channels', 'model.decode_head.num_classes'}


@pytest.mark.parametrize(
    'network, config, others',
    [
        (torchvision_v3, 'deeplabv3_r101_voc_torchvision', {'model.decode_head.channels'}),
        (kazuto_v2, 'deeplabv2_r101_voc', {'model.decode_head.align_corners'}),  # the paper's is True
        (caffe_vgg, 'deeplabv1_vgg16_voc', set()),
    ],
)
@torch.no_grad()
def test_configs_for_public_weights(network, config, others, repo):
    """These configs differ from what their public weights need in the sizes of this test's small network only."""
    net = Net()
    network(net, IMAGE)
    model = Config.fromfile(repo / f'configs/{config}.py').model
    lines = options_that_differ(convert_state(net.state).model, model)
    assert {line.split('=')[0] for line in lines} - SIZES == others, lines


def test_another_config_is_told_the_options(tmp_path):
    """A file that does not fit --config names each option to change; a report without one prints the whole config."""
    net = Net()
    vainf_v3plus(net, IMAGE)
    torch.save(dict(model_state=net.state, best_score=0.7), tmp_path / 'vainf.pth')
    text = convert_file(tmp_path / 'vainf.pth', tmp_path / 'out.pth')
    assert 'decoder_kernels=(' in text and 'The config that fits it' in text
    assert load_file(tmp_path / 'out.pth')['meta']['converted_from'] == 'vainf.pth'
    config = """model = dict(
        type='DeepLab', norm_cfg=dict(type='SyncBN'), data_preprocessor={preprocessor},
        backbone=dict(type='DeepLabResNet', depth=50, base_channels=4, multi_grid=(1, 2, 4)),
        decode_head=dict(type='DeepLabV3PlusHead', num_classes={classes}, channels=8, decoder_channels=8,
                         decoder_kernels={kernels}, align_corners=False))"""
    values = dict(preprocessor=dict(IMAGENET, type='SegDataPreProcessor'), classes=CLASSES, kernels=(3, 3))
    (tmp_path / 'config.py').write_text(config.format(**values))
    message = r'(?s)decode_head\.decoder.*What to do.*decoder_kernels=\(3,\)  \(the config has \(3, 3\)\)'
    with pytest.raises(CheckpointMismatchError, match=message):
        convert_file(tmp_path / 'vainf.pth', tmp_path / 'no.pth', 'vainf', tmp_path / 'config.py')
    assert not (tmp_path / 'no.pth').exists()
    (tmp_path / 'config.py').write_text(config.format(**dict(values, kernels=(3,))))
    text = convert_file(tmp_path / 'vainf.pth', tmp_path / 'yes.safetensors', 'auto', tmp_path / 'config.py')
    assert 'made with other options' in text
    assert 'model.backbone.multi_grid=None  (the config has (1, 2, 4))' in text
    assert text.count('(the config has') == 1
    assert len(load_file(tmp_path / 'yes.safetensors')['state_dict']) == len(net.state)


def test_sources_with_code_are_refused(tmp_path):
    torch.save(dict(state_dict=torch.nn.Linear(1, 1)), tmp_path / 'code.pth')
    with pytest.raises(ValueError, match='refused'):
        convert_file(tmp_path / 'code.pth', tmp_path / 'out.pth')
    np.savez(tmp_path / 'code.npz', a=np.array([print], dtype=object))
    with pytest.raises(ValueError, match=r'code\.npz is damaged or no archive of plain arrays.*allow_pickle'):
        convert_file(tmp_path / 'code.npz', tmp_path / 'out.pth')
    with pytest.raises(FileNotFoundError, match=r'there is no checkpoint .*none\.npz'):
        convert_file(tmp_path / 'none.npz', tmp_path / 'out.pth')


def test_the_tool(tmp_path, repo, monkeypatch, capsys):
    def tool(*args):
        monkeypatch.setattr('sys.argv', ['convert_checkpoint.py', *map(str, args)])
        runpy.run_path(str(repo / 'tools/convert_checkpoint.py'), run_name='__main__')

    net = Net()
    kazuto_v2(net, IMAGE)
    torch.save(net.state, tmp_path / 'kazuto.pth')
    tool(tmp_path / 'kazuto.pth', tmp_path / 'out.pth')
    assert "type='DeepLabV2Head'" in capsys.readouterr().out
    assert 'decode_head.classifiers.3.bias' in load_file(tmp_path / 'out.pth')['state_dict']
    with pytest.raises(SystemExit, match='error: .*unknown in the layout of torchvision'):
        tool(tmp_path / 'kazuto.pth', tmp_path / 'no.pth', '--from', 'torchvision')
    assert not (tmp_path / 'no.pth').exists()


def test_every_format_is_tested():
    assert {name for name, _, _ in WHOLE} | {'timm', 'tensorflow'} == set(FORMATS)
