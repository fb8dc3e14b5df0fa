"""MMSegmentation: ResNet-v1c backbones, and its own DeepLabV3 and DeepLabV3+ models.

Its heads have a 3x3 projection of 512 channels behind ASPP; they are taken as they are, on this package's backbone.
"""

import re
from collections.abc import Mapping

from torch import Tensor

from .rules import BACKBONE_ONLY, IMAGENET, Conversion, Rule, apply_rules, deeplab, resnet

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
    backbone = resnet(converted)
    if 'decode_head.conv_seg.weight' not in state:
        return Conversion(converted, deeplab(backbone, None, 16, IMAGENET), dropped, BACKBONE_ONLY)
    backbone.update(multi_grid=None, strided_conv='3x3', rate_of_lost_stride='old')
    return Conversion(converted, deeplab(backbone, _head(state), 8, IMAGENET), dropped, notes=[RATES])


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
    'Rates are those of the models named D8 (output stride 8, ASPP 12, 24, 36); crops of 769 were trained with '
    'align_corners=True. The file does not tell. Models named d16-mg124 dilate block4 by 1, 2, 4, which no setting of '
    'DeepLabResNet does, since multi-grid multiplies the rate of the block (v3, section 3.2.1)'
)
