"""Windows over a picture: where they lie, and their scores blended without a map of the whole picture."""

import math
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

BLOCK = (64, 128)
"""Height and width of the blocks in which scores are brought to full size, in pixels: they stay in a CPU's cache."""
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


def zoom_blocks(
    parts: Iterable[tuple[int, int, Tensor]], cells: Sequence[int], size: Sequence[int], stride: int | None
) -> Iterator[tuple[int, int, Tensor]]:
    """Bring a map that comes in parts to a larger size, bilinearly, block by block.

    Held at a time is one row of parts, at its own size. The values are those of `F.interpolate` of the whole map.

    Args:
        parts: Top, left and scores (C, h, w), as `blend` gives them.
        cells: (height, width) of the map.
        size: That of the larger one.
        stride: Where cells lie on pixels, those from one to the next, else None: the corners of the outer cells are
            those of the outer pixels (`align_corners=False`).

    Yields:
        Top, left and the scores (C, h, w) of each block, those of a row from left to right and of one height.
    """
    ys, xs = (_places(count, side, stride) for count, side in zip(cells, size, strict=True))
    known, done = None, 0  # rows of cells of which pixels are still to come, and rows of pixels that are done
    strip = torch.empty(0)
    for top, left, part in parts:
        if left == 0:
            strip = part.new_empty(len(part), part.shape[1], cells[1])
        strip[..., left : left + part.shape[2]] = part
        if left + part.shape[2] < cells[1]:
            continue
        known, origin = (strip, top) if known is None else (torch.cat([known[:, -1:], strip], 1), top - 1)
        end = top + strip.shape[1]
        stop = size[0] if end == cells[0] else int(torch.searchsorted(ys, end - 1, right=True))
        for y in range(done, stop, BLOCK[0]):
            band = _between(known, ys[y : min(y + BLOCK[0], stop)] - origin).transpose(1, 2)  # (C, cells, h)
            for x in range(0, size[1], BLOCK[1]):
                yield y, x, _between(band, xs[x : x + BLOCK[1]]).transpose(1, 2)
        done = stop


def _places(cells: int, length: int, stride: int | None) -> Tensor:
    """Where the pixels of a side lie on its cells, float64."""
    pixels = torch.arange(length, dtype=torch.float64)
    return pixels / stride if stride else ((pixels + 0.5) * cells / length - 0.5).clamp(0, cells - 1)


def _between(maps: Tensor, places: Tensor) -> Tensor:
    """Values (C, h', w) of maps (C, h, w) at places along their rows, each between its two neighbours."""
    low = int(places[0])
    maps = maps[:, low : int(places[-1]) + 2].contiguous()
    places = places - low
    above = places.long()
    below = (above + 1).clamp(max=maps.shape[1] - 1)
    weight = (places - above).to(maps)[:, None]
    return torch.lerp(*(maps.index_select(1, each.to(maps.device)) for each in (above, below)), weight)
