"""What annotation tools draw, as pixels: polygons, ellipses, run lengths and brush strokes.

Coordinates are pixels from the picture's corner, so that pixel (0, 0) reaches from 0 to 1 and its centre lies at 0.5.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from math import cos, hypot, radians, sin

import numpy as np

from ...errors import UserError

Box = tuple[float, float, float, float]
"""Left, top, right and bottom."""
_AT_ONCE = 2**20


@dataclass(frozen=True)
class Polygons:
    """The union of polygons, each `(x, y, x, y, ...)`, filled by the even-odd rule."""

    parts: tuple[tuple[float, ...], ...]

    @classmethod
    def rectangle(cls, corner: tuple[float, float], size: tuple[float, float], degrees: float, about: Sequence[float]):
        """A rectangle by its upper left corner, turned clockwise by `degrees` about a point."""
        (x, y), (width, height) = corner, size
        c, s = cos(radians(degrees)), sin(radians(degrees))
        corners = ((x, y), (x + width, y), (x + width, y + height), (x, y + height))
        away = [(px - about[0], py - about[1]) for px, py in corners]
        return cls((tuple(chain(*((about[0] + c * u - s * v, about[1] + s * u + c * v) for u, v in away))),))

    @property
    def box(self) -> Box:
        xs, ys = [*chain(*(part[::2] for part in self.parts))], [*chain(*(part[1::2] for part in self.parts))]
        return min(xs), min(ys), max(xs), max(ys)

    def pixels(self, size: tuple[int, int]) -> tuple[int, int, np.ndarray]:
        left, top, right, bottom = _inside(self.box, size)
        mask = np.zeros((bottom - top, right - left), bool)
        if mask.size:
            for part in self.parts:
                mask |= _filled(part, (left, top, right, bottom), size)
        return left, top, mask


@dataclass(frozen=True)
class Ellipse:
    """Pixels whose centres lie in an ellipse that is turned clockwise about its centre."""

    centre: tuple[float, float]
    radii: tuple[float, float]
    degrees: float = 0.0

    @property
    def box(self) -> Box:
        c, s = cos(radians(self.degrees)), sin(radians(self.degrees))
        across, down = (hypot(self.radii[0] * a, self.radii[1] * b) for a, b in ((c, s), (s, c)))
        (x, y) = self.centre
        return x - across, y - down, x + across, y + down

    def pixels(self, size: tuple[int, int]) -> tuple[int, int, np.ndarray]:
        left, top, right, bottom = _inside(self.box, size)
        x = np.arange(left, right) + 0.5 - self.centre[0]
        y = np.arange(top, bottom)[:, None] + 0.5 - self.centre[1]
        c, s = cos(radians(self.degrees)), sin(radians(self.degrees))
        return left, top, ((c * x + s * y) / self.radii[0]) ** 2 + ((c * y - s * x) / self.radii[1]) ** 2 <= 1


@dataclass(frozen=True)
class Runs:
    """Run lengths of pixels outside and inside in turn, in a box: by rows, or by columns.

    `counts` are numbers, or text as COCO packs them.
    """

    counts: tuple[int, ...] | str
    corner: tuple[int, int]
    size: tuple[int, int]
    by_columns: bool = False

    @property
    def box(self) -> Box:
        (x, y), (width, height) = self.corner, self.size
        return x, y, x + width, y + height

    def pixels(self, size: tuple[int, int]) -> tuple[int, int, np.ndarray]:
        counts = unpack_counts(self.counts) if isinstance(self.counts, str) else self.counts
        width, height = self.size
        if min(counts, default=0) < 0 or sum(counts) != width * height:
            raise UserError(
                f'its run lengths are of {sum(counts)} pixels'
                + ', some of them negative' * (min(counts, default=0) < 0)
                + f', and {width} x {height} are {width * height}'
            )
        flat = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
        return *self.corner, flat.reshape(width, height).T if self.by_columns else flat.reshape(height, width)


@dataclass(frozen=True)
class Stencil:
    """The pixels of a mask of one class, bool (H, W)."""

    inside: np.ndarray

    @property
    def box(self) -> Box:
        height, width = self.inside.shape
        return 0, 0, width, height

    def pixels(self, size: tuple[int, int]) -> tuple[int, int, np.ndarray]:
        height, width = self.inside.shape
        if (width, height) != size:
            raise UserError(f'it has {width} x {height} pixels, but its picture has {size[0]} x {size[1]}')
        return 0, 0, self.inside


@dataclass(frozen=True)
class Brush:
    """Label Studio's packed picture of a brush (red, green, blue and alpha); inside is an alpha of 128 or more."""

    packed: bytes
    size: tuple[int, int]

    @property
    def box(self) -> Box:
        return 0, 0, *self.size

    def pixels(self, size: tuple[int, int]) -> tuple[int, int, np.ndarray]:
        width, height = self.size
        return 0, 0, unpack_brush(self.packed, 4 * width * height).reshape(height, width, 4)[..., 3] >= 128


Area = Polygons | Ellipse | Runs | Stencil | Brush
"""`pixels(size)` of a picture, (width, height), are a corner (x, y) and the bool (H, W) that begins there."""


