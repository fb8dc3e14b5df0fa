"""MobileNetV2 of other codebases in plain functions, under their published names; and their DeepLab on it."""

import torch
import torch.nn.functional as F
from plain_network import torchvision_aspp
from source_networks import CLASSES, jfzhang95_head, mmseg_head, smp_plus_head, vainf_plus_head

# expansion, channels, repeats, stride (MobileNetV2, Table 2)
ROWS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def residuals(net, x, names, rates, strides, width=0.25, pad_input=False, same=False):
    """Features after each row.

    Args:
        names: (number of the residual, part) -> names of its convolution and batch norm; a part is one of 'expand',
            'depthwise' and 'project'.
        rates: (row, unit) -> rate of the depthwise convolution.
        strides: Of the first unit of each row.
        same: Whether odd paddings have their larger side last, as TensorFlow's.
    """
    features, number = [], 0
    for row, (expansion, base, repeats, _) in enumerate(ROWS):
        out = max(8, int(base * width + 4) // 8 * 8)
        for unit in range(repeats):
            stride, rate = (strides[row] if unit == 0 else 1), rates(row, unit)
            y = F.pad(x, [rate] * 4) if pad_input else x
            if expansion > 1:
                conv, bn = names(number, 'expand')
                y = F.relu6(net.bn(net.conv(y, conv, expansion * x.shape[1]), bn))
            conv, bn = names(number, 'depthwise')
            if same and stride == 2:
                y = F.pad(y, [1 - (y.shape[3] % 2 == 0), 1, 1 - (y.shape[2] % 2 == 0), 1])
            pad = 0 if pad_input or (same and stride == 2) else rate
            y = net.conv(y, conv, y.shape[1], 3, stride=stride, rate=rate, groups=y.shape[1], pad=pad)
            conv, project = names(number, 'project')[0], F.relu6(net.bn(y, bn))
            y = net.bn(net.conv(project, conv, out), names(number, 'project')[1])
            x = x + y if x.shape == y.shape else y
            number += 1
        features.append(x)
    return features


def torchvision_names(begin):
    def names(number, part):
        inner = f'{begin}.{number + 1}.conv.'
        place = ('expand', 'depthwise', 'project').index(part) - (number == 0)
        return (
            (f'{inner}{place}', f'{inner}{place + 1}')
            if part == 'project'
            else (
                f'{inner}{place}.0',
                f'{inner}{place}.1',
            )
        )

    return names


def smp_mobilenet(net, x, stage_rates=(1, 2), strides=(1, 2, 2, 2, 1, 1, 1)):
    """Rates of the stages at stride 16 and 32: all convolutions of a stage have its rate."""

    def rates(row, unit):
        return 1 if row < 3 else stage_rates[row > 4]

    x = F.relu6(net.bn(net.conv(x, 'encoder.features.0.0', 8, 3, stride=2), 'encoder.features.0.1'))
    rows = residuals(net, x, torchvision_names('encoder.features'), rates, strides)
    x = F.relu6(net.bn(net.conv(rows[-1], 'encoder.features.18.0', 1280), 'encoder.features.18.1'))
    return rows[1], x


def smp_mobilenet_v3plus(net, x):
    low, x = smp_mobilenet(net, x)
    return smp_plus_head(net, x, low)


def smp_mobilenet_v3(net, x):
    """Names of version 0.6."""
    _, x = smp_mobilenet(net, x, (2, 4), (1, 2, 2, 1, 1, 1, 1))
    x = torchvision_aspp(net, x, 'decoder.aspp', (12, 24, 36))
    x = net.conv_bn_relu(x, 'decoder.conv', 'decoder.bn', 8, 3)
    net.make('classification_head.3.weight', (2, 1280))
    return net.conv(x, 'segmentation_head.0', CLASSES, bias=True)


def vainf_mobilenet(net, x):
    """Its stem is not padded, and each residual pads its input: after expansion, the border is what its bias makes."""

    def names(number, part):
        level = 'low' if number < 3 else 'high'
        return torchvision_names(f'backbone.{level}_level_features')(number, part)

    def rates(row, unit):
        return 2 if row == 6 or (row == 5 and unit) else 1

    begin = 'backbone.low_level_features.0'
    x = F.relu6(net.bn(net.conv(x, f'{begin}.0', 32, 3, stride=2, pad=0), f'{begin}.1'))
    rows = residuals(net, x, names, rates, (1, 2, 2, 2, 1, 1, 1), width=1.0, pad_input=True)
    return vainf_plus_head(net, rows[-1], rows[1])


def jfzhang95_mobilenet(net, x):
    """Each residual pads its input; a row that lost its stride keeps the old rate in all of its units."""

    def names(number, part):
        place = 3 * (('expand', 'depthwise', 'project').index(part) - (number == 0))
        begin = f'backbone.features.{number + 1}.conv.'
        return f'{begin}{place}', f'{begin}{place + 1}'

    x = F.relu6(net.bn(net.conv(x, 'backbone.features.0.0', 32, 3, stride=2), 'backbone.features.0.1'))
    rows = residuals(net, x, names, lambda row, unit: 1 + (row == 6), (1, 2, 2, 2, 1, 1, 1), width=1.0, pad_input=True)
    logits = jfzhang95_head(net, rows[-1], rows[1])
    for name in [name for name in net.state if name.startswith('backbone.features.')]:
        level = 'low' if int(name.split('.')[2]) < 4 else 'high'  # its file has all of them twice
        net.state[name.replace('features', f'{level}_level_features', 1)] = net.state[name]
    return logits


def mmseg_mobilenet_v3plus(net, x):
    """m-v2-d8: strides (1, 2, 2, 1, 1, 1, 1), dilations (1, 1, 1, 2, 2, 4, 4), of the first unit of a row."""
    units = [(row, unit) for row, (_, _, repeats, _) in enumerate(ROWS, start=1) for unit in range(repeats)]

    def names(number, part):
        row, unit = units[number]
        place = ('expand', 'depthwise', 'project').index(part) - (number == 0)
        begin = f'backbone.layer{row}.{unit}.conv.{place}'
        return f'{begin}.conv', f'{begin}.bn'

    x = F.relu6(net.bn(net.conv(x, 'backbone.conv1.conv', 8, 3, stride=2), 'backbone.conv1.bn'))
    dilations = (1, 1, 1, 2, 2, 4, 4)
    rows = residuals(net, x, names, lambda row, unit: 1 if unit else dilations[row], (1, 2, 2, 1, 1, 1, 1))
    return mmseg_head(net, rows[1:], separable=True)


def huggingface_v3(net, x):
    """Google's file: output stride 8, TensorFlow's padding, eps 1e-3 in the backbone and 1e-5 in the head."""
    parts = dict(expand='expand_1x1', depthwise='conv_3x3', project='reduce_1x1')

    def names(number, part):
        begin = f'mobilenet_v2.layer.{number - 1}' if number else 'mobilenet_v2.conv_stem'
        return tuple(f'{begin}.{parts[part]}.{kind}' for kind in ('convolution', 'normalization'))

    def rates(row, unit):
        """The stride that a row lost counts from its second unit on."""
        before = (1, 1, 1, 1, 2, 2, 4)[row]
        return 2 * before if row in (3, 5) and unit else before

    begin = 'mobilenet_v2.conv_stem.first_conv'
    net.eps = 1e-3
    x = F.pad(x, [1 - (x.shape[3] % 2 == 0), 1, 1 - (x.shape[2] % 2 == 0), 1])
    x = F.relu6(net.bn(net.conv(x, f'{begin}.convolution', 8, 3, stride=2, pad=0), f'{begin}.normalization'))
    x = residuals(net, x, names, rates, (1, 2, 2, 1, 1, 1, 1), same=True)[-1]
    net.make('mobilenet_v2.conv_1x1.convolution.weight', (1280, x.shape[1], 1, 1))
    net.eps = 1e-5

    def conv(x, name):
        return net.conv_bn_relu(
            x, f'segmentation_head.{name}.convolution', f'segmentation_head.{name}.normalization', 8
        )

    y = conv(x, 'conv_aspp')
    pooled = conv(x.mean((2, 3), keepdim=True), 'conv_pool').expand_as(y)
    x = conv(torch.cat([pooled, y], 1), 'conv_projection')
    return net.conv(x, 'segmentation_head.classifier.convolution', CLASSES, bias=True)
