"""Reading checkpoints: weights-only, whatever the path they come in by.

The stack reads a local file with full unpickling where weights-only reading fails (the forks) or cannot read its own
checkpoints at all (upstream, on torch >= 2.6), and unpickles whatever comes by http. Importing this module replaces
every loader of MMEngine by one that calls `load_file`, so that `load_from`, `--resume`, `init_cfg` and `init_model`
are covered alike.
"""

import difflib
import hashlib
import json
import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import mmengine
import numpy as np
import torch
from mmengine.dist import barrier, get_dist_info
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader
from mmengine.runner import checkpoint as stack

from ..errors import UserError, UserFileNotFoundError
from ..upstream import loader_schemes, mmcls_backbone, mmengine_home

try:
    from numpy._core import multiarray
except ImportError:  # numpy 1
    from numpy.core import multiarray

SUFFIXES = ('.pth', '.pt', '.safetensors')
STATISTICS = ('min', 'max', 'mean', 'current')


def _statistic(owner: Any, name: str) -> Callable:
    """What a pickle gets as `getattr`: a HistoryBuffer refers to its statistics by it, and nothing else may."""
    if owner is HistoryBuffer and name in STATISTICS:
        return getattr(HistoryBuffer, name)
    raise pickle.UnpicklingError(f'getattr({owner!r}, {name!r}) is not allowed')


def _plain_dtype(name: Any, *args: Any) -> np.dtype:
    """`numpy.dtype` for numbers and strings, not for Python objects."""
    dtype = np.dtype(name, *args)
    if dtype.kind not in 'biufcSU':
        raise pickle.UnpicklingError(f'numpy type {dtype} is not allowed')
    return dtype


# What an OpenMMLab checkpoint holds beside tensors: the logged scalars and numpy values of its message hub.
ALLOWED = [
    HistoryBuffer,
    np.ndarray,
    (_statistic, 'builtins.getattr'),
    (_plain_dtype, 'numpy.dtype'),
    *(
        (function, f'numpy.{core}.multiarray.{function.__name__}')
        for core in ('core', '_core')
        for function in (multiarray._reconstruct, multiarray.scalar)
    ),
    *{type(np.dtype(code)) for code in '?bBhHiIlLqQefdFDSU'},
]


def load_file(path: str | Path, map_location: Any = 'cpu') -> dict:
    """Read a checkpoint without running code from it.

    Args:
        path: A `.pth` or `.pt` file of torch, or `.safetensors`. A file without a suffix is read as torch's.
        map_location: As of `torch.load`.

    Returns:
        What the file holds: a state dict, or a dict with `state_dict` and more.

    Raises:
        FileNotFoundError: If there is no such file; near names are suggested.
        ValueError: If it is cut short, no checkpoint, or holds anything but weights and plain values.
    """
    path = Path(os.path.expanduser(path))
    if not path.is_file():
        raise UserFileNotFoundError(_not_found(path))
    if path.suffix == '.pkl':
        raise UserError(
            f'{path} is a Python pickle, which can run code when it is read, so it is not read at all. In a place '
            f"where you trust it: torch.save({{k: torch.as_tensor(v) for k, v in pickle.load(f)['model'].items()}}, "
            f"'{path.with_suffix('.pth').name}')"
        )
    if path.stat().st_size == 0:
        raise UserError(f'{path} is empty: copy or download it again')
    checkpoint = _read_safetensors(path) if path.suffix == '.safetensors' else _read_torch(path, map_location)
    if not isinstance(checkpoint, dict):
        raise UserError(
            f'{path} is no checkpoint: it holds one {type(checkpoint).__name__}, not a dict of parameters. '
            f'Save model.state_dict() of it'
        )
    return checkpoint


def _not_found(path: Path) -> str:
    message = f'there is no checkpoint {path}'
    if not path.parent.is_dir():
        return f'{message}: its folder {path.parent} does not exist. Check the path'
    files = [p.name for p in path.parent.iterdir() if p.suffix in SUFFIXES]
    near = difflib.get_close_matches(path.name, files, n=3, cutoff=0.5)
    return f'{message}. ' + (f'Did you mean {" or ".join(near)}?' if near else f'{path.parent} holds {files[:5]}')


def _read_torch(path: Path, map_location: Any) -> Any:
    # What this process has allowed before, maybe the real getattr, is put aside: torch would take either at random.
    allowed = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    try:
        torch.serialization.add_safe_globals(ALLOWED)
        return torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r'GLOBAL (\S+)|getattr\(.*\) is not allowed|numpy type \S+', str(error))
        if found is None:
            raise UserError(f'{path} is no checkpoint of torch or it is damaged: download it again') from error
        raise UserError(
            f'{path} is refused: it holds Python objects beside weights ({found.group(1) or found.group(0)}), and '
            f'such a file can run code when it is read. Ask for a file with the state dict only, or save '
            f'model.state_dict() again in a place where you trust it'
        ) from error
    except (RuntimeError, EOFError, KeyError, ValueError, IndexError, TypeError, AttributeError, OSError) as error:
        if isinstance(error, RuntimeError) and 'CUDA' in str(error):
            raise  # the device is at fault, not the file
        raise UserError(
            f'{path} ({path.stat().st_size} bytes) is cut short or no checkpoint: copy or download it again, or take '
            f'an earlier one ({error})'
        ) from error
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(allowed)


