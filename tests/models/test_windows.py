"""Windows: where they lie, that their weights sum to one, and blending against maps of the whole picture."""

import pytest
import torch

from mmseg_deeplab.models.windows import blend, even_weights, smooth_weights, tile_spans

SIDES = [
    (length, tile, overlap, grid)
    for length in (64, 65, 100, 300, 513, 1000, 2048, 20_000)
    for tile, overlap, grid in ((100, 32, 16), (129, 64, 32), (513, 64, 16), (1024, 208, 16), (64, 16, 8))
]


@pytest.mark.parametrize('length, tile, overlap, grid', SIDES)
def test_tiles_cover_a_side_and_share_enough(length, tile, overlap, grid):
    spans = tile_spans(length, tile, overlap, grid)
    assert spans[0][0] == 0 and spans[-1][1] == length
    assert all(start % grid == 0 and 0 < stop - start <= tile + overlap for start, stop in spans)
    for (_, stop), (start, next_stop) in zip(spans, spans[1:], strict=False):
        assert stop - start >= overlap and next_stop > stop
    assert len(spans) == max(1, -(-(length - overlap) // (tile // grid * grid))) or length <= tile + overlap
    for weights in (smooth_weights(spans), even_weights(spans)):
        total = torch.zeros(length)
        for (start, stop), weight in zip(spans, weights, strict=True):
            assert (weight >= 0).all()
            total[start:stop] += weight
        torch.testing.assert_close(total, torch.ones(length))


def test_weights_rise_smoothly_from_the_edge_of_a_tile():
    first, second = smooth_weights([(0, 100), (60, 160)])
    assert torch.equal(first[:70], torch.ones(70)) and torch.equal(second[30:], torch.ones(70))
    assert not second[:10].any() and not first[90:].any()
    assert second[10] < 0.01 and second[29] > 0.99 and (second[10:30].diff() > 0).all()
    torch.testing.assert_close(second[19:21].mean(), torch.tensor(0.5))


@pytest.mark.parametrize(
    'rows, columns',
    [
        ([(0, 9)], [(0, 7)]),
        ([(0, 6), (4, 10), (8, 13)], [(0, 5), (3, 8), (7, 12), (10, 14)]),
        ([(0, 8), (2, 10), (4, 12), (5, 13)], [(0, 9), (1, 10), (3, 12), (4, 12)]),  # more than two on a pixel
        ([(0, 5), (5, 10)], [(0, 4), (4, 8)]),  # none shared
    ],
)
@pytest.mark.parametrize('weigh', [smooth_weights, even_weights])
def test_blending_by_parts_is_that_on_a_map(rows, columns, weigh):
    torch.manual_seed(0)
    windows = [torch.randn(3, b - t, r - x) for t, b in rows for x, r in columns]
    weights = weigh(rows), weigh(columns)
    expected = torch.zeros(3, rows[-1][1], columns[-1][1])
    for number, window in enumerate(windows):
        (t, b), (x, r) = rows[number // len(columns)], columns[number % len(columns)]
        weight = weights[0][number // len(columns)][:, None] * weights[1][number % len(columns)]
        expected[:, t:b, x:r] += window * weight
    found = torch.full_like(expected, torch.nan)
    for top, left, part in blend([w.clone() for w in windows], rows, columns, *weights):
        place = (slice(None), slice(top, top + part.shape[1]), slice(left, left + part.shape[2]))
        assert found[place].isnan().all()  # each pixel once
        found[place] = part
    torch.testing.assert_close(found, expected)
