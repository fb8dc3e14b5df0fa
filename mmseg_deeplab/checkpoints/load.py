"""Reading checkpoints: weights and plain values only, whatever the path they come in by.

The stack reads a local file with full unpickling where weights-only reading fails (the forks) or cannot read its own
checkpoints at all (upstream, on torch >= 2.6), and unpickles whatever comes by http. Importing this module replaces
every loader of MMEngine by one that calls `load_file`, so that `load_from`, `--resume`, `init_cfg` and `init_model`
are covered alike.
"""

import contextlib
import difflib
import importlib
import json
import os
import re
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import mmengine
import torch
from mmengine.runner import CheckpointLoader
from mmengine.runner import checkpoint as stack

from ..config_files import CHECKPOINTS
from ..errors import UserError, UserFileNotFoundError, UserImportError, UserOSError
from ..upstream import loader_schemes, mmcls_backbone, mmengine_home
from .containers import as_tensor, find_networks
from .download import fetch
from .foreign import BY_SUFFIX, TORCH, folder_kind, foreign_kind, is_safetensors
from .pickles import CodeError, DamagedError, OtherKindError, RefusedError
from .safetensors_file import read_safetensors
from .torch_file import read_torch_file

MIN_TORCH = (2, 10)
"""Older ones have a way through the reader of weights alone (CVE-2026-24747), which other code of a process uses."""
SAVE_AGAIN = 'Ask for a file with the state dict only, or save model.state_dict() again in a place where you trust it'


def check_torch(version: str) -> None:
    """Raise a `UserImportError` for a version of PyTorch that should read no checkpoints."""
    if tuple(int(number) for number in re.findall(r'\d+', version)[:2]) < MIN_TORCH:
        raise UserImportError(
            f'torch {version} has a security hole in its reading of checkpoints (CVE-2026-24747): '
            f"pip install 'torch>={MIN_TORCH[0]}.{MIN_TORCH[1]}'"
        )


check_torch(torch.__version__)


def load_file(path: str | Path, map_location: Any = 'cpu') -> dict:
    """Read a checkpoint without running code from it.

    Every byte of its records is checked against their checksums, and its weights are dense, real and finite. What it
    unpacks to takes no more than 16 times the size of the file (and 64 MiB).

    Args:
        path: A `.pth` or `.pt` file of torch, or `.safetensors`. A file without a suffix is read as torch's.
        map_location: As of `torch.load`.

    Returns:
        What the file holds: a state dict, or a dict with `state_dict` and more.

    Raises:
        UserFileNotFoundError: If there is no such file; near names are suggested.
        UserError: If it is cut short, damaged, no checkpoint, or holds anything but weights and plain values.
    """
    path = Path(os.path.expanduser(path))
    with explained(path):
        check_path(path)
        kind = foreign_kind(path)
        if kind is not None:
            raise OtherKindError(f'{kind.what}: {kind.do}')
        with open(path, 'rb') as file:
            begin = file.read(len(TORCH[1]))
        if is_safetensors(begin, path.stat().st_size) or (
            path.suffix == '.safetensors' and not begin.startswith(TORCH)
        ):
            checkpoint = read_safetensors(path, map_location)
        else:
            checkpoint = read_torch_file(path, map_location)
    if not isinstance(checkpoint, dict):
        raise UserError(
            f'{path} is no checkpoint: it holds one {type(checkpoint).__name__}, not a dict of parameters. '
            f'Save model.state_dict() of it'
        )
    check_weights(path, checkpoint)
    return checkpoint


@contextlib.contextmanager
def explained(path: Path, advice: str = SAVE_AGAIN) -> Generator[None, None, None]:
    """Make sentences about a file of what readers say of its content, as `UserError`; refusals get `advice`."""
    try:
        yield
    except CodeError as error:
        raise UserError(
            f'{path} is refused: it holds Python objects beside weights ({error}), and such a file can run code when '
            f'it is read. {advice}'
        ) from error
    except OtherKindError as error:
        raise UserError(f'{path} is no checkpoint of PyTorch but {error}') from error
    except RefusedError as error:
        raise UserError(f'{path} is refused: it holds {error}. {advice}') from error
    except DamagedError as error:
        raise UserError(
            f'{path} ({path.stat().st_size} bytes) is cut short or damaged{_or_else(path)}: {error}. Copy or download '
            f'it again, or take an earlier one'
        ) from error
    except (MemoryError, RecursionError) as error:
        raise UserError(f'{path} can not be read: {type(error).__name__} {error}'.rstrip()) from error
    except OSError as error:
        if isinstance(error, UserError):
            raise
        raise UserOSError(f'{path} can not be read: {error.strerror or error}') from error


