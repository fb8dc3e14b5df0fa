"""VGG-16: torchvision's, with batch norm or without, and Caffe's: vgg16_20M, and the networks of DeepLab v1 and v2."""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ...errors import UserError
from .rules import CAFFE, IMAGENET, RELEASE_SIZES, Conversion, Rule, apply_rules, deeplab

# Place of conv<stage>_<number> in a sequence of convolutions, ReLUs and pools.
FEATURES = {
    (1, 1): 0, (1, 2): 2,
    (2, 1): 5, (2, 2): 7,
    (3, 1): 10, (3, 2): 12, (3, 3): 14,
    (4, 1): 17, (4, 2): 19, (4, 3): 21,
    (5, 1): 24, (5, 2): 26, (5, 3): 28,
}  # fmt: skip


FILTERS = 4096
"""Of VGG's own fc6 and fc7."""
STEPS = {'LargeFOV': (3, 4), '4x4': (2, 1), '7x7': (1, 1)}
"""Of fc6's 7x7 positions and of the filters, those so far apart are kept (v1, sections 3.1 and 4.1; v2, 4.1)."""
VARIANTS = {3: 'LargeFOV', 4: '4x4', 7: '7x7'}
"""Kernel of fc6 -> the head of v1 that has it."""
IMAGENET_CLASSES = 1000
TAPS = ('data', 'pool1', 'pool2', 'pool3', 'pool4')
"""What MSc takes scores from, by Caffe's names (v1, section 4.3)."""
TAP_LAYERS = dict(conv='conv', fc='fc', ms='score')
ASPP_L = (6, 12, 18, 24)


def feature(stage: int | str, number: int | str) -> str:
    """Name here of conv<stage>_<number>, both from 1 on."""
    place = FEATURES.get((int(stage), int(number)))
    if place is None:
        raise UserError(f'VGG-16 has no convolution {number} in stage {stage}')
    return f'backbone.features.{place}'


def _rules(decimated_for: str | None, aspp: bool) -> tuple[Rule, ...]:
    positions, filters = STEPS[decimated_for] if decimated_for else (1, 1)

    def fc6(weight: Tensor) -> Tensor:
        if not decimated_for:
            return weight
        return weight.view(FILTERS, -1, 7, 7)[::filters, :, ::positions, ::positions]

    def fc7(weight: Tensor) -> Tensor:
        return weight.view(*weight.shape[:2], 1, 1)[::filters, ::filters]

    def bias(value: Tensor) -> Tensor:
        return value[::filters]

    branches = (
        Rule(r'fc([67])_(\d)\.(\w+)', lambda m: f'decode_head.branches.{int(m[2]) - 1}.fc{m[1]}.{m[3]}'),
        Rule(r'fc8_(?:\w+_)?(\d)\.(\w+)', lambda m: f'decode_head.classifiers.{int(m[1]) - 1}.{m[2]}'),
    )
    return (
        Rule(r'features\.(\d+)\.(\w+)', r'backbone.features.\1.\2'),
        Rule(r'conv(\d)_(\d)\.(\w+)', lambda m: f'{feature(m[1], m[2])}.{m[3]}'),
        *(branches if aspp else ()),
        Rule(r'(classifier\.0|fc6)\.weight', 'decode_head.fc6.weight', fc6),
        Rule(r'(classifier\.3|fc7)\.weight', 'decode_head.fc7.weight', fc7),
        Rule(r'(classifier\.0|fc6)\.bias', 'decode_head.fc6.bias', bias),
        Rule(r'(classifier\.3|fc7)\.bias', 'decode_head.fc7.bias', bias),
        Rule(r'fc8\w*\.(\w+)', r'decode_head.conv_seg.\1'),
        Rule(
            rf'({"|".join(TAPS)})_({"|".join(TAP_LAYERS)})\.(\w+)',
            lambda m: f'decode_head.taps.{TAPS.index(m[1])}.{TAP_LAYERS[m[2]]}.{m[3]}',
        ),
    )


IMAGENET_ONLY = (Rule(r'(classifier\.6|fc8)\.\w+', dropped='ImageNet classifier'),)


