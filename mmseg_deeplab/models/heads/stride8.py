"""What the heads of v1 and v2 have in common: output stride 8, and a loss on logits that are not resized."""

from collections.abc import Iterable

from mmseg.registry import WEIGHT_INITIALIZERS
from torch import nn

from ..atrous import check_output_stride
from .base import DeepLabHead


class Stride8Head(DeepLabHead):
    """A head of v1 or v2.

    The loss compares the logits with every 8th label (321 pixels: 41 cells), as the Caffe releases do, so crops have
    sides of 8k + 1 pixels. At test time the logits are resized, bilinearly, corners on corners.

    Args:
        in_channels: Channels of the feature map that `in_index` selects, the coarsest by default.
        num_classes: Number of classes, without the ignored label.
        output_stride: 8.
        channels: Channels of the layer before the classifier.
        init_cfg: None: He's for fc6 and fc7, a normal distribution of 0.01 for classifiers. `dict(type='Pretrained',
            checkpoint=..., prefix='decode_head')` takes `pretrained_layers` from a file, all of them or it is refused.
        kwargs: See `DeepLabHead`.
    """

    pretrained_layers: tuple[str, ...] = ('fc6', 'fc7')

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        output_stride: int = 8,
        channels: int = 1024,
        init_cfg: dict | None = None,
        **kwargs,
    ):
        check_output_stride(output_stride, (8,), f'{type(self).__name__} compares its logits with every 8th label')
        pretrained = bool(init_cfg) and init_cfg.get('type') == 'Pretrained'
        self.pretrained = init_cfg if pretrained else None
        if pretrained or init_cfg is None:
            classifiers = [dict(type='Normal', name=name, std=0.01) for name in self.classifier_names]
            init_cfg = dict(type='Kaiming', layer='Conv2d', override=classifiers)
        super().__init__(
            in_channels, num_classes, output_stride, channels, upsample_logits=False, init_cfg=init_cfg, **kwargs
        )

    def init_weights(self) -> None:
        """Initialise, then load the layers of a pretrained file.

        Raises:
            UserError: If the file lacks a layer or holds one of another shape.
        """
        super().init_weights()
        if self.pretrained:
            cfg = {'prefix': 'decode_head', **self.pretrained}
            load = WEIGHT_INITIALIZERS.build({**cfg, 'type': 'StrictPretrained', 'layers': self.pretrained_layers})
            for owner in self._pretrained_owners():
                load(owner)

    def _pretrained_owners(self) -> Iterable[nn.Module]:
        """The modules that each hold the pretrained layers."""
        return [self]
