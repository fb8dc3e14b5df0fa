"""Images, network-like outputs and the reference answer that the dense CRF's tests share."""

import numpy as np
import pytest
import torch

PARAMETERS = {
    'v1': dict(pos_w=3, pos_xy_std=3, bi_w=5, bi_xy_std=50, bi_rgb_std=3),
    'v2_r101': dict(pos_w=3, pos_xy_std=1, bi_w=4, bi_xy_std=67, bi_rgb_std=3),
    'v2_vgg16': dict(pos_w=2, pos_xy_std=2, bi_w=4, bi_xy_std=65, bi_rgb_std=3),
    'pydensecrf_readme': dict(pos_w=3, pos_xy_std=3, bi_w=10, bi_xy_std=80, bi_rgb_std=13),
}
"""DeepLab v1 and v2 as published, and the example of the reference implementation."""


def make_image(height: int, width: int, seed: int = 0) -> np.ndarray:
    """uint8 (H, W, 3): a smooth colour gradient, a disc and some noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    image = np.stack([200 * x / max(width, 2), 200 * y / max(height, 2), 90 + 0 * x], -1)
    image[(y - height / 2) ** 2 + (x - width / 3) ** 2 < (height / 4) ** 2] += (50, -40, 80)
    return (image + rng.normal(0, 4, image.shape)).clip(0, 255).astype(np.uint8)


def make_probabilities(classes: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """float32 (C, H, W): the softmax of coarse random logits, upsampled as a network's are."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.normal(0, 3, (1, classes, height // 16 + 2, width // 16 + 2)))
    fine = torch.nn.functional.interpolate(coarse, (height, width), mode='bilinear', align_corners=True)
    return fine[0].softmax(0).float().numpy()


def reference(image, probabilities, parameters, iterations=10, normalization='symmetric') -> np.ndarray:
    """(C, H, W) from pydensecrf, called as its own documentation does."""
    densecrf = pytest.importorskip('pydensecrf.densecrf', reason='pydensecrf is the reference: pip install pydensecrf2')
    from pydensecrf.utils import unary_from_softmax

    normalization = {
        'symmetric': densecrf.NORMALIZE_SYMMETRIC,
        'before': densecrf.NORMALIZE_BEFORE,
        'after': densecrf.NORMALIZE_AFTER,
        'no': densecrf.NO_NORMALIZATION,
    }[normalization]
    classes, height, width = probabilities.shape
    crf = densecrf.DenseCRF2D(width, height, classes)
    crf.setUnaryEnergy(unary_from_softmax(probabilities))
    crf.addPairwiseGaussian(sxy=parameters['pos_xy_std'], compat=parameters['pos_w'], normalization=normalization)
    crf.addPairwiseBilateral(
        sxy=parameters['bi_xy_std'],
        srgb=parameters['bi_rgb_std'],
        rgbim=np.ascontiguousarray(image),
        compat=parameters['bi_w'],
        normalization=normalization,
    )
    return np.array(crf.inference(iterations)).reshape(probabilities.shape)


def assert_same_answer(q, expected) -> None:
    """max |dQ| < 1e-3 and labels equal on more than 99.99 % of the pixels."""
    assert q.shape == expected.shape
    assert abs(q - expected).max() < 1e-3
    assert (q.argmax(0) == expected.argmax(0)).mean() > 0.9999
