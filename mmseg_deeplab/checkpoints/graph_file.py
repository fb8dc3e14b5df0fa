"""TensorFlow's frozen graphs: a program whose variables have become constants (`graph.proto`, `tensor.proto`)."""

import math
import re
from pathlib import Path

import numpy as np

from .pickles import Budget, DamagedError, RefusedError
from .protobuf import content, fields, floats, message, number, text, varints
from .tf_format import BFLOAT16, STRING, array_of, dtype_of, shape_of

READ = '/read'
"""How the operation is called that a variable was read by before it was frozen."""
VARIABLE = re.compile(r'.*/(weights|depthwise_weights|biases|kernel|depthwise_kernel|bias|gamma|beta|moving_\w+)')
FLOATS = {5: '<f4', 6: '<f8'}
"""Fields of a tensor with float_val and double_val."""
VARINTS = (7, 10, 11, 13)
"""Fields of a tensor with whole numbers: int_val, int64_val, bool_val, half_val (the bits of float16 and bfloat16)."""


def read_graph(path: Path) -> dict[str, np.ndarray]:
    """Read the variables of a frozen graph by their names.

    They are the constants that are read by an operation `NAME/read`; in a graph without such operations, those that
    are called like a layer's variables.

    Raises:
        DamagedError: If it is no whole graph.
        RefusedError: If it holds no variables: a graph that is not frozen.
    """
    budget = Budget(path.stat().st_size)
    constants: dict[str, memoryview] = {}
    names = set()
    for node in message(memoryview(path.read_bytes()), budget, (1,))[1]:
        name, operation, _, _, attributes = message(content([node]), budget, (1, 2, 3, 4, 5)).values()
        title = text(content(name))
        budget.charge(128 + len(title))
        if title in names:
            raise DamagedError(f'two operations are called {title}')
        names.add(title)
        if bytes(content(operation)) == b'Const':
            constants[title] = _value_of(attributes, budget)
    read = {name for name in constants if name + READ in names}
    chosen = read or {name for name in constants if VARIABLE.fullmatch(name)}
    if not chosen:
        raise RefusedError(
            'a graph without weights, as saved_model.pb and graphs that are not frozen are: they lie in files '
            'called .index and .data-00000-of-00001'
        )
    arrays = {name: _tensor(constants[name], name, budget) for name in constants if name in chosen}
    return {name: array for name, array in arrays.items() if array is not None}


def _value_of(attributes: list, budget: Budget) -> memoryview:
    """The attribute `value` of an operation: a `TensorProto`."""
    for attribute in attributes:
        key, value = message(content([attribute]), budget, (1, 2)).values()
        if bytes(content(key)) == b'value':
            return content(message(content(value), budget, (8,))[8])
    raise DamagedError('a constant without a value')


def _tensor(data: memoryview, name: str, budget: Budget) -> np.ndarray | None:
    """An array of a `TensorProto`, whose last value stands for all that are not written; None for texts."""
    values = message(data, budget, (1, 2, 4))
    kind = number(values[1])
    if kind == STRING:
        return None
    shape, dtype = shape_of(content(values[2]), budget), dtype_of(kind, name)
    count = math.prod(shape)
    budget.charge(count * max(dtype.itemsize, 4))
    if values[4]:
        return array_of(content(values[4]), kind, shape, name)
    numbers = _numbers(data, budget)
    if len(numbers) > count or (count and not len(numbers)):
        raise DamagedError(f'{name} {shape} has {len(numbers)} values')
    as_bits = kind == BFLOAT16 or dtype.kind + str(dtype.itemsize) == 'f2'
    numbers = numbers.astype('<u2' if as_bits else dtype)
    full = np.concatenate([numbers, np.repeat(numbers[-1:], count - len(numbers))])
    return array_of(full.tobytes(), kind, shape, name)


def _numbers(data: memoryview, budget: Budget) -> np.ndarray:
    """The values of a tensor that are written one by one."""
    pieces, whole = [values for values in floats(data, FLOATS, budget).values() if len(values)], []
    for field, value in fields(data):
        if field in VARINTS:
            for item in varints(value):
                budget.charge(64)
                whole.append(item - (item >> 63 << 64))
    if whole:
        pieces.append(np.array(whole, np.int64))
    return np.concatenate(pieces) if pieces else np.zeros(0)
