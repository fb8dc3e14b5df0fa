"""Refining predictions in validation and test, as a config asks for it."""

from collections.abc import Sequence
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS

from ...crf import DenseCRF
from ...errors import UserError
from ...inference.refine import make_refiner
from ...inference.refiner import Refiner
from ..loops import take_loop

STAGES = ('val', 'test')


class RefiningHook(Hook):
    """Has the loops of a run refine predictions before metrics, pictures and saved results see them.

    Args:
        crf: What refines.
        workers: How many images each process refines at once beside the network; None shares the allowed CPUs out, 0
            refines between the network's passes. On a GPU, whole batches are refined there.
        stages: When to refine, of 'val' and 'test'.
    """

    def __init__(self, crf: DenseCRF | Refiner, workers: int | None, stages: Sequence[str]):
        name = type(self).__name__
        self.stages: tuple[str, ...] = (stages,) if isinstance(stages, str) else tuple(stages)
        if not self.stages or not set(self.stages) <= set(STAGES):
            raise UserError(f"{name}: stages={stages!r}: choose of 'val' and 'test'")
        if workers is not None and (not isinstance(workers, int) or isinstance(workers, bool) or workers < 0):
            raise UserError(f'{name}: workers={workers!r}: expected None or a whole number >= 0')
        self.workers = workers
        self.crf = crf

    def before_run(self, runner: Runner) -> None:
        """Give the loops of this run what refines.

        Raises:
            UserError: If a loop has another, or is of a kind that can't take one.
        """
        for stage in self.stages:
            loop = take_loop(runner, stage)
            if loop is None or loop.crf is self.crf:
                continue
            if loop.crf is not None:
                raise UserError(
                    f'two hooks that refine (DenseCRFHook, RefinerHook), or one beside a crf in {stage}_cfg: '
                    'keep one of them'
                )
            loop.crf, loop.workers = self.crf, self.workers


@HOOKS.register_module()
class RefinerHook(RefiningHook):
    """Refine predictions by what stands beside the dense CRF: the guided filter, SAM.

    As `DenseCRFHook`, but scores and pictures are those after the refiner alone; a test without it has those before.

    Args:
        refiner: A name of `inference.refine.REFINERS`: 'guided', 'sam'.
        workers, stages: As of `DenseCRFHook`.
        parameters: Of the refiner.
    """

    def __init__(
        self, refiner: str, workers: int | None = None, stages: Sequence[str] = STAGES, **parameters: Any
    ) -> None:
        super().__init__(make_refiner(refiner, **parameters), workers, stages)
