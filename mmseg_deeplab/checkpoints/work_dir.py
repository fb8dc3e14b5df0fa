"""The checkpoints of a training's folder: which to resume from, and which are left over from a kill."""

import re
from pathlib import Path

from ..errors import UserError
from .load import load_file

LAST = 'last_checkpoint'
VALIDATED = 'validated_iter'
"""Under this name the runtime_info of a checkpoint tells after which iteration the latest validation was."""


def number_in(template: str) -> re.Pattern:
    """Matches names made from a template such as `iter_{}.pth`, with the number as a group."""
    return re.compile(re.escape(template).replace(r'\{\}', r'(\d{1,18})'))


def newest_checkpoint(folder: Path, template: str = 'iter_{}.pth') -> tuple[Path | None, list[str]]:
    """Find what a training can be resumed from.

    The one that `last_checkpoint` names is not the newest where a training was killed between writing a checkpoint and
    naming it: one with a larger number that was written later wins. (An older file with a larger number is of another
    training in the same folder.)

    Args:
        folder: The work dir.
        template: Name of a checkpoint, with `{}` for its number.

    Returns:
        The newest checkpoint that can be read, and what was wrong with those that were passed over.
    """
    problems: list[str] = []
    pattern = number_in(template)
    numbered = {path: int(m[1]) for path in folder.iterdir() if (m := pattern.fullmatch(path.name))}
    by_number = sorted(numbered, key=numbered.__getitem__, reverse=True)
    candidates = by_number
    named = named_checkpoint(folder, problems)
    if named is not None:
        newer = []
        if named.is_file():
            match = pattern.fullmatch(named.name)
            number, time = int(match[1]) if match else -1, named.stat().st_mtime_ns
            newer = [path for path in by_number if numbered[path] > number and path.stat().st_mtime_ns > time]
        candidates = [*newer, named, *by_number]
    for path in dict.fromkeys(candidates):
        try:
            checkpoint = load_file(path)
        except UserError as error:
            problems.append(f'Not resumed from {path}: {error}')
            continue
        if 'optimizer' in checkpoint and 'iter' in (checkpoint.get('meta') or {}):
            return path, problems
        problems.append(f'{path} holds weights only, no training state: not resumed from')
    return None, problems


def named_checkpoint(folder: Path, problems: list[str]) -> Path | None:
    """The file that `last_checkpoint` names; one of that name in the folder, if the folder was moved."""
    pointer = folder / LAST
    if not pointer.is_file():
        return None
    text = pointer.read_bytes()[:4097].decode('utf-8', 'replace').strip()
    if not text:
        return None
    try:
        if len(text) > 4096 or not text.isprintable():
            raise ValueError
        named = Path(text)
        return named if named.is_file() else folder / named.name
    except (OSError, ValueError):
        problems.append(f'{pointer} does not hold the name of a file; looking for the newest checkpoint beside it')
        return None


def unnoticed_best(folder: Path, template: str, info: dict, last: str) -> dict[Path, dict]:
    """Best checkpoints that a training wrote and was killed before its latest checkpoint could tell of them.

    Args:
        folder: Where they lie.
        template: Name of a checkpoint; the best are called best_SCORE_NAME.
        info: What the latest checkpoint tells of the training (the message hub's runtime_info).
        last: Name of the latest checkpoint.

    Returns:
        For each such file its own runtime_info.
    """
    pattern = re.compile(r'best_.+_' + number_in(template).pattern)
    known = {Path(str(path)).name for key, path in info.items() if key.startswith('best_ckpt')}
    found = {}
    for path in sorted(folder.glob('best_*')):
        if path.name in known or not pattern.fullmatch(path.name):
            continue
        try:
            own = load_file(path)['message_hub']['runtime_info']
            if Path(own['last_ckpt']).name == last:  # written next after the latest checkpoint, by this training
                found[path] = own
        except (UserError, KeyError, TypeError):
            continue
    return found


def best_of(info: dict, name: str) -> dict:
    """The entries of a runtime_info that tell of the best checkpoint `name`: its path and its score."""
    keys = [key for key, path in info.items() if key.startswith('best_ckpt') and Path(str(path)).name == name]
    return {k: info[k] for key in keys for k in (key, key.replace('best_ckpt', 'best_score', 1)) if k in info}
