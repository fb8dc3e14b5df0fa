"""Writes Caffe's files as caffe.proto (BVLC/caffe) defines them, with none of the code that reads them."""

from tensorflow_files import chunk, varint, whole

NEW, OLD = 'layer', 'layers'
"""Files since 2014, with shapes, and those before, with four sides of every array."""
OLD_TYPES = {'Convolution': 4, 'InnerProduct': 14}


def blob(array, kind=NEW, packed=True, double=False):
    """A BlobProto."""
    if kind == NEW:
        out = chunk(7, chunk(1, b''.join(varint(side) for side in array.shape)))
    else:
        sides = (*(1,) * (4 - array.ndim), *array.shape)
        out = b''.join(whole(field, side) for field, side in enumerate(sides, start=1))
    data, field, size = (array.astype('<f8'), 8, 8) if double else (array.astype('<f4'), 5, 4)
    if packed:
        return out + chunk(field, data.tobytes())
    tag = varint(field << 3 | (1 if size == 8 else 5))
    return out + b''.join(tag + data.ravel()[i : i + 1].tobytes() for i in range(data.size))


def layer(name, type_, blobs, kind=NEW):
    """A layer in a network; blobs are messages."""
    title, output = name.encode(), name.encode()
    if kind == NEW:
        parts = [chunk(1, title), chunk(2, type_.encode()), chunk(4, output), *(chunk(7, each) for each in blobs)]
        return chunk(100, b''.join(parts))
    parts = [chunk(3, output), chunk(4, title), whole(5, OLD_TYPES.get(type_, 0)), *(chunk(6, each) for each in blobs)]
    return chunk(2, b''.join(parts))


def layers_of(state):
    """Name, type and arrays of each layer, of parameters by the names that Caffe's documentation has for its blobs."""
    order = {'weight': 0, 'bias': 1, 'running_mean': 0, 'running_var': 1, 'factor': 2}
    layers = {}
    for name, value in state.items():
        title, part = name.rsplit('.', 1)
        layers.setdefault(title, {})[part] = value.numpy() if hasattr(value, 'numpy') else value
    for title, parts in layers.items():
        norm, weight = 'factor' in parts, parts.get('weight')
        type_ = 'BatchNorm' if norm else 'Scale' if weight.ndim == 1 else 'Convolution'
        if weight is not None and weight.ndim == 2:
            type_ = 'InnerProduct'
        yield title, type_, [parts[part] for part in sorted(parts, key=order.__getitem__)]


def write_caffemodel(path, state, kind=NEW, **kwargs):
    """Write a network, with its name, its input and layers without blobs in between."""
    out = [chunk(1, b'voc12'), layer('data', 'ImageSegData', [], kind)]
    for title, type_, arrays in layers_of(state):
        out += [layer(title, type_, [blob(array, kind, **kwargs) for array in arrays], kind)]
        out += [layer(f'relu_{title}', 'ReLU', [], kind)]
    path.write_bytes(b''.join(out))


def write_by_protobuf(path, state):
    """The same file by the library of protocol buffers, from a description of its messages."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name='part_of_caffe.proto', package='part', syntax='proto2')
    kinds = descriptor_pb2.FieldDescriptorProto
    messages = {
        'BlobShape': [('dim', 1, kinds.TYPE_INT64, True)],
        'BlobProto': [('data', 5, kinds.TYPE_FLOAT, True), ('shape', 7, 'BlobShape', False)],
        'LayerParameter': [
            ('name', 1, kinds.TYPE_STRING, False),
            ('type', 2, kinds.TYPE_STRING, False),
            ('blobs', 7, 'BlobProto', True),
        ],
        'NetParameter': [('name', 1, kinds.TYPE_STRING, False), ('layer', 100, 'LayerParameter', True)],
    }
    for title, fields in messages.items():
        message = file.message_type.add(name=title)
        for name, number, type_, repeated in fields:
            label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
            field = message.field.add(name=name, number=number, label=label)
            if isinstance(type_, str):
                field.type, field.type_name = kinds.TYPE_MESSAGE, f'.part.{type_}'
            else:
                field.type = type_
                field.options.packed = repeated
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    network = message_factory.GetMessageClass(pool.FindMessageTypeByName('part.NetParameter'))(name='voc12')
    for title, type_, arrays in layers_of(state):
        one = network.layer.add(name=title, type=type_)
        for array in arrays:
            each = one.blobs.add(data=array.ravel().tolist())
            each.shape.dim.extend(array.shape)
    path.write_bytes(network.SerializeToString())
