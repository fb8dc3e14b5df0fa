"""The dense CRF on what any MMSegmentation segmentor predicts: a hook for val and test, `attach` for inference."""

import inspect
import os
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import BaseLoop, Runner
from mmengine.runner.amp import autocast
from mmengine.structures import PixelData
from mmseg.registry import HOOKS
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from ...checkpoints.strict import unwrap
from ...crf import CRFPool, DenseCRF
from ...errors import UserError
from ...evaluation.metric import BEFORE_CRF
from ...models import DeepLabTTA
from ...visualization.panels import read_image

STAGES = ('val', 'test')
PRESETS = Path(__file__).resolve().parents[2] / 'crf' / 'presets'


@HOOKS.register_module()
class DenseCRFHook(Hook):
    """Refine predictions with the dense CRF before metrics, pictures and saved results see them.

    Each sample's `pred_sem_seg` becomes the refined label map, the network's own moves to `pred_sem_seg_before_crf`,
    and `seg_logits`, no longer in agreement, go. The image is read from the sample's `img_path` at its original size.
    With test-time augmentation the merged probabilities are refined; only `DeepLabTTA` hands them on.

    On the CPU, workers refine while the network computes the next images.

    Args:
        workers: How many images each process refines at once beside the network; None shares the CPU cores out, 0
            refines between the network's passes. The torch backend on a GPU needs none: it refines whole batches.
        stages: When to refine, of 'val' and 'test'.
        crf: Parameters of `mmseg_deeplab.crf.DenseCRF`; its folder `presets` holds the published ones.
    """

    def __init__(self, workers: int | None = None, stages: Sequence[str] = STAGES, **crf):
        self.stages = (stages,) if isinstance(stages, str) else tuple(stages)
        if not self.stages or not set(self.stages) <= set(STAGES):
            raise UserError(f"stages={stages!r}: choose of 'val' and 'test'")
        if workers is not None and workers < 0:
            raise UserError(f'workers={workers}: expected None or a number >= 0')
        known = [name for name in inspect.signature(DenseCRF).parameters if name != 'input']
        for name in crf:
            if name not in known:
                raise UserError(f'DenseCRFHook takes no {name!r}; it takes: workers, stages, {", ".join(known)}')
        self.crf = DenseCRF(**crf, input='logits')
        self.workers = workers
        self._pool: CRFPool | None = None
        self._detach: Callable[[], None] | None = None

    def before_val(self, runner: Runner) -> None:
        """Start to refine."""
        if 'val' in self.stages:
            self._attach(runner, runner.val_loop, 'val_step')

    def before_test(self, runner: Runner) -> None:
        """Start to refine."""
        if 'test' in self.stages:
            self._attach(runner, runner.test_loop, 'test_step')

    def after_val(self, runner: Runner) -> None:
        """Leave loop and model as they were."""
        if self._detach:
            self._detach()

    after_test = after_val

    def after_run(self, runner: Runner) -> None:
        """Close the pool, which lives on between the validations of a training."""
        if self._pool:
            self._pool.close()
            self._pool = None

    def _attach(self, runner: Runner, loop: BaseLoop, step: str) -> None:
        if 'run_iter' in vars(loop):
            raise UserError('two DenseCRFHooks for one loop: keep one in custom_hooks')
        on_gpu = self.crf.backend != 'pydensecrf' and any(p.is_cuda for p in runner.model.parameters())
        # No more than there are images: each worker takes the seconds and 200 MiB of a fresh interpreter.
        cores = min((os.cpu_count() or 1) // runner.world_size, len(loop.dataloader.dataset))
        workers = max(1, cores) if self.workers is None else self.workers
        if not self._pool and workers and not on_gpu:
            self._pool = CRFPool(self.crf, workers)
        restore_logits = keep_logits(runner.model)
        held_back = _HeldBack(runner.model, loop, step, self._submit, self._pool.workers if self._pool else 0)

        def detach() -> None:
            restore_logits()
            held_back.remove()
            self._detach = None

        self._detach = detach

    def _submit(self, images: list[np.ndarray], logits: list[Tensor], names: list[str]) -> Callable[[], list[Tensor]]:
        """Start to refine a batch; the function returned waits for the probabilities."""
        if self._pool is None:
            return lambda: self.crf(images, logits)
        futures = [self._pool.submit(*each) for each in zip(images, logits, names, strict=True)]
        return lambda: [future.result() for future in futures]


class _HeldBack:
    """Runs a val or test loop's network `ahead` batches before the rest of the loop's iteration.

    MMEngine's loops hand samples to metrics and hooks straight after the network. Here the network runs when the loop
    calls `run_iter`, but the loop's own `run_iter` follows when the samples are refined, in order, and gets them
    where it calls the model: metrics, hooks and pictures see every batch with its refined samples.
    """

    def __init__(self, model: nn.Module, loop: BaseLoop, step: str, submit: Callable, ahead: int):
        self._model, self._loop, self._step, self._submit, self._ahead = model, loop, step, submit, ahead
        self._network, self._run_iter = getattr(model, step), loop.run_iter
        self._waiting: deque[tuple[int, Any, list[SegDataSample], Callable]] = deque()
        loop.run_iter = self._take

    def remove(self) -> None:
        """Give loop and model their own methods back."""
        vars(self._loop).pop('run_iter', None)
        vars(self._model).pop(self._step, None)

    @torch.no_grad()
    def _take(self, index: int, batch: Any) -> None:
        with autocast(enabled=self._loop.fp16):
            samples = self._network(batch)
        inputs = [(*crf_input(self._model, sample), sample.img_path) for sample in samples]
        self._waiting.append((index, batch, samples, self._submit(*map(list, zip(*inputs, strict=True)))))
        is_last = index + 1 == len(self._loop.dataloader)
        while len(self._waiting) > (0 if is_last else self._ahead):
            self._hand_over()

    def _hand_over(self) -> None:
        index, batch, samples, result = self._waiting.popleft()
        for sample, q in zip(samples, result(), strict=True):
            set_refined(self._model, sample, q)
        setattr(self._model, self._step, lambda _: samples)
        self._run_iter(index, batch)


def load_preset(preset: str) -> dict:
    """The `dense_crf` parameters of mmseg_deeplab/crf/presets/PRESET.py, or of the file that `preset` names."""
    path = Path(preset) if preset.endswith('.py') else PRESETS / f'{preset}.py'
    if not path.is_file():
        names = ', '.join(sorted(file.stem for file in PRESETS.glob('*.py')))
        raise UserError(f'CRF preset {preset!r}: there is no {path}; choose one of {names}, or give a .py file')
    config = Config.fromfile(path)
    if 'dense_crf' not in config:
        raise UserError(f'CRF preset {path} defines no dense_crf = dict(...)')
    return dict(config.dense_crf)


def attach(model: nn.Module, crf: DenseCRF) -> Callable[[], None]:
    """Let every `model.test_step` refine its samples, for `inference_model`, `MMSegInferencer` and the like.

    Where a sample names no file (inference on an array), the image is the model's input, brought back to its original
    size where the pipeline has resized it.

    Args:
        model: A segmentor or a `DeepLabTTA`.
        crf: Made with `input='logits'`.

    Returns:
        A function that undoes it.
    """
    if crf.input != 'logits':
        raise UserError(f"crf.input={crf.input!r}: a segmentor's samples hold logits, use DenseCRF(input='logits')")
    network = model.test_step

    def test_step(batch: dict) -> list[SegDataSample]:
        samples = network(batch)
        # The views of a test-time augmentation are no original images.
        inputs = [None] * len(samples) if isinstance(model, BaseTTAModel) else batch['inputs']
        for sample, pixels in zip(samples, inputs, strict=True):
            set_refined(model, sample, crf(*crf_input(model, sample, pixels)))
        return samples

    restore_logits = keep_logits(model)
    model.test_step = test_step

    def detach() -> None:
        restore_logits()
        del model.test_step

    return detach


def keep_logits(model: nn.Module) -> Callable[[], None]:
    """Let a model's samples carry the `seg_logits` of its prediction; the function returned undoes it.

    Raises:
        ValueError: For a test-time augmentation whose samples carry other logits.
    """
    outer = model.module if is_model_wrapper(model) else model
    if isinstance(outer, BaseTTAModel) and not isinstance(outer, DeepLabTTA):
        raise UserError(
            f"{type(outer).__name__} returns the last view's logits beside the merged labels, so there is nothing for "
            f"the CRF to refine: set tta_model = dict(type='DeepLabTTA'), which takes any segmentor"
        )
    segmentor = unwrap(model)
    before = getattr(segmentor, 'keep_seg_logits', None)
    if before is None:  # MMSegmentation's own always do
        return lambda: None
    segmentor.keep_seg_logits = True
    return lambda: setattr(segmentor, 'keep_seg_logits', before)


def crf_input(model: nn.Module, sample: SegDataSample, pixels: Tensor | None = None) -> tuple[np.ndarray, Tensor]:
    """The original image (H, W, 3), uint8 RGB, and the logits (C, H, W) of a predicted sample, which gives them up.

    Args:
        model: Where the sample comes from.
        sample: With `seg_logits` at the original size; a single channel holds the probability of class 1 of two.
        pixels: The input of the model's preprocessor, uint8 (3, h, w) BGR, for a sample without a file.
    """
    if 'seg_logits' not in sample:
        raise UserError(
            f'{type(unwrap(model)).__name__} predicts label maps without seg_logits, which the dense CRF refines'
        )
    logits = sample.seg_logits.data
    del sample.seg_logits
    if len(logits) == 1:
        logits = torch.cat([1 - logits, logits]).log().clamp(min=torch.finfo(logits.dtype).min)
    path = sample.get('img_path')
    if path is not None:
        return read_image(path), logits
    if not isinstance(pixels, Tensor) or pixels.dtype != torch.uint8:
        raise UserError('the dense CRF needs the original image: a sample without img_path came without 8-bit pixels')
    image = pixels.flip(0).permute(1, 2, 0).cpu().numpy()
    height, width = logits.shape[1:]
    if image.shape[:2] != (height, width):
        image = cv2.resize(image, (width, height))
    return image, logits


def set_refined(model: nn.Module, sample: SegDataSample, q: Tensor) -> None:
    """Replace the sample's prediction by that of the refined probabilities (C, H, W)."""
    binary = len(q) == 2 and getattr(unwrap(model), 'out_channels', None) == 1
    # A single-channel model decides at its own threshold.
    label = q[1] > unwrap(model).decode_head.threshold if binary else q.argmax(0)
    label = label.to(torch.uint8 if len(q) <= 256 else torch.int16)
    before = sample.pred_sem_seg
    sample.set_data({BEFORE_CRF: before, 'pred_sem_seg': PixelData(data=label[None].to(before.data.device))})
