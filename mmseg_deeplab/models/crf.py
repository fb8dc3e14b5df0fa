"""The dense CRF as the last layer of a segmentor: what lies between its logits and `mmseg_deeplab.crf`'s layer."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor, nn

from ..errors import UserError


class RefinedByCRF(nn.Module):
    """Refines logits by the pictures that they were made from.

    The layer itself comes from the registry, where `mmseg_deeplab.plugin` puts it, so that neither the networks' room
    nor that of the CRF, which works without MMSegmentation, imports the other.

    Args:
        out_channels: Channels of the logits; one is the logit of class 1 of two.
        preprocessor: Config of the segmentor's data preprocessor: mean, std and order of the colours.
        plain_weight: Weight of the loss on the logits before the CRF.
        layer: Arguments of `mmseg_deeplab.crf.DenseCRFLayer`.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, out_channels: int, preprocessor: Mapping | None, plain_weight: float = 0.4, **layer: Any):
        super().__init__()
        if isinstance(plain_weight, bool) or not isinstance(plain_weight, int | float) or plain_weight < 0:
            raise UserError(f'model.crf.plain_weight={plain_weight!r}: expected a number >= 0')
        if preprocessor is not None and not isinstance(preprocessor, Mapping):
            raise UserError('model.crf needs model.data_preprocessor as a config: it says how pictures were normalised')
        classes = max(out_channels, 2)
        if layer.setdefault('num_classes', classes) != classes:
            raise UserError(f'model.crf.num_classes={layer["num_classes"]!r}, but the head has {classes}: leave it out')
        try:
            self.layer = MODELS.build({'type': 'DenseCRFLayer', **layer})
        except TypeError as error:
            raise UserError(f'model.crf: {error}') from None
        preprocessor = preprocessor or {}
        mean = torch.tensor(preprocessor.get('mean') or [0.0], dtype=torch.float32)
        std = torch.tensor(preprocessor.get('std') or [1.0], dtype=torch.float32)
        self.register_buffer('mean', mean.view(-1, 1, 1), persistent=False)
        self.register_buffer('std', std.view(-1, 1, 1), persistent=False)
        self.is_rgb = bool(preprocessor.get('bgr_to_rgb'))  # files are read as BGR
        self.plain_weight = float(plain_weight)

    def forward(self, inputs: Tensor, logits: Tensor, metas: Sequence[Mapping]) -> Tensor:
        """Logits (N, C, H, W) after the CRF, for normalised images (N, 3, H, W) of the same size.

        What the preprocessor has padded takes no part, so that an answer does not depend on it; there, logits are zero.
        """
        binary = logits.shape[1] == 1
        if binary:
            logits = torch.cat([torch.zeros_like(logits), logits], 1)
        pictures = self.pictures(inputs)
        height, width = inputs.shape[2:]
        paddings = [tuple(meta.get('img_padding_size', meta.get('padding_size', (0, 0, 0, 0)))) for meta in metas]
        if not any(map(any, paddings)):
            refined = self.layer(pictures, logits)
        else:
            inside = [(slice(top, height - below), slice(left, width - right)) for left, right, top, below in paddings]
            parts = self.layer(
                [picture[place] for picture, place in zip(pictures, inside, strict=True)],
                [scores[(slice(None), *place)] for scores, place in zip(logits, inside, strict=True)],
            )
            refined = torch.stack([F.pad(part, padding) for part, padding in zip(parts, paddings, strict=True)])
        return refined[:, 1:] - refined[:, :1] if binary else refined

    def pictures(self, inputs: Tensor) -> Tensor:
        """The uint8 RGB pictures (N, H, W, 3) that the preprocessor has made normalised images (N, 3, H, W) of."""
        pixels = (inputs.detach().float() * self.std + self.mean).round().clamp(0, 255).byte()
        return (pixels if self.is_rgb else pixels.flip(1)).permute(0, 2, 3, 1)
