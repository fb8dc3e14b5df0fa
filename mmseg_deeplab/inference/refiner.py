"""What may stand in the dense CRF's place: a refiner of one picture's scores."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError


class Refiner(ABC):
    """Refines the scores of pictures, called as a `DenseCRF` is.

    Attributes:
        input: 'logits': what it takes, as `DenseCRF.input`.
        backend: 'torch': it runs where the logits lie, on a GPU without workers, as `DenseCRF.backend`.
        reach: How far, in pixels, a pixel's answer depends on others; None for the whole picture.
    """

    input = 'logits'
    backend = 'torch'
    reach: int | None

    def __call__(self, image: Any, logits: Any) -> Any:
        """Refined probabilities (C, H, W), float32, where the logits lie; a list of them for lists.

        Args:
            image: (H, W, 3) uint8, RGB, the original image.
            logits: Tensor (C, H, W) of at least two classes.

        Raises:
            UserError: For an image that is no 8-bit RGB or of another size, and for logits that are not finite.
        """
        if isinstance(image, list | tuple):
            return [self(*each) for each in zip(image, logits, strict=True)]
        name = type(self).__name__
        if image.dtype != np.uint8 or image.shape[2:] != (3,):
            raise UserError(f'{name} takes 8-bit RGB pictures, not {image.shape} of {image.dtype}')
        if tuple(logits.shape[1:]) != image.shape[:2]:
            raise UserError(f'{name}: the image has {image.shape[:2]} pixels, the logits {tuple(logits.shape[1:])}')
        if not logits.isfinite().all():
            raise UserError('the logits hold NaN or infinite numbers: look at the network that made them')
        with torch.no_grad():
            return self.refine(image, logits.float().softmax(0))

    @abstractmethod
    def refine(self, image: np.ndarray, probabilities: Tensor) -> Tensor:
        """Refined probabilities (C, H, W) of an image (H, W, 3) and the network's, which it may change."""
