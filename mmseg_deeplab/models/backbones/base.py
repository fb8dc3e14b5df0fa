"""What every DeepLab backbone has in common."""

import re
from typing import TypeGuard

from mmengine.model import BaseModule, PretrainedInit, initialize
from mmseg.registry import WEIGHT_INITIALIZERS
from torch import nn

from ...errors import UserError

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

    Args:
        in_channels: Bands of the images, from 1 on. A pretrained file whose first convolution takes three is inflated
            to another number as it is loaded, see `inflate_bands`.
        init_cfg: How it starts; None is Kaiming's, `dict(type='Pretrained', checkpoint=FILE)` a file.

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

    def __init__(self, in_channels: int = 3, init_cfg: dict | list[dict] | None = None):
        super().__init__(FROM_SCRATCH if init_cfg is None else init_cfg)
        if isinstance(in_channels, bool) or not isinstance(in_channels, int) or in_channels < 1:
            raise UserError(
                f'{type(self).__name__}: in_channels={in_channels!r} is the number of bands of the images, a whole '
                f'number from 1 on'
            )
        self.in_channels = in_channels

    def named_as_in_files(self) -> nn.Module:
        """The module whose parameters have the names of pretrained files."""
        return self

    def parts_by_stage(self) -> list[list[nn.Module]]:
        """Its layers from the image on: the stem and each stage, as `frozen_stages` of the segmentor counts them."""
        parts: list[list[nn.Module]] = [[]]
        for name, module in self.named_children():  # in the order of the network; what follows the last stage is of it
            if re.fullmatch(r'layer\d+', name):
                parts.append([])
            parts[-1].append(module)
        return parts

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
        part = self.named_as_in_files()
        names = dict(beside=self.classifier_prefixes, optional=self.extra_prefixes, bands=self.in_channels)
        load = WEIGHT_INITIALIZERS.build({**cfg, 'type': 'StrictPretrained', **names})
        if self.extra_prefixes:
            initialize(self, FROM_SCRATCH)
        load(part)
        self.is_init = True
