"""The shapes of a picture become its mask: the one rule of what lies above what, for every annotation tool."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import UserError
from ..headers import read_bytes, read_header
from .areas import Area


@dataclass(frozen=True)
class Shape:
    """An area with its class: a label, or an index as it is painted. `where` it stands, for messages."""

    label: str | int
    area: Area
    where: str


def paint(
    path: Path, shapes: Sequence[Shape], size: tuple[int, int] | None, elsewhere: int, small_above: bool
) -> tuple[np.ndarray, Counter]:
    """The mask of a picture, uint8 (H, W), and the shapes of which it has no pixel.

    Args:
        path: The picture.
        shapes: With indices; later ones cover earlier ones.
        size: (width, height) that they were drawn on; None where no shape says it.
        elsewhere: Index of pixels without a shape.
        small_above: Areas of fewer pixels cover those of more instead; of equal ones the later.
    """
    header = read_header(read_bytes(path, 'image'), f'image {path}')
    width, height = header.size[::-1] if header.orientation > 4 else header.size
    if size not in (None, (width, height)):
        stored = f', turned by its EXIF orientation {header.orientation}' * (header.orientation > 4)
        raise UserError(f'it was annotated as {size[0]} x {size[1]} pixels, but it has {width} x {height}{stored}')
    owner = np.zeros((height, width), np.int32)
    smallest = np.full((height, width), np.iinfo(np.int32).max, np.int32) if small_above else None
    empty = set()
    for number, shape in enumerate(shapes, 1):
        try:
            x, y, inside = shape.area.pixels((width, height))
        except UserError as error:
            raise UserError(f'{shape.where}: {error}') from error
        place = slice(y, y + inside.shape[0]), slice(x, x + inside.shape[1])
        count = int(inside.sum())
        if not count:
            empty.add(number)
        if smallest is not None:
            inside = inside & (count <= smallest[place])
            smallest[place][inside] = count
        owner[place][inside] = number
    seen = np.bincount(owner.ravel(), minlength=len(shapes) + 1)
    hidden = Counter(
        f'{shape.where}: ' + ('it covers no pixel' if number in empty else 'others lie above all of it')
        for number, shape in enumerate(shapes, 1)
        if not seen[number]
    )
    return np.array([elsewhere, *(shape.label for shape in shapes)], np.uint8)[owner], hidden
