"""The dense CRF as a layer: mean-field inference with its gradient, so that network and CRF are trained as one.

Source: Krähenbühl and Koltun, "Parameter Learning and Convergent Inference for Dense Random Fields", ICML 2013; Zheng
et al., "Conditional Random Fields as Recurrent Neural Networks", ICCV 2015.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

from ..errors import UserError
from . import mean_field, native
from .dense_crf import DenseCRF
from .inputs import band_ranges, to_image
from .kernels import Kernel, make_kernel
from .lattice import Lattice
from .mean_field import Pairwise

COMPATIBILITIES = ('number', 'vector', 'matrix')


class DenseCRFLayer(nn.Module):
    """Mean-field inference in the dense CRF of `DenseCRF` with gradients for the logits and the compatibilities.

    The answer is that of `DenseCRF(input='logits')`; standard deviations are fixed, because what the filter returns is
    piecewise constant in them. A training step costs the filtering of forward twice, as its backward is the transposed
    filter, and keeps one (N, C) state of each iteration. On the CPU, what is not float64 is filtered by the native
    kernel where it was built (one thread), else in torch, as on a GPU; the answers are the same.

    Args:
        iterations: mean-field updates; CRF-as-RNN trains with 5.
        pos_w, bi_w: what the compatibilities start from, with the conventions of `DenseCRF`: a number attracts, vectors
            and matrices are costs. A matrix counts as (M + M^T) / 2.
        pos_xy_std, bi_xy_std, bi_rgb_std, normalization, clip: as in `DenseCRF`. Where the clip holds a probability,
            no gradient goes through its unary.
        compat: the form of what is learned: 'number' leaves `pos_w` and `bi_w` in the form they have, 'vector' makes
            one cost for each class of a number, 'matrix' one for each pair of classes.
        num_classes: needed for 'vector' and 'matrix'.
        learn: whether the compatibilities are trained; if not, only the network below learns.
        checkpoint: keep every second state only and compute the others again for the gradient: half the memory, and
            half a forward more of time.
    """

    def __init__(
        self,
        iterations: int = 5,
        pos_w=3,
        pos_xy_std: float = 1,
        bi_w=4,
        bi_xy_std: float = 67,
        bi_rgb_std: float = 3,
        *,
        normalization: Literal['symmetric', 'no', 'before', 'after'] = 'symmetric',
        clip: float = 1e-5,
        compat: Literal['number', 'vector', 'matrix'] = 'number',
        num_classes: int | None = None,
        learn: bool = True,
        checkpoint: bool = False,
    ):
        super().__init__()
        if compat not in COMPATIBILITIES:
            raise UserError(f'compat={compat!r}: expected one of {", ".join(map(repr, COMPATIBILITIES))}')
        if compat != 'number' and num_classes is None:
            raise UserError(f'compat={compat!r} needs num_classes, for one cost a class or a pair of classes')
        DenseCRF(iterations, normalization=normalization, clip=clip)  # checks them
        self._kernels = [make_kernel('pos', pos_w, pos_xy_std), make_kernel('bi', bi_w, bi_xy_std, bi_rgb_std)]
        for kernel in self._kernels:
            if num_classes is not None:
                kernel.check_classes(num_classes)
            start = torch.as_tensor(_formed(kernel, compat, num_classes), dtype=torch.float32)
            self.register_parameter(f'{kernel.name}_w', nn.Parameter(start, requires_grad=learn))
        self.iterations = iterations
        self.normalization = normalization
        self.clip = clip
        self.checkpoint = checkpoint

    def forward(self, images: Tensor | Sequence[Tensor], logits: Tensor | Sequence[Tensor]) -> Tensor | list[Tensor]:
        """Refined logits, whose softmax over the classes are the refined probabilities.

        Args:
            images: uint8 RGB, (B, H, W, 3) or, for several sizes, a list of (H, W, 3); or other pictures of `DenseCRF`.
            logits: (B, C, H, W) or a list of (C, H, W), of any float type, on the device where the work is done.

        Returns:
            Logits of the shape of `logits`; float64 for float64, else float32.

        Raises:
            UserError: sizes that do not match, what is no picture, compatibilities for another number of
                classes, standard deviations too small for this size.
        """
        if len(images) != len(logits) or not len(logits):
            raise UserError(f'{len(images)} images, but logits of {len(logits)}: give one image for each, at least one')
        images = [self._checked(image, scores, i) for i, (image, scores) in enumerate(zip(images, logits, strict=True))]
        refined = []
        mean_field.keep_blocks()
        parts = mean_field.batches([scores[0].numel() for scores in logits], len(logits[0]), logits[0].is_cuda)
        with torch.autocast(logits[0].device.type, enabled=False):
            for part in parts:
                refined += self._refine(images[part], list(logits[part]))
        return torch.stack(refined) if isinstance(logits, Tensor) else refined

    def extra_repr(self) -> str:
        """What `print(layer)` shows."""
        kernels = ', '.join(f'{k.name}: xy_std={k.xy_std} rgb_std={k.rgb_std}' for k in self._kernels)
        return f'iterations={self.iterations}, normalization={self.normalization!r}, {kernels}'

    def _checked(self, image: Tensor, scores: Tensor, number: int) -> Tensor:
        image = to_image(image, f'image {number}')
        height, width, _ = image.shape
        if scores.ndim != 3 or not scores.is_floating_point() or scores.shape[1:] != (height, width):
            raise UserError(
                f'image {number} is {height}x{width} (height x width), its logits are {scores.dtype} '
                f'{tuple(scores.shape)}: expected floats (classes, {height}, {width})'
            )
        if len(scores) < 2:
            raise UserError(
                f'the logits of image {number} have one channel, whose softmax is 1 everywhere: for a sigmoid stack '
                f'both classes, (0, logits)'
            )
        ranges = band_ranges(image)
        for kernel in self._kernels:
            kernel.check_picture(height, width, *ranges)
            weight = getattr(self, f'{kernel.name}_w')
            if weight.ndim and len(weight) != len(scores):
                raise UserError(f'{kernel.name}_w has shape {tuple(weight.shape)}, but there are {len(scores)} classes')
        return image.to(scores.device)

    def _refine(self, images: Sequence[Tensor], logits: Sequence[Tensor]) -> list[Tensor]:
        shapes = [scores.shape for scores in logits]
        joined = torch.cat([scores.flatten(1).t() for scores in logits])
        if joined.dtype != torch.float64:
            joined = joined.float()
        log_p = joined.log_softmax(1).clamp(float(np.log(self.clip)), 0)
        pixels, classes = joined.shape
        kernels = [kernel for kernel in self._kernels if not self._is_idle(kernel)]
        weights = [getattr(self, f'{kernel.name}_w').to(joined.dtype) for kernel in kernels]
        weights = [(w + w.t()) / 2 if w.ndim == 2 else w for w in weights]
        filters: Sequence[Lattice | _NativeFilter]
        if len(images) == 1 and joined.device.type == 'cpu' and joined.dtype == torch.float32 and native.is_available():
            filters = [
                _NativeFilter(native.Filter(images[0].numpy(), kernel, self.normalization)) for kernel in kernels
            ]
            # More classes, which nothing makes likely, and more pixels, which no other sees.
            log_p = pad(pad(log_p, (0, -classes % 8), value=-torch.inf), (0, 0, 0, -pixels % 16))
            weights = [pad(w, (0, -classes % 8) * w.ndim) for w in weights]
        else:
            with torch.no_grad():
                filters = [mean_field.batch_filter(images, k, self.normalization).to(joined.dtype) for k in kernels]
        record = torch.is_grad_enabled() and any(x.requires_grad for x in (log_p, *weights))
        settings = filters, self.iterations, self.checkpoint, record
        refined = _MeanField.apply(settings, log_p, *weights)
        parts = refined[:pixels, :classes].split([height * width for _, height, width in shapes])
        return [part.t().reshape(shape) for part, shape in zip(parts, shapes, strict=True)]

    def _is_idle(self, kernel: Kernel) -> bool:
        """A weight of zero that stays zero."""
        return kernel.is_zero and not getattr(self, f'{kernel.name}_w').requires_grad


@dataclass(frozen=True)
class _NativeFilter:
    """The native kernel's filter of one image for values of as many rows and columns as it wants."""

    kernel: native.Filter
    is_transposed: bool = False
    points: int = 1  # all columns at once: what it needs beside the result is memory of its own

    def __call__(self, values: Tensor) -> Tensor:
        parts = [
            torch.from_numpy(self.kernel(part.contiguous().numpy(), self.is_transposed)) for part in values.split(32, 1)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)

    def transposed(self) -> _NativeFilter:
        return replace(self, is_transposed=not self.is_transposed)