def _read_safetensors(path: Path) -> dict:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework='pt') as file:
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118, not a dict
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise UserError(f'{path} is cut short or not in the safetensors format: get it again ({error})') from error
    if 'meta' not in metadata:
        return state
    try:
        return dict(state_dict=state, meta=json.loads(metadata['meta']))
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: its metadata 'meta' is not JSON ({error}): write it by json.dumps") from error


# MMEngine logs the name of a loader without its first ten characters, 'load_from_'.
def load_from_local(filename: str, map_location: Any = None) -> dict:
    """Read a local file; a scheme that nobody registered is refused here."""
    if re.match(r'[\w.+-]+(:\w+)?://', filename):
        return load_from_elsewhere(filename)
    return load_file(filename, map_location)


def load_from_http(filename: str, map_location: Any = None) -> dict:
    """Download once to torch's cache (each machine for itself) and read it from there."""
    path = _cached(filename)
    if get_dist_info()[0] == 0 and not path.exists():
        _download(filename, path)
    barrier()
    if not path.exists():
        _download(filename, path)
    return load_file(path, map_location)


def _cached(url: str) -> Path:
    """Where a download is kept: where torch keeps it if its name tells its content, else in a folder of its URL."""
    folder, name = Path(torch.hub.get_dir()) / 'checkpoints', os.path.basename(urlparse(url).path)
    if re.search(r'-[0-9a-f]{8,}\.', name):  # the hash that torch and OpenMMLab put there
        return folder / name
    return folder / hashlib.sha256(url.encode()).hexdigest()[:8] / name


def _download(url: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(url, str(path), progress=os.isatty(2))
    except OSError as error:
        raise UserFileNotFoundError(
            f'cannot download {url} ({error}): download it by other means and give the path of the file'
        ) from error


def load_from_torchvision(filename: str, map_location: Any = None) -> dict:
    """Look the name up in MMEngine's list of torchvision's models and load its URL."""
    return load_from_http(_url(filename, torchvision_models()), map_location)


def torchvision_models() -> dict[str, str]:
    """URLs by name. MMEngine's own look-up reads the same list, but only where torchvision is installed."""
    return json.loads((Path(mmengine.__file__).parent / 'hub' / 'torchvision_0.12.json').read_text())


def load_from_openmmlab(filename: str, map_location: Any = None) -> dict:
    """Look the name up in MMEngine's list and load its URL or local file."""
    scheme, name = filename.split('://', 1)
    name = stack.get_deprecated_model_names().get(name, name)
    url = _url(f'{scheme}://{name}', stack.get_external_models())
    if url.startswith(('http://', 'https://')):
        return load_from_http(url, map_location)
    return load_file(mmengine_home() / url, map_location)


def load_from_mmcls(filename: str, map_location: Any = None) -> dict:
    """Look the name up in MMEngine's list of classification models and take their backbone."""
    checkpoint = load_from_http(_url(filename, stack.get_mmcls_models()), map_location)
    return mmcls_backbone(checkpoint)


def _url(filename: str, urls: dict[str, str]) -> str:
    name = filename.split('://', 1)[1]
    if name not in urls:
        near = difflib.get_close_matches(name, urls, n=3)
        raise UserError(f'{filename} is unknown' + (f'; did you mean {", ".join(near)}?' if near else ''))
    return urls[name]


def load_from_elsewhere(filename: str, map_location: Any = None) -> dict:
    """Refuse storage whose loader would unpickle what it gets."""
    raise UserError(
        f'checkpoints are not read from {filename.split("://", 1)[0]}://, only from local files, http, https, '
        f'torchvision:// and openmmlab://. Copy {filename} to a local file and give its path'
    )


def register_loaders() -> None:
    """Put the loaders above in the place of all of MMEngine's, known and unknown ones alike."""
    loaders = {
        '': load_from_local,
        'http://': load_from_http,
        'https://': load_from_http,
        'torchvision://': load_from_torchvision,
        'modelzoo://': load_from_torchvision,
        'open-mmlab://': load_from_openmmlab,
        'openmmlab://': load_from_openmmlab,
        'mmcls://': load_from_mmcls,
    }
    for prefix in {*loader_schemes(), *loaders}:
        CheckpointLoader.register_scheme(prefix, loaders.get(prefix, load_from_elsewhere), force=True)


register_loaders()
