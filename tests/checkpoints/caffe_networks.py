"""DeepLab v1 and v2 as the release's prototxt files define them, in plain functions, under their names in Caffe."""

import torch
import torch.nn.functional as F
from plain_network import OS8_NEW, Net, resize, resnet
from source_networks import CLASSES

FACTOR = 999.982
"""What the sums of Caffe's moving averages end up with."""


class CaffeNet(Net):
    """Batch norm as Caffe's two layers: BatchNorm, which keeps sums and their factor, and Scale."""

    def bn(self, x, name, eps=1e-5, names=None):
        n, scale = (x.shape[1],), name.replace('bn', 'scale', 1)
        factor = self.state.setdefault(f'{name}.factor', torch.tensor([FACTOR]))
        mean = self.make(f'{name}.running_mean', n, 0.1 * FACTOR) / factor
        var = self.make(f'{name}.running_var', n, 0.1 * FACTOR, FACTOR).abs_() / factor
        gamma, beta = self.make(f'{scale}.weight', n, 0.1, 1), self.make(f'{scale}.bias', n, 0.1)
        return (x - mean[:, None, None]) / (var[:, None, None] + eps).sqrt() * gamma[:, None, None] + beta[
            :, None, None
        ]


def caffe_v2(net, x):
    """v2 on a ResNet, one scale: deeplabv2_resnet101's resolution 1."""
    x = net.conv_bn_relu(x, 'conv1', 'bn_conv1', 64, 7, stride=2)
    x = F.max_pool2d(x, 3, 2, 1, ceil_mode=True)
    branches = {1: '2a', 2: '2b', 3: '2c', 'shortcut': '1'}

    def name(kind):
        def of(s, u, part):
            unit = ('a' if u == 0 else f'b{u}') if s in (1, 2) else 'abc'[u]
            return f'{kind}{s + 2}{unit}_branch{branches[part]}'

        return of

    x = resnet(net, x, OS8_NEW, name('res'), name('bn'), stride_in='1x1')[-1]
    rates = enumerate((6, 12, 18, 24))
    return sum(net.conv(x, f'fc1_voc12_c{i}', CLASSES, 3, rate=rate, bias=True) for i, rate in rates)


def caffe_v2_msc(net, x):
    """Its three scales, fused by their maximum; Interp puts corners on corners."""
    logits = caffe_v2(net, x)
    for scale in (0.75, 0.5):
        size = [round((side - 1) * scale) + 1 for side in x.shape[2:]]
        smaller = F.interpolate(x, size, mode='bilinear', align_corners=True)
        logits = torch.maximum(logits, resize(caffe_v2(net, smaller), logits, True))
    return logits


def with_copies(state):
    """The parameters as Caffe saves them: those of the scaled inputs once more."""
    copies = {}
    for name, value in state.items():
        copies[name] = value
        title, part = name.split('.')
        for scale in ('res05', 'res075'):
            if title.startswith('fc1'):
                copies[f'fc1_voc12_{scale}_{title[-2:]}.{part}'] = value
            else:
                copies[f'{title}_{scale}.{part}'] = value
    return copies


def trunk(net, x):
    """VGG-16 at stride 8; what MSc taps, and pool5."""
    taps = [x]
    for stage, (count, out) in enumerate(((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)), start=1):
        for i in range(count):
            x = F.relu(net.conv(x, f'conv{stage}_{i + 1}', out, 3, rate=2 if stage == 5 else 1, bias=True))
        x = F.max_pool2d(x, 3, 2 if stage < 4 else 1, 1, ceil_mode=True)
        taps.append(x)
    return taps


def caffe_largefov(net, taps):
    x = F.avg_pool2d(taps[-1], 3, 1, 1)
    x = F.relu(net.conv(x, 'fc6', 1024, 3, rate=12, bias=True))
    x = F.relu(net.conv(x, 'fc7', 1024, bias=True))
    return net.conv(x, 'fc8_voc12', CLASSES, bias=True)


def caffe_v1_msc(net, x):
    """DeepLab-MSc-LargeFOV's test.prototxt: all at the size of the image."""
    taps = trunk(net, x)
    total = resize(caffe_largefov(net, taps), x, True)
    for name, tap in zip(('data', 'pool1', 'pool2', 'pool3', 'pool4'), taps, strict=False):
        tap = F.relu(net.conv(tap, f'{name}_conv', 128, 3, bias=True))
        tap = F.relu(net.conv(tap, f'{name}_fc', 128, bias=True))
        total = total + resize(net.conv(tap, f'{name}_ms', CLASSES, bias=True), x, True)
    return total


def caffe_v2_vgg(net, x, width=16):
    """deeplabv2_vgg16, with fewer channels in fc6 and fc7."""
    x, total = trunk(net, x)[-1], 0
    for i, rate in enumerate((6, 12, 18, 24), start=1):
        y = F.relu(net.conv(x, f'fc6_{i}', width, 3, rate=rate, bias=True))
        y = F.relu(net.conv(y, f'fc7_{i}', width, bias=True))
        total = total + net.conv(y, f'fc8_voc12_{i}', CLASSES, bias=True)
    return total
