"""Losses of pixels: cross entropy, that of the hardest pixels, and the focal loss."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor

from ...errors import UserError
from .base import SegLoss, one_hot


@MODELS.register_module()
class SegCrossEntropy(SegLoss):
    """Cross entropy, averaged over the labelled pixels.

    This is PyTorch's definition: the sum of weighted losses over the sum of the weights of the labelled pixels.
    MMSegmentation's own averages over ignored pixels too, and fails on them once `class_weight` is given.

    Args:
        class_weight: One factor for each class. With `use_sigmoid` and several channels, that of each class's own
            pixels against all others (`pos_weight` in PyTorch).
        use_sigmoid: Each channel for itself instead of the softmax over all; what logits of one channel need.
        boundary_weight: What is added to the weight 1 of pixels near another class.
        boundary_width: How near, in pixels.
        loss_weight: See `SegLoss`, as for `loss_name`.
    """

    def __init__(
        self,
        class_weight: Sequence[float] | str | None = None,
        loss_weight: float = 1.0,
        loss_name: str = 'loss_ce',
        use_sigmoid: bool = False,
        boundary_weight: float = 0.0,
        boundary_width: int = 2,
    ):
        super().__init__(class_weight, loss_weight, loss_name)
        if boundary_weight < 0 or boundary_width < 1:
            raise UserError(
                f'SegCrossEntropy: boundary_weight={boundary_weight} must be 0 or more, boundary_width='
                f'{boundary_width} a whole number of pixels from 1 on'
            )
        self.use_sigmoid = self.takes_one_channel = use_sigmoid
        self.boundary_weight, self.boundary_width = boundary_weight, boundary_width

    def pixel_losses(self, logits: Tensor, label: Tensor) -> Tensor:
        """The loss of each pixel (N, H, W), with its class's weight."""
        weight = self.class_weight
        if not self.use_sigmoid:
            return F.cross_entropy(logits, label, weight, reduction='none')
        target = one_hot(label, logits)
        if weight is not None and logits.shape[1] > 1:
            weight = weight.view(-1, 1, 1)
            return F.binary_cross_entropy_with_logits(logits, target, pos_weight=weight, reduction='none').mean(dim=1)
        losses = F.binary_cross_entropy_with_logits(logits, target, reduction='none').mean(dim=1)
        return losses if weight is None else losses * weight[label]

    def sums(self, logits: Tensor, label: Tensor, labelled: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
        """Weighted losses, and the weights."""
        if self.boundary_weight:
            share = share * (1 + self.boundary_weight * near_another_class(label, labelled, self.boundary_width))
        total = (self.pixel_losses(logits, label) * share).sum()
        if self.class_weight is not None and (not self.use_sigmoid or logits.shape[1] == 1):
            share = share * self.class_weight[label]
        return total, share.sum()


def near_another_class(label: Tensor, labelled: Tensor, width: int) -> Tensor:
    """Which pixels of labels (N, H, W) have one of another class within a square of `width` pixels to each side."""
    values, side = label.unsqueeze(1).float(), 2 * width + 1
    known = labelled.unsqueeze(1)
    highest = F.max_pool2d(values.where(known, -torch.inf), side, 1, width)
    lowest = -F.max_pool2d((-values).where(known, -torch.inf), side, 1, width)
    return (highest != lowest).squeeze(1)


@MODELS.register_module()
class SegOhemCrossEntropy(SegLoss):
    """Cross entropy of the hard pixels only: those whose class has a probability below a threshold.

    Args:
        thres: That threshold; it is raised until at least `min_kept` pixels of the process's batch are below it.
        min_kept: Number of pixels.
        class_weight: One factor for each class; the average is over pixels, not weights.
        loss_weight: See `SegLoss`, as for `loss_name`.
    """

    def __init__(
        self,
        thres: float = 0.7,
        min_kept: int = 100000,
        loss_weight: float = 1.0,
        class_weight: Sequence[float] | str | None = None,
        loss_name: str = 'loss_ohem',
    ):
        super().__init__(class_weight, loss_weight, loss_name)
        self.thres, self.min_kept = thres, max(1, min_kept)

    def sums(self, logits: Tensor, label: Tensor, labelled: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
        """Losses of the hard pixels, and their number."""
        if logits.shape[1] == 1:  # the same as the softmax over 0 and the logit
            logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
        losses = F.cross_entropy(logits, label, reduction='none')
        with torch.no_grad():
            right = torch.exp(-losses)  # the probability of the pixel's class
            known = right[share > 0]
            if known.numel():
                kept = min(self.min_kept, known.numel() - 1)
                share = share * (right < known.kthvalue(kept + 1).values.clamp(min=self.thres))
        if self.class_weight is not None:
            losses = losses * self.class_weight[label]
        return (losses * share).sum(), share.sum()


@MODELS.register_module()
class SegFocal(SegLoss):
    """Focal loss (Lin et al., 2017), of each class against all others, averaged over labelled pixels and classes.

    Args:
        gamma: Exponent that lets well predicted pixels count less.
        alpha: Weight of a class's own pixels, 1 - alpha that of the others; a number, or one for each channel.
        class_weight: One factor for each channel.
        use_sigmoid: True; there is no other form.
        loss_weight: See `SegLoss`, as for `loss_name`.
    """

    def __init__(
        self,
        use_sigmoid: bool = True,
        gamma: float = 2.0,
        alpha: float | Sequence[float] = 0.5,
        class_weight: Sequence[float] | str | None = None,
        loss_weight: float = 1.0,
        loss_name: str = 'loss_focal',
    ):
        super().__init__(class_weight, loss_weight, loss_name)
        if not use_sigmoid:
            raise UserError('SegFocal is defined on each class for itself: leave loss_decode.use_sigmoid at True')
        self.gamma, self.alpha = gamma, alpha

    def check(self, channels: int) -> None:
        """Raise UserError if there is not one alpha, or one for each channel."""
        super().check(channels)
        if isinstance(self.alpha, Sequence) and len(self.alpha) != channels:
            raise UserError(f'loss_decode.alpha has {len(self.alpha)} entries, but there are {channels} channels')

    def pixel_losses(self, logits: Tensor, label: Tensor) -> Tensor:
        """The loss of each pixel (N, H, W), the mean over its channels."""
        target = one_hot(label, logits)
        alpha = logits.new_tensor(self.alpha).view(-1, 1, 1)
        missed = (target - logits.sigmoid()).abs()
        factor = (alpha * target + (1 - alpha) * (1 - target)) * missed.pow(self.gamma)
        losses = F.binary_cross_entropy_with_logits(logits, target, reduction='none') * factor
        if self.class_weight is None:
            return losses.mean(dim=1)
        if logits.shape[1] == 1:
            return losses.mean(dim=1) * self.class_weight[label]
        return (losses * self.class_weight.view(-1, 1, 1)).mean(dim=1)

    def sums(self, logits: Tensor, label: Tensor, labelled: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
        """Losses, and the number of pixels."""
        return (self.pixel_losses(logits, label) * share).sum(), share.sum()
