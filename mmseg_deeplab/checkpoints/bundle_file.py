"""TensorFlow's checkpoints: an index, which is a table in LevelDB's format, and files with the values.

The table: https://github.com/google/leveldb/blob/main/doc/table_format.md. Its entries: `tensor_bundle.proto`.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..errors import UserFileNotFoundError
from .foreign import SHARD, TABLE_END
from .pickles import Budget, DamagedError, RefusedError
from .protobuf import content, message, number, text, varint
from .tf_format import STRING, array_of, crc32c, dtype_of, masked, shape_of

FOOTER = 48
OBJECT = '/.ATTRIBUTES/VARIABLE_VALUE'
"""What TensorFlow 2 appends to the names of variables."""


def read_bundle(path: Path) -> dict[str, np.ndarray]:
    """Read all variables of a checkpoint; the checksum of each is compared.

    Args:
        path: Its `.index`, under whatever name, or one of the data files beside it.

    Raises:
        UserFileNotFoundError: If a data file is not beside the index.
        DamagedError: If a part is not what was written.
        RefusedError: If it holds variables in slices or compressed.
    """
    prefix = path.with_name(SHARD.sub('', path.name.removesuffix('.index')))
    index = prefix.with_name(f'{prefix.name}.index') if SHARD.search(path.name) else path
    if not index.is_file():
        raise UserFileNotFoundError(f'{path} is a part of a TensorFlow checkpoint whose {index.name} is not beside it')
    data = memoryview(index.read_bytes())
    budget = Budget(len(data) + sum(file.stat().st_size for file in _data_files(prefix)))
    entries = _table(data, budget)
    header = message(memoryview(entries.pop('', b'')), budget, (1, 2))
    count, order = number(header[1]), '>' if number(header[2]) else '<'
    if not 0 < count < 100_000:
        raise RefusedError('a table that is none of a TensorFlow checkpoint since 2016')
    shards: dict[int, Path] = {}
    arrays = {}
    for name, entry in entries.items():
        kind, shape, shard, offset, size, checksum, slices = message(memoryview(entry), budget, range(1, 8)).values()
        if slices:
            raise RefusedError(f'the variable {name} in slices, as a training on several servers leaves it')
        if number(kind) == STRING:  # TensorFlow's notes on its own objects
            continue
        dtype_of(number(kind), name)
        at = number(shard)
        shards.setdefault(at, prefix.with_name(f'{prefix.name}.data-{at:05}-of-{count:05}'))
        values = _values(shards[at], number(offset), number(size), name, budget)
        if masked(crc32c(values)) != int.from_bytes(content(checksum), 'little'):
            raise DamagedError(f'{name} is not what was written: its checksum differs')
        arrays[name.removesuffix(OBJECT)] = array_of(
            values, number(kind), shape_of(content(shape), budget), name, order
        )
    return arrays


def _data_files(prefix: Path) -> list[Path]:
    begin = f'{prefix.name}.data-'
    return [file for file in prefix.parent.iterdir() if file.name.startswith(begin)]


def _values(path: Path, offset: int, size: int, name: str, budget: Budget) -> bytearray:
    if not path.is_file():
        raise UserFileNotFoundError(f'{path} is not there: a TensorFlow checkpoint is its .index and all .data files')
    if offset + size > path.stat().st_size:
        raise DamagedError(f'{name} lies beyond the end of {path.name}, which is cut short')
    budget.charge(size)
    values = bytearray(size)
    with open(path, 'rb') as file:
        file.seek(offset)
        if file.readinto(values) != size:
            raise DamagedError(f'{name} is cut short in {path.name}')
    return values


def _table(data: memoryview, budget: Budget) -> dict[str, bytes]:
    """All entries of a table."""
    if len(data) < FOOTER or bytes(data[-8:]) != TABLE_END:
        raise DamagedError('its index has no end')
    _, at = _handle(data[-FOOTER:], 0)  # of the block about blocks
    place, _ = _handle(data[-FOOTER:], at)
    entries: dict[str, bytes] = {}
    last = None
    for _, handle in _block(data, place, budget):
        for key, value in _block(data, _handle(memoryview(handle), 0)[0], budget):
            if last is not None and key <= last:
                raise DamagedError('names of its index that are not in order')
            last = key
            entries[text(memoryview(key))] = value
    return entries


def _handle(data: memoryview, at: int) -> tuple[tuple[int, int], int]:
    """Where a block lies: offset and size."""
    offset, at = varint(data, at)
    size, at = varint(data, at)
    return (offset, size), at


def _block(data: memoryview, place: tuple[int, int], budget: Budget) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a block: each key says how much of the one before it begins with."""
    offset, size = place
    if offset + size + 5 > len(data) - FOOTER or size < 8:
        raise DamagedError('a block of its index that lies beyond the end')
    block = data[offset : offset + size]
    compression, checksum = data[offset + size], bytes(data[offset + size + 1 : offset + size + 5])
    if masked(crc32c(data[offset : offset + size + 1])) != int.from_bytes(checksum, 'little'):
        raise DamagedError('its index is not what was written: a checksum differs')
    if compression:
        raise RefusedError('a compressed index, which TensorFlow does not write')
    restarts = int.from_bytes(block[-4:], 'little')
    end = size - 4 * (restarts + 1)
    if end < 0:
        raise DamagedError('a block of its index that is too short')
    key, at = b'', 0
    while at < end:
        shared, at = varint(block, at)
        added, at = varint(block, at)
        length, at = varint(block, at)
        if shared > len(key) or at + added + length > end:
            raise DamagedError('an entry of its index that goes beyond its block')
        key = key[:shared] + bytes(block[at : at + added])
        budget.charge(128 + len(key) + length)
        yield key, bytes(block[at + added : at + added + length])
        at += added + length