class _MeanField(torch.autograd.Function):
    """X_T of X_t = log p - sum over the kernels k of compat_k K_k softmax(X_t-1), with X_0 = log p (N, C).

    With G = dL / dX_t: the unary gets G from every t; H_k = K_k^T G; a number w_k gets <Q_t-1, H_k>, a cost vector
    minus that class by class, a cost matrix -Q_t-1^T H_k; dL / dQ_t-1 = -sum_k H_k compat_k^T, and the Jacobian of the
    softmax gives the next G. So of the forward pass only Q_0 to Q_T-1 are needed.
    """

    @staticmethod
    def forward(ctx: Any, settings: tuple, log_p: Tensor, *weights: Tensor) -> Tensor:
        filters, iterations, checkpoint, record = settings
        pairwise = [Pairwise(f, [(slice(None), w)]) for f, w in zip(filters, weights, strict=True)]
        states = []
        x = log_p.clone()
        for step in range(iterations):
            q = _distribution(x)
            _update(x, log_p, pairwise, q)
            if record and not (checkpoint and step % 2):
                states.append(q)
        ctx.settings = settings
        ctx.save_for_backward(log_p, *weights, *states)
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        filters, iterations, checkpoint, _ = ctx.settings
        log_p, *saved = ctx.saved_tensors
        weights, states = saved[: len(filters)], saved[len(filters) :]
        pairwise = [Pairwise(f, [(slice(None), w)]) for f, w in zip(filters, weights, strict=True)]
        transposed = [f.transposed() for f in filters]
        of_weights = [torch.zeros_like(w) for w in weights]
        of_log_p, of_q, scratch = torch.zeros_like(log_p), torch.empty_like(log_p), torch.empty_like(log_p)
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        for step in reversed(range(iterations)):
            q = states[step // 2 if checkpoint else step]
            if checkpoint and step % 2:
                _update(scratch, log_p, pairwise, q)
                q = _distribution(scratch)
            of_log_p += gradient
            of_q.zero_()
            for kernel, w, of_w in zip(transposed, weights, of_weights, strict=True):
                message = mean_field.filtered(kernel, gradient)
                if w.ndim == 2:
                    of_w -= q.t() @ message
                    of_q.addmm_(message, w, alpha=-1)  # w is symmetric
                elif w.ndim == 1:
                    of_w -= torch.mul(q, message, out=scratch).sum(0)
                    of_q.addcmul_(message, w, value=-1)
                else:
                    of_w += torch.mul(q, message, out=scratch).sum()
                    of_q.addcmul_(message, w)
            of_q -= torch.mul(q, of_q, out=scratch).sum(1, keepdim=True)
            torch.mul(q, of_q, out=gradient)
        return None, of_log_p.add_(gradient), *of_weights


def _update(x: Tensor, log_p: Tensor, pairwise: Sequence[Pairwise], q: Tensor) -> None:
    x.copy_(log_p)
    for kernel in pairwise:
        kernel.add_messages(x, q)


def _distribution(x: Tensor) -> Tensor:
    """Softmax over the classes of x (N, C), which is overwritten."""
    q = torch.empty_like(x)
    mean_field.softmax(x, q)
    return q


def _formed(kernel: Kernel, compat: str, num_classes: int | None) -> float | np.ndarray:
    """The compatibility in the form that is learned; all forms of a number are the same Potts model."""
    given = kernel.compat
    if compat == 'number' or num_classes is None:
        return given
    if not isinstance(given, np.ndarray):
        if compat == 'vector':
            return np.full(num_classes, -given, np.float32)
        return (given * (1 - np.eye(num_classes))).astype(np.float32)
    if compat == 'matrix' and given.ndim == 1:
        return np.diag(given)
    if compat == 'vector' and given.ndim == 2:
        raise UserError(f"{kernel.name}_w is a matrix: with compat='vector' give a number or a vector")
    return given