def _or_else(path: Path) -> str:
    """What a file may be that is not what its name says: only its first bytes tell whether it was one."""
    with open(path, 'rb') as file:
        begin = file.read(16)
    if begin.startswith(TORCH) or path.suffix not in ('.pth', '.pt', '.ckpt', '.bin', ''):
        return ''
    return f', or of a format that is not known here (it begins with {begin!r})'


def check_path(path: Path) -> None:
    """Raise a `UserError` unless there is a file that may be a checkpoint."""
    if path.is_dir():
        raise UserError(f'{path} is a folder, not a checkpoint: {folder_kind(path)}')
    if not path.exists():
        raise UserFileNotFoundError(_not_found(path))
    if not path.is_file():
        raise UserError(f'{path} is no regular file, so it can not be a checkpoint')
    if path.stat().st_size == 0:
        raise UserError(f'{path} is empty: copy or download it again')


def _not_found(path: Path) -> str:
    message = f'there is no checkpoint {path}'
    if path.with_name(f'{path.name}.index').is_file():
        return f'{message}, but one of TensorFlow: {BY_SUFFIX[".index"].do}'
    if not path.parent.is_dir():
        return f'{message}: its folder {path.parent} does not exist. Check the path'
    files = [p.name for p in path.parent.iterdir() if p.suffix in CHECKPOINTS]
    near = difflib.get_close_matches(path.name, files, n=3, cutoff=0.5)
    return f'{message}. ' + (f'Did you mean {" or ".join(near)}?' if near else f'{path.parent} holds {files[:5]}')


def check_weights(path: Path, checkpoint: Mapping) -> None:
    """Raise a `UserError` for weights that no network can be made of; the state of a training may hold more."""
    for key in ('state_dict', 'ema_state_dict'):
        if not isinstance(checkpoint.get(key, {}), Mapping):
            raise UserError(f'{path} is no checkpoint: its {key} is a {type(checkpoint[key]).__name__}, not a dict')
    for state in (checkpoint.get('state_dict', checkpoint), checkpoint.get('ema_state_dict', {})):
        strange = next((name for name in state if not isinstance(name, str)), None)
        if strange is not None:
            raise UserError(f'{path} is no checkpoint: a parameter is called {strange!r}, which is no text')
    found = find_networks(checkpoint)
    for state in (*found.plain.values(), *found.averaged.values()):
        for name, value in state.items():
            value = as_tensor(name, value)
            if value.is_complex():
                raise UserError(f'{path} is refused: {name} holds complex numbers, which no DeepLab computes with')
            if value.is_floating_point() and not value.is_meta and not _is_finite(value):
                raise UserError(
                    f'{path} is refused: {name} holds values that are not finite (NaN or infinite), as a training '
                    f'that diverged leaves them. Take an earlier checkpoint'
                )


def _is_finite(value: torch.Tensor) -> bool:
    value = value.detach()
    return bool(torch.isfinite(value if value.element_size() > 1 else value.float()).all())


# MMEngine logs the name of a loader without its first ten characters, 'load_from_'.
def load_from_local(filename: str, map_location: Any = None) -> dict:
    """Read a local file; a scheme that nobody registered is refused here."""
    if re.match(r'[\w.+-]+(:\w+)?://', filename):
        return load_from_elsewhere(filename)
    return load_file(filename, map_location)


def load_from_http(filename: str, map_location: Any = None) -> dict:
    """Download once to torch's cache (each machine for itself) and read it from there."""
    return load_file(fetch(filename), map_location)


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


def load_from_zoo(filename: str, map_location: Any = None) -> dict:
    """Get published weights of another codebase, converted."""
    zoo = importlib.import_module('.zoo', __package__)  # at its first use: it converts what is read here
    return load_file(zoo.pretrained(filename)[1], map_location)


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
        f'torchvision://, openmmlab:// and zoo://. Copy {filename} to a local file and give its path'
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
        'zoo://': load_from_zoo,
    }
    for prefix in {*loader_schemes(), *loaders}:
        CheckpointLoader.register_scheme(prefix, loaders.get(prefix, load_from_elsewhere), force=True)


register_loaders()
