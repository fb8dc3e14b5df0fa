"""The dense CRF in validation and test, as a config asks for it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS

from ...errors import UserError
from ...inference.refine import make_crf
from ..loops import take_loop

STAGES = ('val', 'test')


@HOOKS.register_module()
class DenseCRFHook(Hook):
    """Refine predictions with the dense CRF before metrics, pictures and saved results see them.

    Each sample's `pred_sem_seg` becomes the refined label map, the network's own moves to `pred_sem_seg_before_crf`,
    and `seg_logits`, no longer in agreement, go. The image is read from the sample's `img_path` at its original size.
    With test-time augmentation the merged probabilities are refined; only `DeepLabTTA` hands them on.

    On the CPU, workers refine while the network computes the next images. The work is done by `engine.loops`.

    Args:
        preset: A published set of parameters by name, such as 'v2_r101', or a file; see `crf.presets.load_preset`.
        workers: How many images each process refines at once beside the network; None shares the allowed CPUs out, 0
            refines between the network's passes. On a GPU, whole batches are refined there.
        stages: When to refine, of 'val' and 'test'.
        crf: Parameters of `mmseg_deeplab.crf.DenseCRF`, in place of those of the preset.
    """

    def __init__(
        self,
        preset: str | Path | None = None,
        workers: int | None = None,
        stages: Sequence[str] = STAGES,
        **crf: Any,
    ):
        self.stages: tuple[str, ...] = (stages,) if isinstance(stages, str) else tuple(stages)
        if not self.stages or not set(self.stages) <= set(STAGES):
            raise UserError(f"DenseCRFHook: stages={stages!r}: choose of 'val' and 'test'")
        if workers is not None and (not isinstance(workers, int) or isinstance(workers, bool) or workers < 0):
            raise UserError(f'DenseCRFHook: workers={workers!r}: expected None or a whole number >= 0')
        self.workers = workers
        self.crf = make_crf(preset, **crf)

    def before_run(self, runner: Runner) -> None:
        """Give the loops of this run the CRF.

        Raises:
            UserError: If a loop has another CRF, or is of a kind that can't take one.
        """
        for stage in self.stages:
            loop = take_loop(runner, stage)
            if loop is None or loop.crf is self.crf:
                continue
            if loop.crf is not None:
                raise UserError(f'two DenseCRFHooks, or one beside a crf in {stage}_cfg: keep one of them')
            loop.crf, loop.workers = self.crf, self.workers
