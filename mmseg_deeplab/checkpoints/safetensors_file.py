"""The safetensors format: a header that says where each tensor lies, and the tensors."""

import json
import struct
from pathlib import Path
from typing import Any

from ..errors import UserError
from .pickles import DamagedError

MAX_HEADER = 10**8
"""Bytes, as in the format's own library."""


def read_safetensors(path: Path, map_location: Any = None) -> dict:
    """Read a `.safetensors` file; `meta`, a JSON text in its metadata, becomes a dict beside the `state_dict`.

    Raises:
        DamagedError: If header and file do not fit each other.
    """
    from safetensors import SafetensorError, safe_open

    _check_extent(path)
    device = 'cpu' if map_location is None or callable(map_location) or isinstance(map_location, dict) else map_location
    try:
        with safe_open(path, framework='pt', device=str(device)) as file:
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118, not a dict
            metadata = file.metadata() or {}
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedError(f'not in the safetensors format ({error})') from error
    if 'meta' not in metadata:
        return state
    try:
        meta = json.loads(metadata['meta'])
        if not isinstance(meta, dict):
            raise TypeError(f'a {type(meta).__name__}, not a dict')
    except (ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{path}: its metadata 'meta' is not JSON ({error}): write it by json.dumps") from error
    return dict(state_dict=state, meta=meta)


def _check_extent(path: Path) -> None:
    """Compare the header's length and the extent of its tensors with the file's."""
    size = path.stat().st_size
    with open(path, 'rb') as file:
        start = file.read(8)
        length = struct.unpack('<Q', start)[0] if len(start) == 8 else -1
        if not 0 < length <= min(size - 8, MAX_HEADER):
            raise DamagedError('not in the safetensors format, or its header is cut off')
        try:
            header = json.loads(file.read(length))
            ends = [entry['data_offsets'][1] for name, entry in header.items() if name != '__metadata__']
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
            raise DamagedError(f'its header is not that of the safetensors format ({error})') from error
    if any(type(end) is not int for end in ends) or max(ends, default=0) != size - 8 - length:
        raise DamagedError(f'its tensors take {max(ends, default=0)} bytes, but {size - 8 - length} follow the header')
