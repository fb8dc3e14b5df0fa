"""VGG-16: torchvision's, with batch norm or without, and vgg16_20M, the Caffe layout of DeepLab v1's LargeFOV."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from .rules import CAFFE, IMAGENET, RELEASE_SIZES, Conversion, Rule, apply_rules, deeplab

# Place of conv<stage>_<number> in a sequence of convolutions, ReLUs and pools.
FEATURES = {
    (1, 1): 0, (1, 2): 2,
    (2, 1): 5, (2, 2): 7,
    (3, 1): 10, (3, 2): 12, (3, 3): 14,
    (4, 1): 17, (4, 2): 19, (4, 3): 21,
    (5, 1): 24, (5, 2): 26, (5, 3): 28,
}  # fmt: skip


def _decimated_fc6(weight: Tensor) -> Tensor:
    """Every third of 7x7 positions and every fourth of 4096 filters (v1, section 3.1; v2, section 4.1)."""
    return weight.view(len(weight), -1, 7, 7)[::4, :, ::3, ::3]


RULES = (
    Rule(r'features\.(\d+)\.(\w+)', r'backbone.features.\1.\2'),
    Rule(r'classifier\.0\.weight', 'decode_head.fc6.weight', _decimated_fc6),
    Rule(r'classifier\.3\.weight', 'decode_head.fc7.weight', lambda weight: weight[::4, ::4, None, None]),
    Rule(r'classifier\.([03])\.bias', lambda m: f'decode_head.fc{6 if m[1] == "0" else 7}.bias', lambda b: b[::4]),
    Rule(r'classifier\.6\.\w+', dropped='ImageNet classifier'),
    Rule(r'conv(\d)_(\d)\.(\w+)', lambda m: f'backbone.features.{FEATURES[int(m[1]), int(m[2])]}.{m[3]}'),
    Rule(r'(fc[67]\.\w+)', r'decode_head.\1'),
    Rule(r'fc8\w*\.(\w+)', r'decode_head.conv_seg.\1'),
)


def recognises(state: Mapping[str, Tensor]) -> bool:
    """Whether it begins with VGG's convolutions, in torchvision's or in Caffe's names."""
    return 'conv1_1.weight' in state or {'features.0.weight', 'features.28.weight'} <= set(state)


def convert(state: Mapping[str, Tensor]) -> Conversion:
    """Convert VGG-16 into the backbone and fc6, fc7 of LargeFOV; with fc8, into a whole DeepLab v1."""
    converted, dropped = apply_rules(RULES, state, 'vgg')
    caffe = 'conv1_1.weight' in state
    classifier = converted.get('decode_head.conv_seg.weight')
    head = dict(type='DeepLabV1Head', variant='LargeFOV', num_classes=21 if classifier is None else len(classifier))
    head['align_corners'] = True
    holds = ('backbone.', 'decode_head.fc6.', 'decode_head.fc7.') if classifier is None else ('',)
    if not any(name.startswith('decode_head.') for name in converted):
        holds = holds[:1]
    notes = [] if caffe or len(holds) == 1 else [DECIMATED]
    backbone: dict[str, Any] = dict(type='DeepLabVGG')
    if 'features.1.running_mean' in state:
        backbone['batch_norm'] = True
        notes.append('The VGG-16 of DeepLab v1 and v2 has no batch norm')
    model = deeplab(backbone, head, 8, CAFFE if caffe else IMAGENET, RELEASE_SIZES)
    return Conversion(converted, model, dropped, holds, notes=notes)


DECIMATED = (
    'fc6 and fc7 keep every fourth of their 4096 filters, and fc6 every third of its 7x7 positions: a start for '
    'LargeFOV as in the papers, which draw the filters at random'
)
