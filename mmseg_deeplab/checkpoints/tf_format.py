"""What TensorFlow's files are made of beside protocol buffers: shapes, types and checksums.

The numbers of fields are those of TensorFlow's `tensor_shape.proto` and `types.proto`.
"""

import math
from typing import Literal

import numpy as np

from .pickles import Budget, DamagedError, RefusedError
from .protobuf import content, message, number

STRING = 7
BFLOAT16 = 14
AXES = 254
"""The most that a tensor has (TensorShape::MaxDimensions)."""
TYPES = {
    1: 'f4', 2: 'f8', 3: 'i4', 4: 'u1', 5: 'i2', 6: 'i1', 9: 'i8', 10: '?', BFLOAT16: 'u2', 17: 'u2', 19: 'f2',
    22: 'u4', 23: 'u8',
}  # fmt: skip
"""numpy's name for each number of `DataType`; of a bfloat16 the bits."""


def shape_of(data: memoryview, budget: Budget) -> tuple[int, ...]:
    """Sides of a `TensorShapeProto`."""
    sides = tuple(number(message(content([dim]), budget, (1,))[1]) for dim in message(data, budget, (2,))[2])
    if len(sides) > AXES or any(side >= 2**62 for side in sides):
        raise DamagedError(f'a side of unknown length in {str(sides)[:200]}')
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
