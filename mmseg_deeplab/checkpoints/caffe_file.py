"""Caffe's trained networks (`.caffemodel`): the blobs of each layer, as `caffe.proto` of BVLC/caffe defines them."""

import math
from pathlib import Path

import numpy as np

from .pickles import Budget, DamagedError, RefusedError
from .protobuf import content, floats, message, number, text, varints

LAYERS = {100: (1, 2, 7), 2: (4, 5, 6)}
"""Fields of `NetParameter` with its layers -> those of a layer with its name, type and blobs: `LayerParameter`, and
`V1LayerParameter` of files until 2014."""
V0 = 1
"""Field of a `V1LayerParameter` with a layer of the oldest kind."""
SIDES = (1, 2, 3, 4)
"""Fields of a `BlobProto` with num, channels, height and width, in files without a shape."""
SHAPE = 7
AXES = 32
"""The most that an array of Caffe has (kMaxBlobAxes)."""
DATA = {5: '<f4', 8: '<f8'}
PARTS = {b'BatchNorm': ('running_mean', 'running_var', 'factor')}
"""What the blobs of a layer are by its type: of batch norm sums, to be divided by the factor."""
USUAL = ('weight', 'bias')


def read_caffe(path: Path) -> dict[str, np.ndarray]:
    """Read the blobs of all layers.

    Returns:
        Arrays by names as `conv1_1.weight` and `conv1_1.bias`; of a layer of type BatchNorm `running_mean`,
        `running_var` and `factor`, as they are in the file; of a layer with more blobs the others by their number.

    Raises:
        DamagedError: If it is no whole network.
        RefusedError: If it is of the oldest kind, or many times as large in memory.
    """
    budget = Budget(path.stat().st_size)
    arrays: dict[str, np.ndarray] = {}
    network = message(memoryview(path.read_bytes()), budget, LAYERS)
    for field, (name, kind, blobs) in LAYERS.items():
        for layer in network[field]:
            values = message(content([layer]), budget, (name, kind, blobs, V0))
            if field == 2 and values[V0]:
                raise RefusedError(
                    'layers of the kind before 2014, V0: upgrade it with upgrade_net_proto_binary of Caffe'
                )
            title = text(content(values[name]))
            parts = PARTS.get(_type(values[kind]), USUAL)
            for place, blob in enumerate(values[blobs]):
                where = f'{title}.{parts[place] if place < len(parts) else place}'
                if where in arrays:
                    raise DamagedError(f'two layers are called {title}')
                budget.charge(128 + len(where))
                arrays[where] = _array(content([blob]), where, budget)
    return arrays


def _type(values: list) -> bytes:
    """A layer's type; in older files it is a number, and no batch norm."""
    return b'' if not values or isinstance(values[-1], int) else bytes(content(values))


def _array(blob: memoryview, name: str, budget: Budget) -> np.ndarray:
    """An array of a `BlobProto`."""
    values = message(blob, budget, (*SIDES, SHAPE))
    if values[SHAPE]:
        dims: list[int] = []
        for dim in message(content(values[SHAPE]), budget, (1,))[1]:
            for side in varints(dim):
                budget.charge(64)
                dims.append(side)
    else:
        dims = [number(values[side]) for side in SIDES]
    full, double = floats(blob, DATA, budget).values()
    array = double if len(double) else full
    if len(dims) > AXES:
        raise DamagedError(f'{name} has {len(dims)} axes')
    if math.prod(dims) != len(array):
        raise DamagedError(f'{name} {tuple(dims)} has {len(array)} values')
    if not values[SHAPE]:  # four sides, whatever the array: vectors and matrices have ones before their own
        ones = 3 if dims[:3] == [1, 1, 1] else 2 if dims[:2] == [1, 1] else 0
        dims = dims[ones:]
    return array.reshape(dims)
