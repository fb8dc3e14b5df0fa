"""Config files: the ready ones are found by name, wherever the package is installed."""

import ast
import difflib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config

from .errors import UserError, UserFileNotFoundError

PACKAGE = Path(__file__).resolve().parent
CHECKPOINTS = ('.pth', '.pt', '.safetensors')
"""Suffixes of the files of weights that are read as they are, and are no configs."""
# The wheel holds them inside of the package; a clone has them at its top.
FOLDER = next((folder for folder in (PACKAGE / 'configs', PACKAGE.parent / 'configs') if folder.is_dir()), PACKAGE)


def ready_configs() -> list[str]:
    """The names of the ready configs, such as 'deeplabv3plus_r101_voc' and 'baselines/unet_voc'."""
    return sorted(name for name in _names() if not name.startswith('_base_/'))


def find_config(config: str | Path) -> Path:
    """Find a config file.

    Args:
        config: Path of a file, or the name of a ready one, with or without '.py'; also of one in a subfolder, such as
            '_base_/datasets/voc12'.

    Raises:
        UserFileNotFoundError: If there is none; the message has the names that are nearest.
        UserError: If it is a folder or a checkpoint.
    """
    path = Path(config)
    if path.suffix in CHECKPOINTS:
        raise UserError(f'{path} is a checkpoint, not a config: the config comes first, then the checkpoint')
    if path.is_file():
        return path
    name = path.as_posix().removesuffix('.py')
    ready = {name: FOLDER / f'{name}.py' for name in _names()}
    if name in ready:
        return ready[name]
    if path.is_dir():
        raise UserError(f'config {path} is a folder; name the .py file in it')
    # A path that leads nowhere is not taken for a name: the file that was meant may be another one.
    last = name.rpartition('/')[2]
    near = [*(n for n in ready if n.rpartition('/')[2] == last), *difflib.get_close_matches(name, ready, 3, 0.7)]
    near = [repr(name) for name in dict.fromkeys(near)]
    ask = f'did you mean {" or ".join(near)}?' if near else '`deeplab config` lists the ready ones'
    raise UserFileNotFoundError(f'config {path} does not exist, neither as a file nor by name as a ready one; {ask}')


def read_config(config: str | Path) -> Config:
    """Read a config file that `find_config` finds.

    Raises:
        UserError: If it can't be found or read.
    """
    path = find_config(config)
    try:
        return Config.fromfile(path)
    except Exception as error:
        raise UserError(f'config {path} can not be read: {type(error).__name__}: {error}') from error


def with_bases(path: Path) -> list[Path]:
    """A config file after the files that it is based on, each once, in the order in which they are read."""
    found: list[Path] = []
    for node in _base_nodes(path.read_text(encoding='utf-8')):
        found += with_bases(path.parent / node.value)
    return list(dict.fromkeys([*(each.resolve() for each in found), path.resolve()]))


def copy_for(path: Path, target: Path) -> str:
    """The text of a config file as it has to be where it is copied to: its `_base_` leads to the same files.

    Within the repository's folder of configs the bases are named relative to the copy, elsewhere by their whole paths.
    """
    text = path.read_text(encoding='utf-8')
    lines = text.splitlines(keepends=True)
    folder = target.resolve().parent
    for node in reversed(list(_base_nodes(text))):
        base = (path.parent / node.value).resolve()
        if folder.is_relative_to(FOLDER):
            base = Path(os.path.relpath(base, folder))
        # Columns count bytes.
        line = lines[node.lineno - 1].encode()
        new = line[: node.col_offset] + repr(base.as_posix()).encode() + line[node.end_col_offset :]
        lines[node.lineno - 1] = new.decode()
    return ''.join(lines)


def _names() -> Iterator[str]:
    return (path.relative_to(FOLDER).with_suffix('').as_posix() for path in sorted(FOLDER.rglob('*.py')))


def _base_nodes(text: str) -> Iterator[Any]:
    """The strings in a config's `_base_ = ...`, in order."""
    for statement in ast.parse(text).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == '_base_':
            nodes: list[Any] = [node for node in ast.walk(statement.value) if isinstance(node, ast.Constant)]
            nodes = [node for node in nodes if '::' not in node.value]  # of another package, wherever the config lies
            yield from sorted(nodes, key=lambda node: (node.lineno, node.col_offset))
