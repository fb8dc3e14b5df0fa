"""A checkpoint for others: weights alone, with what they need to know, under a name that tells its content."""

import ast
import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import UserError
from .save import atomic_write, save_file

HASH = 8
"""Digits of the SHA-256 in the name, as PyTorch's hub has them."""


def publish_file(state: dict[str, Tensor], meta: dict[str, Any], config: str, out: Path) -> tuple[Path, Path]:
    """Write `OUT-HASH.safetensors` and `OUT-HASH.py`, each whole or not at all.

    Args:
        state: The parameters.
        meta: Goes into the file's metadata; the config is added.
        config: Text of the config.
        out: Folder and first part of the name; folders that are missing are made.

    Returns:
        Both paths. HASH is the beginning of the SHA-256 of the weights' file.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix='.publish') as folder:
        file = Path(folder, 'weights.safetensors')
        save_file(dict(state_dict=state, meta={**meta, 'cfg': config}), file)
        digest = hashlib.sha256()
        with open(file, 'rb') as content:
            while block := content.read(1 << 20):
                digest.update(block)
        weights = out.with_name(f'{out.name}-{digest.hexdigest()[:HASH]}.safetensors')
        beside = weights.with_suffix('.py')
        with atomic_write(beside) as text:
            text.write(config.encode())
        os.replace(file, weights)
    return weights, beside


def plain_config(checkpoint: dict, source: str) -> str:
    """The text of the config that a training has left in its checkpoint, if it is nothing but values.

    Raises:
        UserError: If there is none, or one that does something when it is read.
    """
    meta = checkpoint.get('meta')
    text = meta.get('cfg') if isinstance(meta, dict) else None
    if not isinstance(text, str):
        raise UserError(f'{source} does not hold the config that it was trained with: give it by --config CONFIG')
    try:
        statements = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UserError(f'the config in {source} can not be read ({error}): give it by --config CONFIG') from error
    if not all(isinstance(each, ast.Assign) and _is_value(each.value) for each in statements):
        raise UserError(f'the config in {source} is more than values: give one that you trust by --config CONFIG')
    return text


def _is_value(node: ast.expr) -> bool:
    """Whether an expression is made of constants, lists, tuples, dicts and `dict(...)` alone."""
    if isinstance(node, ast.Call):
        named = isinstance(node.func, ast.Name) and node.func.id == 'dict' and not node.args
        return named and all(each.arg is not None and _is_value(each.value) for each in node.keywords)
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        return all(map(_is_value, node.elts))
    if isinstance(node, ast.Dict):
        return all(key is not None and _is_value(key) for key in node.keys) and all(map(_is_value, node.values))
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant)
    return isinstance(node, ast.Constant)
