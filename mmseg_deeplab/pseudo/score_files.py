"""The layouts in which the field stores class activation maps and scores."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..checkpoints.numpy_file import read_numpy
from ..datasets.masks import read_mask
from ..errors import UserError

SUFFIXES = ('.npy', '.npz', '.png')
# Names of the maps beside `keys`, the best first: IRN, AdvCAM and ReCAM; CLIP-ES; at a quarter of the size.
KEYED = ('high_res', 'attn_highres', 'cam')
LAYOUTS = 'an array (classes, height, width), {keys, high_res or cam}, {class: map} or {probabilities}'


@dataclass(frozen=True)
class ClassMaps:
    """The maps of one picture as its file has them.

    Attributes:
        maps: (K, h, w) float32, finite, of any size.
        keys: The number of each map's class, from 0 for the first class of what the maps are of, the foreground or all
            classes; None where they are the maps of all in order.
        keyed: Whether they are of the layout with `keys`, which has maps of foreground classes only.
    """

    maps: np.ndarray
    keys: np.ndarray | None = None
    keyed: bool = False


def read_maps(path: Path) -> ClassMaps | np.ndarray:
    """Read the maps of a .npy or .npz file, or the labels (H, W), uint8, of a .png.

    Raises:
        UserError: If it is damaged, refused, or of another layout; it names file and content.
    """
    if path.suffix.lower() == '.png':
        return read_mask(path)
    content = read_numpy(path)
    if isinstance(content, Mapping):
        return _of_dict(path, content)
    return ClassMaps(_maps(path, 'the array', content))


def _of_dict(path: Path, content: Mapping[Any, Any]) -> ClassMaps:
    if 'keys' in content:
        name = next((name for name in KEYED if content.get(name) is not None), None)
        if name is None:
            raise UserError(f'{path} holds {_names(content)}: maps beside keys are called {" or ".join(KEYED)}')
        maps, keys = _maps(path, name, content[name]), _array(content['keys'])
        if keys.ndim != 1 or keys.dtype.kind not in 'iu' or len(keys) != len(maps):
            raise UserError(f'{path} holds {len(maps)} maps, but its keys are {keys.dtype} {keys.shape}, not one each')
        return ClassMaps(maps, keys.astype(np.int64), keyed=True)
    if 'probabilities' in content:
        return ClassMaps(_maps(path, 'probabilities', content['probabilities']))
    if not content:  # of a picture without foreground
        return ClassMaps(np.zeros((0, 1, 1), np.float32), np.zeros(0, np.int64))
    numbers = {_number(name): value for name, value in content.items()}
    if None not in numbers and len(numbers) == len(content):
        maps = [_maps(path, f'map {number}', value, 2) for number, value in numbers.items()]
        sizes = {each.shape for each in maps}
        if len(sizes) > 1:
            raise UserError(f'{path} holds maps of several sizes, {sorted(sizes)}: they must be of one')
        return ClassMaps(np.stack(maps), np.array(list(numbers), np.int64))
    if len(content) == 1:
        name, value = next(iter(content.items()))
        return ClassMaps(_maps(path, str(name), value))
    raise UserError(f'{path} holds {_names(content)}, which is no layout of scores: save {LAYOUTS}')


def _maps(path: Path, name: str, value: Any, axes: int = 3) -> np.ndarray:
    """A finite float32 array of so many axes, none of them empty but the first."""
    array = _array(value)
    if array.dtype.kind not in 'biuf' or array.ndim != axes or 0 in array.shape[-2:]:
        expected = '(classes, height, width)' if axes == 3 else '(height, width)'
        raise UserError(f'{path}: {name} is {array.dtype} {array.shape}, expected numbers {expected}; save {LAYOUTS}')
    with np.errstate(over='ignore'):
        array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise UserError(f'{path}: {name} holds NaN, infinite or too large numbers; look at what made them')
    return array


def _array(value: Any) -> np.ndarray:
    if isinstance(value, torch.Tensor):
        value = value.detach().float() if value.dtype == torch.bfloat16 else value.detach()
        return value.numpy()
    try:
        return np.asarray(value)
    except ValueError:  # lists of several lengths
        return np.empty(0, object)


def _number(name: Any) -> int | None:
    """The class that a key is the number of: an int, or digits, as the names of a .npz are."""
    if isinstance(name, int | np.integer) and not isinstance(name, bool):
        return int(name)
    return int(name) if isinstance(name, str) and name.isascii() and name.isdigit() else None


def _names(content: Mapping[Any, Any]) -> str:
    shown = ', '.join(map(str, list(content)[:8])) + (', ...' if len(content) > 8 else '')
    return f'a dict of {shown}'
