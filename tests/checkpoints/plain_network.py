"""Networks in plain torch.nn.functional that make their parameters, under published names, as they go.

Running one gives both sides of a converter's test: the state dict of a codebase's layout, with seeded values, and the
output that the converted model must give.
"""

import torch
import torch.nn.functional as F

TORCH_NORM = ('weight', 'bias', 'running_mean', 'running_var')
R50 = (3, 4, 6, 3)


class Net:
    """A state dict that grows."""

    def __init__(self, eps=1e-5, state=None):
        self.state = {} if state is None else state
        self.eps = eps
        self.random = torch.Generator().manual_seed(0)

    def make(self, name, shape, scale=1.0, shift=0.0):
        if name not in self.state:
            self.state[name] = torch.randn(shape, generator=self.random) * scale + shift
        return self.state[name]

    def conv(self, x, name, out, k=1, stride=1, rate=1, groups=1, bias=False, pad=None):
        fan = x.shape[1] // groups * k * k
        weight = self.make(f'{name}.weight', (out, x.shape[1] // groups, k, k), (2 / fan) ** 0.5)
        offset = self.make(f'{name}.bias', (out,), 0.1) if bias else None
        return F.conv2d(x, weight, offset, stride, rate * (k - 1) // 2 if pad is None else pad, rate, groups)

    def bn(self, x, name, eps=None, names=TORCH_NORM):
        n = (x.shape[1],)
        scale = self.make(f'{name}.{names[0]}', n, 0.1, 1)
        shift, mean = self.make(f'{name}.{names[1]}', n, 0.1), self.make(f'{name}.{names[2]}', n, 0.1)
        var = self.make(f'{name}.{names[3]}', n, 0.1, 1).abs_()
        if names is TORCH_NORM:
            self.state.setdefault(f'{name}.num_batches_tracked', torch.tensor(5))
        return F.batch_norm(x, mean, var, scale, shift, eps=eps or self.eps)

    def conv_bn_relu(self, x, conv, bn, out, k=1, **kwargs):
        return F.relu(self.bn(self.conv(x, conv, out, k, **kwargs), bn))


def plan(*stages):
    """Units of ResNet-50: each stage's first (stride, rate) and the rate of the others."""
    return [[first, *[(1, rate)] * (n - 1)] for n, (first, rate) in zip(R50, stages, strict=True)]


OS8_OLD = plan(((1, 1), 1), ((2, 1), 1), ((1, 1), 2), ((1, 2), 4))
OS8_NEW = plan(((1, 1), 1), ((2, 1), 1), ((1, 2), 2), ((1, 4), 4))
OS16_OLD = plan(((1, 1), 1), ((2, 1), 1), ((2, 1), 1), ((1, 1), 2))
OS16_NEW = plan(((1, 1), 1), ((2, 1), 1), ((2, 1), 1), ((1, 2), 2))
OS16_GRID = [*OS16_NEW[:3], [(1, 2), (1, 4), (1, 8)]]


def resnet(net, x, stages, conv, bn, width=4, stride_in='3x3'):
    """Bottlenecks; `conv(stage, unit, part)` and `bn(...)` name the parts 1, 2, 3 and 'shortcut', counting from 0."""
    features = []
    for s, units in enumerate(stages):
        for u, (stride, rate) in enumerate(units):
            w = width * 2**s
            first, second = (stride, 1) if stride_in == '1x1' else (1, stride)
            y = net.conv_bn_relu(x, conv(s, u, 1), bn(s, u, 1), w, stride=first)
            y = net.conv_bn_relu(y, conv(s, u, 2), bn(s, u, 2), w, 3, stride=second, rate=rate)
            y = net.bn(net.conv(y, conv(s, u, 3), 4 * w), bn(s, u, 3))
            if u == 0:
                x = net.bn(net.conv(x, conv(s, u, 'shortcut'), 4 * w, stride=stride), bn(s, u, 'shortcut'))
            x = F.relu(x + y)
        features.append(x)
    return features


def torchvision_stages(net, x, begin, stages):
    """Bottlenecks under torchvision's names."""

    def conv(s, u, part):
        return f'{begin}layer{s + 1}.{u}.' + ('downsample.0' if part == 'shortcut' else f'conv{part}')

    def bn(s, u, part):
        return f'{begin}layer{s + 1}.{u}.' + ('downsample.1' if part == 'shortcut' else f'bn{part}')

    return resnet(net, x, stages, conv, bn)


def torchvision_resnet(net, x, begin, stages, ceil_mode=False):
    """Stem and bottlenecks under torchvision's names."""
    x = net.conv_bn_relu(x, f'{begin}conv1', f'{begin}bn1', 64, 7, stride=2)
    return torchvision_stages(net, F.max_pool2d(x, 3, 2, 1, ceil_mode=ceil_mode), begin, stages)


def torchvision_aspp(net, x, begin, rates, channels=8, branch=None):
    """ASPP with the pooled branch last; `branch` makes a 3x3 one."""
    branch = branch or (lambda x, name, rate: net.conv(x, name, channels, 3, rate=rate))
    parts = [net.conv_bn_relu(x, f'{begin}.convs.0.0', f'{begin}.convs.0.1', channels)]
    for i, rate in enumerate(rates, start=1):
        parts.append(F.relu(net.bn(branch(x, f'{begin}.convs.{i}.0', rate), f'{begin}.convs.{i}.1')))
    pooled = x.mean((2, 3), keepdim=True)
    pooled = net.conv_bn_relu(pooled, f'{begin}.convs.4.1', f'{begin}.convs.4.2', channels)
    parts.append(pooled.expand_as(parts[0]))
    return net.conv_bn_relu(torch.cat(parts, 1), f'{begin}.project.0', f'{begin}.project.1', channels)


def resize(x, like, align_corners):
    """Bilinear resize to the size of another map."""
    return F.interpolate(x, like.shape[2:], mode='bilinear', align_corners=align_corners)


def assert_same(got, expected):
    """Equal up to float32 rounding in a deep network, relative to the spread of the values."""
    assert got.shape == expected.shape
    assert expected.std() > 0.01  # the comparison is of something
    assert (got - expected).abs().max() < 2e-4 * expected.std(), ((got - expected).abs().max(), expected.std())
