"""The dense CRF as one object: parameters, checks, choice of backend, one image or a batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Literal

from torch import Tensor

from ..errors import UserError
from . import mean_field, pruning, pydensecrf
from .inputs import like, to_image, to_scores, to_unary
from .kernels import make_kernel

BACKENDS = ('auto', 'torch', 'pydensecrf')
NORMALIZATIONS = ('symmetric', 'no', 'before', 'after')
INPUTS = ('probabilities', 'logits')


class DenseCRF:
    """Mean-field inference in the fully connected CRF with a position and a position-and-colour kernel.

    One update is Q <- softmax(-U - sum_k compat_k * K_k Q) with U = -log(probabilities clipped to [clip, 1]) and
    K_k Q the Gaussian filtering of Q on the permutohedral lattice, a pixel's own message included. All backends
    compute the same thing; the default parameters are those of DeepLab v2 with ResNet-101.

    Args:
        iterations: mean-field updates, >= 0; with 0 the answer is the clipped and renormalised input.
        pos_w, bi_w: the label compatibilities. A number w is the Potts model with weight w: where neighbours agree
            (w > 0) a class gets +w K Q. A vector v of C numbers and a matrix M of C x C numbers are *costs* and
            keep their sign: they add +v_c (K Q)_c and +(M K Q)_c to the energy, so the Potts weight w equals the
            vector [-w] * C and the matrix w (1 - identity). M is symmetrised to (M + M^T) / 2. These are the
            reference implementation's conventions. A weight of 0 leaves the kernel out.
        pos_xy_std, bi_xy_std: standard deviations of the positions, in pixels, > 0.
        bi_rgb_std: standard deviation of the colours, in grey levels of 0 to 255, > 0.
        backend: 'pydensecrf' is the reference implementation (one CPU thread), 'torch' this package's own (CPU and
            CUDA), 'auto' takes 'torch', which is the faster one.
        normalization: of the kernel matrix K with row sums n: 'symmetric' n^-1/2 K n^-1/2 (ICML 2013), 'after'
            n^-1 K (NIPS 2011), 'before' K n^-1, 'no' K itself, whose messages are huge.
        prune: None, or a probability: the classes that do not exceed it on any pixel exchange no messages and share
            one pseudo-class, which is faster the more of them there are. See docs/dense_crf.md for the bound.
        input: what the network hands over: 'probabilities' or 'logits' (a softmax over the classes comes first).
        clip: the smallest probability that the unary knows, in (0, 1).

    Source: Krähenbühl and Koltun, NIPS 2011; DeepLab v1 (arXiv:1412.7062), section 4; v2 (arXiv:1606.00915).
    """

    def __init__(
        self,
        iterations: int = 10,
        pos_w=3,
        pos_xy_std: float = 1,
        bi_w=4,
        bi_xy_std: float = 67,
        bi_rgb_std: float = 3,
        *,
        backend: Literal['auto', 'torch', 'pydensecrf'] = 'auto',
        normalization: Literal['symmetric', 'no', 'before', 'after'] = 'symmetric',
        prune: float | None = None,
        input: Literal['probabilities', 'logits'] = 'probabilities',
        clip: float = 1e-5,
    ):
        if not isinstance(iterations, Integral) or isinstance(iterations, bool) or iterations < 0:
            raise UserError(f'iterations={iterations!r}: expected a whole number >= 0')
        for name, value, allowed in (
            ('backend', backend, BACKENDS),
            ('normalization', normalization, NORMALIZATIONS),
            ('input', input, INPUTS),
        ):
            if value not in allowed:
                raise UserError(f'{name}={value!r}: expected one of {", ".join(map(repr, allowed))}')
        if not isinstance(clip, Real) or not 0 < clip < 1:
            raise UserError(f'clip={clip!r}: expected a probability between 0 and 1, such as 1e-5')
        if backend == 'pydensecrf' and not pydensecrf.is_installed():
            raise UserError(
                "backend='pydensecrf', but pydensecrf is not installed: run `pip install pydensecrf2`, "
                "or use backend='torch'"
            )
        kernels = [make_kernel('pos', pos_w, pos_xy_std), make_kernel('bi', bi_w, bi_xy_std, bi_rgb_std)]
        self.kernels = [kernel for kernel in kernels if not kernel.is_zero]
        if prune is not None:
            pruning.check(prune, self.kernels)
        self.iterations = iterations
        self.backend = backend
        self.normalization = normalization
        self.prune = prune
        self.input = input
        self.clip = clip
        self.parameters = {
            'iterations': iterations,
            'pos_w': pos_w,
            'pos_xy_std': pos_xy_std,
            'bi_w': bi_w,
            'bi_xy_std': bi_xy_std,
            'bi_rgb_std': bi_rgb_std,
            'backend': backend,
            'normalization': normalization,
            'prune': prune,
            'input': input,
            'clip': clip,
        }

    def __call__(self, image, scores):
        """Refined probabilities of one image, or a list of them for lists of images and scores.

        Args:
            image: uint8 (H, W, 3), RGB, the original image at its original size; numpy or torch.
            scores: (C, H, W) probabilities or logits, as `input` says; numpy or torch, any float type, any memory
                layout, any device. Images of a batch may differ in size and number of classes.

        Returns:
            Probabilities (C, H, W) of the library, type and device of `scores`.

        Raises:
            ValueError: sizes that do not match, an image that is not uint8, NaN, negative or zero classes,
                compatibilities for another number of classes, standard deviations too small for this size.
        """
        problems = self._problems(image, scores)
        on_gpu = self.backend != 'pydensecrf' and any(problem.image.is_cuda for problem in problems)
        results = []
        # All at once fills a GPU; a CPU is faster with less in its cache.
        for batch in [problems] if on_gpu else [[problem] for problem in problems]:
            for qs in self._states(batch):  # noqa: B007 the last one counts
                pass
            results += [problem.result(q) for problem, q in zip(batch, qs, strict=True)]
        return results if isinstance(image, list | tuple) else results[0]

    def steps(self, image, scores) -> Iterator:
        """Yields the probabilities after 0, 1, ... `iterations` updates; arguments and errors as in a call."""
        problems = self._problems(image, scores)
        for qs in self._states(problems):
            results = [problem.result(q) for problem, q in zip(problems, qs, strict=True)]
            yield results if isinstance(image, list | tuple) else results[0]

    def _problems(self, image, scores) -> list[_Problem]:
        if not isinstance(image, list | tuple):
            return [self._problem(image, scores, '')]
        if not isinstance(scores, list | tuple) or len(image) != len(scores):
            got = f'{len(scores)} of them' if isinstance(scores, list | tuple) else type(scores).__name__
            raise UserError(f'{len(image)} images in a list, but the {self.input} are {got}: give a list as long')
        problems = [self._problem(*each, f' {i}') for i, each in enumerate(zip(image, scores, strict=True))]
        devices = {str(problem.image.device) for problem in problems}
        if len(devices) > 1:
            raise UserError(
                f'the {self.input} of one batch lie on {", ".join(sorted(devices))}: move them to one device'
            )
        return problems

    def _problem(self, image, scores, number: str) -> _Problem:
        original, image = scores, to_image(image, f'image{number}')
        scores = to_scores(scores, self.input, f'{self.input}{number and " of image"}{number}')
        height, width, _ = image.shape
        if scores.shape[1:] != (height, width):
            raise UserError(
                f'image{number} is {height}x{width} (height x width), its {self.input} are '
                f'{scores.shape[1]}x{scores.shape[2]}: resize the {self.input} to the image'
            )
        for kernel in self.kernels:
            kernel.check_classes(len(scores))
            kernel.check_keys(height, width)
        if self.backend == 'pydensecrf':
            scores = scores.cpu()
        unary = to_unary(scores, self.input, self.clip)
        return _Problem(image.to(scores.device), pruning.Pruned(unary, self.kernels, self.prune), original)

    def _states(self, problems: list[_Problem]) -> Iterator[list[Tensor]]:
        backend = pydensecrf if self.backend == 'pydensecrf' else mean_field
        return backend.mean_field(
            [problem.image for problem in problems],
            [problem.pruned.unary for problem in problems],
            [problem.pruned.kernels for problem in problems],
            self.iterations,
            self.normalization,
        )


@dataclass(frozen=True)
class _Problem:
    image: Tensor
    pruned: pruning.Pruned
    original: object

    def result(self, q: Tensor):
        """The state (C, N) as probabilities of the caller's type; a copy, for the next step overwrites the state."""
        return like(self.pruned.restore(q).reshape(self.original.shape).clone(), self.original)
