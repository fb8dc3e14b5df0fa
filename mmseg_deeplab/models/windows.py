"""Windows over a picture: where they lie, and their scores blended without a map of the whole picture."""

import math
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

Span = tuple[int, int]
"""Start and stop along one side of a picture."""


def tile_spans(length: int, tile: int, overlap: int, grid: int) -> list[Span]:
    """Cut a side of a picture into tiles of nearly one length, as few as can be.

    Tiles start on the network's grid, so that their features lie where those of the whole picture would, and neighbours
    share at least `overlap` pixels.

    Args:
        length: Of the side, in pixels.
        tile: The longest that a tile may be, without the overlap.
        overlap: The least that neighbours share; a multiple of `grid`.
        grid: What starts are multiples of; at most `tile`.
    """
    if length <= tile + overlap:
        return [(0, length)]
    count = -(-(length - overlap) // (tile // grid * grid))
    tile = _up(-(-(length - overlap) // count), grid) + overlap
    starts = [_up(-(-i * (length - tile) // (count - 1)), grid) for i in range(count)]
    return [(start, min(start + tile, length)) for start in starts]


def _up(value: int, grid: int) -> int:
    return -(-value // grid) * grid


def smooth_weights(spans: Sequence[Span]) -> list[Tensor]:
    """Weights along each span, float32, whose sum is 1 everywhere.

    Where two spans overlap, a squared sine leads over in the middle half; nearer to its end, where the network sees too
    little around, a span does not count.
    """
    weights = []
    for i, (start, stop) in enumerate(spans):
        weight = torch.ones(stop - start)
        if i > 0:
            shared = spans[i - 1][1] - start
            weight[:shared] *= _ramp(shared)
        if i + 1 < len(spans):
            shared = stop - spans[i + 1][0]
            weight[len(weight) - shared :] *= _ramp(shared).flip(0)
        weights.append(weight)
    return _sum_to_one(spans, weights)


def even_weights(spans: Sequence[Span]) -> list[Tensor]:
    """Weights along each span with which every span counts the same."""
    return _sum_to_one(spans, [torch.ones(stop - start) for start, stop in spans])


def _ramp(length: int) -> Tensor:
    way = (torch.arange(length) + 0.5) / max(length, 1)
    return torch.sin((2 * way - 0.5).clamp(0, 1) * (math.pi / 2)) ** 2


def _sum_to_one(spans: Sequence[Span], weights: Sequence[Tensor]) -> list[Tensor]:
    total = torch.zeros(spans[-1][1])
    for (start, stop), weight in zip(spans, weights, strict=True):
        total[start:stop] += weight
    return [weight / total[start:stop] for (start, stop), weight in zip(spans, weights, strict=True)]


def blend(
    scores: Iterable[Tensor],
    rows: Sequence[Span],
    columns: Sequence[Span],
    row_weights: Sequence[Tensor],
    column_weights: Sequence[Tensor],
) -> Iterator[tuple[int, int, Tensor]]:
    """Add up the weighted scores of windows.

    Held at a time is what the windows to come still add to: the columns shared with the next window, and the rows
    shared with the next row of windows, not a map of the picture.

    Args:
        scores: (..., h, w) of each window, row after row; they are changed in place.
        rows, columns: The windows' spans; starts and stops ascend.
        row_weights, column_weights: Along those, with the sum 1 for each pixel.

    Yields:
        Top, left and the scores (..., h, w), float32, of each part that no later window adds to, good until the next is
        asked for. The parts of one row of windows come from left to right and have one height.
    """
    windows = iter(scores)
    shared = max((above[1] - top for above, (top, _) in zip(rows, rows[1:], strict=False)), default=0)
    below, held = None, 0
    for i, (top, bottom) in enumerate(rows):
        final = (rows[i + 1][0] if i + 1 < len(rows) else bottom) - top
        right = None
        for j, (left, stop) in enumerate(columns):
            end = (columns[j + 1][0] if j + 1 < len(columns) else stop) - left
            window = next(windows).float()
            window *= row_weights[i].to(window)[:, None] * column_weights[j].to(window)
            if right is not None:
                window[..., : right.shape[-1]] += right
            part, right = window[..., :end], window[..., end:].clone()
            if below is None:
                below = window.new_empty(*window.shape[:-2], shared, columns[-1][1])
            strip = below[..., left : left + end]
            part[..., :held, :] += strip[..., :held, :]
            strip[..., : bottom - top - final, :] = part[..., final:, :]
            yield top, left, part[..., :final, :]
        held = bottom - top - final
