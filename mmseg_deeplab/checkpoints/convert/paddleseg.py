"""PaddleSeg: DeepLabV3P and DeepLabV3 on ResNet50_vd, 101_vd and 152_vd, and these backbones of ImageNet."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from ...errors import UserError
from .rules import (
    BACKBONE_ONLY,
    IMAGENET,
    TENSORFLOW,
    Conversion,
    Rule,
    apply_rules,
    deeplab,
    pool_first,
    resnet,
)

STATISTICS = {'._mean': '.running_mean', '._variance': '.running_var'}
ANY_OF_PADDLE = re.compile(r'(.*\.)?_(mean|variance)')
NUMBERED = re.compile(r'[a-z_\d]+\.[wb]_\d+')
"""Names that a program of PaddlePaddle gives its parameters: `conv2d_0.w_0`."""
TEST_SIZE = {21: (512, 512)}
EPS = 1e-5


def _layer(pattern: str, conv: str, norm: str, transform=None) -> tuple[Rule, Rule]:
    """Rules of a convolution with its batch norm; the names in `conv` and `norm` are our modules'."""
    weight = {} if transform is None else dict(transform=transform)
    return (
        Rule(rf'{pattern}\._conv\.weight', f'{conv}.weight', **weight),
        Rule(rf'{pattern}\._batch_norm\.(?P<parameter>\w+)', rf'{norm}.\g<parameter>'),
    )


def _head_layer(pattern: str, target: str, transform=None) -> tuple[Rule, Rule]:
    return _layer(rf'head\.{pattern}', f'decode_head.{target}.conv', f'decode_head.{target}.bn', transform)


RULES = (
    Rule(r'out\.\w+', dropped='classification network beyond the features'),
    *(
        rule
        for i in (1, 2, 3)
        for rule in _layer(rf'backbone\.conv1_{i}', f'backbone.stem.{3 * i - 3}', f'backbone.stem.{3 * i - 2}')
    ),
    *(
        rule
        for stage in range(4)
        for part, conv, norm in (
            *((f'conv{i}', f'conv{i + 1}', f'bn{i + 1}') for i in range(3)),
            ('short', 'downsample.1', 'downsample.2'),
        )
        for unit in [rf'backbone.layer{stage + 1}.\1']
        for rule in _layer(rf'backbone\.bb_{stage}_(\d+)\.{part}', f'{unit}.{conv}', f'{unit}.{norm}')
    ),
    *_head_layer(r'aspp\.aspp_blocks\.([0-3])', r'aspp.branches.\1'),
    *_head_layer(r'aspp\.global_avg_pool\.1', 'aspp.pooled.0'),
    *_head_layer(r'aspp\.conv_bn_relu', 'aspp.project', pool_first(5)),
    *_head_layer(r'decoder\.conv_bn_relu1', 'low_level'),
    *_head_layer(r'decoder\.conv_bn_relu2', 'decoder.0'),
    *_head_layer(r'decoder\.conv_bn_relu3', 'decoder.1'),
    Rule(r'head\.(?:decoder\.conv|cls)\.(\w+)', r'decode_head.conv_seg.\1'),
)


def recognises(state: Mapping[str, Tensor]) -> bool:
    """Whether it has the ASPP of PaddleSeg, or is its ResNet_vd."""
    return 'head.aspp.aspp_blocks.0._conv.weight' in state or 'bb_0_0.conv0._conv.weight' in state


def no_counterpart(state: Mapping[str, Tensor]) -> str:
    """Why a network of PaddlePaddle can't be converted; '' for a state dict of another framework."""
    if state and all(NUMBERED.fullmatch(name) for name in state):
        return (
            f'its parameters have the numbered names of a program of PaddlePaddle ({next(iter(state))}), which do not '
            f'tell what network they are of: in PaddlePaddle load them into the network that has them, and write '
            f'paddle.save(model.state_dict(), FILE)'
        )
    if any(ANY_OF_PADDLE.fullmatch(name) for name in state):
        return f'this network of PaddlePaddle has no counterpart here; its names are like {list(state)[:3]}. {TAKEN}'
    return ''


