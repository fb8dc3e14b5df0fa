"""The loss on the pictures of the validation, on request."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS
from torch import nn

from ...checkpoints.strict import unwrap
from ...errors import UserError
from ...inference.refine import keep_logits

NAME = 'val_loss'


@HOOKS.register_module()
class ValidationLossHook(Hook):
    """Adds `val_loss` to the scores of a validation, for the log, save_best and early stopping.

    It is what the decode head's losses of the training give for the network's answer at a picture's original size,
    averaged over the pictures; a `DenseCRFHook` has no part in it. Each picture goes through the network a second time.
    """

    score_names = (NAME,)

    def __init__(self) -> None:
        self._sums = torch.zeros(2, dtype=torch.float64)  # of losses, of pictures

    def before_val_epoch(self, runner: Runner) -> None:
        """Begin to count."""
        self._sums.zero_()

    @torch.no_grad()
    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Sequence | None = None
    ) -> None:
        """Add the losses of a batch.

        Raises:
            UserError: A picture has no mask.
        """
        model: Any = unwrap(runner.model)
        head = model.decode_head[-1] if isinstance(model.decode_head, nn.ModuleList) else model.decode_head
        samples = [sample.clone() for sample in data_batch['data_samples']]  # what was predicted stays as it is
        with keep_logits(model):
            answers = model.val_step({**data_batch, 'data_samples': samples})
        for sample in answers:
            if 'gt_sem_seg' not in sample:
                raise UserError(f'{sample.get("img_path")}: ValidationLossHook needs a mask, and the sample has none')
            logits = sample.seg_logits.data[None].float()
            if model.out_channels == 1:  # of which the stack gives the probability
                logits = logits.logit(torch.finfo(logits.dtype).eps)
            loss, _ = model.parse_losses(head.loss_by_feat(logits, [sample]))
            self._sums += torch.tensor([float(loss), 1.0], dtype=torch.float64)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Put the mean beside the scores."""
        sums = self._sums.clone()
        all_reduce(sums)
        value = float(sums[0] / sums[1])
        runner.message_hub.update_scalar(f'val/{NAME}', value)
        if metrics is not None:
            metrics[NAME] = value
