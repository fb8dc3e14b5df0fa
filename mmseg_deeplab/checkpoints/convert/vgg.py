"""VGG-16: torchvision's, with batch norm or without, and vgg16_20M, the Caffe layout of DeepLab v1's LargeFOV."""

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
"""Of VGG's own fc6 and fc7; files with fewer have been decimated before."""
STEPS = {'LargeFOV': (3, 4), '4x4': (2, 1), '7x7': (1, 1)}
"""Of fc6's 7x7 positions and of the filters, those so far apart are kept (v1, sections 3.1 and 4.1; v2, 4.1)."""


IMAGENET_ONLY = (Rule(r'(classifier\.6|fc8)\.\w+', dropped='ImageNet classifier'),)


def _rules(variant: str) -> tuple[Rule, ...]:
    positions, filters = STEPS[variant]

    def fc6(weight: Tensor) -> Tensor:
        if len(weight) != FILTERS:
            return weight
        return weight.view(FILTERS, -1, 7, 7)[::filters, :, ::positions, ::positions]

    def fc7(weight: Tensor) -> Tensor:
        weight = weight.view(*weight.shape[:2], 1, 1)
        return weight[::filters, ::filters] if len(weight) == FILTERS else weight

    def bias(value: Tensor) -> Tensor:
        return value[::filters] if len(value) == FILTERS else value

    return (
        Rule(r'features\.(\d+)\.(\w+)', r'backbone.features.\1.\2'),
        Rule(r'(classifier\.0|fc6)\.weight', 'decode_head.fc6.weight', fc6),
        Rule(r'(classifier\.3|fc7)\.weight', 'decode_head.fc7.weight', fc7),
        Rule(r'(classifier\.0|fc6)\.bias', 'decode_head.fc6.bias', bias),
        Rule(r'(classifier\.3|fc7)\.bias', 'decode_head.fc7.bias', bias),
        Rule(r'conv(\d)_(\d)\.(\w+)', lambda m: f'backbone.features.{FEATURES[int(m[1]), int(m[2])]}.{m[3]}'),
        Rule(r'fc8\w*\.(\w+)', r'decode_head.conv_seg.\1'),
    )


def recognises(state: Mapping[str, Tensor]) -> bool:
    """Whether it begins with VGG's convolutions, in torchvision's or in Caffe's names."""
    return 'conv1_1.weight' in state or {'features.0.weight', 'features.28.weight'} <= set(state)


def convert(state: Mapping[str, Tensor], variant: str = 'LargeFOV') -> Conversion:
    """Convert VGG-16 into the backbone and fc6, fc7 of a head of v1; with a DeepLab's fc8, into a whole DeepLab v1.

    Args:
        state: Its parameters.
        variant: Of the head, 'LargeFOV', '4x4' (at either rate) or '7x7'.
    """
    caffe = 'conv1_1.weight' in state
    fc6 = state.get('fc6.weight', state.get('classifier.0.weight'))
    whole = fc6 is not None and len(fc6) == FILTERS
    if not whole and variant != 'LargeFOV':
        raise UserError(
            f'--variant {variant} takes fc6 and fc7 of {FILTERS} filters, as VGG-16 has them; this file has '
            f'{"none" if fc6 is None else f"{len(fc6)}, decimated for LargeFOV"}'
        )
    converted, dropped = apply_rules((*(IMAGENET_ONLY if whole else ()), *_rules(variant)), state, 'vgg')
    classifier = converted.get('decode_head.conv_seg.weight')
    head = dict(type='DeepLabV1Head', variant=variant, num_classes=21 if classifier is None else len(classifier))
    head['align_corners'] = True
    holds = ('backbone.', 'decode_head.fc6.', 'decode_head.fc7.') if classifier is None else ('',)
    if not any(name.startswith('decode_head.') for name in converted):
        holds = holds[:1]
    notes = [DECIMATED[variant]] if whole else []
    backbone: dict[str, Any] = dict(type='DeepLabVGG')
    if 'features.1.running_mean' in state:
        backbone['batch_norm'] = True
        notes.append('The VGG-16 of DeepLab v1 and v2 has no batch norm')
    model = deeplab(backbone, head, 8, CAFFE if caffe else IMAGENET, RELEASE_SIZES)
    return Conversion(converted, model, dropped, holds, notes=notes)


DECIMATED = {
    'LargeFOV': 'fc6 and fc7 keep every fourth of their 4096 filters, and fc6 every third of its 7x7 positions: a '
    'start for LargeFOV as in the papers, which draw the filters at random. Other heads: --variant 4x4 or 7x7',
    '4x4': 'fc6 keeps every second of its 7x7 positions in each direction, and all filters',
    '7x7': 'fc6 and fc7 are as they were',
}