def convert(state: Mapping[str, Tensor]) -> Conversion:
    """Convert v3+, v3 or a backbone; separable convolutions, without ReLU in between, become full ones."""
    whole = 'head.aspp.aspp_blocks.0._conv.weight' in state
    if whole and not {'head.decoder.conv.weight', 'head.cls.weight'} & set(state):
        raise UserError(f'this network of PaddleSeg has no counterpart here, but for its ASPP. {TAKEN}')
    if not whole:
        state = {name if name.startswith('out.') else f'backbone.{name}': value for name, value in state.items()}
    elif 'backbone.bb_0_0.conv0._conv.weight' not in state:
        raise UserError(f'this backbone of PaddleSeg has no counterpart here: {next(iter(state))}. {TAKEN}')
    converted, dropped = apply_rules(RULES, _plain(state), 'paddleseg')
    if not whole:
        return Conversion(converted, deeplab(resnet(converted), None, 16, IMAGENET), dropped, BACKBONE_ONLY)
    backbone = resnet(converted, multi_grid=(1, 2, 4), strided_conv='3x3', rate_of_lost_stride='new')
    head = dict(
        type='DeepLabV3Head',
        num_classes=len(converted['decode_head.conv_seg.weight']),
        channels=len(converted['decode_head.aspp.project.conv.weight']),
        rates=(6, 12, 18),  # 12, 24, 36 at output stride 8
        align_corners=False,
    )
    if 'decode_head.low_level.conv.weight' in converted:
        head.update(
            type='DeepLabV3PlusHead',
            low_level_width=len(converted['decode_head.low_level.conv.weight']),
            decoder_channels=len(converted['decode_head.decoder.1.conv.weight']),
        )
    sizes = TEST_SIZE if head['num_classes'] in TEST_SIZE else None
    model = deeplab(backbone, head, 8, TENSORFLOW, sizes, test_padding='none')
    return Conversion(converted, model, dropped, notes=[RATES])


def _plain(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict with PyTorch's names of statistics, without separable convolutions and biases under batch norm."""
    plain = {
        next((name.removesuffix(end) + new for end, new in STATISTICS.items() if name.endswith(end)), name): value
        for name, value in state.items()
    }
    for name in [name for name in plain if name.endswith('._conv.bias')]:
        layer = name.removesuffix('._conv.bias')
        mean = f'{layer}._batch_norm.running_mean'
        if mean in plain:
            plain[mean] = plain[mean] - plain.pop(name)
    for name in [name for name in plain if name.endswith('.depthwise_conv._conv.weight')]:
        _multiply_out(plain, name.removesuffix('.depthwise_conv._conv.weight'))
    return plain


def _multiply_out(plain: dict[str, Tensor], layer: str) -> None:
    """Replace a depthwise convolution, its batch norm and a 1x1 convolution by one full convolution.

    The shift of the batch norm is the same in all cells, also at the borders, and so is what the 1x1 convolution makes
    of it: it goes into the mean of the batch norm behind.
    """
    depthwise, pointwise = f'{layer}.depthwise_conv', f'{layer}.piontwise_conv'
    names = [f'{depthwise}._batch_norm.{part}' for part in ('weight', 'bias', 'running_mean', 'running_var')]
    behind = f'{pointwise}._batch_norm.'
    needed = [*names, f'{pointwise}._conv.weight', f'{behind}running_mean']
    if any(name not in plain for name in needed):
        return  # is told as unknown
    scale, shift, mean, variance = (plain.pop(name).double() for name in names)
    spatial = plain.pop(f'{depthwise}._conv.weight').double()
    mixing = plain.pop(f'{pointwise}._conv.weight')
    scale = scale / (variance + EPS).sqrt()
    full = torch.einsum('oi,i,ihw->oihw', mixing[:, :, 0, 0].double(), scale, spatial[:, 0])
    constant = mixing[:, :, 0, 0].double() @ (shift - scale * mean)
    plain[f'{layer}._conv.weight'] = full.to(mixing)
    plain[f'{behind}running_mean'] = (plain[f'{behind}running_mean'] - constant).to(mixing)
    for name in [name for name in plain if name.startswith(behind)]:
        plain[f'{layer}._batch_norm.{name.removeprefix(behind)}'] = plain.pop(name)


TAKEN = (
    'Of PaddlePaddle, the DeepLabV3P and DeepLabV3 of PaddleSeg are taken, on ResNet50_vd, ResNet101_vd and '
    'ResNet152_vd, and these backbones alone'
)
RATES = (
    'Output stride 8, multi-grid 1, 2, 4 and rates 12, 24, 36 are those of the published files. For the one of crops '
    'of 769 set model.decode_head.align_corners=True and model.data_preprocessor.test_cfg=dict(size=(1025, 2049)); for '
    "one of the code's own defaults model.backbone.multi_grid=(1, 1, 1) and model.decode_head.rates=(3, 6, 9), or at "
    'output stride 16 model.backbone.multi_grid=(1, 1, 1) and model.output_stride=16'
)
