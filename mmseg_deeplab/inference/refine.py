"""The dense CRF, or another refiner, on what any MMSegmentation segmentor predicts."""

import inspect
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from ..checkpoints.strict import unwrap
from ..crf import DenseCRF
from ..crf.dense_crf import Input
from ..crf.presets import load_preset
from ..datasets.bands import read_shown
from ..errors import UserError
from ..evaluation.metric import BEFORE_CRF
from ..models import DeepLab, DeepLabTTA
from ..models.segmentor import keeping_logits
from .guided import GuidedFilter
from .refiner import Refiner
from .sam import SAMRefiner

REFINERS: dict[str, Callable[..., Refiner]] = {'guided': GuidedFilter, 'sam': SAMRefiner}
"""Refiners beside the dense CRF, by the names that configs and the command line have for them."""


def make_crf(preset: str | Path | None = None, input: Input = 'logits', **parameters: Any) -> DenseCRF:
    """Build the CRF for a segmentor's logits: a preset, single parameters, or a preset with some of them changed.

    Args:
        preset: A name of `crf.presets.PRESETS` or a file, see `load_preset`.
        input: As of `DenseCRF`.
        parameters: Others of `DenseCRF`.

    Raises:
        UserError: For an unknown preset, and for a parameter that does not exist or has no such value.
    """
    known = [name for name in inspect.signature(DenseCRF).parameters if name != 'input']
    values = {**({} if preset is None else load_preset(preset)), **parameters}
    for name in values:
        if name not in known:
            raise UserError(f'the dense CRF takes no {name!r}; it takes: preset, {", ".join(known)}')
    return DenseCRF(**values, input=input)


def make_refiner(refiner: str, **parameters: Any) -> Refiner:
    """Build a refiner by its name in `REFINERS`.

    Raises:
        UserError: For an unknown name, and for a parameter that does not exist, is missing or has no such value.
    """
    if refiner not in REFINERS:
        raise UserError(f'there is no refiner {refiner!r}; there are {", ".join(REFINERS)}; the dense CRF is --crf')
    signature = inspect.signature(REFINERS[refiner])
    try:
        signature.bind(**parameters)
    except TypeError as error:
        raise UserError(f'the refiner {refiner!r}: {error}; it takes {", ".join(signature.parameters)}') from None
    return REFINERS[refiner](**parameters)


def has_several_labels(model: nn.Module) -> bool:
    """Whether a segmentor gives a pixel any number of labels (`decode_head.multi_label`)."""
    return bool(getattr(unwrap(model), 'multi_label', False))


def check_one_label(model: nn.Module) -> None:
    """Raise UserError for a segmentor that gives a pixel several labels, which nothing that refines can."""
    if has_several_labels(model):
        raise UserError(
            'the dense CRF gives each pixel one label, as other refiners do, and this model several '
            '(decode_head.multi_label=True): leave what refines out'
        )


def refine(model: nn.Module, sample: SegDataSample, crf: DenseCRF | Refiner, pixels: Tensor | None = None) -> None:
    """Replace a sample's prediction by the refined one; arguments as those of `crf_input`."""
    set_refined(model, sample, crf(*crf_input(model, sample, pixels)), isinstance(crf, DenseCRF))


def attach(model: Any, crf: DenseCRF | Refiner) -> Callable[[], None]:
    """Let every `model.test_step` refine its samples, for `inference_model`, `MMSegInferencer` and the like.

    Where a sample names no file (inference on an array), the image is the model's input, brought back to its original
    size where the pipeline has resized it.

    Args:
        model: A segmentor or a `DeepLabTTA`.
        crf: Made with `input='logits'`, or another refiner.

    Returns:
        A function that undoes it.

    Raises:
        UserError: For a CRF of probabilities, and a test-time augmentation whose samples carry other logits.
    """
    if crf.input != 'logits':
        raise UserError(f"crf.input={crf.input!r}: a segmentor's samples hold logits, use DenseCRF(input='logits')")
    check_one_label(model)
    keep_logits(model)  # refuses at once
    network = model.test_step

    def test_step(batch: dict) -> list[SegDataSample]:
        with keep_logits(model):
            samples = network(batch)
        for sample, pixels in zip(samples, original_pixels(model, batch, samples), strict=True):
            refine(model, sample, crf, pixels)
        return samples

    model.test_step = test_step

    def detach() -> None:
        del model.test_step

    return detach