def unpack_counts(text: str) -> list[int]:
    """The run lengths of COCO's text (its maskApi).

    A character less 48 has five bits of a number, the lowest first, and a sixth where more follow; the last one's fifth
    bit is the sign. From the fourth number on, a number is what is to be added to the last but one.
    """
    counts: list[int] = []
    value = place = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or place > 50:
            raise UserError(f'its run lengths hold {character!r}, which COCO does not write there')
        value |= (bits & 31) << place
        place += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << place
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = place = 0
    if place:
        raise UserError('its run lengths end within a number')
    return counts


def unpack_brush(packed: bytes, count: int) -> np.ndarray:
    """The `count` bytes that Label Studio packed, uint8 (by rle-pack of @thi.ng/umbrella).

    A head says how many values there are (32 bits), of how many bits (5), and four sizes of lengths (4 each). Then
    come pieces: a bit that tells one value for all from a value each, which size the length has (2 bits), the length
    less one, and the value or values.
    """
    place = 0

    def take(bits: int) -> int:
        nonlocal place
        first, place = place, place + bits
        if place > 8 * len(packed):
            raise UserError(f'its brush ends too early, after {len(packed)} bytes')
        last = -(-place // 8)
        return int.from_bytes(packed[first // 8 : last], 'big') >> (8 * last - place) & ((1 << bits) - 1)

    found, bits = take(32), take(5) + 1
    if found != count or bits != 8:
        raise UserError(f'its brush has {found} values of {bits} bits, but its picture has {count} of 8')
    sizes = [take(4) + 1 for _ in range(4)]
    values, done = np.empty(count, np.uint8), 0
    while done < count:
        same, length = take(1), take(sizes[take(2)]) + 1
        if done + length > count:
            raise UserError(f'its brush has a piece of {length} values where {count - done} are left')
        if same:
            values[done : done + length] = take(8)
        else:
            values[done : done + length] = np.frombuffer(take(8 * length).to_bytes(length, 'big'), np.uint8)
        done += length
    return values


def _inside(box: Box, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The part of a picture that a box, with a pixel around, covers."""
    left, right = (int(np.clip(value, 0, size[0])) for value in (np.floor(box[0]) - 1, np.ceil(box[2]) + 1))
    top, bottom = (int(np.clip(value, 0, size[1])) for value in (np.floor(box[1]) - 1, np.ceil(box[3]) + 1))
    return left, top, right, bottom


def _filled(points: Sequence[float], box: tuple[int, int, int, int], size: tuple[int, int]) -> np.ndarray:
    """The pixels of a polygon in a box of a picture, bool (H, W), as COCO's maskApi fills it.

    There the outline runs over a grid of fifths of pixels, on which vertices are rounded. Where it passes the middle of
    a column of pixels, between the third and the fourth of its fifths, inside and outside change.
    """
    left, top, right, bottom = box
    grid = np.trunc(5 * np.reshape(points, (-1, 2)) + 0.5).astype(np.int64)
    start, end = grid, np.roll(grid, -1, axis=0)
    steep = np.abs(end[:, 0] - start[:, 0]) < np.abs(end[:, 1] - start[:, 1])
    along = np.where(steep, 1, 0)[:, None]
    backwards = np.take_along_axis(start, along, 1) > np.take_along_axis(end, along, 1)
    start, end = np.where(backwards, end, start), np.where(backwards, start, end)
    first = np.maximum(-(-(np.minimum(start, end)[:, 0] - 2) // 5), left)
    count = np.maximum(np.minimum((np.maximum(start, end)[:, 0] - 3) // 5, right - 1) - first + 1, 0)
    changes = np.zeros((right - left, bottom - top + 1), np.uint8)  # whose rows are columns of pixels
    step = max(1, _AT_ONCE // (right - left))
    for some in (slice(place, place + step) for place in range(0, len(grid), step)):
        edge = np.repeat(np.arange(len(grid))[some], count[some])
        column = np.arange(len(edge)) - np.repeat(np.cumsum(count[some]) - count[some], count[some]) + first[edge]
        height = np.empty(len(edge))
        for kind, crossed in ((steep[edge], _crossed_steep), (~steep[edge], _crossed_flat)):
            height[kind] = crossed(start[edge[kind]], end[edge[kind]], 5 * column[kind] + 2)
        row = np.ceil(((height + 0.5) / 5 - 0.5).clip(0, size[1])).astype(np.int64)
        np.add.at(changes, (column - left, (row - top).clip(0, bottom - top)), 1)
    return (np.cumsum(changes, axis=1, dtype=np.uint8)[:, :-1] % 2 == 1).T


def _crossed_flat(start: np.ndarray, end: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The upper of the heights at `x` and `x + 1` of lines that run rather along x, on the grid."""
    slope = (end[:, 1] - start[:, 1]) / (end[:, 0] - start[:, 0])
    return np.minimum(*(np.trunc(start[:, 1] + slope * (x + more - start[:, 0]) + 0.5) for more in (0, 1)))


def _crossed_steep(start: np.ndarray, end: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The height of the last point before lines that run rather along y step from `x` to `x + 1`, or back."""
    slope = (end[:, 0] - start[:, 0]) / (end[:, 1] - start[:, 1])

    def before(steps: np.ndarray) -> np.ndarray:
        place = np.trunc(start[:, 0] + slope * steps + 0.5)
        return np.where(slope > 0, place <= x, place > x)

    steps = np.floor((x + 0.5 - start[:, 0]) / slope)  # but for rounding
    steps += before(steps + 1)
    steps -= ~before(steps)
    return start[:, 1] + steps
