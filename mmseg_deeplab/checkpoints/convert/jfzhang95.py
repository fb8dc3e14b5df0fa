"""jfzhang95/pytorch-deeplab-xception: DeepLab v3+ on ResNet-101, Xception-65 and MobileNetV2."""

import re
from collections.abc import Mapping

from torch import Tensor

from .rules import IMAGENET, Conversion, Rule, apply_rules, deeplab, mobilenet_unit, pool_first, resnet

HEAD = (
    Rule(
        r'aspp\.aspp([1-4])\.(?:atrous_(conv)|(bn))\.(\w+)',
        lambda m: f'decode_head.aspp.branches.{int(m[1]) - 1}.{m[2] or m[3]}.{m[4]}',
    ),
    Rule(r'aspp\.global_avg_pool\.1\.weight', 'decode_head.aspp.pooled.0.conv.weight'),
    Rule(r'aspp\.global_avg_pool\.2\.(\w+)', r'decode_head.aspp.pooled.0.bn.\1'),
    Rule(r'aspp\.conv1\.weight', 'decode_head.aspp.project.conv.weight', pool_first(5)),
    Rule(r'aspp\.bn1\.(\w+)', r'decode_head.aspp.project.bn.\1'),
    Rule(r'decoder\.conv1\.weight', 'decode_head.low_level.conv.weight'),
    Rule(r'decoder\.bn1\.(\w+)', r'decode_head.low_level.bn.\1'),
    Rule(r'decoder\.last_conv\.([04])\.weight', lambda m: f'decode_head.decoder.{int(m[1]) // 4}.conv.weight'),
    Rule(r'decoder\.last_conv\.([15])\.(\w+)', lambda m: f'decode_head.decoder.{int(m[1]) // 4}.bn.{m[2]}'),
    Rule(r'decoder\.last_conv\.8\.(\w+)', r'decode_head.conv_seg.\1'),
)
RESNET = (Rule(r'(backbone\.(?:conv1|bn1|layer\d)\..+)', r'\1'), *HEAD)
MOBILENET = (
    Rule(r'backbone\.(?:low|high)_level_features\..+', dropped='the same as backbone.features'),
    Rule(r'backbone\.features\.0\.0\.weight', 'backbone.conv1.conv.weight'),
    Rule(r'backbone\.features\.0\.1\.(\w+)', r'backbone.conv1.bn.\1'),
    Rule(r'backbone\.features\.(\d+)\.conv\.(\d)\.(\w+)', lambda m: _mobilenet_part(m)),
    *HEAD,
)
SEPARABLE = {'conv1': 'conv_dw', 'bn': 'bn_dw', 'pointwise': 'conv_pw'}


def _mobilenet_part(match: re.Match) -> str:
    """Convolutions are at places 0, 3 and 6 of a residual, each with its batch norm behind."""
    place, inner = divmod(int(match[2]), 3)
    return f'{mobilenet_unit(int(match[1]) - 1)}.conv.{place}.{("conv", "bn")[inner]}.{match[3]}'


def recognises(state: Mapping[str, Tensor]) -> bool:
    """Whether it has that codebase's ASPP."""
    return 'aspp.aspp1.atrous_conv.weight' in state


def convert(state: Mapping[str, Tensor]) -> Conversion:
    """Convert v3+ on either backbone."""
    notes = [STRIDE]
    if 'backbone.block1.skip.weight' in state:
        converted, dropped = apply_rules(_xception_rules(state), state, 'jfzhang95')
        norm_cfg = dict(type='BN', eps=1e-5)
        backbone = dict(type='AlignedXception', depth=65, variant='jfzhang95', norm_cfg=norm_cfg)
    elif 'backbone.features.0.0.weight' in state:
        converted, dropped = apply_rules(MOBILENET, state, 'jfzhang95')
        backbone = dict(
            type='DeepLabMobileNetV2',
            low_level='output',
            padding='input',
            pad_stem=True,
            row_rates=(1, 1, 1, 1, 1, 1, 2),
        )
        notes.append(OS8_MOBILENET)
    else:
        converted, dropped = apply_rules(RESNET, state, 'jfzhang95')
        backbone = resnet(converted, multi_grid=(1, 2, 4), strided_conv='3x3', rate_of_lost_stride='new')
    head = dict(
        type='DeepLabV3PlusHead',
        num_classes=len(converted['decode_head.conv_seg.weight']),
        rates=(6, 12, 18),
        low_level_width=len(converted['decode_head.low_level.conv.weight']),
        channels=len(converted['decode_head.aspp.project.conv.weight']),
        decoder_channels=len(converted['decode_head.decoder.0.conv.weight']),
        decoder_kernels=(3, 3),
        align_corners=True,
    )
    model = deeplab(backbone, head, 16, IMAGENET, test_padding='none')
    return Conversion(converted, model, dropped, notes=notes)


def _xception_rules(state: Mapping[str, Tensor]) -> tuple[Rule, ...]:
    places = _places_of_convs(state)

    def in_block(match: re.Match) -> str:
        block, place, part, parameter = int(match[1]), int(match[2]), match[3], match[4]
        convs = places[block]
        if part is None:  # the batch norm after the separable convolution before it
            return f'backbone.blocks.{block - 1}.stack.conv{convs.index(place - 1) + 1}.bn_pw.{parameter}'
        return f'backbone.blocks.{block - 1}.stack.conv{convs.index(place) + 1}.{SEPARABLE[part]}.{parameter}'

    return (
        Rule(r'backbone\.conv([12])\.weight', lambda m: f'backbone.stem.{int(m[1]) - 1}.conv.weight'),
        Rule(r'backbone\.bn([12])\.(\w+)', lambda m: f'backbone.stem.{int(m[1]) - 1}.bn.{m[2]}'),
        Rule(r'backbone\.block(\d+)\.skip\.weight', lambda m: f'backbone.blocks.{int(m[1]) - 1}.shortcut.conv.weight'),
        Rule(r'backbone\.block(\d+)\.skipbn\.(\w+)', lambda m: f'backbone.blocks.{int(m[1]) - 1}.shortcut.bn.{m[2]}'),
        Rule(r'backbone\.block(\d+)\.rep\.(\d+)\.(?:(conv1|bn|pointwise)\.)?(\w+)', in_block),
        Rule(
            r'backbone\.conv([345])\.(conv1|bn|pointwise)\.(\w+)',
            lambda m: f'backbone.blocks.20.stack.conv{int(m[1]) - 2}.{SEPARABLE[m[2]]}.{m[3]}',
        ),
        Rule(r'backbone\.bn([345])\.(\w+)', lambda m: f'backbone.blocks.20.stack.conv{int(m[1]) - 2}.bn_pw.{m[2]}'),
        *HEAD,
    )


def _places_of_convs(state: Mapping[str, Tensor]) -> dict[int, list[int]]:
    """Places of the separable convolutions in each block's sequence, which begins with a ReLU or without."""
    places: dict[int, set[int]] = {}
    for name in state:
        if match := re.fullmatch(r'backbone\.block(\d+)\.rep\.(\d+)\.conv1\.weight', name):
            places.setdefault(int(match[1]), set()).add(int(match[2]))
    return {block: sorted(found) for block, found in places.items()}


STRIDE = 'Output stride 16 is that of the published files; for one trained at 8 set model.output_stride=8'
OS8_MOBILENET = 'At output stride 8 its MobileNetV2 also needs model.backbone.row_rates=(1, 1, 1, 1, 2, 2, 4)'
