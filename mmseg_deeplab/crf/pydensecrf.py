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
    images: Sequence[Tensor | None],
    unaries: Sequence[Tensor],
    kernels: Sequence[Sequence[Kernel]],
    iterations: int,
    normalization: str,
) -> Iterator[list[Tensor]]:
    """Yields the distributions, one (C, N) for each image, after 0 to `iterations` mean-field updates.

    Args:
        images: (H, W, B) each. unaries: float32 (C, N = H W) each. kernels: those of each image.
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


def _build(image: Tensor | None, unary: Tensor, kernels: Sequence[Kernel], normalization: str):
    from pydensecrf import densecrf  # ty: ignore[missing-module-member]  compiled, without types

    normalizations = {
        'symmetric': densecrf.NORMALIZE_SYMMETRIC,
        'before': densecrf.NORMALIZE_BEFORE,
        'after': densecrf.NORMALIZE_AFTER,
        'no': densecrf.NO_NORMALIZATION,
    }
    common = {'kernel': densecrf.DIAG_KERNEL, 'normalization': normalizations[normalization]}
    classes, pixels = unary.shape
    if image is None:
        crf = densecrf.DenseCRF(pixels, classes)
    else:
        height, width, _ = image.shape
        crf = densecrf.DenseCRF2D(width, height, classes)
    crf.setUnaryEnergy(unary.cpu().contiguous().numpy())
    for kernel in kernels:
        if image is None or kernel.features is not None:
            crf.addPairwiseEnergy(kernel.features, compat=kernel.compat, **common)
        elif kernel.rgb_std is None:
            crf.addPairwiseGaussian(sxy=kernel.position_stds(), compat=kernel.compat, **common)
        elif image.dtype == torch.uint8 and image.shape[2] == 3:
            crf.addPairwiseBilateral(
                sxy=kernel.position_stds(),
                srgb=kernel.band_stds(3),
                rgbim=image.cpu().numpy(),
                compat=kernel.compat,
                **common,
            )
        else:  # its bilateral kernel knows 8-bit RGB only, its general one any features
            crf.addPairwiseEnergy(_features(image.cpu().numpy(), kernel), compat=kernel.compat, **common)
    return crf


def _features(image: np.ndarray, kernel: Kernel) -> np.ndarray:
    """(2 + B, N): positions and values, divided by their standard deviations in float32."""
    height, width, bands = image.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    features = np.stack([x, y, *np.moveaxis(image.astype(np.float32), -1, 0)]).reshape(2 + bands, -1)
    stds = np.array([*kernel.position_stds(), *kernel.band_stds(bands)], np.float32)
    return np.ascontiguousarray(features / stds[:, None])
