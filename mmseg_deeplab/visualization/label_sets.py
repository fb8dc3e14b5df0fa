"""Several labels a pixel as one map: each set of labels that occurs is a class, in the mean colour of its labels."""

from collections.abc import Sequence

import numpy as np

from .overlays import Color

NOTHING = 'no label'


def as_one_map(
    maps: Sequence[np.ndarray], classes: Sequence[str], palette: Sequence[Sequence[int]], void: int = 255
) -> tuple[list[np.ndarray], list[str], list[Color]]:
    """Maps of several labels a pixel as maps of the sets of labels that occur in them, for pictures.

    A pixel is void where the first map knows none of its labels. Where that knows some, the others are left out of all
    maps, so that a truth and its predictions are alike where nothing known differs.

    Args:
        maps: (C, H, W) of 0, 1 and `void`, of one size; the truth first.
        classes, palette: C names and RGB colours.
        void: the value of what is not known, and the index of void in the results.

    Returns:
        Maps (H, W) of indices, and the names and colours of those; pixels without a label are black.
    """
    unknown = maps[0] == void
    bits = np.stack([(labels == 1) & ~unknown for labels in maps], axis=1).reshape(len(classes), -1)
    packed, place = np.unique(np.packbits(bits, axis=0).T, axis=0, return_inverse=True)
    sets = np.unpackbits(packed, axis=1, count=len(classes)).astype(bool)
    names = [' + '.join(np.array(classes)[each]) or NOTHING for each in sets]
    colours = np.array(palette, float).reshape(-1, 3)
    mixed = [(colours[each].mean(0) if each.any() else np.zeros(3)).round().astype(int).tolist() for each in sets]
    index = np.arange(len(sets))
    if len(sets) > void:  # whose index is taken
        names.insert(void, 'void')
        mixed.insert(void, [0, 0, 0])
        index[void:] += 1
    found = index[place].reshape(len(maps), *maps[0].shape[1:])
    found[:, unknown.all(0)] = void
    return list(found), names, [tuple(colour) for colour in mixed]
