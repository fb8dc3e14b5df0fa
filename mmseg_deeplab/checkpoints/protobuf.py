"""Protocol buffers as they lie in a file: TensorFlow's and Caffe's formats are made of them.

The encoding: https://protobuf.dev/programming-guides/encoding. What a message's fields mean is its format's to say.
"""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from .pickles import Budget, DamagedError

Field = int | memoryview


def varint(data: memoryview, at: int) -> tuple[int, int]:
    """The whole number that begins at a place, and the place behind it."""
    number = 0
    for shift in range(0, 64, 7):
        if at >= len(data):
            break
        number |= (data[at] & 127) << shift
        at += 1
        if data[at - 1] < 128:
            return number, at
    raise DamagedError('a number that has no end')


def varints(value: Field) -> Iterator[int]:
    """The whole numbers of a repeated field: one by itself, or several in a row."""
    if isinstance(value, int):
        yield value
        return
    at = 0
    while at < len(value):
        item, at = varint(value, at)
        yield item


def fields(data: memoryview) -> Iterator[tuple[int, Field]]:
    """Numbers and values of a message's fields, in their order; fixed numbers of 4 and 8 bytes stay bytes."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = varint(data, at)
            yield key >> 3, value
            continue
        if kind == 2:
            size, at = varint(data, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise DamagedError(f'a field of the unknown kind {kind}')
        if at + size > len(data):
            raise DamagedError('a field that goes beyond the end')
        yield key >> 3, data[at : at + size]
        at += size


def message(data: memoryview, budget: Budget, known: Iterable[int]) -> dict[int, list[Field]]:
    """The values of the fields with `known` numbers, each counted against the budget."""
    values: dict[int, list[Field]] = {number: [] for number in known}
    for number, value in fields(data):
        if number in values:
            budget.charge(256)
            values[number].append(value)
    return values


def number(values: list[Field], default: int = 0) -> int:
    """The value of a field that holds one whole number."""
    if not values:
        return default
    if not isinstance(values[-1], int):
        raise DamagedError('bytes in the place of a number')
    return values[-1]


def content(values: list[Field]) -> memoryview:
    """The value of a field that holds bytes or a message."""
    if not values:
        return memoryview(b'')
    if isinstance(values[-1], int):
        raise DamagedError('a number in the place of bytes')
    return values[-1]


def text(data: Field) -> str:
    """Bytes as a text."""
    try:
        return bytes(content([data])).decode()
    except UnicodeDecodeError as error:
        raise DamagedError(f'a name that is no text: {bytes(content([data]))[:20]!r}') from error


def floats(data: memoryview, types: Mapping[int, str], budget: Budget) -> dict[int, np.ndarray]:
    """The numbers of a message's repeated fields of fixed size, each in a row or one by one.

    Args:
        data: The message.
        types: Number of a field -> numpy's name of its numbers.
        budget: They are counted against it.

    Returns:
        Number of a field -> its numbers, none for one that is not there.
    """
    found = {number: bytearray() for number in types}
    for number, value in fields(data):
        if number in found:
            piece = content([value])
            if len(piece) % np.dtype(types[number]).itemsize:
                raise DamagedError('a list of numbers that is cut short')
            budget.charge(2 * len(piece))  # as it grows, what there is is copied
            found[number] += piece
    return {number: np.frombuffer(piece, types[number]) for number, piece in found.items()}
