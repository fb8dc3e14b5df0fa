"""Reading the file of another codebase, whatever its format: its parameters by their names there."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from ..errors import UserError
from .archive_file import unpack
from .bundle_file import read_bundle
from .caffe_file import read_caffe
from .containers import network, only_known, without_prefix
from .foreign import foreign_kind
from .graph_file import read_graph
from .h5_file import read_h5
from .load import check_weights, explained, load_file
from .npz_file import read_npz
from .pickle_file import read_pickle


class Source(NamedTuple):
    """What was read.

    Attributes:
        state: Parameters, without a prefix that all names share.
        checkpoint: All that the file holds.
        notes: What a person should know of the choice of the parameters.
    """

    state: dict[str, Tensor]
    checkpoint: dict
    notes: list[str]


def read_source(path: str | Path, ema: bool = False) -> Source:
    """Read a checkpoint of any codebase, without running code from it.

    Args:
        path: A `.pth`, `.safetensors`, `.npz`, `.pdparams`, `.pkl` or `.h5` file, a TensorFlow checkpoint (its
            `.index`, or the name without that), a frozen graph `.pb`, a `.caffemodel`, or a tar archive with one of
            these.
        ema: Take averaged weights, which a file may hold beside the plain ones.

    Raises:
        UserError: If the file can't be read, holds no parameters, several networks, or no averages where `ema` asks
            for them.
    """
    path = Path(path)
    checkpoint = _read(path)
    try:
        found, notes = network(checkpoint, ema)
        state, aside = only_known(without_prefix(found))
    except UserError as error:
        raise UserError(f'{path}: {error}') from error
    if aside:
        notes.append(f'Left aside, as it is no part of the network: {", ".join(aside[:5])}{", ..." * (len(aside) > 5)}')
    if not state:
        raise UserError(f'{path} holds no parameters; its keys are {list(checkpoint)[:5]}')
    return Source(state, checkpoint, notes)


def _read(path: Path) -> dict:
    """What a file holds, by the reader of its kind."""
    index = path.with_name(f'{path.name}.index')
    if not path.exists() and index.is_file():  # TensorFlow names a checkpoint by what its files' names share
        path = index
    kind = foreign_kind(path) if path.is_file() and path.stat().st_size else None
    if kind is None or not kind.reader:
        return load_file(path)
    with explained(path, 'Take another file of these weights'):
        checkpoint = READERS[kind.reader](path)
    check_weights(path, checkpoint)
    return checkpoint


def _read_archive(path: Path) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        try:
            return _read(unpack(path, Path(folder)))
        except UserError as error:
            raise type(error)(f'{path}: {str(error).replace(f"{folder}/", "in it, ")}') from error


READERS: dict[str, Callable[[Path], dict]] = dict(
    archive=_read_archive,
    bundle=read_bundle,
    caffe=read_caffe,
    graph=read_graph,
    h5=read_h5,
    npz=read_npz,
    pickle=read_pickle,
)
