"""Pixels of polygons, ellipses and run lengths, by their definitions and by COCO's own code where it is installed."""

import tracemalloc

import numpy as np
import pytest
from annotation_files import ALPHA, BRUSH, VALUES, packed

from mmseg_deeplab.datasets.prepare.areas import Brush, Ellipse, Polygons, Runs, unpack_brush, unpack_counts
from mmseg_deeplab.errors import UserError


def full(area, size):
    x, y, inside = area.pixels(size)
    mask = np.zeros(size[::-1], bool)
    mask[y : y + inside.shape[0], x : x + inside.shape[1]] = inside
    return mask


@pytest.fixture
def coco_mask():
    return pytest.importorskip('pycocotools.mask', reason='pycocotools is not installed')


def random_polygon(rng, width, height):
    """Within the picture or far beyond it, on whole pixels, tenths or anywhere."""
    spread = rng.choice([0.3, 1, 1.5, 3])
    points = rng.uniform(-spread / 2, 1 + spread / 2, (rng.integers(3, 12), 2)) * [width, height]
    digits = rng.choice([0, 1, 15])
    points = np.round(points, digits)
    return (points.clip(0, [width, height]) if rng.random() < 0.3 else points).ravel().tolist()


def test_polygons_are_those_of_coco(coco_mask):
    rng = np.random.default_rng(0)
    for _ in range(600):
        width, height = rng.integers(1, 60, 2).tolist()
        parts = [random_polygon(rng, width, height) for _ in range(rng.integers(1, 3))]
        expected = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(parts, height, width)))
        np.testing.assert_array_equal(full(Polygons(tuple(map(tuple, parts))), (width, height)), expected, str(parts))


def test_run_lengths_are_those_of_coco(coco_mask):
    rng = np.random.default_rng(0)
    for _ in range(200):
        width, height = rng.integers(1, 90, 2).tolist()
        mask = rng.random((height, width)) < rng.random() ** 3
        text = coco_mask.encode(np.asfortranarray(mask, np.uint8))['counts'].decode()
        area = Runs(text, (0, 0), (width, height), by_columns=True)
        np.testing.assert_array_equal(full(area, (width, height)), mask)


def test_centres_within_a_polygon_are_filled():
    """By the definition, on vertices of which none comes near a centre: the winding parity of a ray."""
    rng = np.random.default_rng(1)
    for _ in range(100):
        points = rng.integers(0, 20, (rng.integers(3, 7), 2)).astype(float)
        inside = np.zeros((20, 20), bool)
        near = np.zeros((20, 20), bool)
        y, x = np.mgrid[0:20, 0:20] + 0.5
        for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, 0), strict=True):
            if y0 != y1:
                inside ^= ((y0 <= y) != (y1 <= y)) & (x < x0 + (y - y0) / (y1 - y0) * (x1 - x0))
            along = np.hypot(x1 - x0, y1 - y0)
            if along:
                near |= np.abs((x1 - x0) * (y - y0) - (y1 - y0) * (x - x0)) / along < 0.3
        mask = full(Polygons((tuple(points.ravel()),)), (20, 20))
        assert (mask == inside)[~near].all()


def test_holes_and_unions():
    """Even-odd within a polygon, a union of its parts: one that crosses itself has a hole."""
    square, inner = (0, 0, 6, 0, 6, 6, 0, 6, 0, 0), (2, 2, 4, 2, 4, 4, 2, 4, 2, 2)
    hole = full(Polygons((square + inner,)), (6, 6))
    assert hole.sum() == 32 and not hole[2:4, 2:4].any()
    assert full(Polygons((square, inner)), (6, 6)).all()


def test_edges_as_long_as_can_be():
    far = 10**6
    mask = full(Polygons(((-far, -far, far, -far, far, far, -far, far),)), (5, 4))
    assert mask.all()
    mask = full(Polygons(((-far, -far, far, far, -far, far),)), (50, 50))
    assert (mask == np.tri(50, dtype=bool))[~np.eye(50, dtype=bool)].all()


def test_many_edges_take_bounded_memory():
    """A comb of long edges: what is at once in memory is a part of them."""
    comb = np.stack([np.tile([0.0, 3000.0], 20_000), np.linspace(0, 40, 40_000)], 1)
    tracemalloc.start()
    full(Polygons((tuple(comb.ravel()),)), (300, 40))
    assert tracemalloc.get_traced_memory()[1] < 250e6
    tracemalloc.stop()


