"""Writes TensorFlow's files as their formats are defined, with none of the code that reads them.

Table: LevelDB's doc/table_format.md. Messages: tensor_bundle.proto, graph.proto, tensor.proto, tensor_shape.proto.
"""

import struct

import numpy as np

NUMBERS = {'float32': 1, 'float64': 2, 'int32': 3, 'uint8': 4, 'int64': 9, 'bool': 10, 'float16': 19}


def varint(number):
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes(out) + bytes([number])


def whole(field, number):
    return varint(field << 3) + varint(number)


def chunk(field, data):
    return varint(field << 3 | 2) + varint(len(data)) + data


def crc32c(data):
    """Bit by bit, as RFC 3720 defines it."""
    state = 0xFFFFFFFF
    for byte in data:
        state ^= byte
        for _ in range(8):
            state = (state >> 1) ^ (0x82F63B78 if state & 1 else 0)
    return state ^ 0xFFFFFFFF


def masked(data):
    checksum = crc32c(data)
    return (((checksum >> 15) | (checksum << 17)) + 0xA282EAD8) % 2**32


def shape_message(shape):
    return b''.join(chunk(2, whole(1, side)) for side in shape)


def block(pairs, restart_every=16):
    out, restarts, last = bytearray(), [], b''
    for number, (key, value) in enumerate(pairs):
        shared = 0
        if number % restart_every == 0:
            restarts.append(len(out))
        else:
            while shared < min(len(key), len(last)) and key[shared] == last[shared]:
                shared += 1
        out += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        last = key
    return (
        bytes(out)
        + struct.pack(f'<{len(restarts or [0])}I', *restarts or [0])
        + struct.pack('<I', len(restarts or [0]))
    )


def table(pairs, per_block=5, compression=0):
    """A table of sorted pairs."""
    out, index = bytearray(), []

    def add(content):
        handle = varint(len(out)) + varint(len(content))
        kind = bytes([compression])
        out.extend(content + kind + struct.pack('<I', masked(content + kind)))
        return handle

    for begin in range(0, len(pairs), per_block):
        part = pairs[begin : begin + per_block]
        index.append((part[-1][0] + b'\0', add(block(part))))
    meta = add(block([]))
    footer = (meta + add(block(index, 1))).ljust(40, b'\0')
    return bytes(out) + footer + struct.pack('<Q', 0xDB4775248B80FB57)


def entry(array, shard, offset, data, number=None):
    return (
        whole(1, number or NUMBERS[array.dtype.name]) + chunk(2, shape_message(array.shape)) + whole(3, shard)
        + whole(4, offset) + whole(5, len(data)) + varint(6 << 3 | 5) + struct.pack('<I', masked(data))
    )  # fmt: skip


def write_bundle(prefix, arrays, shards=1, bfloat16=(), strings=()):
    """Write PREFIX.index and its data files; variables go to the shards in turn."""
    contents = [bytearray() for _ in range(shards)]
    pairs = [(b'', whole(1, shards) + chunk(3, whole(1, 1)))]
    for number, (name, array) in enumerate(sorted(arrays.items())):
        data = array.tobytes()
        if name in bfloat16:
            data = (array.view(np.uint32) >> 16).astype('<u2').tobytes()
        shard = number % shards
        pairs.append((name.encode(), entry(array, shard, len(contents[shard]), data, 14 if name in bfloat16 else None)))
        contents[shard] += data
    for name in strings:
        pairs.append((name.encode(), whole(1, 7) + chunk(2, b'') + whole(5, 3)))
    prefix.with_name(prefix.name + '.index').write_bytes(table(sorted(pairs)))
    for shard, content in enumerate(contents):
        prefix.with_name(f'{prefix.name}.data-{shard:05}-of-{shards:05}').write_bytes(content)


def tensor_message(array, how='content'):
    """A TensorProto: its bytes in one piece, or each value by itself, the last one for all that are equal to it."""
    begin = whole(1, NUMBERS[array.dtype.name]) + chunk(2, shape_message(array.shape))
    if how == 'content':
        return begin + chunk(4, array.tobytes())
    values = array.ravel()
    while len(values) > 1 and values[-1] == values[-2]:
        values = values[:-1]
    if array.dtype == np.float32:
        return begin + chunk(5, values.tobytes())
    if array.dtype == np.float16:
        return begin + chunk(13, b''.join(varint(int(bits)) for bits in values.view(np.uint16)))
    return begin + chunk(7, b''.join(varint(int(value) % 2**64) for value in values))


def node(name, operation, inputs=(), value=None):
    out = chunk(1, name.encode()) + chunk(2, operation.encode()) + b''.join(chunk(3, i.encode()) for i in inputs)
    if value is not None:
        kind = chunk(5, chunk(1, b'dtype') + chunk(2, whole(6, 1)))
        out += kind + chunk(5, chunk(1, b'value') + chunk(2, chunk(8, value)))
    return chunk(1, out)


def write_graph(path, arrays, how='content', read=True):
    """Write a frozen graph: each variable a constant, with the operation that read it."""
    out = node('ImageTensor', 'Placeholder') + node(
        'ResizeBilinear/size', 'Const', value=tensor_message(np.array([513, 513], np.int32))
    )
    for name, array in arrays.items():
        out += node(name, 'Const', value=tensor_message(array, how))
        if read:
            out += node(f'{name}/read', 'Identity', [name])
    path.write_bytes(out + chunk(4, whole(1, 27)))
