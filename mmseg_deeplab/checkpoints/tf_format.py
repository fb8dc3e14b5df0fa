"""What TensorFlow's files are made of: protocol buffers as they lie in a file, shapes, types and checksums.

Protocol buffers: https://protobuf.dev/programming-guides/encoding. The numbers of fields are those of TensorFlow's
`tensor_shape.proto` and `types.proto`.
"""

import math
from collections.abc import Iterable, Iterator
from typing import Literal

import numpy as np

from .pickles import Budget, DamagedError, RefusedError

STRING = 7
BFLOAT16 = 14
TYPES = {
    1: 'f4', 2: 'f8', 3: 'i4', 4: 'u1', 5: 'i2', 6: 'i1', 9: 'i8', 10: '?', BFLOAT16: 'u2', 17: 'u2', 19: 'f2',
    22: 'u4', 23: 'u8',
}  # fmt: skip
"""numpy's name for each number of `DataType`; of a bfloat16 the bits."""
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


def shape_of(data: memoryview, budget: Budget) -> tuple[int, ...]:
    """Sides of a `TensorShapeProto`."""
    sides = tuple(number(message(content([dim]), budget, (1,))[1]) for dim in message(data, budget, (2,))[2])
    if any(side >= 2**62 for side in sides):
        raise DamagedError(f'a side of unknown length in {sides}')
    return sides


def dtype_of(kind: int, name: str) -> np.dtype:
    """The type of a tensor's elements in the file, little-endian.

    Raises:
        RefusedError: If it is none of numbers.
    """
    if kind not in TYPES:
        raise RefusedError(f'{name}, whose type (number {kind} of TensorFlow) is none of plain numbers')
    return np.dtype(TYPES[kind]).newbyteorder('<')


def array_of(
    data: bytes | bytearray | memoryview, kind: int, shape: tuple[int, ...], name: str, order: Literal['<', '>'] = '<'
) -> np.ndarray:
    """A tensor of its bytes."""
    dtype = dtype_of(kind, name).newbyteorder(order)
    if math.prod(shape) * dtype.itemsize != len(data):
        raise DamagedError(f'{name} {shape} of {dtype} in {len(data)} bytes')
    array = np.frombuffer(data, dtype).reshape(shape)
    if kind == BFLOAT16:
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(dtype.newbyteorder('='))


def _table() -> np.ndarray:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = (table >> 1) ^ (np.uint32(0x82F63B78) * (table & 1))
    return table


TABLE = _table()


def crc32c(data: bytes | bytearray | memoryview) -> int:
    """CRC-32C (Castagnoli; RFC 3720, appendix B.4), of many pieces side by side.

    The checksum's register is linear: that of two pieces in a row is the first's, moved on by as many zeros as the
    second has bytes, plus the second's.
    """
    values = np.frombuffer(data, np.uint8)
    lanes = 1 << ((len(values).bit_length() + 1) // 2)
    length = len(values) // lanes
    begin = len(values) - lanes * length
    state = 0xFFFFFFFF
    for value in values[:begin].tolist():
        state = int(TABLE[(state ^ value) & 255]) ^ (state >> 8)
    registers = np.zeros(lanes, np.uint32)
    registers[0] = state
    for column in np.ascontiguousarray(values[begin:].reshape(lanes, length).T):
        registers = TABLE[(registers ^ column) & 255] ^ (registers >> 8)
    bits = np.uint32(1) << np.arange(32, dtype=np.uint32)
    moved, power, left = bits, TABLE[bits & 255] ^ (bits >> 8), length
    while left:  # what `length` zeros make of each bit
        if left & 1:
            moved = _move(power, moved)
        power, left = _move(power, power), left >> 1
    while len(registers) > 1:
        registers = _move(moved, registers[::2]) ^ registers[1::2]
        moved = _move(moved, moved)
    return int(registers[0]) ^ 0xFFFFFFFF


def _move(images: np.ndarray, registers: np.ndarray) -> np.ndarray:
    """Apply a linear map, given by what becomes of each bit."""
    result = np.zeros_like(registers)
    for bit in range(32):
        result ^= images[bit] * ((registers >> np.uint32(bit)) & np.uint32(1))
    return result


def masked(checksum: int) -> int:
    """A checksum as LevelDB and TensorFlow store it."""
    return (((checksum >> 15) | (checksum << 17)) + 0xA282EAD8) & 0xFFFFFFFF