@pytest.mark.parametrize('degrees', [0, 30, 90, 135, -20])
def test_ellipses_hold_the_centres_within(degrees):
    area = Ellipse((9.3, 7.1), (6.2, 2.4), degrees)
    mask = full(area, (20, 15))
    turn = np.radians(degrees)
    for (y, x), inside in np.ndenumerate(mask):
        u, v = x + 0.5 - 9.3, y + 0.5 - 7.1
        long, short = u * np.cos(turn) + v * np.sin(turn), v * np.cos(turn) - u * np.sin(turn)
        assert inside == ((long / 6.2) ** 2 + (short / 2.4) ** 2 <= 1)
    left, top, right, bottom = area.box
    rim = [
        (9.3 + 6.2 * np.cos(a) * np.cos(turn) - 2.4 * np.sin(a) * np.sin(turn)) for a in np.linspace(0, 2 * np.pi, 2000)
    ]
    np.testing.assert_allclose([left, right], [min(rim), max(rim)], atol=1e-4)


@pytest.mark.parametrize(
    ('text', 'counts'),
    [
        ('', []),
        ('0', [0]),
        ('72W1', [7, 2, 39]),
        ('P1', [32]),  # two characters: 16 alone would be a sign
        ('552N', [5, 5, 2, 3]),  # 3 is 5 - 2, and -2 is 30 in five bits
    ],
)
def test_text_of_run_lengths(text, counts):
    assert unpack_counts(text) == counts


@pytest.mark.parametrize(
    ('counts', 'told'),
    [
        ('72W', 'end within a number'),
        ('7 2', "hold ' '"),
        ('é', "hold 'é'"),
        ('o' * 40, "hold 'o'"),
        ('72', 'are of 9 pixels, and 8 x 6 are 48'),
        ((50,), 'are of 50 pixels'),
        ((7, -2, 43), 'some of them negative'),
        ((10**30,), 'pixels, and 8 x 6'),
        ((), 'are of 0 pixels'),
    ],
)
def test_run_lengths_that_can_not_be(counts, told):
    with pytest.raises(UserError, match=told):
        Runs(counts, (0, 0), (8, 6)).pixels((8, 6))


def test_a_brush_by_label_studios_own_packing():
    """The bytes that its converter (0.0.59, encode_rle) gives for the picture of ALPHA."""
    recorded = [0, 0, 0, 192, 57, 27, 254, 35, 0, 159, 255, 11, 128, 71, 255, 156, 192, 35, 255, 0]
    np.testing.assert_array_equal(unpack_brush(bytes(recorded), len(VALUES)), VALUES)
    np.testing.assert_array_equal(full(Brush(bytes(recorded), (8, 6)), (8, 6)), ALPHA > 0)


def test_pieces_of_every_length():
    rng = np.random.default_rng(0)
    values = rng.choice([0, 255, 7], 700, p=[0.7, 0.2, 0.1])
    values[300:500] = 255
    pieces = [(300, 3), (200, 2), (200, 2)]
    np.testing.assert_array_equal(unpack_brush(bytes(packed(values.tolist(), pieces)), 700), values)


def test_faint_edges_of_a_brush():
    values = np.zeros((1, 3, 4), int)
    values[..., 3] = [[127, 128, 255]]
    area = Brush(bytes(packed(values.ravel().tolist(), [(12, 2)])), (3, 1))
    np.testing.assert_array_equal(full(area, (3, 1)), [[False, True, True]])


@pytest.mark.parametrize(
    ('packed_bytes', 'told'),
    [
        (b'', 'ends too early'),
        (BRUSH[:20], 'ends too early'),
        (packed(VALUES, [(192, 2)], bits=16), '192 values of 16 bits'),
        (packed([0] * 2**20, [(2**16, 3)]), '1048576 values of 8 bits'),
        (packed([0] * 192, [(100, 2), (92, 2)])[:8] + [255] * 8, 'a piece of'),
    ],
)
def test_a_brush_that_can_not_be(packed_bytes, told):
    with pytest.raises(UserError, match=told):
        Brush(bytes(packed_bytes), (8, 6)).pixels((8, 6))
