"""The networks of other codebases in plain functions, under their published parameter names."""

import torch
import torch.nn.functional as F
from plain_network import (
    OS8_NEW,
    OS8_OLD,
    OS16_GRID,
    OS16_NEW,
    OS16_OLD,
    resize,
    resnet,
    torchvision_aspp,
    torchvision_resnet,
    torchvision_stages,
)

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
    return torchvision_stages(net, F.max_pool2d(x, 3, 2, 1), 'backbone.', OS8_OLD)


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
    return vainf_plus_head(net, x, low, vainf_separable(net) if separable else None)


def vainf_plus_head(net, x, low, conv=None):
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
    return jfzhang95_head(net, x, low)


def jfzhang95_head(net, x, low):
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


def jfzhang95_xception(net, x, output_stride=16):
    """Its ReLUs work in place, also on what the shortcut reads afterwards."""

    def sep(x, name, norm, out, stride=1, rate=1):
        x = net.conv(x, f'{name}.conv1', x.shape[1], 3, stride=stride, rate=rate, groups=x.shape[1])
        return net.bn(net.conv(net.bn(x, f'{name}.bn'), f'{name}.pointwise', out), norm)

    x = net.conv_bn_relu(x, 'backbone.conv1', 'backbone.bn1', 32, 3, stride=2)
    x = net.conv_bn_relu(x, 'backbone.conv2', 'backbone.bn2', 64, 3)
    for block in range(1, 21):
        stride = 2 if block < (4 if output_stride == 16 else 3) else 1
        rate = 16 // output_stride if block > 3 else 1
        y, place = x, 0
        for i, out in enumerate({1: (128,) * 3, 2: (256,) * 3, 20: (728, 1024, 1024)}.get(block, (728,) * 3)):
            if i or block > 2:
                y, place = F.relu_(y), place + 1
            name = f'backbone.block{block}.rep.{place}'
            # The block that would stride at 32 appends its third convolution with a rate of 1.
            rates = 1 if block == 20 and i == 2 else rate
            y = sep(y, name, f'backbone.block{block}.rep.{place + 1}', out, stride if i == 2 else 1, rates)
            place += 2
        if block in (1, 2, 3, 20):
            name = f'backbone.block{block}.skip'
            x = net.bn(net.conv(x, name, out, stride=stride), f'{name}bn')
        x = x + y
        if block == 1:
            low = x = F.relu_(x)
    x = F.relu_(x)
    for i, out in enumerate((1536, 1536, 2048), start=3):
        x = F.relu(sep(x, f'backbone.conv{i}', f'backbone.bn{i}', out, rate=32 // output_stride))
    return jfzhang95_head(net, x, low)


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
    return smp_plus_head(net, x, low)


def smp_plus_head(net, x, low):
    conv = smp_separable(net)
    x = torchvision_aspp(net, x, 'decoder.aspp.0', (12, 24, 36), branch=conv)
    x = F.relu(net.bn(conv(x, 'decoder.aspp.1', 1), 'decoder.aspp.2'))
    low = net.conv_bn_relu(low, 'decoder.block1.0', 'decoder.block1.1', 6)
    x = torch.cat([resize(x, low, True), low], 1)
    x = F.relu(net.bn(conv(x, 'decoder.block2.0', 1), 'decoder.block2.1'))
    return net.conv(x, 'segmentation_head.0', CLASSES, bias=True)


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
