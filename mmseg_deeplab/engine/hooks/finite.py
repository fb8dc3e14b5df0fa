"""A training that can not learn any more, or never could, stops and says why."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS
from torch import nn

from ...checkpoints.strict import unwrap
from ...errors import UserError
from ..saving import go_on_from
from ..schedule import rates_now

SCALED = 10
"""With a loss scaler, which skips the step of a loss that is not finite, so many such losses in a row end the run."""
VOID = 20
"""After so many iterations without a labelled pixel a training ends."""
SHOWN = 8


@HOOKS.register_module()
class FiniteHook(Hook):
    """Stop at a loss that is NaN or infinite, and where there is nothing to learn from.

    The stock loop trains on with NaN to the end and overwrites every good checkpoint. Here the first loss that is not
    finite ends the training, with iteration, files of the batch, learning rate and likely causes. In mixed precision
    with a loss scaler (float16) such a step is skipped and the weights stay good, so that only `SCALED` in a row end
    it; a step that is skipped for its gradients alone is part of finding the scale. Costs no synchronisation with a
    GPU beyond the one of MMEngine's log. That weights are finite is checked when they are saved
    (`CrashSafeCheckpointHook`).

    Batches without a single labelled pixel teach nothing: after `VOID` of them, or at the end, the training stops.
    """

    priority = 'ABOVE_NORMAL'  # after MMEngine's record of the loss, before averages, schedule and checkpoints

    def __init__(self) -> None:
        self._in_a_row = 0
        self._void: int | None = 0  # batches without a labelled pixel, None once there was one

    def before_train(self, runner: Runner) -> None:
        """Begin to count."""
        self._in_a_row, self._void = 0, 0

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Look at the loss and, until one has labels, at the batches.

        Raises:
            UserError: As the class says.
        """
        losses = {name: _number(value) for name, value in (outputs or {}).items() if 'loss' in name}
        broken = {name: value for name, value in losses.items() if not math.isfinite(value)}
        scaler = getattr(runner.optim_wrapper, 'loss_scaler', None)
        self._in_a_row = self._in_a_row + 1 if broken else 0
        if self._in_a_row >= (SCALED if scaler is not None and scaler.is_enabled() else 1):
            raise UserError(self._explain(runner, data_batch, broken))
        if self._void is not None:
            labelled = _is_labelled(data_batch, _ignored(runner.model))
            self._void = None if labelled else self._void + 1
            if self._void and (self._void == VOID or runner.iter + 1 == runner.max_iters):
                raise UserError(
                    f'the first {self._void} iterations had no labelled pixel: every mask is void (label '
                    f'{_ignored(runner.model)}) where it was cut, in {_files(data_batch, "seg_map_path")} for example, '
                    f'and nothing can be learned. Are these the right masks, and their values those of the classes '
                    f'(reduce_zero_label, label_map)? tools/browse_dataset.py draws what the network sees'
                )

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Say which scores are no number, and why."""
        names = [name for name, value in (metrics or {}).items() if isinstance(value, float) and math.isnan(value)]
        if names:
            runner.logger.warning(
                f'{", ".join(names)}: nan, as no class that counts has a pixel in the masks or the predictions'
            )

    after_test_epoch = after_val_epoch

    def _explain(self, runner: Runner, batch: Any, broken: Mapping[str, float]) -> str:
        parts = ', '.join(f'{name} {value}' for name, value in broken.items())
        row = f', for the {self._in_a_row}th iteration in a row' if self._in_a_row > 1 else ''
        clipped = getattr(runner.optim_wrapper, 'clip_grad_kwargs', None)
        remedies = [
            'a learning rate that is too high (lower optim_wrapper.optimizer.lr, or warm up)',
            *([] if clipped else ['gradients that explode (optim_wrapper.clip_grad=dict(max_norm=10))']),
            *(['mixed precision (leave --amp out)'] if 'Amp' in type(runner.optim_wrapper).__name__ else []),
            'an image or mask of this batch that is broken',
        ]
        return (
            f'the loss is not finite at iteration {runner.iter + 1}{row}: {parts}; learning rate {rates_now(runner)}, '
            f'batch {_files(batch, "img_path")}. Likely causes: {"; ".join(remedies)}. The training ends here; '
            f'{go_on_from(runner)}'
        )


def _number(value: torch.Tensor | float) -> float:
    return value.item() if isinstance(value, torch.Tensor) else value


def _samples(batch: Any) -> list:
    samples = batch.get('data_samples') if isinstance(batch, Mapping) else None
    return list(samples) if isinstance(samples, (list, tuple)) else []


def _files(batch: Any, key: str) -> str:
    """The files of a batch, as far as it names them."""
    names = [str(name) for sample in _samples(batch) if (name := getattr(sample, key, None))]
    more = f' and {len(names) - SHOWN} more' if len(names) > SHOWN else ''
    return ', '.join(names[:SHOWN]) + more if names else 'of unnamed files'


def _ignored(model: nn.Module) -> int:
    head = getattr(unwrap(model), 'decode_head', None)
    head = head[-1] if isinstance(head, nn.ModuleList) else head
    return getattr(head, 'ignore_index', 255)


def _is_labelled(batch: Any, ignored: int) -> bool:
    """Whether a batch has a pixel to learn from; True for what has no masks, which is not judged here."""
    masks = [sample.gt_sem_seg.data for sample in _samples(batch) if 'gt_sem_seg' in sample]
    return not masks or any(bool((mask != ignored).any()) for mask in masks)
