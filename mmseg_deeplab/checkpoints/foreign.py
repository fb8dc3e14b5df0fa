"""What a file is that is no checkpoint of PyTorch, and what to do with it."""

import re
import struct
from pathlib import Path
from typing import NamedTuple

from ..config_files import CHECKPOINTS

TORCH = (b'PK\x03\x04', b'\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.')
"""How PyTorch's own files begin: an archive since 1.6, a pickle with its magic number before."""


class Kind(NamedTuple):
    """A kind of file.

    Attributes:
        what: What a file of it is.
        do: What its owner can do.
        reader: How the converters read it, if they do (a key of `sources.READERS`).
    """

    what: str
    do: str
    reader: str = ''


_CONVERT = 'convert it: python tools/convert_checkpoint.py FILE NEW.pth'
_TO_PTH = 'in its own framework save a dict of numpy arrays by name with numpy.savez, and convert that'
_ORIGIN = 'give the checkpoint that it was exported from'
_UNPACK = 'unpack it and give the checkpoint inside'
_PICTURE = Kind('a picture', 'give a checkpoint')
_CONFIG = Kind('a text, not weights', 'give the checkpoint that belongs to it')
_H5 = Kind('an HDF5 file, as Keras writes them', _CONVERT, 'h5')
_TABLE = Kind('the index of a TensorFlow checkpoint', _CONVERT, 'bundle')
_TAR = Kind('an archive', f'{_UNPACK}, or {_CONVERT}', 'archive')
_TEXT = Kind(
    'a text, not weights',
    'look into it: it may be what a server sent in its place, a pointer to the file or a config; then give the file '
    'itself',
)
_OTHER_ARCHIVE = Kind('an archive', _UNPACK)
_MATLAB = Kind('a file of MATLAB, as MatConvNet writes them', _TO_PTH)
_GRAPH = Kind('a graph of TensorFlow, its weights frozen in', _CONVERT, 'graph')
_ONNX = Kind('an ONNX program', _ORIGIN)
_TFLITE = Kind(
    'a model of TensorFlow Lite', 'give the checkpoint or frozen graph that it was made of, and convert that'
)
_CAFFE = Kind('a model of Caffe', _CONVERT, 'caffe')
_FLAX = Kind('a checkpoint of Flax', _TO_PTH)
BY_SUFFIX = {
    '.py': Kind('a config, not a checkpoint', 'the config comes first: python tools/test.py CONFIG CHECKPOINT'),
    '.pdparams': Kind('a checkpoint of PaddlePaddle', f'{_CONVERT} (or numpy.savez of its arrays)', 'pickle'),
    '.pdopt': Kind('the optimizer of PaddlePaddle', 'give the .pdparams file beside it'),
    '.pdmodel': Kind('a program of PaddlePaddle', f'give its .pdparams, or {_TO_PTH}'),
    '.pdiparams': Kind(
        'the weights of a PaddlePaddle program, without their names', f'give its .pdparams, or {_TO_PTH}'
    ),
    '.pkl': Kind(
        'a Python pickle, which can run code when it is read',
        f'{_CONVERT}, which reads its arrays without that',
        'pickle',
    ),
    '.h5': _H5,
    '.hdf5': _H5,
    '.keras': Kind('a model of Keras', 'unpack it (it is a zip archive) and convert its model.weights.h5'),
    '.pb': _GRAPH,
    '.tflite': _TFLITE,
    '.index': _TABLE,
    '.meta': Kind('the graph of a TensorFlow checkpoint, without its variables', 'give the .index file beside it'),
    '.caffemodel': _CAFFE,
    '.prototxt': Kind('the description of a Caffe network, without its weights', 'give the file with the weights'),
    '.mat': _MATLAB,
    '.onnx': _ONNX,
    '.ort': Kind('a program of ONNX Runtime', _ORIGIN),
    '.engine': Kind('a program of TensorRT', _ORIGIN),
    '.plan': Kind('a program of TensorRT', _ORIGIN),
    '.trt': Kind('a program of TensorRT', _ORIGIN),
    '.pte': Kind('a program of ExecuTorch', _ORIGIN),
    '.ptl': Kind('a program of PyTorch Mobile', _ORIGIN),
    '.mlmodel': Kind('a model of Core ML', _ORIGIN),
    '.mnn': Kind('a model of MNN', _ORIGIN),
    '.param': Kind('the description of an ncnn network', _ORIGIN),
    '.params': Kind('a checkpoint of MXNet', _TO_PTH),
    '.weights': Kind('the weights of a Darknet network', 'no network of it has a counterpart here'),
    '.msgpack': _FLAX,
    '.t7': Kind('a file of Torch 7', _TO_PTH),
    '.joblib': Kind('a Python pickle of joblib, which can run code when it is read', _TO_PTH),
    '.gguf': Kind('a GGUF file of a language model', 'give a checkpoint of this network'),
    '.npz': Kind('an archive of numpy arrays', _CONVERT, 'npz'),
    '.npy': Kind('one numpy array', 'give a checkpoint'),
    '.json': Kind('a JSON file, as logs are', 'give the checkpoint beside it'),
    '.log': Kind('a log', 'give the checkpoint beside it'),
    **dict.fromkeys(('.yaml', '.yml', '.txt', '.csv', '.md', '.toml', '.xml', '.cfg'), _CONFIG),
    **dict.fromkeys(('.png', '.jpg', '.jpeg', '.gif', '.webp', '.tif', '.tiff', '.bmp'), _PICTURE),
    '.zip': _OTHER_ARCHIVE,
    '.rar': _OTHER_ARCHIVE,
    '.7z': _OTHER_ARCHIVE,
}
BY_SUFFIX['.pickle'] = BY_SUFFIX['.pkl']
SHARD = re.compile(r'\.data-\d{5}-of-\d{5}$')
BY_NAME = (
    (SHARD, Kind('the variables of a TensorFlow checkpoint', _CONVERT, 'bundle')),
    (re.compile('tfevents'), Kind('a log of TensorBoard', 'give the checkpoint beside it')),
    (
        re.compile(r'\.index\.json$'),
        Kind(
            'the index of a checkpoint in several files', 'save the network in one file, by the library that wrote it'
        ),
    ),
)
PART = re.compile(r'-\d{5}-of-\d{5}\.(bin|safetensors)$')
BEGIN = 512
"""Bytes that are looked at."""
PICKLED = b'(c]}IFVSLNldt'
"""How a pickle of protocol 0, which is a text, may begin."""
TABLE_END = struct.pack('<Q', 0xDB4775248B80FB57)
"""The magic number at the end of a table in LevelDB's format, as a TensorFlow checkpoint's index is."""
BY_CONTENT = (
    (0, b'version https://git-lfs', Kind('a pointer of Git LFS, not the file itself', 'fetch it: git lfs pull')),
    (0, b'\x89HDF\r\n\x1a\n', _H5),
    (0, b'MATLAB ', _MATLAB),
    *((0, magic, _TAR) for magic in (b'\x1f\x8b', b'BZh', b'\xfd7zXZ')),
    (257, b'ustar', _TAR),
    *((0, magic, _OTHER_ARCHIVE) for magic in (b'7z\xbc\xaf', b'Rar!', b'\x28\xb5\x2f\xfd', b'\x04\x22\x4d\x18')),
    (0, b'PK\x05\x06', Kind('an empty zip archive', 'copy or download it again')),
    (0, b'\x93NUMPY', BY_SUFFIX['.npy']),
    (0, b'GGUF', BY_SUFFIX['.gguf']),
    (4, b'TFL3', _TFLITE),
    (4, b'ET12', BY_SUFFIX['.pte']),
    (0, b'\x12\x01\0\0\0\0\0\0', BY_SUFFIX['.params']),
    (0, b'ftrt', BY_SUFFIX['.engine']),
    (0, b'\x89PNG', _PICTURE),
    (0, b'\xff\xd8\xff', _PICTURE),
    (0, b'GIF8', _PICTURE),
    (0, b'RIFF', _PICTURE),
    (
        0,
        b'\x08\x01\x12',
        Kind('the program of a SavedModel of TensorFlow', f'give variables/variables.index beside it and {_CONVERT}'),
    ),
    (0, b'%PDF', Kind('a PDF document', 'give a checkpoint')),
    (
        0,
        b'model_checkpoint_path:',
        Kind("TensorFlow's note of its latest checkpoint", 'give the .index file beside it'),
    ),
)
_PAGE = (b'<!doctype', b'<html', b'<?xml', b'<error')
# Fields of protocol buffers, as far as they tell: onnx.proto, graph.proto, caffe.proto; a map of MessagePack.
_FIELDS = (
    (
        re.compile(
            rb'\x08[\x03-\x20]'
            rb'(?:\x12.(pytorch|onnx|tf2onnx|keras2onnx|paddle)|(?:[\x12\x1a\x22\x32].[ -~]*|\x28.)*[:B].)',
            re.DOTALL,
        ),
        _ONNX,
    ),
    (re.compile(rb'(?:[\x81-\x8f]|\xde..)[\xa1-\xbf]\w', re.DOTALL), _FLAX),
    (re.compile(rb'\n.{1,3}?\n.[\w./-]+\x12.(Const|Placeholder|VariableV2|Identity|NoOp)', re.DOTALL), _GRAPH),
    (re.compile(rb'\n.[\w./ -]+(\x12|\xa2\x06).{1,5}?[\n\x12\x1a\x22].[\w./ -]+[\x12\x1a\x22]', re.DOTALL), _CAFFE),
)


