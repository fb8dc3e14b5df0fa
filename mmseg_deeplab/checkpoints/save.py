"""Writing checkpoints: whole or not at all."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import torch

from ..errors import UserError


@contextmanager
def atomic_write(path: str | Path) -> Iterator[IO[bytes]]:
    """Open `path` for writing so that it is either the old or the new file, never a part of one.

    Writes a hidden file beside it (`.NAME.PID.tmp`), flushes that to the disk and renames it.
    """
    path = Path(path)
    temporary = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
    try:
        with open(temporary, 'wb') as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if os.name == 'posix':  # the rename itself reaches the disk with its folder
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def remove_unfinished(folder: str | Path) -> list[Path]:
    """Delete what an interrupted `atomic_write` left in a folder, and name it."""
    leftovers = sorted(Path(folder).glob('.*.tmp'))
    for path in leftovers:
        path.unlink(missing_ok=True)
    return leftovers


def save_file(checkpoint: Mapping, path: str | Path) -> None:
    """Write a checkpoint atomically.

    Args:
        checkpoint: `{'state_dict': ..., 'meta': ...}` or a plain state dict.
        path: `.pth` or `.pt` for torch's format, which keeps everything; `.safetensors` keeps the weights and `meta`,
            but no optimizer.

    Raises:
        ValueError: If the suffix is another.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in ('.pth', '.pt'):
        with atomic_write(path) as file:
            torch.save(checkpoint, file)
    elif path.suffix == '.safetensors':
        from safetensors.torch import save

        state = checkpoint.get('state_dict', checkpoint)
        # safetensors refuses tensors that share memory or are not contiguous
        tensors = {key: value.detach().cpu().clone().contiguous() for key, value in state.items()}
        meta = json.dumps(checkpoint.get('meta', {}), default=lambda value: value.tolist())
        with atomic_write(path) as file:
            file.write(save(tensors, metadata={'meta': meta}))
    else:
        raise UserError(f'cannot write a checkpoint as {path}: name it .pth, .pt or .safetensors')
