"""Caffe: DeepLab v2 on ResNet-101 as released, and the ImageNet ResNets that have the same names.

Layers are `conv1`, `bn_conv1`, `scale_conv1`, `res4b3_branch2a` with `bn4b3_branch2a` and `scale4b3_branch2a`, and
`fc1_voc12_c0` to `c3`; those for inputs at half and three quarters of the size end in `_res05` and `_res075` and have
the same weights.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ...errors import UserError
from .rules import BACKBONE_ONLY, CAFFE, RELEASE_SIZES, Conversion, Rule, apply_rules, deeplab, resnet

COPY = re.compile(r'_res0(5|75)(?=[_.])')
BRANCHES = {
    '1': ('downsample.0', 'downsample.1'),
    '2a': ('conv1', 'bn1'),
    '2b': ('conv2', 'bn2'),
    '2c': ('conv3', 'bn3'),
}
"""Of a unit, its convolution and batch norm here."""
ASPP_L = (6, 12, 18, 24)


def _layer(match: re.Match) -> str:
    """Name here of a unit's parameter: groups kind, block, letter, number, branch and parameter.

    Units are named a, b, c or, where there are many, a, b1, b2.
    """
    kind, block, letter, number, branch, parameter = match.groups()
    unit = int(number) if number else ord(letter) - ord('a')
    return f'backbone.layer{int(block) - 1}.{unit}.{BRANCHES[branch][kind != "res"]}.{parameter}'


RULES = (
    Rule(r'fc1000\.\w+', dropped='ImageNet classifier'),
    Rule(r'conv1\.weight', 'backbone.conv1.weight'),
    Rule(r'(?:bn|scale)_conv1\.(\w+)', r'backbone.bn1.\1'),
    Rule(r'(res)([2-5])([a-z])(\d*)_branch(1|2[abc])\.(weight)', _layer),
    Rule(r'(bn|scale)([2-5])([a-z])(\d*)_branch(1|2[abc])\.(\w+)', _layer),
    Rule(r'fc1_\w+_c(\d)\.(\w+)', r'decode_head.classifiers.\1.\2'),
    Rule(r'fc1(?:_\w+)?\.(\w+)', r'decode_head.classifiers.0.\1'),
)


def recognises(state: Mapping[str, Tensor]) -> bool:
    """Whether it has the first unit of a ResNet in Caffe's names."""
    return 'res2a_branch1.weight' in state


def convert(state: Mapping[str, Tensor]) -> Conversion:
    """Convert DeepLab v2, or a ResNet."""
    single, copies = _without_copies(state)
    converted, dropped = apply_rules(RULES, _averaged(single), 'caffe')
    dropped |= copies
    backbone = resnet(converted, strided_conv='1x1', rate_of_lost_stride='new', ceil_mode=True)
    classifiers = [value for name, value in converted.items() if re.match(r'decode_head\..*weight', name)]
    if not classifiers:
        return Conversion(converted, deeplab(backbone, None, 8, CAFFE), dropped, BACKBONE_ONLY)
    notes = []
    rates = ASPP_L[: len(classifiers)]
    if len(classifiers) == 1:
        rates = (12,) if classifiers[0].shape[-1] > 1 else ()
        notes.append(f"Of one classifier the rates are those of the paper's {'LargeFOV' if rates else 'plain network'}")
    scales: dict[str, Any] = dict(multi_scale_inputs=(1.0, 0.75, 0.5), scaled_size='corners') if copies else {}
    if not copies:
        notes.append(SINGLE)
    head = dict(type='DeepLabV2Head', num_classes=len(classifiers[0]), rates=rates, align_corners=True)
    return Conversion(converted, deeplab(backbone, head, 8, CAFFE, RELEASE_SIZES, **scales), dropped, notes=notes)


SINGLE = (
    'The file has no layers for scaled inputs, so the model has one scale; the release has three: '
    'model.multi_scale_inputs=(1.0, 0.75, 0.5)'
)


def _without_copies(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The parameters without those of the scaled inputs, which share them, and the names of these."""
    kept, copies = {}, {}
    for name, value in state.items():
        shared = COPY.sub('', name)
        if shared == name:
            kept[name] = value
        elif shared in state and torch.equal(value, state[shared]):
            copies[name] = 'the same weights once more, for a scaled input'
        else:
            raise UserError(f'{name} is not as {shared}, but the scaled inputs of DeepLab v2 share all weights')
    return kept, copies


def _averaged(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Means and variances of sums, which Caffe's BatchNorm keeps; of a factor of 0 it makes 0."""
    result = dict(state)
    for name in [name for name in state if name.endswith('.factor')]:
        layer, factor = name.removesuffix('.factor'), result.pop(name)
        parts = [f'{layer}.running_mean', f'{layer}.running_var']
        if factor.numel() != 1 or any(part not in state for part in parts):
            raise UserError(f'{layer} has no mean, variance and factor, as a BatchNorm of Caffe does')
        scale = 1 / factor.item() if factor.item() else 0
        for part in parts:
            result[part] = state[part] * scale
    return result