def foreign_kind(path: Path) -> Kind | None:
    """What a file is if it is of another kind than this package's checkpoints; None if it may be one.

    Its first bytes tell where they are telling; its name otherwise.
    """
    with open(path, 'rb') as file:
        begin = file.read(BEGIN)
        file.seek(max(0, path.stat().st_size - 8))
        end = file.read(8)
    suffix = path.suffix.lower()
    if begin.startswith(TORCH):  # archives of others look the same: their reader tells them apart
        return BY_SUFFIX[suffix] if suffix in ('.npz', '.keras') else None
    if is_safetensors(begin, path.stat().st_size):
        return None
    if suffix == '.npz' and begin.startswith(b'\x93NUMPY'):
        return BY_SUFFIX[suffix]  # whose reader says that it is none
    if suffix == '.mat' and begin.startswith(b'\x89HDF'):
        return _MATLAB  # of version 7.3
    for offset, magic, kind in BY_CONTENT:
        if begin[offset:].startswith(magic):
            return kind
    if end == TABLE_END:
        return _TABLE
    if begin.lstrip(b'\xef\xbb\xbf \r\n\t').lower().startswith(_PAGE):
        return Kind('a web page, which a server sent in its place', 'download it again, by the link of the file itself')
    kinds = [kind for pattern, kind in BY_NAME if pattern.search(path.name)]
    kinds += [BY_SUFFIX[suffix]] if suffix in BY_SUFFIX else []
    kinds += [kind for pattern, kind in _FIELDS if pattern.match(begin)]
    kinds += [_TEXT] if _is_text(begin, end) else []
    return next(iter(kinds), None)


