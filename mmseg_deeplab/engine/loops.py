"""Validation and test loops in which the dense CRF refines what the network predicts, and a faster copy tests.

MMEngine's loops hand samples to metrics and hooks straight after the network. Here the network runs ahead by as many
images as there are workers, and metrics, hooks and pictures get every batch in order, with its refined samples.
Nothing of the model or of a stock loop is replaced, so that an interrupted run leaves both as they were.
"""

import os
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.runner import BaseLoop, Runner, TestLoop, ValLoop
from mmengine.runner.amp import autocast
from mmseg.registry import LOOPS
from mmseg.structures import SegDataSample
from torch import Tensor

from ..crf import CRFPool, DenseCRF
from ..crf.pool import allowed_cpus
from ..errors import UserError
from ..inference.fast import fast_copy
from ..inference.refine import check_one_label, crf_input, keep_logits, make_crf, original_pixels, set_refined
from ..inference.refiner import Refiner
from ..upstream import built_loops, set_loop

WAITING_BYTES = 128 * 2**20
"""What images that wait to be refined may hold in logits, beyond one batch."""


@dataclass
class _Waiting:
    index: int
    batch: Any
    samples: list[SegDataSample]
    result: Callable[[], list[Tensor]]
    images: int
    bytes: int


class _RefiningLoop(BaseLoop):
    """What the two loops below have in common.

    Args:
        runner, dataloader, evaluator, fp16: As of MMEngine's loops.
        crf: Refines every prediction: a `DenseCRF` of logits, the arguments of `inference.refine.make_crf`, or another
            refiner. None leaves the network's answer.
        workers: How many images each process refines at once beside the network; None takes the CPUs that the process
            may use, divided by the processes of this machine; 0 refines between the network's passes. On a GPU, whole
            batches are refined there, without workers.
        fast: Whether the network is a copy prepared for inference (`inference.fast`). It is made after the hooks that
            exchange weights before an evaluation, such as EMAHook, and is gone with the end of the loop.
    """

    stage: str
    # Of MMEngine's two loops, one of which stands beside this class among the bases.
    evaluator: Any
    fp16: bool
    dataloader: Any

    def __init__(
        self,
        runner: Runner,
        dataloader: Any,
        evaluator: Any,
        fp16: bool = False,
        crf: DenseCRF | Refiner | dict | None = None,
        workers: int | None = None,
        fast: bool = False,
    ):
        beside: Any = super()
        beside.__init__(runner, dataloader, evaluator, fp16)
        if workers is not None and (not isinstance(workers, int) or workers < 0):
            raise UserError(f'workers={workers!r}: expected None or a whole number >= 0')
        self.crf = make_crf(**crf) if isinstance(crf, dict) else crf
        self.workers, self.fast = workers, fast
        self._network: Any = None
        self._pool: CRFPool | None = None
        self._waiting: deque[_Waiting] = deque()

    def run(self) -> dict:
        """Evaluate; the metrics are returned.

        Raises:
            UserError: If there is no image.
        """
        if len(self.dataloader) == 0:
            raise UserError(f'{self.stage}_dataloader has no image, so there is nothing to evaluate')
        with ExitStack() as stack:
            stack.callback(self._forget)
            if self.crf is not None:
                check_one_label(self.runner.model)
                stack.enter_context(keep_logits(self.runner.model))
                workers = self._workers()
                self._pool = stack.enter_context(CRFPool(self.crf, workers)) if workers else None
            metrics = super().run()
            if self._waiting:  # their scores are missing
                raise RuntimeError(
                    f'{self.stage}_dataloader gave fewer batches than its length, {len(self.dataloader)}'
                )
            return metrics

    def _forget(self) -> None:
        self._network = self._pool = None
        self._waiting.clear()

    def _workers(self) -> int:
        assert self.crf is not None
        if self.crf.backend != 'pydensecrf' and any(p.is_cuda for p in self.runner.model.parameters()):
            return 0
        if self.workers is not None:
            return self.workers
        processes = int(os.environ.get('LOCAL_WORLD_SIZE', self.runner.world_size))
        return min(max(1, allowed_cpus() // processes), len(self.dataloader.dataset))

    @torch.no_grad()
    def run_iter(self, idx: int, data_batch: Any) -> None:
        """Run the network on a batch, and the rest of the iteration of those whose samples are refined.

        Args:
            idx: Number of the batch.
            data_batch: From the loader.
        """
        if self.crf is None and not self.fast:
            beside: Any = super()
            beside.run_iter(idx, data_batch)
            return
        self.runner.call_hook(f'before_{self.stage}_iter', batch_idx=idx, data_batch=data_batch)
        if self._network is None:
            self._network = fast_copy(self.runner.model) if self.fast else self.runner.model
        with autocast(enabled=self.fp16):
            samples = getattr(self._network, f'{self.stage}_step')(data_batch)
        if self.crf is None:
            self._hand_over(idx, data_batch, samples)
            return
        self._waiting.append(self._submit(idx, data_batch, samples))
        last = idx + 1 == len(self.dataloader)
        while self._waiting and (last or self._is_full()):
            self._refine_first()

    def _submit(self, idx: int, batch: Any, samples: list[SegDataSample]) -> _Waiting:
        crf = self.crf
        assert crf is not None
        pixels = original_pixels(self._network, batch, samples)
        inputs = [crf_input(self._network, *each) for each in zip(samples, pixels, strict=True)]
        if self._pool is None:
            images, logits = map(list, zip(*inputs, strict=True))
            return _Waiting(idx, batch, samples, lambda: crf(images, logits), 0, 0)
        names = [sample.get('img_path') for sample in samples]
        futures = [self._pool.submit(*each, name) for each, name in zip(inputs, names, strict=True)]
        size = sum(logits.nbytes for _, logits in inputs)
        return _Waiting(idx, batch, samples, lambda: [f.result() for f in futures], len(samples), size)

    def _is_full(self) -> bool:
        if self._pool is None:
            return True
        images, size = (sum(getattr(each, key) for each in self._waiting) for key in ('images', 'bytes'))
        return images - self._waiting[-1].images >= self._pool.workers or size > WAITING_BYTES

    def _refine_first(self) -> None:
        first = self._waiting.popleft()
        begin = time.perf_counter()
        refined = first.result()
        self.runner.message_hub.update_scalar(f'{self.stage}/crf_time', time.perf_counter() - begin)
        for sample, q in zip(first.samples, refined, strict=True):
            set_refined(self._network, sample, q, isinstance(self.crf, DenseCRF))
        self._hand_over(first.index, first.batch, first.samples)

    def _hand_over(self, idx: int, batch: Any, samples: list[SegDataSample]) -> None:
        self.evaluator.process(data_samples=samples, data_batch=batch)
        self.runner.call_hook(f'after_{self.stage}_iter', batch_idx=idx, data_batch=batch, outputs=samples)


@LOOPS.register_module()
class RefiningValLoop(_RefiningLoop, ValLoop):
    """MMEngine's validation loop, with the dense CRF."""

    stage = 'val'


@LOOPS.register_module()
class RefiningTestLoop(_RefiningLoop, TestLoop):
    """MMEngine's test loop, with the dense CRF and a faster copy of the network."""

    stage = 'test'


def take_loop(runner: Runner, stage: str) -> _RefiningLoop | None:
    """Return a built runner's loop of a stage ('val', 'test') as one of the above, put in the stock loop's place.

    None if the runner has no such loop, or has not built it as this run does not evaluate.

    Raises:
        UserError: For a loop that is neither, in whose place none of ours may stand.
    """
    loop: Any = built_loops(runner).get(stage)
    if loop is None or isinstance(loop, _RefiningLoop):
        return loop
    name = f'Refining{stage.capitalize()}Loop'
    if type(loop) not in (ValLoop, TestLoop):
        raise UserError(
            f"{stage}_cfg.type={type(loop).__name__!r}: DenseCRFHook and FastInferenceHook need MMEngine's own loop or "
            f'{name}; derive yours from mmseg_deeplab.engine.loops.{name}, or leave the hooks out'
        )
    own = LOOPS.build(
        dict(type=name, runner=runner, dataloader=loop.dataloader, evaluator=loop.evaluator, fp16=loop.fp16)
    )
    set_loop(runner, stage, own)
    return own
