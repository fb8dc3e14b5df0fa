"""The dense CRF as one object: parameters, checks, choice of backend, one image or a batch."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from numbers import Integral, Real
from typing import Literal

import torch
from torch import Tensor

from ..errors import UserError
from . import mean_field, native, pruning, pydensecrf
from .inputs import band_ranges, like, to_array, to_image, to_scores, to_unary
from .kernels import Kernel, feature_kernel, make_kernel
from .labels import from_labels

BACKENDS = ('auto', 'native', 'torch', 'pydensecrf')
MODES = ('adaptive', 'all', 'fast')
NORMALIZATIONS = ('symmetric', 'no', 'before', 'after')
INPUTS = ('probabilities', 'logits')

# The largest sum of the probabilities that a pixel's left-out classes may have; the native backend has the same.
_LEFT_OUT = {'all': None, 'adaptive': 1e-3, 'fast': 1e-2}

Backend = Literal['auto', 'native', 'torch', 'pydensecrf']
Mode = Literal['adaptive', 'all', 'fast']
Normalization = Literal['symmetric', 'no', 'before', 'after']
Input = Literal['probabilities', 'logits']


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
        pos_xy_std, bi_xy_std: standard deviations of the positions, in pixels, > 0; one number, or (x, y).
        bi_rgb_std: standard deviation of the colours, in the units of the picture (grey levels of 0 to 255 for 8 bits),
            > 0; one number, or one a band.
        mode: 'all' computes the messages of every class in every update. 'adaptive' leaves out classes that are
            unlikely everywhere, anew after the first update, and changes no probability by more than about 1e-5.
            'fast' leaves out more, and pixels that are certain after three updates keep what they have: labels stay
            equal on more than 99.99 % of the pixels. Both need weights that attract (numbers >= 0; for the other
            backends vectors <= 0, too), and are 'all' otherwise. See docs/dense_crf.md.
        backend: 'native' is this package's own in C++ (one CPU thread an image, the fastest), 'torch' runs on CPU and
            CUDA, 'pydensecrf' is the reference implementation (one CPU thread). 'auto' takes 'native' for what lies on
            the CPU, where it was built, else 'torch'.
        normalization: of the kernel matrix K with row sums n: 'symmetric' n^-1/2 K n^-1/2 (ICML 2013), 'after'
            n^-1 K (NIPS 2011), 'before' K n^-1, 'no' K itself, whose messages are huge.
        input: what the network hands over: 'probabilities' or 'logits' (a softmax over the classes comes first).
        clip: the smallest probability that the unary knows, in (0, 1).

    Source: Krähenbühl and Koltun, NIPS 2011; DeepLab v1 (arXiv:1412.7062), section 4; v2 (arXiv:1606.00915).
    """

    def __init__(
        self,
        iterations: int = 10,
        pos_w=3,
        pos_xy_std: float | Sequence[float] = 1,
        bi_w=4,
        bi_xy_std: float | Sequence[float] = 67,
        bi_rgb_std: float | Sequence[float] = 3,
        *,
        mode: Mode = 'adaptive',
        backend: Backend = 'auto',
        normalization: Normalization = 'symmetric',
        input: Input = 'probabilities',
        clip: float = 1e-5,
    ):
        kernels = [make_kernel('pos', pos_w, pos_xy_std), make_kernel('bi', bi_w, bi_xy_std, bi_rgb_std)]
        self._set(kernels, iterations, mode, backend, normalization, input, clip)
        self.parameters = {
            'iterations': iterations,
            'pos_w': pos_w,
            'pos_xy_std': pos_xy_std,
            'bi_w': bi_w,
            'bi_xy_std': bi_xy_std,
            'bi_rgb_std': bi_rgb_std,
            'mode': mode,
            'backend': backend,
            'normalization': normalization,
            'input': input,
            'clip': clip,
        }

    @classmethod
    def from_features(
        cls,
        features,
        w=1,
        *,
        iterations: int = 10,
        mode: Mode = 'adaptive',
        backend: Backend = 'auto',
        normalization: Normalization = 'symmetric',
        input: Input = 'probabilities',
        clip: float = 1e-5,
    ) -> DenseCRF:
        """A CRF whose kernel is given by a feature vector for each pixel: depth, infrared, motion, voxels of a volume.

        It is called with the scores alone, (C, N) or (C, ...) of N pixels in all, in the order of the features:
        `DenseCRF.from_features(features, w=4)(scores)`. The same as the reference's addPairwiseEnergy.

        Args:
            features: (d, N) numbers, each divided by its standard deviation; or a list of such arrays, a kernel each.
            w: the label compatibility as `bi_w`; a list as long for several kernels.
            Others as those of `DenseCRF`.
        """
        several = isinstance(features, list | tuple)
        features, weights = (features, w) if several else ([features], [w])
        if not isinstance(weights, list | tuple) or len(weights) != len(features) or not features:
            raise UserError(f'{len(features)} arrays of features, but w={w!r}: give a list with one weight for each')
        kernels = []
        for i, (each, weight) in enumerate(zip(features, weights, strict=True)):
            kernels.append(feature_kernel(f'features_{i}' if several else 'features', weight, to_array(each)))
        pixels = {kernel.features.shape[1] for kernel in kernels if kernel.features is not None}
        if len(pixels) > 1:
            raise UserError(f'the features are of {sorted(pixels)} pixels: give (d, N) arrays with one N')
        crf = cls.__new__(cls)
        crf._set(kernels, iterations, mode, backend, normalization, input, clip)
        crf._pixels = pixels.pop()
        return crf

    from_labels = staticmethod(from_labels)

    def _set(self, kernels: list[Kernel], iterations, mode, backend, normalization, input, clip) -> None:
        if not isinstance(iterations, Integral) or isinstance(iterations, bool) or iterations < 0:
            raise UserError(f'iterations={iterations!r}: expected a whole number >= 0')
        for name, value, allowed in (
            ('mode', mode, MODES),
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
        if backend == 'native' and not native.is_available():
            raise UserError(
                "backend='native', but the native kernel was not built: install a C++ compiler and run "
                "`pip install --force-reinstall --no-deps` on this package again, or use backend='torch'"
            )
        self.kernels = [kernel for kernel in kernels if not kernel.is_zero]
        self.iterations = int(iterations)
        self.mode = mode
        self.backend = backend
        self.normalization = normalization
        self.input = input
        self.clip = float(clip)
        self._pixels: int | None = None  # of the features, where there are such

    def __call__(self, image, scores=None):
        """Refined probabilities of one image, or a list of them for lists of images and scores.

        Args:
            image: (H, W, 3) uint8, RGB, the original image at its original size; or (H, W) and (H, W, bands) of uint8,
                uint16 or float; numpy or torch. Left out by a CRF that was made `from_features`.
            scores: (C, H, W) probabilities or logits, as `input` says; numpy or torch, any float type, any memory
                layout, any device. Images of a batch may differ in size and number of classes.

        Returns:
            Probabilities (C, H, W) of the library, type and device of `scores`.

        Raises:
            UserError: sizes that do not match, what is no picture, NaN, negative or zero classes, scores that no
                picture can change, compatibilities for another number of classes, standard deviations too small for
                this size.
        """
        problems, many = self._problems(image, scores)
        results = []
        together = bool(problems) and self._backend_of(problems) == 'torch' and problems[0].scores.is_cuda
        pixels = [problem.scores[0].numel() for problem in problems]
        classes = max((len(problem.scores) for problem in problems), default=0)
        for batch in (problems[part] for part in mean_field.batches(pixels, classes, together)):
            for qs in self._states(batch, steps=False):  # noqa: B007 the last one counts
                pass
            results += [problem.result(q) for problem, q in zip(batch, qs, strict=True)]
        return results if many else results[0]

    def steps(self, image, scores=None) -> Iterator:
        """Yields the probabilities after 0, 1, ... `iterations` updates; arguments and errors as in a call."""
        problems, many = self._problems(image, scores)
        for qs in self._states(problems, steps=True):
            results = [problem.result(q) for problem, q in zip(problems, qs, strict=True)]
            yield results if many else results[0]

    def _problems(self, image, scores) -> tuple[list[_Problem], bool]:
        if self._pixels is not None and scores is None:
            image, scores = [None] * len(image) if isinstance(image, list | tuple) else None, image
        if not isinstance(image, list | tuple):
            return [self._problem(image, scores, '')], False
        if not isinstance(scores, list | tuple) or len(image) != len(scores):
            got = f'{len(scores)} of them' if isinstance(scores, list | tuple) else type(scores).__name__
            raise UserError(f'{len(image)} images in a list, but the {self.input} are {got}: give a list as long')
        problems = [self._problem(*each, f' {i}') for i, each in enumerate(zip(image, scores, strict=True))]
        devices = {str(problem.scores.device) for problem in problems}
        if len(devices) > 1:
            raise UserError(
                f'the {self.input} of one batch lie on {", ".join(sorted(devices))}: move them to one device'
            )
        return problems, True

    def _problem(self, image, scores, number: str) -> _Problem:
        where = f'{self.input}{number and " of image"}{number}'
        if self._pixels is not None:
            if image is not None:
                raise UserError('a CRF that was made from_features takes the scores alone, and no image')
            checked = to_scores(scores, self.input, where, spatial=None)
            if checked[0].numel() != self._pixels:
                raise UserError(
                    f'{where} have shape {tuple(checked.shape)}, but the features are of {self._pixels} pixels: '
                    f'expected (classes, ...) with {self._pixels} numbers for each class'
                )
            picture = None
        else:
            picture = to_image(image, f'image{number}')
            checked = to_scores(scores, self.input, where)
            height, width, _ = picture.shape
            if checked.shape[1:] != (height, width):
                if picture.shape[1:] == checked.shape[1:]:
                    raise UserError(
                        f'image{number} has shape {tuple(picture.shape)}: expected (height, width, 3), the colours last'
                    )
                if checked.shape[:2] == (height, width):
                    raise UserError(f'{where} have shape {tuple(checked.shape)}: expected the classes first')
                raise UserError(
                    f'image{number} is {height}x{width} (height x width), its {self.input} are '
                    f'{checked.shape[1]}x{checked.shape[2]}: resize the {self.input} to the image'
                )
            lows, highs = band_ranges(picture)
            for kernel in self.kernels:
                kernel.check_picture(height, width, lows, highs)
        for kernel in self.kernels:
            kernel.check_classes(len(checked))
        return _Problem(picture, checked, scores)

    def _backend_of(self, problems: list[_Problem]) -> str:
        on_gpu = problems[0].scores.is_cuda
        if self.backend != 'auto':
            return self.backend
        if on_gpu:
            return 'torch'
        if native.is_available():
            return 'native'
        _say_torch()
        return 'torch'

    def _states(self, problems: list[_Problem], *, steps: bool) -> Iterator[list[Tensor]]:
        """The distributions (C, N) of each problem after every update or, without `steps`, at least after the last."""
        if not problems:
            yield from ([] for _ in range(self.iterations + 1))
        elif self._backend_of(problems) == 'native':
            yield from map(list, zip(*(self._native(problem, steps) for problem in problems), strict=True))
        else:
            run = self._torch if self._backend_of(problems) == 'torch' else self._pydensecrf
            for qs in run(problems):
                yield [q.clone() for q in qs] if steps else qs  # the next step overwrites what this one gave

    def _native(self, problem: _Problem, steps: bool) -> Iterator[Tensor]:
        scores = problem.scores.cpu().contiguous().numpy()
        if self.input == 'logits':
            scores = native.softmax(scores)
        picture = None if problem.picture is None else problem.picture.cpu().numpy()
        for q in native.mean_field(
            picture, scores, self.kernels, self.iterations, self.normalization, self.mode, self.clip, steps
        ):
            yield torch.from_numpy(q)

    def _torch(self, problems: list[_Problem]) -> Iterator[list[Tensor]]:
        pictures = [None if each.picture is None else each.picture.to(each.scores.device) for each in problems]
        unaries = [to_unary(problem.scores, self.input, self.clip) for problem in problems]
        kernels = [self.kernels] * len(problems)
        return mean_field.mean_field(
            pictures, unaries, kernels, self.iterations, self.normalization, _LEFT_OUT[self.mode]
        )

    def _pydensecrf(self, problems: list[_Problem]) -> Iterator[list[Tensor]]:
        threshold = _LEFT_OUT[self.mode] if all(kernel.attracts for kernel in self.kernels) else None
        unaries = [to_unary(problem.scores.cpu(), self.input, self.clip) for problem in problems]
        pruned = [pruning.Pruned(unary, self.kernels, threshold) for unary in unaries]
        for qs in pydensecrf.mean_field(
            [problem.picture for problem in problems],
            [each.unary for each in pruned],
            [each.kernels for each in pruned],
            self.iterations,
            self.normalization,
        ):
            yield [each.restore(q) for each, q in zip(pruned, qs, strict=True)]


@dataclass(frozen=True)
class _Problem:
    picture: Tensor | None
    scores: Tensor
    original: object

    def result(self, q: Tensor):
        """The state as probabilities of the caller's type."""
        return like(q.reshape(self.scores.shape), self.original)


@lru_cache(maxsize=1)  # once is enough
def _say_torch() -> None:
    warnings.warn(
        "the dense CRF's native kernel was not built, so the slower torch backend is used: "
        'install a C++ compiler and install mmseg_deeplab again',
        stacklevel=4,
    )
