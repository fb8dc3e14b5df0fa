"""Pictures by overlapping tiles whose scores are blended: large ones, up to those that do not fit into memory."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, product
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..checkpoints.strict import unwrap
from ..crf import DenseCRF
from ..errors import UserError
from ..models import DeepLab
from ..models.segmentor import CoarseLogits
from ..models.windows import Span, blend, smooth_weights, tile_spans, zoom_blocks
from .graphs import takes_rgb
from .pooling import Pooled, Selection, pool
from .rasters import Raster
from .refine import has_several_labels, labels_of
from .refiner import Refiner

OVERLAP = 384
"""Pixels that neighbouring tiles share at least. On this much, features of the real networks hardly differ from those
of the whole picture half-way, where one tile leads over to the next."""
BORDER = 128
"""Pixels from the ends of a tile, within the picture, beyond which labels are those of the whole picture."""
CRF_REACH = 3.0
"""With a CRF tiles share at least so many of its largest standard deviations of position."""
OTHER_GRID = 32
"""What tiles start on multiples of in a segmentor that is no DeepLab: the coarsest stride of most."""


class Network(Protocol):
    """What a picture needs of a session with a model."""

    model: Any
    crf: DenseCRF | Refiner | None
    tta: bool
    classes: Sequence[str]

    def tile_scores(
        self, name: str, tiles: Iterable[np.ndarray], pooled: Pooled | None
    ) -> Iterator[Tensor | CoarseLogits]:
        """Scores, which may be changed, of the pixels (h, w, 3), or bands (h, w, B), of tiles.

        Those are logits (C, h, w), or probabilities of that size where there is a CRF, or a `DeepLab`'s own logits.
        """
        ...

    def tile_features(self, tiles: Iterable[np.ndarray]) -> Iterator[tuple[tuple[Tensor, ...], Tensor]]:
        """`DeepLab.pooled_features` of tiles, batch by batch."""
        ...


def tile_size(tile: Any) -> tuple[int, int]:
    """(height, width) of `tile`, which may be one number; UserError for what is no size."""
    sides = tile if isinstance(tile, (tuple, list)) else (tile, tile)
    if len(sides) != 2 or any(isinstance(side, bool) or not isinstance(side, int) or side < 1 for side in sides):
        raise UserError(f'tile={tile!r}: expected a whole number of pixels, or (height, width)')
    return sides[0], sides[1]


@dataclass(frozen=True)
class Tiles:
    """Where the tiles of one picture lie: in `rows` and `columns`, all of which cross."""

    rows: list[Span]
    columns: list[Span]

    @classmethod
    def of(cls, shape: tuple[int, int], tile: tuple[int, int], model: Any, crf: DenseCRF | Refiner | None) -> Tiles:
        """Tiles of at most (height, width) pixels and what neighbours share, on the network's grid.

        Raises:
            UserError: For tiles that are smaller than the grid, and a refiner that needs the whole picture.
        """
        network = unwrap(model)
        grid = network.grid if isinstance(network, DeepLab) else OTHER_GRID
        if min(tile) < grid:
            raise UserError(f'tile={tile}: this network needs tiles of {grid} pixels at least; take 1024 or more')
        overlap = math.ceil(max(OVERLAP, _reach(crf)) / grid) * grid
        spans = [tile_spans(length, side, overlap, grid) for length, side in zip(shape, tile, strict=True)]
        return cls(*spans)


def _reach(crf: DenseCRF | Refiner | None) -> float:
    """Pixels up to which what refines looks beyond each."""
    if isinstance(crf, DenseCRF):
        return CRF_REACH * max((std for kernel in crf.kernels for std in kernel.position_stds()), default=0)
    if crf is not None and crf.reach is None:
        raise UserError(f'{type(crf).__name__} looks at whole pictures: leave out the tiles, or the refiner')
    return 0 if crf is None or crf.reach is None else crf.reach


def is_larger(shape: tuple[int, int], tile: tuple[int, int]) -> bool:
    """Whether a picture takes more than one tile."""
    return shape[0] > tile[0] or shape[1] > tile[1]


class TiledPicture:
    """The scores and labels of one picture, part by part.

    Args:
        raster: The picture.
        size: (height, width) of the largest tile.
        network: What gives scores: logits, or probabilities where it has a CRF.

    Attributes:
        dtype: Of labels: uint8, uint16 for more than 255 classes.
        void: The label of what can't be read, the largest number of that type.
    """

    def __init__(self, raster: Raster, size: tuple[int, int], network: Network):
        self.raster, self._network = raster, network
        self.tiles = Tiles.of(raster.shape, size, network.model, network.crf)
        self._several = has_several_labels(network.model)
        self.dtype = np.dtype(np.uint8 if self._several or len(network.classes) < 256 else np.uint16)
        self.void = 255 if self.dtype == np.uint8 else 65535
        self._model: Any = unwrap(network.model)  # a DeepLab where its scores are coarse
        self._broken: dict[int, np.ndarray] = {}  # of the rows of tiles that begin there

    def parts(self) -> Iterator[tuple[int, int, Tensor]]:
        """Top, left and blended scores (C, h, w) of each part, row by row; good until the next is asked for."""
        rows, columns = self.tiles.rows, self.tiles.columns
        selection = Selection(len(rows) * len(columns))
        pooled = None
        if (
            selection.count > 1
            and isinstance(self._model, DeepLab)
            and self._model.pools_images
            and not self._network.tta
        ):
            features = self._network.tile_features(self._pixels(selection))
            pooled = pool(self._model, rows, columns, selection, features)
        scores = self._network.tile_scores(self.raster.name, self._pixels(), pooled)
        first = next(scores)
        stride = self._stride(first) if isinstance(first, CoarseLogits) else None
        scores = chain([first], scores)
        if stride is None:
            yield from blend(map(self._full, scores), rows, columns, smooth_weights(rows), smooth_weights(columns))
        else:
            yield from self._zoomed(scores, stride)

    def strips(self) -> Iterator[np.ndarray]:
        """Labels (h, W), or several (C, h, W), of all rows, from the top, in strips as high as a tile or less."""
        return (labels for labels, _ in self._strips(False))

    def strips_with_confidence(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Labels (h, W) as `strips`, and the largest probability of each pixel (h, W), float32, 0 for void."""
        return self._strips(True)

    def probabilities(self) -> np.ndarray:
        """Class probabilities (C, H, W), float32, by a pass of their own over the tiles."""
        found = np.empty(0, np.float32)
        for top, left, part in self.parts():
            if not found.size:
                found = np.empty((len(part), *self.raster.shape), np.float32)
            p = part.sigmoid() if self._several else part.softmax(0) if self._network.crf is None else part
            found[:, top : top + part.shape[1], left : left + part.shape[2]] = p.cpu().numpy()
        return found

    def confidence(self) -> np.ndarray:
        """The largest probability of each pixel (H, W), float32, by a pass of its own over the tiles; 0 for void.

        Not of several labels a pixel.
        """
        return np.concatenate([confidence for _, confidence in self._strips(True)])

    def _strips(self, with_confidence: bool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        width = self.raster.shape[1]
        strip, confidence = np.empty((0, 0), self.dtype), np.empty((0, 0), np.float32)
        single = getattr(self._model, 'out_channels', None) == 1  # which a threshold is compared with
        for top, left, part in self.parts():
            place = ..., slice(left, left + part.shape[2])
            if left == 0:
                strip = np.empty((*part.shape[: int(self._several)], part.shape[1], width), self.dtype)
                confidence = np.empty(strip.shape if with_confidence else (0, 0), np.float32)
            comparable = part.softmax(0) if single and self._network.crf is None else part
            strip[place] = labels_of(self._model, comparable).cpu().numpy()
            if with_confidence:
                best = part.amax(0)
                confidence[place] = (best if self._network.crf else (best - part.logsumexp(0)).exp()).cpu().numpy()
            if place[1].stop == width:
                self._set_void(top, strip, confidence)
                yield strip, confidence

    def _set_void(self, top: int, strip: np.ndarray, confidence: np.ndarray) -> None:
        """Mark what could not be read in rows from `top` on."""
        bottom = top + strip.shape[-2]
        for start, broken in list(self._broken.items()):
            first, last = max(top, start), min(bottom, start + len(broken))
            if first < last:
                void = broken[first - start : last - start]
                strip[..., first - top : last - top, :][..., void] = self.void
                if confidence.size:
                    confidence[first - top : last - top][void] = 0
            if last < bottom:
                del self._broken[start]

    def _stride(self, coarse: CoarseLogits) -> int | None:
        """Pixels from one of the network's logits to the next; None if they lie on no part of its grid."""
        align, output_stride = self._model.align_corners, self._model.output_stride
        for stride in range(1, output_stride + 1):
            cells = tuple(-(-(side - align) // stride) + align for side in coarse.padded_size)
            if output_stride % stride == 0 and cells == tuple(coarse.data.shape[1:]):
                return stride
        return None

    def _full(self, scores: Tensor | CoarseLogits) -> Tensor:
        """Scores (C, h, w) of each pixel of a tile."""
        if isinstance(scores, Tensor):
            return scores
        height, width = scores.size
        return self._model._zoom(scores.data[None], scores.padded_size)[0, :, :height, :width]

    def _zoomed(self, scores: Iterable[Tensor | CoarseLogits], stride: int) -> Iterator[tuple[int, int, Tensor]]:
        """As `parts`, from logits that are blended as the network gives them, and then brought to full size."""
        align = self._model.align_corners
        counts = [-(-(side - align) // stride) + align for side in self.raster.shape]
        rows, columns = (
            [(start // stride, count if stop == side else stop // stride) for start, stop in spans]
            for spans, count, side in zip((self.tiles.rows, self.tiles.columns), counts, self.raster.shape, strict=True)
        )
        shapes = ((bottom - top, right - left) for (top, bottom), (left, right) in product(rows, columns))
        cells = (self._cells(each, shape, stride) for each, shape in zip(scores, shapes, strict=True))
        parts = blend(cells, rows, columns, smooth_weights(rows), smooth_weights(columns))
        return zoom_blocks(parts, counts, self.raster.shape, stride if align else None)

    def _cells(self, scores: Tensor | CoarseLogits, shape: tuple[int, int], stride: int) -> Tensor:
        """Logits (C, h, w) of a tile where the network's lie; of one that a test pipeline has resized, from its own."""
        if isinstance(scores, CoarseLogits):
            return scores.data[:, : shape[0], : shape[1]]
        first = 0 if self._model.align_corners else stride // 2
        bottom, right = (first + (count - 1) * stride + 1 for count in shape)
        missing = max(0, right - scores.shape[2]), max(0, bottom - scores.shape[1])
        padded = F.pad(scores[None], (0, missing[0], 0, missing[1]), mode='replicate')[0]
        return padded[:, first:bottom:stride, first:right:stride]

    def _pixels(self, selection: Selection | None = None) -> Iterator[np.ndarray]:
        """Pixels of the tiles, row by row; the next row of tiles is read while the network works."""
        with ThreadPoolExecutor(1, thread_name_prefix='read_rows') as reader:
            coming = reader.submit(self.raster.rows, *self.tiles.rows[0])
            for i, (top, _) in enumerate(self.tiles.rows):
                pixels, broken = coming.result()
                if i + 1 < len(self.tiles.rows):
                    coming = reader.submit(self.raster.rows, *self.tiles.rows[i + 1])
                if broken is not None:
                    pixels[broken] = self._mean_colour(pixels.shape[2])
                    self._broken[top] = broken
                for j, (left, right) in enumerate(self.tiles.columns):
                    if selection is None or selection.takes(i * len(self.tiles.columns) + j):
                        yield np.ascontiguousarray(pixels[:, left:right])

    def _mean_colour(self, bands: int) -> np.ndarray:
        """What the network sees where there is no picture, as the preprocessor pads with it: RGB, or as many bands."""
        preprocessor: Any = self._model.data_preprocessor
        own, used = self.raster.bands, self.raster.bands.indices if self.raster.bands else range(3)
        mean = getattr(preprocessor, 'mean', torch.zeros(len(used))).flatten().cpu().numpy()
        if len(used) == 3 and not takes_rgb(preprocessor):
            mean = mean[::-1]
        if own is None:
            return mean.round().astype(np.uint8)
        colour = np.zeros(bands)
        colour[list(used)] = mean.clip(*(own.value_range or (0, 255)))
        return colour
