"""The TensorFlow release (tensorflow/models, research/deeplab): an npz of its variables, by their names."""

import re
from collections.abc import Mapping

from torch import Tensor

from ...errors import UserError
from .rules import (
    BACKBONE_ONLY,
    RELEASE_SIZES,
    TENSORFLOW,
    Conversion,
    Rule,
    apply_rules,
    deeplab,
    mobilenet_unit,
    mobilenet_width,
    resnet,
)


def recognises(state: Mapping[str, Tensor]) -> bool:
    """Whether the names are scopes with slashes."""
    return any(re.search(r'/(weights|depthwise_weights)$', name) for name in state)


def _mobilenet_part(match: re.Match) -> str:
    index, part = int(match[1] or 0), match[2]
    parts = ('depthwise', 'project') if index == 0 else ('expand', 'depthwise', 'project')
    return f'{mobilenet_unit(index)}.conv.{parts.index(part)}'


def _xception_block(entry: int, repeats: int) -> dict[str, int]:
    names = [f'entry_flow/block{i + 1}/unit_1' for i in range(entry)]
    names += [f'middle_flow/block1/unit_{i + 1}' for i in range(repeats)]
    names += ['exit_flow/block1/unit_1', 'exit_flow/block2/unit_1']
    return {name: i for i, name in enumerate(names)}


# Scope of a layer -> (its convolution, its batch norm) here. In a ConvModule these are 'conv' and 'bn'.
MOBILENET = (
    (r'MobilenetV2/Conv', 'backbone.conv1'),
    (r'MobilenetV2/expanded_conv(?:_(\d+))?/(expand|depthwise|project)', _mobilenet_part),
)
HEAD = (
    (r'image_pooling', 'decode_head.aspp.pooled.0'),
    (r'aspp0', 'decode_head.aspp.branches.0'),
    (r'aspp([1-9])_(depthwise|pointwise)', r'decode_head.aspp.branches.\1.\2_conv'),
    (r'aspp([1-9])', r'decode_head.aspp.branches.\1'),
    (r'concat_projection', 'decode_head.aspp.project'),
    (r'decoder/feature_projection0', 'decode_head.low_level'),
    (r'decoder/decoder_conv(\d)_(depthwise|pointwise)', r'decode_head.decoder.\1.\2_conv'),
    (r'decoder/decoder_conv(\d)', r'decode_head.decoder.\1'),
)
DROPPED = (
    Rule(r'MobilenetV2/(Conv_1|Logits)/.*', dropped='classification network beyond the features'),
    Rule(r'(xception_\d\d|resnet_v1_\d+\w*)/logits/.*', dropped='classification network beyond the features'),
    Rule(r'global_step|.*/(Momentum|ExponentialMovingAverage|Adam\w*|RMSProp\w*)', dropped='state of the training'),
    Rule(r'.*/(act|weights)_quant/.*', dropped='ranges of the 8-bit quantisation'),
)


def _resnet_scopes(match: re.Match) -> tuple[str, str]:
    block, unit, part = match[1], int(match[2]) - 1, match[3]
    begin = f'backbone.layer{block}.{unit}'
    return (
        (f'{begin}.downsample.0', f'{begin}.downsample.1')
        if part == 'shortcut'
        else (
            f'{begin}.{part}',
            f'{begin}.bn{part[-1]}',
        )
    )


def _resolve(scope: str, blocks: Mapping[str, int]) -> tuple[str, str] | None:
    """Names of a scope's convolution and batch norm."""
    for pattern, target in (*MOBILENET, *HEAD):
        if match := re.fullmatch(pattern, scope):
            module = target(match) if callable(target) else match.expand(target)
            return f'{module}.conv', f'{module}.bn'
    if match := re.fullmatch(r'resnet_v1_\w+/conv1_([123])', scope):
        at = 3 * (int(match[1]) - 1)
        return f'backbone.stem.{at}', f'backbone.stem.{at + 1}'
    if match := re.fullmatch(r'resnet_v1_\w+/block(\d)/unit_(\d+)/bottleneck_v1/(conv\d|shortcut)', scope):
        return _resnet_scopes(match)
    if match := re.fullmatch(r'xception_\d\d/entry_flow/conv1_([12])', scope):
        module = f'backbone.stem.{int(match[1]) - 1}'
        return f'{module}.conv', f'{module}.bn'
    if match := re.fullmatch(r'xception_\d\d/(\w+/block\d/unit_\d+)/xception_module/(.+)', scope):
        module = f'backbone.blocks.{blocks[match[1]]}'
        if match[2] == 'shortcut':
            return f'{module}.shortcut.conv', f'{module}.shortcut.bn'
        if part := re.fullmatch(r'separable_conv([123])_(depthwise|pointwise)', match[2]):
            kind = 'dw' if part[2] == 'depthwise' else 'pw'
            return f'{module}.stack.conv{part[1]}.conv_{kind}', f'{module}.stack.conv{part[1]}.bn_{kind}'
    return None


