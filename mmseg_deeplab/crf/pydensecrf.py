"""The reference backend: pydensecrf, one thread on the CPU."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from .kernels import Kernel


def is_installed() -> bool:
    return importlib.util.find_spec('pydensecrf') is not None


def mean_field(
    images: Sequence[Tensor],
    unaries: Sequence[Tensor],
    kernels: Sequence[Sequence[Kernel]],
    iterations: int,
    normalization: str,
) -> Iterator[list[Tensor]]:
    """Yields the distributions, one (C, N) for each image, after 0 to `iterations` mean-field updates.

    Args:
        images: uint8 (H, W, 3) each. unaries: float32 (C, N = H W) each. kernels: those of each image.
    What is yielded is overwritten by the next step.
    """
    crfs = [_build(*each, normalization) for each in zip(images, unaries, kernels, strict=True)]
    states = [crf.startInference() for crf in crfs]
    for step in range(iterations + 1):
        if step:
            for crf, state in zip(crfs, states, strict=True):
                crf.stepInference(*state)
        yield [
            torch.from_numpy(np.asarray(q)).reshape(unary.shape) for (q, *_), unary in zip(states, unaries, strict=True)
        ]


def _build(image: Tensor, unary: Tensor, kernels: Sequence[Kernel], normalization: str):
    from pydensecrf import densecrf

    normalizations = {
        'symmetric': densecrf.NORMALIZE_SYMMETRIC,
        'before': densecrf.NORMALIZE_BEFORE,
        'after': densecrf.NORMALIZE_AFTER,
        'no': densecrf.NO_NORMALIZATION,
    }
    common = {'kernel': densecrf.DIAG_KERNEL, 'normalization': normalizations[normalization]}
    height, width, _ = image.shape
    crf = densecrf.DenseCRF2D(width, height, len(unary))
    crf.setUnaryEnergy(unary.cpu().contiguous().numpy())
    for kernel in kernels:
        if kernel.rgb_std is None:
            crf.addPairwiseGaussian(sxy=kernel.xy_std, compat=kernel.compat, **common)
        else:
            crf.addPairwiseBilateral(
                sxy=kernel.xy_std, srgb=kernel.rgb_std, rgbim=image.cpu().numpy(), compat=kernel.compat, **common
            )
    return crf
