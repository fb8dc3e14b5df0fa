"""KerasHub: DeepLabV3ImageSegmenter with a decoder (v3+) on a ResNet, `.weights.h5`.

Keras names layers by their class and their number in the network, so their order is all that tells them apart. Its
ResNets are torchvision's, at output stride 32. The classifier has no bias and comes behind the last resize, which
makes no difference: both are linear, and the weights of a bilinear resize sum up to 1.
"""

import re
from collections.abc import Mapping

from torch import Tensor

from ...errors import UserError
from .rules import Conversion, Rule, apply_rules, deeplab, pool_first, resnet

MODEL = 'layers/deep_lab_v3_backbone/'
ENCODER = f'{MODEL}layers/functional/'
POOLING = f'{MODEL}layers/spatial_pyramid_pooling/'
UNITS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
NORM = ('weight', 'bias', 'running_mean', 'running_var')
RATES = (12, 24, 36)
"""Stated at output stride 16: 6, 12 and 18 at 32."""
PIXELS = dict(mean=[0.0, 0.0, 0.0], std=[1.0, 1.0, 1.0], bgr_to_rgb=True)
NOTES = (
    "Pixels are 0 to 255, as KerasHub's guide gives them to its published model; if your preprocessor scaled them, set "
    'model.data_preprocessor.mean and std',
    'KerasHub takes images with sides of whole multiples of 32 only',
)


def recognises(state: Mapping[str, Tensor]) -> bool:
    """Whether it has KerasHub's spatial pyramid pooling, in the whole model or in its backbone alone."""
    return any('spatial_pyramid_pooling/aspp_parallel_channels/' in name for name in state)


def convert(state: Mapping[str, Tensor]) -> Conversion:
    """Convert a v3+ on ResNet-50, 101 or 152.

    Raises:
        UserError: If it is another of KerasHub's networks; says what it has that none here has.
    """
    branches = len({match[0] for name in state if (match := re.match(rf'{POOLING}\w+/sequential(_\d)?/', name))})
    _check_parts(state, branches)
    layers = _layers(_depth(state), branches)
    _check_features(state)

    def target(match: re.Match) -> str:
        module = layers.get(match[1])
        if module is None:
            raise UserError(f'the layer {match[1]} is unknown in the layout of kerashub')
        return f'{module}.{NORM[int(match[2])]}'

    def to_torch(value: Tensor) -> Tensor:
        return value.permute(3, 2, 0, 1) if value.ndim == 4 else value

    rules = (
        Rule(r'optimizer/.*', dropped='state of the training'),
        Rule(f'({POOLING}projection/layers/conv2d)/vars/(0)', target, lambda v: pool_first(branches)(to_torch(v))),
        Rule(r'(.+)/vars/([0-3])', target, to_torch),
    )
    converted, dropped = apply_rules(rules, state, 'kerashub')
    scores = converted['decode_head.conv_seg.weight']
    converted['decode_head.conv_seg.bias'] = scores.new_zeros(len(scores))
    head = dict(
        type='DeepLabV3PlusHead',
        num_classes=len(scores),
        channels=len(converted['decode_head.aspp.project.conv.weight']),
        rates=RATES,
        low_level_width=len(converted['decode_head.low_level.conv.weight']),
        decoder_kernels=(1,),
        decoder_channels=len(converted['decode_head.decoder.0.conv.weight']),
        norm_cfg=dict(type='BN', eps=1e-3),  # the backbone's is 1e-5
        align_corners=False,
    )
    return Conversion(converted, deeplab(resnet(converted), head, 32, PIXELS), dropped, notes=list(NOTES))


