"""Losses of regions: Dice, Tversky, Lovasz, and the distance of Hausdorff."""

import math
from collections.abc import Sequence

import torch
from mmseg.models.losses.lovasz_loss import lovasz_hinge_flat, lovasz_softmax_flat
from mmseg.registry import MODELS
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from ...errors import UserError
from .base import SegLoss, one_hot, probabilities


def _of_pictures(losses: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """The sum of losses (N,) of the pictures that have labels, and their number."""
    present = (share.flatten(1).sum(dim=1) > 0).to(losses.dtype)
    return (losses * present).sum(), present.sum()


@MODELS.register_module()
class SegDice(SegLoss):
    """One minus the Dice coefficient of all channels together, averaged over the pictures (Milletari et al., 2016).

    Args:
        use_sigmoid: Probabilities of each class for itself instead of the softmax over all.
        naive_dice: Sums instead of sums of squares in the denominator.
        eps: Keeps the division finite.
        loss_weight: See `SegLoss`, as for `loss_name`.
    """

    def __init__(
        self,
        use_sigmoid: bool = True,
        naive_dice: bool = False,
        loss_weight: float = 1.0,
        eps: float = 1e-3,
        loss_name: str = 'loss_dice',
    ):
        super().__init__(None, loss_weight, loss_name)
        self.use_sigmoid = self.takes_one_channel = use_sigmoid
        self.naive_dice, self.eps = naive_dice, eps

    def sums(self, logits: Tensor, label: Tensor, labelled: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
        """Losses of the pictures, and their number."""
        predicted, target = probabilities(logits, self.use_sigmoid), one_hot(label, logits)

        def total(maps: Tensor) -> Tensor:
            return (maps * share.unsqueeze(1)).flatten(1).sum(dim=1)

        both = 2 * total(predicted * target)
        if self.naive_dice:
            dice = (both + self.eps) / (total(predicted) + total(target) + self.eps)
        else:
            dice = both / (total(predicted.square()) + total(target) + 2 * self.eps)
        return _of_pictures(1 - dice, share)


@MODELS.register_module()
class SegTversky(SegLoss):
    """One minus the Tversky index of each class, averaged over classes and pictures (Salehi et al., 2017).

    Args:
        smooth: Added to numerator and denominator.
        alpha: Weight of false positives.
        beta: Weight of false negatives; alpha + beta = 1.
        class_weight: One factor for each class; with one channel, the second is that of its class.
        loss_weight: See `SegLoss`, as for `loss_name`.
    """

    def __init__(
        self,
        smooth: float = 1.0,
        class_weight: Sequence[float] | str | None = None,
        loss_weight: float = 1.0,
        alpha: float = 0.3,
        beta: float = 0.7,
        loss_name: str = 'loss_tversky',
    ):
        super().__init__(class_weight, loss_weight, loss_name)
        if not math.isclose(alpha + beta, 1):
            raise UserError(f'SegTversky: alpha={alpha} and beta={beta} must add up to 1')
        self.smooth, self.alpha, self.beta = smooth, alpha, beta

    def sums(self, logits: Tensor, label: Tensor, labelled: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
        """Losses of the pictures, and their number."""
        predicted, target = probabilities(logits, sigmoid=False), one_hot(label, logits)

        def total(maps: Tensor) -> Tensor:
            return (maps * share.unsqueeze(1)).flatten(2).sum(dim=2)

        right = total(predicted * target)
        wrong = self.alpha * total(predicted * (1 - target)) + self.beta * total((1 - predicted) * target)
        losses = 1 - (right + self.smooth) / (right + wrong + self.smooth)
        if self.class_weight is not None:
            losses = losses * self.class_weight[-losses.shape[1] :]
        return _of_pictures(losses.mean(dim=1), share)


@MODELS.register_module()
class SegLovasz(SegLoss):
    """Lovasz softmax, or Lovasz hinge on one channel (Berman et al., 2018).

    Args:
        loss_type: 'multi_class' is the softmax form, 'binary' the hinge, on logits of one channel.
        classes: 'present' averages over the classes that have labelled pixels, 'all' over all, a list over those.
        per_image: Whether it is the mean over the pictures, not the loss of all pixels of the process's batch together;
            only the mean is the same in several processes as in one.
        class_weight: One factor for each class, of the softmax form.
        loss_weight: See `SegLoss`, as for `loss_name`.
    """

    remedy_for_one_channel = "set loss_decode.loss_type='binary'"

    def __init__(
        self,
        loss_type: str = 'multi_class',
        classes: str | Sequence[int] = 'present',
        per_image: bool = False,
        class_weight: Sequence[float] | str | None = None,
        loss_weight: float = 1.0,
        loss_name: str = 'loss_lovasz',
    ):
        super().__init__(class_weight, loss_weight, loss_name)
        if loss_type not in ('binary', 'multi_class'):
            raise UserError(f"SegLovasz: loss_type={loss_type!r} is unknown; choose 'binary' or 'multi_class'")
        if isinstance(classes, str) and classes not in ('present', 'all'):
            raise UserError(f"SegLovasz: classes={classes!r} must be 'present', 'all' or a list of class numbers")
        self.takes_one_channel = loss_type == 'binary'
        self.takes_more_channels = not self.takes_one_channel
        if self.takes_one_channel and class_weight is not None:
            raise UserError("SegLovasz with loss_type='binary' has one class: leave class_weight out")
        self.classes = classes if isinstance(classes, str) else list(classes)
        self.per_image = per_image

    def check(self, channels: int) -> None:
        """Raise UserError also if a class of the list is not there."""
        super().check(channels)
        if not isinstance(self.classes, str) and not set(self.classes) <= set(range(channels)):
            raise UserError(f'loss_decode.classes={self.classes}: there are {channels} classes, from 0 on')

    def sums(self, logits: Tensor, label: Tensor, labelled: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
        """Losses of the pictures, or of the batch, and their number."""
        scores = logits if self.takes_one_channel else logits.softmax(dim=1)
        scores = scores.permute(0, 2, 3, 1)
        groups = list(zip(scores, label, share > 0, strict=True)) if self.per_image else [(scores, label, share > 0)]
        total, number = logits.sum() * 0, 0
        for values, target, known in groups:
            if known.any():
                total = total + self._of_pixels(values[known], target[known])
                number += 1
        return total, logits.new_tensor(float(number))

    def _of_pixels(self, scores: Tensor, label: Tensor) -> Tensor:
        """The loss of pixels: scores (P, C), labels (P,)."""
        if self.takes_one_channel:
            return lovasz_hinge_flat(scores[:, 0], label)
        return lovasz_softmax_flat(scores, label, self.classes, self.class_weight)


@MODELS.register_module()
class SegHausdorff(SegLoss):
    """Squared errors times squared distances to the edges of classes, labelled and predicted (Karimi et al., 2019).

    A class's distance is that of its pixels to the nearest labelled pixel of another class. Class 0 is left out as
    background; the sum over the others is divided by the number of all classes and averaged over labelled pixels.

    Args:
        class_weight: One factor for each class.
        loss_weight: See `SegLoss`, as for `loss_name`.
    """

    def __init__(
        self,
        class_weight: Sequence[float] | str | None = None,
        loss_weight: float = 1.0,
        loss_name: str = 'loss_huasdorff_disstance',
    ):
        super().__init__(class_weight, loss_weight, loss_name)

    def sums(self, logits: Tensor, label: Tensor, labelled: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
        """Losses of the pixels, and their number."""
        predicted, target = probabilities(logits, sigmoid=False), one_hot(label, logits)
        if logits.shape[1] == 1:
            guess = (logits > 0).long().squeeze(1)
        else:
            guess, predicted, target = logits.argmax(dim=1), predicted[:, 1:], target[:, 1:]
        classes = range(1, predicted.shape[1] + 1)
        with torch.no_grad():
            reach = sum(
                torch.stack([squared_depths(maps == c, labelled) for c in classes], dim=1) for maps in (label, guess)
            )
        losses = (predicted - target).square() * reach
        if self.class_weight is not None:
            losses = losses * self.class_weight[1:].view(-1, 1, 1)
        return (losses.sum(dim=1) / (len(classes) + 1) * share).sum(), share.sum()


def squared_depths(inside: Tensor, labelled: Tensor) -> Tensor:
    """Squared distance of the pixels `inside` (N, H, W) to the nearest labelled one outside; 0 where there is none."""
    depths = torch.zeros(inside.shape)
    for depth, region in zip(depths, (inside | ~labelled).cpu(), strict=True):
        if not region.all():
            depth.copy_(torch.from_numpy(distance_transform_edt(region.numpy())))
    return depths.square().to(inside.device) * inside
