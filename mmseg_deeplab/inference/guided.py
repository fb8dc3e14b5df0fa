"""The guided filter on a network's probabilities."""

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError
from .refiner import Refiner


class GuidedFilter(Refiner):
    """Filter every class's probabilities with the picture as the guide.

    Around each pixel they are fitted, by least squares, as a linear function of the three colours; the answer is the
    mean of the functions of all windows that a pixel lies in. The means are over the part of a window within the
    picture. Answers sum to 1 as the input does; what falls below 0 is set to 0 and the rest scaled.

    A few lines of torch: cv2.ximgproc, which is only in OpenCV's contrib packages, does the same but for the borders.

    Args:
        radius: Of the square window of 2 radius + 1 pixels a side, from 1 on.
        eps: Regularisation of the fit, > 0, for colours from 0 to 1: edges of less contrast than its root are smoothed.
            Both were chosen on 20 training images of VOC animals (docs/results.md).

    Raises:
        UserError: For a radius or eps that is none.

    Source: He, Sun and Tang, "Guided Image Filtering", ECCV 2010 and PAMI 2013, equations 14 to 16 (colour guide).
    """

    def __init__(self, radius: int = 8, eps: float = 1e-4):
        if isinstance(radius, bool) or not isinstance(radius, int) or radius < 1:
            raise UserError(f'GuidedFilter: radius={radius!r}: expected a whole number of pixels from 1 on')
        if isinstance(eps, bool) or not isinstance(eps, int | float) or not eps > 0:
            raise UserError(f'GuidedFilter: eps={eps!r}: expected a number above 0, such as 1e-4')
        self.radius, self.eps, self.reach = radius, float(eps), 2 * radius

    def refine(self, image: np.ndarray, probabilities: Tensor) -> Tensor:
        """See `Refiner`."""
        guide = torch.from_numpy(np.ascontiguousarray(image)).to(probabilities.device)
        guide = guide.permute(2, 0, 1).double() / 255
        mean = self._mean(guide)
        moments = self._mean(guide[:, None] * guide) - mean[:, None] * mean  # (3, 3, H, W)
        spread = moments.permute(2, 3, 0, 1) + self.eps * torch.eye(3, dtype=moments.dtype, device=moments.device)
        inverse = torch.linalg.inv(spread)
        refined = torch.stack([self._filter(guide, mean, inverse, p.double()) for p in probabilities]).clamp_(min=0)
        return (refined / refined.sum(0)).float()

    def _filter(self, guide: Tensor, mean: Tensor, inverse: Tensor, p: Tensor) -> Tensor:
        mean_p = self._mean(p)
        covariance = self._mean(guide * p) - mean * mean_p
        a = torch.einsum('hwij,jhw->ihw', inverse, covariance)
        b = mean_p - (a * mean).sum(0)
        return (self._mean(a) * guide).sum(0) + self._mean(b)

    def _mean(self, x: Tensor) -> Tensor:
        """Means over the windows of (..., H, W), by differences of running sums."""
        for dim in (-2, -1):
            length = x.shape[dim]
            places = torch.arange(length, device=x.device)
            first, end = (places - self.radius).clamp_(min=0), (places + self.radius + 1).clamp_(max=length)
            sums = x.cumsum(dim)
            sums = torch.cat([torch.zeros_like(sums.narrow(dim, 0, 1)), sums], dim)
            count = (end - first).reshape(-1, *[1] * (-1 - dim))
            x = (sums.index_select(dim, end) - sums.index_select(dim, first)) / count
        return x