VARIABLES = {
    'weights': 'weight',
    'depthwise_weights': 'weight',
    'BatchNorm/gamma': 'weight',
    'BatchNorm/beta': 'bias',
    'BatchNorm/moving_mean': 'running_mean',
    'BatchNorm/moving_variance': 'running_var',
    'biases': 'bias',  # of a convolution with its batch norm folded in
}


def convert(state: Mapping[str, Tensor]) -> Conversion:
    """Convert variables of MobileNetV2, Xception or ResNet beta, with or without a head, batch norm folded or not."""
    state = {name.removesuffix(':0'): value for name, value in state.items()}
    blocks = _xception_block(*_xception_size(state))
    identity: list[str] = []

    def target(match: re.Match) -> str:
        scope, variable = match[1], match[2]
        names = _resolve(scope, blocks)
        if names is None:
            raise UserError(f'the layer {scope} is unknown in the layout of tensorflow')
        if variable == 'biases':
            identity.append(names[1])
        return f'{names["weights" not in variable]}.{VARIABLES[variable]}'

    def to_torch(weight: Tensor) -> Tensor:
        return weight.permute(3, 2, 0, 1) if weight.ndim == 4 else weight

    scoped = r'(.+?)/({})'
    rules = (
        *DROPPED,
        Rule(r'logits/semantic/weights', 'decode_head.conv_seg.weight', to_torch),
        Rule(r'logits/semantic/biases', 'decode_head.conv_seg.bias'),
        Rule(scoped.format('depthwise_weights'), target, lambda weight: weight.permute(2, 3, 0, 1)),
        Rule(scoped.format('|'.join(VARIABLES)), target, to_torch),
    )
    converted, dropped = apply_rules(rules, state, 'tensorflow')
    for name in identity:
        converted[f'{name}.weight'] = converted[f'{name}.bias'].new_ones(len(converted[f'{name}.bias']))
        converted[f'{name}.running_mean'] = converted[f'{name}.bias'].new_zeros(len(converted[f'{name}.bias']))
    head = _head(converted)
    return Conversion(
        converted,
        deeplab(_backbone(state, converted), head, 16, TENSORFLOW, RELEASE_SIZES),
        dropped,
        holds=('',) if head else BACKBONE_ONLY,
        identity_norms=identity,
        notes=[FOLDED] if identity else [],
    )


FOLDED = (
    'Batch norm is folded into the weights of this file. The converted batch norms do nothing (mean 0, variance '
    '1 - eps, scale 1, shift = bias), which is exact at test. For fine-tuning convert with --calibrate FOLDER of '
    'images like yours, which measures their statistics: training would normalise what is normalised already'
)


def _xception_size(state: Mapping[str, Tensor]) -> tuple[int, int]:
    names = '\n'.join(state)
    entry = len(set(re.findall(r'entry_flow/block(\d)/', names)))
    return entry, len(set(re.findall(r'middle_flow/block1/(unit_\d+)/', names)))


def _backbone(state: Mapping[str, Tensor], converted: Mapping[str, Tensor]) -> dict:
    norm = dict(norm_cfg=dict(type='BN', eps=1e-3))
    if any(name.startswith('MobilenetV2/') for name in state):
        return dict(type='DeepLabMobileNetV2', width=mobilenet_width(converted), **norm)
    entry, repeats = _xception_size(state)
    if entry:
        depth = 41 if repeats == 8 else 71 if entry == 5 else 65
        return dict(type='AlignedXception', depth=depth, **norm)
    return resnet(converted, strided_unit='last', low_level='branch')


def _head(converted: Mapping[str, Tensor]) -> dict | None:
    """Config of the head, by what there is of it and by its shapes."""
    if 'decode_head.conv_seg.weight' not in converted:
        return None
    branches = {int(m[1]) for k in converted if (m := re.match(r'decode_head\.aspp\.branches\.(\d+)\.', k))}
    head = dict(
        type='DeepLabV3Head',
        num_classes=len(converted['decode_head.conv_seg.weight']),
        channels=len(converted['decode_head.aspp.project.conv.weight']),
        rates=(6, 12, 18)[: max(branches)],
        pool_bins=(1,) if 'decode_head.aspp.pooled.0.conv.weight' in converted else (),
        norm_cfg=dict(type='BN', eps=1e-5),  # the backbone's is 1e-3
        align_corners=True,
        separable_aspp=any('aspp.branches.1.depthwise' in name for name in converted),
    )
    low_level = converted.get('decode_head.low_level.conv.weight')
    if low_level is not None:
        separable = 'decode_head.decoder.0.depthwise_conv.conv.weight' in converted
        last = 'pointwise_conv.conv' if separable else 'conv'
        convs = {int(m[1]) for k in converted if (m := re.match(r'decode_head\.decoder\.(\d+)\.', k))}
        head.update(
            type='DeepLabV3PlusHead',
            low_level_width=len(low_level),
            decoder_kernels=(3,) * len(convs),
            decoder_channels=len(converted[f'decode_head.decoder.0.{last}.weight']),
            separable_decoder=separable,
        )
    return head