def _is_text(begin: bytes, end: bytes) -> bool:
    """Whether a file that begins and ends so is a text, and no pickle of protocol 0."""
    if begin[:1] in PICKLED and end.endswith(b'.'):
        return False
    try:
        text = begin.decode()
    except UnicodeDecodeError as error:
        if error.start < BEGIN - 3:  # else a character is cut
            return False
        text = begin[: error.start].decode()
    return bool(text) and all(character.isprintable() or character in '\t\n\r' for character in text)


def is_safetensors(begin: bytes, size: int) -> bool:
    """Whether a file of `size` bytes that begins so is in the safetensors format."""
    return begin[8:9] == b'{' and 0 < struct.unpack('<Q', begin[:8])[0] <= size - 8


def folder_kind(path: Path) -> str:
    """What a folder that was given as a checkpoint holds, and what to do."""
    names = sorted((file.name for file in path.iterdir()), key=lambda name: (len(name), name))
    if 'saved_model.pb' in names:
        return f'it is a SavedModel of TensorFlow: give its variables/variables.index and {_CONVERT}'
    if '.metadata' in names and any(name.endswith('.distcp') for name in names):
        return (
            'it is a distributed checkpoint of PyTorch: python -m torch.distributed.checkpoint.format_utils '
            f'dcp_to_torch {path} NEW.pth'
        )
    if 'data.pkl' in names:
        return (
            'it is an unpacked .pth file: pack it again as it was (zip -0 -r NEW.pth FOLDER), or copy the file itself'
        )
    if '_METADATA' in names or '_CHECKPOINT_METADATA' in names or 'manifest.ocdbt' in names:
        return f'it is a checkpoint of Orbax (JAX): {_TO_PTH}'
    if path.suffix == '.mlpackage':
        return f'it is a model of Core ML: {_ORIGIN}'
    if any(map(PART.search, names)):
        return 'it is a checkpoint in several files: save the network in one, by the library that wrote them'
    files = [name for name in names if Path(name).suffix in (*CHECKPOINTS, '.bin', '.ckpt')]
    pointer = path / 'last_checkpoint'
    if files:
        named = [Path(pointer.read_text(errors='replace').strip()).name] if pointer.is_file() else []
        shown = [name for name in named if name in files] or files[:5]
        return f'give a file in it, {" or ".join(shown)}'
    others = [name for name in names if (kind := BY_SUFFIX.get(Path(name).suffix.lower())) and kind.reader]
    if others:
        return f'it holds no {", ".join(CHECKPOINTS)} file; {_CONVERT.replace("FILE", str(path / others[0]))}'
    return f'it holds no {", ".join(CHECKPOINTS)} file'