def _check_parts(state: Mapping[str, Tensor], branches: int) -> None:
    """Refuse what has no counterpart, by what it has."""
    if not any(name.startswith(MODEL) for name in state):
        raise UserError(
            "this is KerasHub's DeepLabV3Backbone, which has no classifier, as model.weights.h5 of a preset: load the "
            "whole model there and save that, segmenter.save_weights('NEW.weights.h5')"
        )
    for layer in ('layers/conv2d', f'{POOLING}projection/layers/conv2d'):
        if f'{layer}/vars/0' not in state:
            raise UserError(f"{layer} of KerasHub's DeepLabV3ImageSegmenter is not in this file: save all of the model")
    if f'{MODEL}layers/conv2d_1/vars/0' not in state:
        raise UserError(
            "KerasHub's DeepLabV3 without a decoder has no counterpart here: it has a ReLU behind its upsampling, "
            'where v3 has nothing any more; its v3+ (low_level_feature_key) is converted'
        )
    if branches != len(RATES) + 2:
        raise UserError(
            f'this DeepLabV3Plus of KerasHub has {max(branches - 2, 0)} dilation rates, which no file tells; those of '
            f'the published one are 6, 12 and 18'
        )


def _check_features(state: Mapping[str, Tensor]) -> None:
    """Refuse other features than block4's and block1's, which have 32 and 4 times the channels of its bottleneck."""
    width = state[f'{ENCODER}layers/conv2d_1/vars/0'].shape[-1]
    first = f'{POOLING}aspp_parallel_channels/sequential/layers/conv2d/vars/0'
    for key, name, factor in (
        ('spatial_pyramid_pooling_key', first, 32),
        ('low_level_feature_key', f'{MODEL}layers/conv2d/vars/0', 4),
    ):
        if name not in state or state[name].ndim != 4 or state[name].shape[2] != factor * width:
            raise UserError(
                f"KerasHub's DeepLabV3Plus is converted with low_level_feature_key='P2' and "
                f"spatial_pyramid_pooling_key='P5', as published; this one has another {key}"
            )


def _depth(state: Mapping[str, Tensor]) -> int:
    """The depth of the ResNet, by its number of convolutions and of batch norms."""
    counts = [
        sum(bool(re.fullmatch(rf'{ENCODER}layers/{kind}(_\d+)?/vars/0', name)) for name in state)
        for kind in ('conv2d', 'batch_normalization')
    ]
    depth = {1 + len(units) + 3 * sum(units): depth for depth, units in UNITS.items()}.get(counts[0])
    others = any(name.startswith(ENCODER) and not re.search('/(conv2d|batch_norm)', name) for name in state)
    if depth is None or counts[0] != counts[1] or others:
        raise UserError(
            f'the encoder of this DeepLabV3Plus of KerasHub has no counterpart here: {counts[0]} convolutions and '
            f'{counts[1]} batch norms, where ResNet-50, 101 and 152 have 53, 104 and 155 of each; ResNet-18 and 34, '
            f'those of version 2 (batch norm first) and vd, and other encoders are not converted'
        )
    return depth


def _layers(depth: int, branches: int) -> dict[str, str]:
    """Path of each layer in the file -> the module here."""
    pairs = [('conv1', 'bn1')]
    for block, units in enumerate(UNITS[depth], start=1):
        for unit in range(units):
            begin = f'layer{block}.{unit}.'
            named = [(f'{begin}conv{part}', f'{begin}bn{part}') for part in (1, 2, 3)]
            if unit == 0:
                named.insert(2, (f'{begin}downsample.0', f'{begin}downsample.1'))
            pairs += named
    layers = {'layers/conv2d': 'decode_head.conv_seg'}

    def add(begin: str, found: list[tuple[str, str]]) -> None:
        for number, names in enumerate(found):
            end = f'_{number}' if number else ''
            for kind, module in zip(('conv2d', 'batch_normalization'), names, strict=True):
                layers[f'{begin}layers/{kind}{end}'] = module

    def module(name: str) -> list[tuple[str, str]]:
        return [(f'decode_head.{name}.conv', f'decode_head.{name}.bn')]

    add(ENCODER, [(f'backbone.{conv}', f'backbone.{norm}') for conv, norm in pairs])
    add(MODEL, module('low_level') + module('decoder.0'))
    add(f'{POOLING}projection/', module('aspp.project'))
    for number in range(branches):
        end = f'_{number}' if number else ''
        name = f'branches.{number}' if number < branches - 1 else 'pooled.0'
        add(f'{POOLING}aspp_parallel_channels/sequential{end}/', module(f'aspp.{name}'))
    return layers
