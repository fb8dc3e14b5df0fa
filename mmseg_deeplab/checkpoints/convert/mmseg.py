"""MMSegmentation: ResNet-v1c backbones, and its own DeepLabV3 and DeepLabV3+ models, also on MobileNetV2.

Its heads have a 3x3 projection of 512 channels behind ASPP; they are taken as they are, on this package's backbone.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.config import Config
from torch import Tensor

from ...errors import UserError
from ..publish import plain_config
from .rules import BACKBONE_ONLY, IMAGENET, Conversion, Rule, apply_rules, deeplab, mobilenet_width, resnet

RULES = (
    Rule(r'fc\.\w+', dropped='classification network beyond the features'),
    Rule(r'auxiliary_head\..+', dropped='auxiliary head, which only trains'),
    Rule(r'((stem|layer\d)\..+)', r'backbone.\1'),
    Rule(r'((backbone|decode_head)\..+)', r'\1'),
)


def recognises(state: Mapping[str, Tensor]) -> bool:
    """Whether it has the stem of ResNet-v1c under its own name, or an ASPP head of MMSegmentation."""
    return 'decode_head.image_pool.1.conv.weight' in state or {'stem.0.weight', 'layer1.0.conv1.weight'} <= set(state)


def convert(state: Mapping[str, Tensor]) -> Conversion:
    """Convert a backbone or a whole model."""
    converted, dropped = apply_rules(RULES, state, 'mmseg')
    if 'backbone.layer1.0.conv.0.conv.weight' in converted:
        backbone: dict[str, Any] = dict(
            type='DeepLabMobileNetV2', width=mobilenet_width(converted), low_level='output', norm_cfg=dict(type='BN')
        )
    else:
        backbone = resnet(converted)
    if 'decode_head.conv_seg.weight' not in state:
        return Conversion(converted, deeplab(backbone, None, 16, IMAGENET), dropped, BACKBONE_ONLY)
    if backbone['type'] == 'DeepLabResNet':
        backbone.update(multi_grid=None, strided_conv='3x3', rate_of_lost_stride='old')
    else:
        backbone.update(row_rates=_row_rates((1, 1, 1, 2, 2, 4, 4)))
    model = deeplab(backbone, _head(state), 8, IMAGENET, test_padding='none')
    return Conversion(converted, model, dropped, notes=[RATES])


def settle(conversion: Conversion, text: str) -> None:
    """Take rates, strides, windows and normalisation from the config that MMSegmentation leaves in its files.

    One that is more than values is not looked at.
    """
    values = _values(text)
    model = values.get('model')
    if conversion.holds != ('',) or not isinstance(model, dict):
        return
    theirs, head = model.get('backbone') or {}, model.get('decode_head') or {}
    ours = conversion.model['backbone']
    strides, dilations = tuple(theirs.get('strides') or ()), tuple(theirs.get('dilations') or ())
    if math.prod(strides) in (2, 4, 8) and len(dilations) == len(strides):
        stem = 4 if ours['type'] == 'DeepLabResNet' else 2
        conversion.model['output_stride'] = stem * math.prod(strides)
        if stem == 2:
            ours['row_rates'] = _row_rates(dilations)
        elif theirs.get('multi_grid'):
            ours.pop('multi_grid')
            ours['block4_rates'] = tuple(theirs['multi_grid'])
    if ours['type'] == 'DeepLabResNet':
        ours['strided_conv'] = '1x1' if theirs.get('style') == 'caffe' else '3x3'
        ours['rate_of_lost_stride'] = 'old' if theirs.get('contract_dilation') else 'new'
    for key in ('dilations', 'align_corners'):
        if key in head:
            conversion.model['decode_head'][key] = head[key]
    if (model.get('test_cfg') or {}).get('mode') == 'slide':
        conversion.model['test_cfg'] = model['test_cfg']
    images = model.get('data_preprocessor') or values.get('img_norm_cfg') or {}
    turned = images.get('bgr_to_rgb', images.get('to_rgb'))  # of 1.x, of 0.x
    found = dict(mean=images.get('mean'), std=images.get('std'), bgr_to_rgb=turned)
    conversion.model['data_preprocessor'].update({key: value for key, value in found.items() if value is not None})
    conversion.notes[:] = [
        'Strides, rates, resizes, windows and normalisation are those of the config that the file brings along'
    ]


def _row_rates(dilations: Sequence[int]) -> tuple:
    """Its MobileNetV2 dilates the first residual of a row alone."""
    return tuple(rate if rate == 1 else (rate, 1) for rate in dilations)


def _values(text: str) -> dict:
    """The variables of a config that is nothing but values; {} for another."""
    try:
        plain_config(dict(meta=dict(cfg=text)), 'the file')
    except UserError:
        return {}
    return Config.fromstring(text, '.py').to_dict()


def _head(state: Mapping[str, Tensor]) -> dict:
    if any(re.match(r'decode_head\.aspp_modules\.1\.depthwise_conv', name) for name in state):
        low_level = state['decode_head.c1_bottleneck.conv.weight']
        decoder = dict(
            type='DepthwiseSeparableASPPHead', c1_in_channels=low_level.shape[1], c1_channels=low_level.shape[0]
        )
    else:
        decoder = dict(type='ASPPHead')
    channels, in_channels = state['decode_head.image_pool.1.conv.weight'].shape[:2]
    return dict(
        **decoder,
        in_channels=in_channels,
        in_index=3,
        channels=channels,
        dilations=(1, 12, 24, 36),
        num_classes=len(state['decode_head.conv_seg.weight']),
        norm_cfg=dict(type='BN'),
        align_corners=False,
        loss_decode=dict(type='SegCrossEntropy'),
    )


RATES = (
    'Rates are those of the models named D8 (output stride 8, ASPP 12, 24, 36). For '
    'models named d16-mg124 set model.output_stride=16, model.backbone.block4_rates=(1, 2, 4) and '
    'model.decode_head.dilations=(1, 6, 12, 18); for those of crops of 769 model.decode_head.align_corners=True'
)
