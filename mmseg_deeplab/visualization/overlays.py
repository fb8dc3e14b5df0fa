"""Label maps as pictures: in class colours, laid over the image, and as the difference from the truth.

All images are (H, W, 3) uint8 RGB, all label maps (H, W) integers with class indices or `ignore_index`.
"""

from collections.abc import Sequence

import cv2
import numpy as np

Color = tuple[int, int, int]

WRONG: Color = (226, 61, 40)
MENDED: Color = (46, 160, 67)
BROKEN: Color = (200, 30, 160)


def colorize(labels: np.ndarray, palette: Sequence[Sequence[int]], ignore_index: int = 255) -> np.ndarray:
    """Draw each class in its palette colour and void in grey stripes, a pattern that no class has."""
    colors = np.zeros((max(int(labels.max(initial=0)), ignore_index, len(palette)) + 1, 3), np.uint8)
    colors[: len(palette)] = palette
    picture = colors[labels]
    void = labels == ignore_index
    picture[void] = stripes(labels.shape)[void]
    return picture


def stripes(shape: tuple[int, int]) -> np.ndarray:
    """Diagonal light and dark grey stripes: how void is drawn."""
    y, x = np.ogrid[: shape[0], : shape[1]]
    light = ((y + x) // 3 % 2).astype(bool)
    return np.where(light[..., None], np.uint8(235), np.uint8(170)).repeat(3, axis=2)


def overlay(
    image: np.ndarray, labels: np.ndarray, palette: Sequence[Sequence[int]], alpha: float = 0.6, ignore_index: int = 255
) -> np.ndarray:
    """Blend the class colours into the image; alpha 0 is the image alone, 1 the colours alone."""
    return cv2.addWeighted(image, 1 - alpha, colorize(labels, palette, ignore_index), alpha, 0)


def difference(
    image: np.ndarray,
    truth: np.ndarray,
    prediction: np.ndarray,
    before: np.ndarray | None = None,
    ignore_index: int = 255,
) -> np.ndarray:
    """Mark the wrong pixels on the faded grey image; void in stripes.

    With the prediction `before` the CRF, pixels that it mended are green, pixels that it broke magenta, and pixels
    that are wrong with and without it red.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
    picture = (grey // 2 + 110).repeat(3, axis=2)
    wrong = prediction != truth
    picture[wrong] = WRONG
    if before is not None:
        wrong_before = before != truth
        picture[wrong & ~wrong_before] = BROKEN
        picture[~wrong & wrong_before] = MENDED
    void = truth == ignore_index
    picture[void] = stripes(truth.shape)[void]
    return picture


def difference_legend(with_crf: bool) -> list[tuple[str, Color]]:
    """The colours that `difference` uses, with their meaning."""
    if not with_crf:
        return [('wrong', WRONG)]
    return [('wrong with and without CRF', WRONG), ('mended by the CRF', MENDED), ('broken by the CRF', BROKEN)]
