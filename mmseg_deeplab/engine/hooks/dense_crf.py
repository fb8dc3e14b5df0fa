"""The dense CRF in validation and test, as a config asks for it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmseg.registry import HOOKS

from ...inference.refine import make_crf
from .refiner import STAGES, RefiningHook


@HOOKS.register_module()
class DenseCRFHook(RefiningHook):
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
        super().__init__(make_crf(preset, **crf), workers, stages)
