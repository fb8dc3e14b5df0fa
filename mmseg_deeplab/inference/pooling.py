"""Image pooling over all tiles of a picture, so that a tile's labels are those of the whole."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from ..models import DeepLab
from ..models.layers import pooling_as
from ..models.segmentor import with_features
from ..models.windows import Span

KEPT_BYTES = 2**30
"""Features that are kept between the two passes over a picture, at most."""
SAMPLED = 8
"""Tiles at least that are pooled of a picture whose features are more; they are computed twice."""


@dataclass(frozen=True)
class Pooled:
    """What the tiles of a picture have in common.

    Attributes:
        mean: (1, C, 1, 1), of the features that are pooled.
        features: The backbone's, of each batch of tiles; none if they are too many.
    """

    mean: Tensor
    features: Sequence[tuple[Tensor, ...]]

    @contextmanager
    def batch(self, number: int) -> Generator[None, None, None]:
        """A context for the network's pass over a batch."""
        with ExitStack() as stack:
            stack.enter_context(pooling_as(self.mean))
            stack.enter_context(with_features(self.features[number] if self.features else None))
            yield


class Selection:
    """Which tiles go through the network: every `step`-th of `count`; `taken` are those that have gone so far."""

    def __init__(self, count: int):
        self.count, self.step = count, 1
        self.taken: deque[int] = deque()
        self._next = 0

    def takes(self, number: int) -> bool:
        """Whether to take a tile; asked for each in order."""
        if number < self._next:
            return False
        self._next = number + self.step
        self.taken.append(number)
        return True


def pool(
    model: DeepLab,
    rows: Sequence[Span],
    columns: Sequence[Span],
    selection: Selection,
    batches: Iterable[tuple[tuple[Tensor, ...], Tensor]],
) -> Pooled:
    """Average features over a picture, each place once: where tiles overlap, up to the middle.

    Args:
        model: The network.
        rows, columns: The tiles.
        selection: Of the tiles that the batches are of; it is told to skip some where features are too many.
        batches: `DeepLab.pooled_features` of tiles, batch by batch.
    """
    total: Tensor | float = 0.0
    cells, kept, too_many = 0, [], False
    for features, pooled in batches:
        if not too_many:
            kept.append(features)
            too_many = sum(each.nbytes for each in features) / len(pooled) * selection.count > KEPT_BYTES
            if too_many:
                kept, selection.step = [], max(1, selection.count // SAMPLED)
        for each in pooled:
            row, column = divmod(selection.taken.popleft(), len(columns))
            own = each[:, _own(rows, row, each.shape[1], model), _own(columns, column, each.shape[2], model)]
            total = total + own.sum((1, 2), dtype=torch.float64)
            cells += own.shape[1] * own.shape[2]
    assert isinstance(total, Tensor)
    return Pooled((total / cells).float()[None, :, None, None], kept)


def _own(spans: Sequence[Span], number: int, cells: int, model: DeepLab) -> slice:
    """The cells of a tile's features that stand for the picture: from the middle of one overlap to that of the next."""
    stride = model.output_stride
    start = spans[number][0]
    first = last = 0
    if number > 0:
        first = ((start + spans[number - 1][1]) // 2 - start) // stride
    if number + 1 < len(spans):
        following = spans[number + 1][0]
        last = ((following + spans[number][1]) // 2 - following) // stride + (following - start) // stride
    elif number > 0:  # without what the preprocessor pads small tiles with
        length = spans[number][1] - start
        last = min(cells, -(-(length - 1) // stride) + 1 if model.pads_to_corners else -(-length // stride))
    return slice(first, last or cells)
