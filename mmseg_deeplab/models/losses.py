"""Cross entropy that averages over the labelled pixels, with class weights or without."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor, nn

from ..errors import UserError


@MODELS.register_module()
class SegCrossEntropy(nn.Module):
    """Softmax cross entropy over the pixels that are not ignored.

    MMSegmentation's own averages over ignored pixels too, and fails on them once `class_weight` is given; this is
    PyTorch's definition: the sum of weighted losses over the sum of the weights of the labelled pixels.

    Args:
        class_weight: One factor for each class.
        loss_weight: Factor of the whole loss.
        loss_name: Name in the log; one that starts with `loss_` is added to the total.
    """

    def __init__(
        self, class_weight: Sequence[float] | None = None, loss_weight: float = 1.0, loss_name: str = 'loss_ce'
    ):
        super().__init__()
        self.loss_weight = loss_weight
        self.loss_name = loss_name
        weight = None if class_weight is None else torch.tensor(class_weight, dtype=torch.float32)
        self.register_buffer('class_weight', weight, persistent=False)

    def forward(self, logits: Tensor, label: Tensor, weight: Tensor | None = None, ignore_index: int = 255) -> Tensor:
        """Compute the loss of logits (N, C, H, W) against labels (N, H, W); `weight` (N, H, W) selects pixels.

        Returns 0, with a gradient, where every pixel is ignored.
        """
        num_classes = logits.shape[1]
        if self.class_weight is not None and len(self.class_weight) != num_classes:
            raise UserError(f'class_weight has {len(self.class_weight)} entries, but there are {num_classes} classes')
        loss = F.cross_entropy(logits, label, self.class_weight, ignore_index=ignore_index, reduction='none')
        labelled = label != ignore_index
        share = labelled.to(loss.dtype)
        if self.class_weight is not None:
            share = share * self.class_weight[label.where(labelled, 0)]
        if weight is not None:
            loss, share = loss * weight, share * weight
        return self.loss_weight * loss.sum() / share.sum().clamp(min=torch.finfo(loss.dtype).tiny)
