"""What every loss has in common: pixels without a label take no part, and the average is over the whole batch."""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from mmengine.dist import all_reduce
from mmseg.models.losses.utils import get_class_weight
from torch import Tensor, nn

from ...errors import UserError


def batch_mean(share: Tensor) -> Tensor:
    """The mean of a number over all processes.

    Distributed training takes the mean of the processes' gradients. A sum divided by this mean is then, in all
    processes together, the sum of the whole batch divided by its number: what one process would compute.
    """
    share = share.detach().clone()
    all_reduce(share, op='mean')
    return share


def one_hot(label: Tensor, logits: Tensor) -> Tensor:
    """Labels (N, H, W) as one map for each channel of logits (N, C, H, W); a single channel stands for label 1."""
    number, channels, height, width = logits.shape
    hot = logits.new_zeros(number, max(channels, 2), height, width).scatter_(1, label.unsqueeze(1), 1)
    return hot[:, 1:] if channels == 1 else hot


def probabilities(logits: Tensor, sigmoid: bool) -> Tensor:
    """Of each class for itself, or of all together; a single channel is a class for itself."""
    return logits.sigmoid() if sigmoid or logits.shape[1] == 1 else logits.softmax(dim=1)


class SegLoss(nn.Module):
    """A sum over labelled pixels or pictures, divided by their number in the batch.

    Pixels whose label is `ignore_index` (void, padding) take no part and get no gradient: the loss is that of the
    labelled pixels alone, and 0, with a gradient of 0, where there are none. Logits of one channel are those of label
    1 against label 0. In distributed training the batch is that of all processes.

    Args:
        class_weight: One factor for each class, or a file of them; two for logits of one channel.
        loss_weight: Factor of the whole loss.
        loss_name: Name in the log; one that starts with `loss_` is added to the total.
    """

    class_weight: Tensor | None
    takes_one_channel = True
    """Whether it is defined on logits of one channel, as it was built."""
    takes_more_channels = True
    """Whether it is defined on logits of two channels or more, as it was built."""

    def __init__(self, class_weight: Sequence[float] | str | None, loss_weight: float, loss_name: str):
        super().__init__()
        self.loss_weight = loss_weight
        self.loss_name = loss_name
        weight = get_class_weight(class_weight)
        weight = None if weight is None else torch.as_tensor(weight, dtype=torch.float32)
        self.register_buffer('class_weight', weight, persistent=False)

    def check(self, channels: int) -> None:
        """Raise UserError if it is not defined on that many channels of logits."""
        name, classes = type(self).__name__, max(channels, 2)
        if channels == 1 and not self.takes_one_channel:
            raise UserError(
                f'{name} takes the softmax over the classes, but the head has one channel (out_channels=1), whose '
                f'softmax is always 1: {self.remedy_for_one_channel}, or leave out_channels out'
            )
        if channels > 1 and not self.takes_more_channels:
            raise UserError(f'{name} as it is set takes logits of one channel, but the head has {channels}')
        if self.class_weight is not None and len(self.class_weight) != classes:
            raise UserError(
                f'loss_decode.class_weight has {len(self.class_weight)} entries, but there are {classes} classes'
            )

    remedy_for_one_channel = 'set loss_decode.use_sigmoid=True'

    def forward(
        self,
        logits: Tensor,
        label: Tensor,
        weight: Tensor | None = None,
        ignore_index: int | None = 255,
        reduction_override: str | None = None,
    ) -> Tensor:
        """Compute the loss of logits (N, C, H, W) against labels (N, H, W), a scalar.

        Args:
            weight: Factor of each pixel (N, H, W), or None.
            ignore_index: Label of pixels that take no part.
            reduction_override: None, or 'none' for the loss of each pixel (N, H, W), where the loss is one of pixels.
        """
        self.check(logits.shape[1])
        if logits.dtype in (torch.float16, torch.bfloat16):
            logits = logits.float()  # sums over a picture leave the range of half precision
        labelled = torch.ones_like(label, dtype=torch.bool) if ignore_index is None else label.ne(ignore_index)
        label = label.masked_fill(~labelled, 0)
        if reduction_override == 'none':
            return self.loss_weight * self.pixel_losses(logits, label) * labelled
        share = labelled.to(logits.dtype) if weight is None else labelled * weight
        total, number = self.sums(logits, label, labelled, share)
        return self.loss_weight * total / batch_mean(number).clamp(min=torch.finfo(number.dtype).tiny)

    def pixel_losses(self, logits: Tensor, label: Tensor) -> Tensor:
        """The loss of each pixel (N, H, W)."""
        raise UserError(f'{type(self).__name__} has no loss of single pixels, which a sampler without thresh sorts')

    @abstractmethod
    def sums(self, logits: Tensor, label: Tensor, labelled: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
        """The sum of losses, and the number or weight of what was summed.

        Args:
            logits: (N, C, H, W).
            label: (N, H, W), 0 where there is none.
            labelled: (N, H, W), where there is one.
            share: (N, H, W), the factor of each pixel; 0 where there is no label.
        """
