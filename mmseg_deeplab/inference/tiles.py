"""Pictures by overlapping tiles whose scores are blended: large ones, up to those that do not fit into memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..checkpoints.strict import unwrap
from ..crf import DenseCRF
from ..errors import UserError
from ..models import DeepLab
from ..models.windows import Span, blend, smooth_weights, tile_spans
from .graphs import takes_rgb
from .rasters import Raster
from .refine import labels_of

OVERLAP = 64
"""Pixels that neighbouring tiles share at least; a 32nd of the tile where that is more."""
CRF_REACH = 3.0
"""With a CRF they share at least so many of its largest standard deviations of position."""
OTHER_GRID = 32
"""What tiles start on multiples of in a segmentor that is no DeepLab: the coarsest stride of most."""

Scores = Callable[[str, Iterable[np.ndarray]], Iterator[Tensor]]


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
    def of(cls, shape: tuple[int, int], tile: tuple[int, int], model: Any, crf: DenseCRF | None) -> Tiles:
        """Tiles of at most (height, width) pixels for a picture of a shape, on the network's grid.

        Raises:
            UserError: For tiles that are not larger than what they must share with their neighbours.
        """
        network = unwrap(model)
        grid = network.grid if isinstance(network, DeepLab) else OTHER_GRID
        reach = 0.0
        if crf is not None:
            reach = CRF_REACH * max((std for kernel in crf.kernels for std in kernel.position_stds()), default=0.0)
        spans = []
        for length, side in zip(shape, tile, strict=True):
            overlap = math.ceil(max(OVERLAP, side / 32, reach) / grid) * grid
            if length > side < 2 * overlap:
                raise UserError(
                    f'tile={tile}: neighbouring tiles share {overlap} pixels'
                    f'{" for the CRF" if reach > OVERLAP else ""}; give at least {2 * overlap}'
                )
            spans.append(tile_spans(length, side, overlap, grid))
        return cls(*spans)


def is_larger(shape: tuple[int, int], tile: tuple[int, int]) -> bool:
    """Whether a picture takes more than one tile."""
    return shape[0] > tile[0] or shape[1] > tile[1]


class TiledPicture:
    """The scores and labels of one picture, part by part.

    Args:
        raster: The picture.
        tiles: Where the tiles lie.
        scores: Maps the picture's name and pixels (h, w, 3) of tiles, in order, to scores (C, h, w), which may be
            changed: logits, or probabilities.
        model: Where they come from.
        classes: How many the model has.
        are_probabilities: Whether scores are.

    Attributes:
        dtype: Of labels: uint8, uint16 for more than 255 classes.
        void: The label of what can't be read, the largest number of that type.
    """

    def __init__(self, raster: Raster, tiles: Tiles, scores: Scores, model: Any, classes: int, are_probabilities: bool):
        self.raster, self.tiles = raster, tiles
        self.dtype = np.dtype(np.uint8 if classes < 256 else np.uint16)
        self.void = int(np.iinfo(self.dtype).max)
        self._scores, self._model, self._are_probabilities = scores, model, are_probabilities
        self._broken: dict[int, np.ndarray] = {}  # of the rows of tiles that begin there

    def parts(self) -> Iterator[tuple[int, int, Tensor]]:
        """Top, left and blended scores (C, h, w) of each part, row by row; good until the next is asked for."""
        weights = smooth_weights(self.tiles.rows), smooth_weights(self.tiles.columns)
        scores = self._scores(self.raster.name, self._pixels())
        yield from blend(scores, self.tiles.rows, self.tiles.columns, *weights)

    def strips(self) -> Iterator[np.ndarray]:
        """Labels (h, W) of all rows, from the top, in strips as high as a tile or less."""
        width, strip = self.raster.shape[1], np.empty((0, 0))
        single = getattr(unwrap(self._model), 'out_channels', None) == 1
        for top, left, part in self.parts():
            comparable = part.softmax(0) if single and not self._are_probabilities else part
            found = labels_of(self._model, comparable).cpu().numpy()
            if left == 0:
                strip = np.empty((len(found), width), self.dtype)
            strip[:, left : left + found.shape[1]] = found
            if left + found.shape[1] == width:
                broken = self._broken.pop(top, None)
                if broken is not None:
                    strip[broken[: len(strip)]] = self.void
                yield strip

    def probabilities(self) -> np.ndarray:
        """Class probabilities (C, H, W), float32, by a pass of their own over the tiles."""
        found = np.empty(0, np.float32)
        for top, left, part in self.parts():
            if not found.size:
                found = np.empty((len(part), *self.raster.shape), np.float32)
            p = part if self._are_probabilities else part.softmax(0)
            found[:, top : top + part.shape[1], left : left + part.shape[2]] = p.cpu().numpy()
        return found

    def _pixels(self) -> Iterator[np.ndarray]:
        """Pixels of the tiles, row by row; the next row of tiles is read while the network works."""
        with ThreadPoolExecutor(1, thread_name_prefix='read_rows') as reader:
            coming = reader.submit(self.raster.rows, *self.tiles.rows[0])
            for i, (top, _) in enumerate(self.tiles.rows):
                pixels, broken = coming.result()
                if i + 1 < len(self.tiles.rows):
                    coming = reader.submit(self.raster.rows, *self.tiles.rows[i + 1])
                if broken is not None:
                    pixels[broken] = self._mean_colour()
                    self._broken[top] = broken
                for left, right in self.tiles.columns:
                    yield np.ascontiguousarray(pixels[:, left:right])

    def _mean_colour(self) -> np.ndarray:
        """The RGB colour that the network sees where there is no picture, as the preprocessor pads with it."""
        preprocessor: Any = unwrap(self._model).data_preprocessor
        mean = getattr(preprocessor, 'mean', torch.zeros(3)).flatten().round().byte().cpu().numpy()
        return mean if takes_rgb(preprocessor) else mean[::-1]
