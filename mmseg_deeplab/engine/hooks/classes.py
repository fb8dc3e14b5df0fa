"""Classes that a training does not learn are named."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS

from ...evaluation import SegmentationMetric
from ...evaluation.confusion import hits_and_sums

STRIDE = 4
"""Of rows and columns: every 16th pixel of the training's masks is counted."""
VOID = 255
RARE = 0.005
"""Of the pixels: below, a class is called rare."""


@HOOKS.register_module()
class ClassesHook(Hook):
    """Warn of classes that are in the masks of the validation but that the network predicts nowhere.

    Said after each validation, from iteration `after` on, where the list is another than the last time; with the
    class's share of the pixels that the training has shown, by which the likely causes are chosen. It reads the
    confusion matrix of a SegmentationMetric, and does nothing without one.

    Args:
        after: Iterations that a training is given to predict each class.
    """

    def __init__(self, after: int = 1000) -> None:
        self.after = after
        self.counts = np.zeros(256, np.int64)
        self.pixels = 0
        self._said: list[str] = []

    def before_train(self, runner: Runner) -> None:
        """Begin to count."""
        self.counts[:] = 0
        self.pixels = 0
        self._said = []

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Count the labels that the network has been shown."""
        samples = data_batch.get('data_samples') if isinstance(data_batch, Mapping) else None
        for sample in samples if isinstance(samples, (list, tuple)) else ():
            if 'gt_sem_seg' in sample:
                labels = sample.gt_sem_seg.data[..., ::STRIDE, ::STRIDE].flatten(1).clamp(0, 255).long().cpu()
                if len(labels) > 1:  # a pixel has several
                    self.counts[: len(labels)] += (labels == 1).sum(1).numpy()
                else:
                    self.counts += torch.bincount(labels[0], minlength=256).numpy()
                self.pixels += int((labels != VOID).any(0).sum())

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Look at the predictions of all classes."""
        evaluator = getattr(runner.val_loop, 'evaluator', None)
        found = [each for each in getattr(evaluator, 'metrics', ()) if isinstance(each, SegmentationMetric)]
        if runner.iter < self.after or not found or found[0].confusion is None:
            return
        matrix, names = found[0].confusion, found[0].classes
        _, truth, predicted = hits_and_sums(matrix)
        never = np.flatnonzero((predicted == 0) & (truth > 0))
        pixels = matrix.sum() if matrix.ndim == 2 else matrix.sum((1, 2)).max()
        if (now := [names[index] for index in never]) == self._said:
            return
        self._said = now
        for index in never:
            runner.logger.warning(
                f'class {names[index]!r} is predicted nowhere after {runner.iter} iterations, though '
                f'{truth[index] / pixels:.2%} of the pixels of the validation are of it. '
                f'{self._causes(int(index), names)}'
            )

    def _causes(self, index: int, names: list[str]) -> str:
        if not self.pixels:
            return 'Likely causes: too few iterations, or a learning rate that is too high or too low'
        share = self.counts[index] / self.pixels
        shown = f'Of the training it is {share:.2%} of the pixels'
        if not self.counts[index]:
            return (
                f'{shown}. Likely causes: no mask of the training holds it (another split, classes file or '
                'label_map?), or it is so small that crops miss it (cat_max_ratio of RandomCrop, RepeatClasses)'
            )
        if share < RARE:
            return (
                f'{shown}. Likely causes: it is rare: repeat its images (RepeatClasses), weigh it in the loss '
                "(class_weight) or take an overlap loss beside (SegDice); or masks of it don't lie on what they name "
                '(tools/browse_dataset.py draws them)'
            )
        return (
            f'{shown}, which is enough. Likely causes: its masks are of another class (order of classes.txt, '
            'reduce_zero_label), a learning rate that is too high or too low, or too few iterations'
        )
