"""Head of DeepLab v2: atrous spatial pyramid pooling that sums the scores of its branches."""

from collections import OrderedDict
from collections.abc import Iterable, Sequence

from mmseg.registry import MODELS
from torch import Tensor, nn

from ...errors import UserError
from .stride8 import Stride8Head


@MODELS.register_module()
class DeepLabV2Head(Stride8Head):
    """The sum of the scores of parallel 3x3 convolutions with different rates (v2, section 3.2; release).

    On ResNet each branch is one convolution from the features to the classes; on VGG it is fc6 with the branch's
    rate, fc7 and fc8, as in v1's LargeFOV without its average pool. No batch norm in either.

    Args:
        rates: Rate of each branch: (6, 12, 18, 24) is ASPP-L, (2, 4, 8, 12) ASPP-S, (12,) LargeFOV, and () the plain
            classifier, one 1x1 convolution.
        fc_channels: Channels of fc6 and fc7, 1024 on VGG; None leaves both out, as on ResNet.
        kwargs: See `Stride8Head`. A pretrained file with fc6 and fc7 starts all branches alike.
    """

    classifier_names = ('classifiers',)

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        rates: Sequence[int] = (6, 12, 18, 24),
        fc_channels: int | None = None,
        **kwargs,
    ):
        super().__init__(in_channels, num_classes, channels=fc_channels or in_channels, **kwargs)
        if any(rate < 1 for rate in rates):
            raise UserError(f'rates={tuple(rates)} of DeepLabV2Head must be whole numbers of cells from 1 on')
        if self.pretrained and fc_channels is None:
            raise UserError('init_cfg is Pretrained, but a DeepLabV2Head without fc_channels has no pretrained layer')
        del self.conv_seg  # the base class's classifier: here each branch has its own
        self.branches = nn.ModuleList()
        self.classifiers = nn.ModuleList()
        for kernel, rate in [(3, rate) for rate in rates] or [(1, 1)]:
            first = dict(kernel_size=kernel, padding=rate * (kernel - 1) // 2, dilation=rate)
            if fc_channels is None:
                self.branches.append(nn.Identity())
                self.classifiers.append(nn.Conv2d(in_channels, self.out_channels, **first))
            else:
                layers = dict(fc6=nn.Conv2d(in_channels, fc_channels, **first), relu6=nn.ReLU(inplace=True))
                layers.update(drop6=nn.Dropout(0.5), fc7=nn.Conv2d(fc_channels, fc_channels, 1))
                layers.update(relu7=nn.ReLU(inplace=True), drop7=nn.Dropout(0.5))
                self.branches.append(nn.Sequential(OrderedDict(layers)))
                self.classifiers.append(nn.Conv2d(fc_channels, self.out_channels, 1))

    def _pretrained_owners(self) -> Iterable[nn.Module]:
        return self.branches

    def forward(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """Map the backbone's features to logits (N, num_classes, H / 8, W / 8)."""
        x = self._transform_inputs(inputs)
        return sum(classifier(branch(x)) for branch, classifier in zip(self.branches, self.classifiers, strict=True))
