"""--cfg-options: reading KEY=VALUE, and applying it to a config."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.config import Config, ConfigDict

from .errors import PreflightError, suggestion
from .keys import INSTEAD, READ, check_custom_hooks, value_at

OPEN, CLOSE = '([{', ')]}'


def parse_value(text: str) -> object:
    """Return the value that a text on the command line stands for.

    Numbers, True and False in any case, None, and quoted texts are themselves; `[a, 1]`, `(a, 1)` and `a,1` are lists
    and tuples, `dict(key=value)` and `{'key': value}` groups, at any depth. Anything else is a text.

    Raises:
        ValueError: a bracket is not closed, or a part of a group is not KEY=VALUE.
    """
    text = text.strip()
    parts = _split(text)
    if len(parts) > 1:
        return [parse_value(part) for part in parts if part]
    if text.startswith('[') and text.endswith(']'):
        return [parse_value(part) for part in _split(text[1:-1]) if part]
    if text.startswith('(') and text.endswith(')'):
        return tuple(parse_value(part) for part in _split(text[1:-1]) if part)
    for start, end, sign in (('dict(', ')', '='), ('{', '}', ':')):
        if text.startswith(start) and text.endswith(end):
            return dict(_item(part, sign) for part in _split(text[len(start) : -1]) if part)
    if len(text) > 1 and text[0] in '\'"' and text[0] == text[-1]:
        return text[1:-1]
    return _plain(text)


def _item(text: str, sign: str) -> tuple[str, object]:
    key, found, value = text.partition(sign)
    if not found or not key.strip() or not value.strip():
        raise ValueError(f'KEY{sign}VALUE is wanted in place of {text!r}')
    return key.strip().strip('\'"'), parse_value(value)


def _split(text: str) -> list[str]:
    """Split a text at the commas that stand in no bracket and no quotes."""
    parts, expected, quote = [''], '', ''
    for letter in text:
        if quote:
            quote = '' if letter == quote else quote
        elif letter in '\'"' and (not parts[-1] or parts[-1][-1] in '=:,([{ '):  # an apostrophe stands elsewhere
            quote = letter
        elif letter in OPEN:
            expected += CLOSE[OPEN.index(letter)]
        elif letter in CLOSE:
            if not expected.endswith(letter):
                raise ValueError(f'{letter!r} closes nothing')
            expected = expected[:-1]
        if letter == ',' and not (quote or expected):
            parts.append('')
        else:
            parts[-1] += letter
    if quote or expected:
        raise ValueError(f'{quote or expected[-1]} is missing')
    return [part.strip() for part in parts]


def _plain(word: str) -> object:
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            pass
    return {'true': True, 'false': False}.get(word.lower(), None if word == 'None' else word)


def parse_options(pairs: Sequence[str]) -> dict[str, object]:
    """Return the options KEY=VALUE of the command line.

    Raises:
        PreflightError: one has no '=', no key, or a value that can't be read.
    """
    options = {}
    for pair in pairs:
        key, sign, text = pair.partition('=')
        if not sign or not key:
            raise PreflightError(f'{pair!r} is not KEY=VALUE, for example optim_wrapper.optimizer.lr=0.01')
        try:
            options[key] = parse_value(text)
        except ValueError as error:
            raise PreflightError(f'{pair!r} can not be read: {error}') from None
    return options


def merge_options(cfg: Config, options: Mapping) -> None:
    """Apply --cfg-options to a config; a group that the config sets to None is begun anew.

    Raises:
        PreflightError: an option can't be meant, or does not fit the config.
    """
    check_options(cfg, options)
    for key in options:
        parts = key.split('.')
        for end in range(1, len(parts)):
            parent: Any = value_at(cfg, '.'.join(parts[: end - 1])) if end > 1 else cfg
            if isinstance(parent, (Mapping, Config)) and parts[end - 1] in parent and parent[parts[end - 1]] is None:
                parent[parts[end - 1]] = ConfigDict()
    try:
        cfg.merge_from_dict(dict(options))
    except (KeyError, TypeError, IndexError) as error:
        raise PreflightError(f'--cfg-options do not fit {cfg.filename}: {error}') from error
    check_custom_hooks(cfg)


def check_options(cfg: Config, options: Mapping) -> None:
    """Check that each --cfg-options key begins with one that is read.

    Raises:
        PreflightError: for a variable of the config file, which would change nothing, for an unknown key, and for a
            plain value in place of a dict.
    """
    for key, value in options.items():
        top = key.split('.')[0]
        if top == 'custom_imports' or (top not in READ and top in cfg):
            instead = INSTEAD.get(top, 'the key that the value was copied to')
            raise PreflightError(
                f'--cfg-options {key}: {top} is a variable of the config file, whose value was used when the file was '
                f'read; setting it now changes nothing. Use {instead}'
            )
        if top not in READ:
            raise PreflightError(f'--cfg-options {key}: no key {top!r} is read{suggestion(top, {*READ, *cfg})}')
        old = value_at(cfg, key)
        if isinstance(old, Mapping) and value is not None and not isinstance(value, (Mapping, list, tuple)):
            raise PreflightError(
                f'--cfg-options {key}={value!r}: {key} is a group of settings. Set them one by one, such as '
                f'{key}.{next(iter(old), "KEY")}=VALUE, or replace the group in a config file'
            )
