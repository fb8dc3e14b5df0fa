"""What every DeepLab backbone has in common."""

import re
from typing import TypeGuard

from mmengine.model import BaseModule, PretrainedInit, initialize
from mmseg.registry import WEIGHT_INITIALIZERS
from torch import nn

FROM_SCRATCH = [
    dict(type='Kaiming', layer='Conv2d'),
    dict(type='Constant', val=1, layer=['_BatchNorm', 'GroupNorm']),
]


def is_pretrained(init_cfg: dict | list[dict] | None) -> TypeGuard[dict]:
    """Whether an initialiser's config names a file of weights."""
    return isinstance(init_cfg, dict) and init_cfg['type'] in ('Pretrained', PretrainedInit)


class DeepLabBackbone(BaseModule):
    """A backbone that turns `output_stride` into its own strides and rates.

    `forward` returns a tuple of feature maps (N, C_i, H_i, W_i), finest first. The segmentor reads the attributes
    below to connect a head.

    Attributes:
        feature_channels: Channels of each feature map.
        low_level_index: Which of them, at stride 4, the decoder of v3+ refines with.
    """

    feature_channels: tuple[int, ...]
    low_level_index: int = 0
    classifier_prefixes: tuple[str, ...] = ()
    """Parameters of the classification network, beyond the features, that a pretrained file may hold besides."""
    extra_prefixes: tuple[str, ...] = ()
    """Parameters beyond those of the classification network; a pretrained file lacks all of them or none."""

    def __init__(self, init_cfg: dict | list[dict] | None = None):
        super().__init__(FROM_SCRATCH if init_cfg is None else init_cfg)

    def parts_by_stage(self) -> list[list[nn.Module]]:
        """Its layers from the image on: the stem and each stage, as `frozen_stages` of the segmentor counts them."""
        stages = [module for name, module in self.named_children() if re.fullmatch(r'layer\d+', name)]
        return [[module for module in self.children() if module not in stages], *([stage] for stage in stages)]

    def init_weights(self) -> None:
        """Initialise, from a pretrained file if `init_cfg` is `dict(type='Pretrained', checkpoint=...)`.

        Raises:
            UserError: If that file leaves a parameter of the backbone unset or holds one that it has not; the
                registry's own initialiser skips both and trains on from random weights.
        """
        cfg = self.init_cfg
        if not is_pretrained(cfg):
            super().init_weights()
            return
        names = dict(beside=self.classifier_prefixes, optional=self.extra_prefixes)
        load = WEIGHT_INITIALIZERS.build({**cfg, 'type': 'StrictPretrained', **names})
        if self.extra_prefixes:
            initialize(self, FROM_SCRATCH)
        load(self)
        self.is_init = True