def recognises(state: Mapping[str, Tensor]) -> bool:
    """Whether it begins with VGG's convolutions, in torchvision's or in Caffe's names."""
    return 'conv1_1.weight' in state or {'features.0.weight', 'features.28.weight'} <= set(state)


def convert(state: Mapping[str, Tensor], variant: str | None = None) -> Conversion:
    """Convert VGG-16 into the backbone and fc6, fc7 of a head of v1; with a DeepLab's fc8, into a whole network.

    Args:
        state: Its parameters.
        variant: Of the head, 'LargeFOV' if not given, '4x4' (at either rate) or '7x7'.
    """
    caffe, aspp = 'conv1_1.weight' in state, 'fc6_1.weight' in state
    fc6 = state.get('fc6.weight', state.get('classifier.0.weight'))
    scores = [value for name, value in state.items() if re.fullmatch(r'fc8\w*\.weight', name)]
    trained = bool(scores) and scores[0].ndim == 4 and len(scores[0]) != IMAGENET_CLASSES
    whole = fc6 is not None and len(fc6) == FILTERS and (fc6.ndim == 2 or fc6.shape[-1] == 7) and not trained
    made = _check(variant, fc6, aspp) if not whole else variant or 'LargeFOV'
    rules = _rules(made if whole else None, aspp)
    converted, dropped = apply_rules((*(() if trained else IMAGENET_ONLY), *rules), state, 'vgg')
    holds = ('',) if trained else ('backbone.', 'decode_head.fc6.', 'decode_head.fc7.')
    if not any(name.startswith('decode_head.') for name in converted):
        holds = holds[:1]
    notes = [DECIMATED[made]] if whole else [RATES[made]] if trained and made in RATES else []
    backbone: dict[str, Any] = dict(type='DeepLabVGG')
    if 'features.1.running_mean' in state:
        backbone['batch_norm'] = True
        notes.append('The VGG-16 of DeepLab v1 and v2 has no batch norm')
    head: dict[str, Any] = dict(num_classes=len(scores[0]) if trained else 21, align_corners=True)
    if aspp:
        head.update(type='DeepLabV2Head', rates=ASPP_L[: len(scores)], fc_channels=len(state['fc6_1.weight']))
    else:
        taps = 'decode_head.taps.0.conv.weight' in converted
        head.update(type='DeepLabV1MScHead' if taps else 'DeepLabV1Head', variant=made)
    model = deeplab(backbone, head, 8, CAFFE if caffe else IMAGENET, RELEASE_SIZES)
    return Conversion(converted, model, dropped, holds, notes=notes)


def _check(variant: str | None, fc6: Tensor | None, aspp: bool) -> str:
    """The head for which a file's fc6 and fc7 are made already, 'ASPP' for v2's; it is the one that is asked for."""
    kernel = 3 if fc6 is None else fc6.shape[-1]
    if kernel not in VARIANTS:
        raise UserError(f'fc6 {tuple(fc6.shape) if fc6 is not None else ""} is of no head of v1: 3x3, 4x4 or 7x7')
    made = 'ASPP' if aspp else VARIANTS[kernel]
    if variant not in (None, made):
        has = 'none' if fc6 is None else f'{len(fc6)}, decimated for {made}'
        raise UserError(
            f'--variant {variant} takes fc6 and fc7 of {FILTERS} filters, as VGG-16 has them; this file has '
            f'{"those of the branches of v2" if aspp else has}'
        )
    return made


DECIMATED = {
    'LargeFOV': 'fc6 and fc7 keep every fourth of their 4096 filters, and fc6 every third of its 7x7 positions: a '
    'start for LargeFOV as in the papers, which draw the filters at random. Other heads: --variant 4x4 or 7x7',
    '4x4': 'fc6 keeps every second of its 7x7 positions in each direction, and all filters',
    '7x7': 'fc6 and fc7 are as they were',
}
RATES = {
    '4x4': 'fc6 has rate 4; if the file is of the network with the larger field of view, set '
    "model.decode_head.variant='4x4-rate8'",
    'ASPP': 'Rates are those of ASPP-L; ASPP-S has model.decode_head.rates=(2, 4, 8, 12)',
}
"""Of whole networks, what the weights don't tell."""