def keep_logits(model: nn.Module) -> AbstractContextManager[None]:
    """A context in which a model's samples carry the `seg_logits` of its prediction.

    It belongs to the thread that enters it; the model is not touched.

    Raises:
        UserError: For a test-time augmentation whose samples carry other logits.
    """
    outer = model.module if is_model_wrapper(model) else model
    if isinstance(outer, BaseTTAModel) and not isinstance(outer, DeepLabTTA):
        raise UserError(
            f"{type(outer).__name__} returns the last view's logits beside the merged labels, so there is nothing for "
            f"the CRF to refine: set tta_model = dict(type='DeepLabTTA'), which takes any segmentor"
        )
    # MMSegmentation's own segmentors always keep them.
    return keeping_logits('full') if isinstance(unwrap(model), DeepLab) else nullcontext()


def original_pixels(model: nn.Module, batch: dict, samples: Sequence[SegDataSample]) -> Sequence[Tensor | None]:
    """The pictures of a batch as the model gets them; none for the views of a test-time augmentation."""
    outer = model.module if is_model_wrapper(model) else model
    return [None] * len(samples) if isinstance(outer, BaseTTAModel) else batch['inputs']


def crf_input(model: nn.Module, sample: SegDataSample, pixels: Tensor | None = None) -> tuple[np.ndarray, Tensor]:
    """The original image (H, W, 3), uint8 RGB, and the logits (C, H, W) of a predicted sample, which gives them up.

    Args:
        model: Where the sample comes from.
        sample: With `seg_logits` at the original size; a single channel holds the probability of class 1 of two.
        pixels: The input of the model's preprocessor, uint8 (3, h, w) BGR, for a sample without a file.
    """
    check_one_label(model)
    logits = take_logits(model, sample)
    path = sample.get('img_path')
    if path is not None:
        return read_shown(path, sample.get('bands')), logits
    if not isinstance(pixels, Tensor) or pixels.dtype != torch.uint8:
        raise UserError('the dense CRF needs the original image: a sample without img_path came without 8-bit pixels')
    image = pixels.flip(0).permute(1, 2, 0).cpu().numpy()
    height, width = logits.shape[1:]
    if image.shape[:2] != (height, width):
        image = cv2.resize(image, (width, height))
    return image, logits


def take_logits(model: nn.Module, sample: Any) -> Tensor:
    """The logits (C, H, W) of a predicted sample, which gives them up; two classes for a single channel.

    Raises:
        UserError: If the segmentor predicts label maps alone.
    """
    if 'seg_logits' not in sample:
        raise UserError(
            f'{type(unwrap(model)).__name__} predicts label maps without seg_logits, which the dense CRF refines'
        )
    logits = sample.seg_logits.data
    del sample.seg_logits
    if len(logits) == 1:  # of which the stack gives the probability of class 1
        logits = torch.cat([1 - logits, logits]).log().clamp(min=torch.finfo(logits.dtype).min)
    return logits


def set_refined(model: nn.Module, sample: Any, q: Tensor, keep_before: bool = True) -> None:
    """Replace the sample's prediction by that of the refined probabilities (C, H, W).

    Args:
        keep_before: Whether the network's own stays beside it, for scores and pictures before the CRF.
    """
    label, before = labels_of(model, q), sample.pred_sem_seg
    kept = {BEFORE_CRF: before} if keep_before else {}
    sample.set_data({**kept, 'pred_sem_seg': PixelData(data=label[None].to(before.data.device))})


def labels_of(model: nn.Module, q: Tensor) -> Tensor:
    """Labels (H, W) of probabilities (C, H, W): the best class; a single-channel model decides at its own threshold.

    With several labels a pixel, of logits (C, H, W), 0 or 1 for each class.
    """
    segmentor: Any = unwrap(model)
    if has_several_labels(model):
        return segmentor.present(q)
    binary = len(q) == 2 and getattr(segmentor, 'out_channels', None) == 1
    label = q[1] > segmentor.decode_head.threshold if binary else q.max(0).indices  # argmax takes five times as long
    return label.to(torch.uint8 if len(q) <= 256 else torch.int16)
