"""PaddleSeg's DeepLabV3P and DeepLabV3 on ResNet_vd in plain functions, under their published names."""

import torch
import torch.nn.functional as F
from plain_network import OS8_NEW, plan, resize
from source_networks import CLASSES

NORM = ('weight', 'bias', '_mean', '_variance')
PUBLISHED = [*OS8_NEW[:3], [(1, 4), (1, 8), (1, 16)]]
"""Output stride 8, multi-grid 1, 2, 4."""
NOMINAL = plan(((1, 1), 1), ((2, 1), 1), ((2, 1), 1), ((2, 1), 1))


def conv_bn(net, x, name, out, k=1, **kwargs):
    return net.bn(net.conv(x, f'{name}._conv', out, k, **kwargs), f'{name}._batch_norm', names=NORM)


def conv_bn_relu(net, x, name, out, k=1, bias=True, **kwargs):
    """Those of the heads have a bias before their batch norm."""
    return F.relu(conv_bn(net, x, name, out, k, bias=bias, **kwargs))


def separable(net, x, name, out, rate=1):
    """Without ReLU between its halves; the second is spelled so."""
    x = conv_bn(net, x, f'{name}.depthwise_conv', x.shape[1], 3, rate=rate, groups=x.shape[1], bias=True)
    return conv_bn_relu(net, x, f'{name}.piontwise_conv', out)


def averaged(x):
    """Means of 2x2 cells, at the far borders of those that there are: what border there is, is doubled."""
    x = F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2), mode='replicate')
    return (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / 4


def resnet_vd(net, x, begin='', stages=NOMINAL, width=4):
    for i, (out, stride) in enumerate(((32, 2), (32, 1), (64, 1)), start=1):
        x = conv_bn_relu(net, x, f'{begin}conv1_{i}', out, 3, bias=False, stride=stride)
    x = F.max_pool2d(x, 3, 2, 1)
    features = []
    for s, units in enumerate(stages):
        for u, (stride, rate) in enumerate(units):
            name, out = f'{begin}bb_{s}_{u}', width * 2**s
            y = conv_bn_relu(net, x, f'{name}.conv0', out, bias=False)
            y = conv_bn_relu(net, y, f'{name}.conv1', out, 3, bias=False, stride=stride, rate=rate)
            y = conv_bn(net, y, f'{name}.conv2', 4 * out)
            if u == 0:
                x = conv_bn(net, averaged(x) if stride == 2 else x, f'{name}.short', 4 * out)
            x = F.relu(x + y)
        features.append(x)
    return features


def aspp(net, x, rates, branch):
    parts = [conv_bn_relu(net, x, 'head.aspp.aspp_blocks.0', 8)]
    parts += [branch(net, x, f'head.aspp.aspp_blocks.{i}', 8, rate=rate) for i, rate in enumerate(rates, start=1)]
    pooled = conv_bn_relu(net, x.mean((2, 3), keepdim=True), 'head.aspp.global_avg_pool.1', 8, bias=False)
    return conv_bn_relu(net, torch.cat([*parts, pooled.expand_as(parts[0])], 1), 'head.aspp.conv_bn_relu', 8)


def v3plus(net, x, stages=PUBLISHED, rates=(12, 24, 36), align_corners=False, classes=CLASSES):
    low, *_, x = resnet_vd(net, x, 'backbone.', stages)
    x = aspp(net, x, rates, separable)
    low = conv_bn_relu(net, low, 'head.decoder.conv_bn_relu1', 6)
    x = torch.cat([resize(x, low, align_corners), low], 1)
    x = separable(net, separable(net, x, 'head.decoder.conv_bn_relu2', 8), 'head.decoder.conv_bn_relu3', 8)
    return net.conv(x, 'head.decoder.conv', classes, bias=True)


def v3(net, x):
    def branch(net, x, name, out, rate):
        return conv_bn_relu(net, x, name, out, 3, rate=rate)

    x = aspp(net, resnet_vd(net, x, 'backbone.', PUBLISHED)[-1], (12, 24, 36), branch)
    return net.conv(x, 'head.cls', CLASSES, bias=True)
