"""What a file is that is no checkpoint of PyTorch, and what to do with it."""

from pathlib import Path

SUFFIXES = ('.pth', '.pt', '.safetensors')

_TO_NPZ = 'save its variables by name with numpy.savez, then: python tools/convert_checkpoint.py FILE.npz NEW.pth'
_TO_PTH = 'in its own framework save a dict of numpy arrays by name with numpy.savez, and convert that'
BY_SUFFIX = {
    '.py': (
        'a config, not a checkpoint',
        'the config comes first: python tools/test.py CONFIG CHECKPOINT',
    ),
    '.pdparams': ('a checkpoint of PaddlePaddle', _TO_PTH),
    '.pdopt': ('the optimizer of PaddlePaddle', 'it has no counterpart here'),
    '.pdmodel': ('a program of PaddlePaddle', _TO_PTH),
    '.h5': ('an HDF5 file, as Keras writes them', _TO_PTH),
    '.hdf5': ('an HDF5 file, as Keras writes them', _TO_PTH),
    '.keras': ('a model of Keras', _TO_PTH),
    '.pb': ('a graph of TensorFlow, its weights frozen in', _TO_NPZ),
    '.tflite': ('a model of TensorFlow Lite', _TO_NPZ),
    '.index': ('the index of a TensorFlow checkpoint', _TO_NPZ),
    '.data-00000-of-00001': ('the variables of a TensorFlow checkpoint', _TO_NPZ),
    '.caffemodel': (
        'a model of Caffe',
        'take the weights in one of the layouts that docs/checkpoints.md lists (vgg, kazuto), or save a dict of its '
        'blobs by those names with numpy.savez',
    ),
    '.prototxt': ('the description of a Caffe network, without its weights', 'give the file with the weights'),
    '.mat': ('a file of MATLAB, as MatConvNet writes them', _TO_PTH),
    '.onnx': ('an ONNX program', 'give the checkpoint that it was exported from'),
    '.engine': ('a program of TensorRT', 'give the checkpoint that it was exported from'),
    '.params': ('a checkpoint of MXNet', _TO_PTH),
    '.gguf': ('a GGUF file of a language model', 'give a checkpoint of this network'),
    '.npz': (
        'an archive of numpy arrays',
        'convert it: python tools/convert_checkpoint.py FILE.npz NEW.pth',
    ),
    '.npy': ('one numpy array', 'give a checkpoint'),
    '.json': ('a JSON file, as logs are', 'give the checkpoint beside it'),
    '.log': ('a log', 'give the checkpoint beside it'),
}
_UNPACK = ('an archive', 'unpack it and give the checkpoint inside')
BY_CONTENT = (
    (0, b'version https://git-lfs', ('a pointer of Git LFS, not the file itself', 'fetch it: git lfs pull')),
    (0, b'\x89HDF\r\n\x1a\n', BY_SUFFIX['.h5']),
    (0, b'MATLAB ', BY_SUFFIX['.mat']),
    (0, b'\x1f\x8b', _UNPACK),
    (0, b'BZh', _UNPACK),
    (0, b'7z\xbc\xaf', _UNPACK),
    (0, b'Rar!', _UNPACK),
    (0, b'\xfd7zXZ', _UNPACK),
    (257, b'ustar', _UNPACK),
    (0, b'\x93NUMPY', BY_SUFFIX['.npy']),
    (0, b'GGUF', BY_SUFFIX['.gguf']),
    (0, b'\x89PNG', ('a picture', 'give a checkpoint')),
    (0, b'\xff\xd8\xff', ('a picture', 'give a checkpoint')),
)
_PAGE = (b'<!doctype', b'<html', b'<?xml')


def foreign_kind(path: Path) -> tuple[str, str] | None:
    """What a file is if it is of another kind than this package's checkpoints, and what to do; None if it may be one.

    Its name tells where it is telling; the first bytes otherwise.
    """
    with open(path, 'rb') as file:
        begin = file.read(512)
    for offset, magic, kind in BY_CONTENT:
        if begin[offset:].startswith(magic):
            return kind
    if begin.lstrip().lower().startswith(_PAGE):
        return 'a web page, which a server sent in its place', 'download it again, by the link of the file itself'
    return BY_SUFFIX.get(path.suffix.lower())


def folder_kind(path: Path) -> str:
    """What a folder that was given as a checkpoint holds, and what to do."""
    if (path / 'saved_model.pb').exists():
        return f'it is a SavedModel of TensorFlow: {_TO_NPZ}'
    files = sorted((file.name for file in path.iterdir() if file.suffix in SUFFIXES), key=len)
    pointer = path / 'last_checkpoint'
    if files:
        named = [Path(pointer.read_text(errors='replace').strip()).name] if pointer.is_file() else []
        shown = [name for name in named if name in files] or files[:5]
        return f'give a file in it, {" or ".join(shown)}'
    return f'it holds no {", ".join(SUFFIXES)} file'
