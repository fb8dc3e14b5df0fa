"""Head of DeepLab v2: atrous spatial pyramid pooling that sums the scores of its branches."""

from collections import OrderedDict
from collections.abc import Sequence

from mmseg.registry import MODELS
from torch import Tensor, nn

from ...errors import UserError
from ..atrous import check_output_stride
from ..backbones.base import is_pretrained
from .base import DeepLabHead
from .stride8 import load_layers, random_init


@MODELS.register_module()
class DeepLabV2Head(DeepLabHead):
    """The sum of the scores of parallel 3x3 convolutions with different rates (v2, section 3.2; release).

    On ResNet each branch is one convolution from the features to the classes; on VGG it is fc6 with the branch's
    rate, fc7 and fc8, as in v1's LargeFOV without its average pool. No batch norm in either.

    The loss compares the logits with every 8th label (321 pixels: 41 cells), as the release does, so crops have sides
    of 8k + 1 pixels. At test time the logits are resized, bilinearly, corners on corners.

    Args:
        output_stride: 8.
        rates: Rate of each branch: (6, 12, 18, 24) is ASPP-L, (2, 4, 8, 12) ASPP-S, (12,) LargeFOV, and () the plain
            classifier, one 1x1 convolution.
        fc_channels: Channels of fc6 and fc7, 1024 on VGG; None leaves both out, as on ResNet.
        init_cfg: None: He's for fc6 and fc7, a normal distribution of 0.01 for classifiers. `dict(type='Pretrained',
            checkpoint=..., prefix='decode_head')` takes fc6 and fc7 from a file, the same for all branches.
        kwargs: See `DeepLabHead`.
    """

    classifier_names = ('classifiers',)

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        output_stride: int = 8,
        rates: Sequence[int] = (6, 12, 18, 24),
        fc_channels: int | None = None,
        init_cfg: dict | None = None,
        **kwargs,
    ):
        check_output_stride(output_stride, (8,), 'DeepLabV2Head compares its logits with every 8th label')
        if any(rate < 1 for rate in rates):
            raise UserError(f'rates={tuple(rates)} of DeepLabV2Head must be whole numbers of cells from 1 on')
        self.pretrained = init_cfg if is_pretrained(init_cfg) else None
        if self.pretrained and fc_channels is None:
            raise UserError('init_cfg is Pretrained, but a DeepLabV2Head without fc_channels has no pretrained layer')
        super().__init__(
            in_channels,
            num_classes,
            output_stride,
            channels=fc_channels or in_channels,
            upsample_logits=False,
            init_cfg=random_init(self.classifier_names) if self.pretrained or init_cfg is None else init_cfg,
            **kwargs,
        )
        del self.conv_seg  # the base class's classifier: here each branch has its own
        self.branches = nn.ModuleList()
        self.classifiers = nn.ModuleList()
        for kernel, rate in [(3, rate) for rate in rates] or [(1, 1)]:
            padding = rate * (kernel - 1) // 2
            first = nn.Conv2d(in_channels, fc_channels or self.out_channels, kernel, padding=padding, dilation=rate)
            if fc_channels is None:
                self.branches.append(nn.Identity())
                self.classifiers.append(first)
            else:
                self.branches.append(fully_connected(first))
                self.classifiers.append(nn.Conv2d(fc_channels, self.out_channels, 1))

    def init_weights(self) -> None:
        """Initialise, then load fc6 and fc7 of a pretrained file; see `load_layers`."""
        super().init_weights()
        if self.pretrained:
            load_layers(self.branches, ('fc6', 'fc7'), self.pretrained)

    def forward(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """Map the backbone's features to logits (N, num_classes, H / 8, W / 8)."""
        x = self.selected(inputs)
        scores = [classifier(branch(x)) for branch, classifier in zip(self.branches, self.classifiers, strict=True)]
        return sum(scores[1:], scores[0])


def fully_connected(fc6: nn.Conv2d) -> nn.Sequential:
    """VGG's fully connected layers as convolutions: fc6 and fc7, each with ReLU and dropout."""
    fc7 = nn.Conv2d(fc6.out_channels, fc6.out_channels, 1)
    layers = [('fc6', fc6), ('relu6', nn.ReLU(inplace=True)), ('drop6', nn.Dropout(0.5))]
    layers += [('fc7', fc7), ('relu7', nn.ReLU(inplace=True)), ('drop7', nn.Dropout(0.5))]
    return nn.Sequential(OrderedDict(layers))
