"""Building a part of a config as the run will, and telling what is wrong with the config where that fails."""

import copy
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from mmengine.registry import Registry

from .errors import PreflightError, reason, suggestion
from .kinds import classes_of, groups, name_of, registered_names
from .signatures import parameters

T = TypeVar('T')
REPLACE = 'dict(_delete_=True, type=...)'


def check_group(part: object, key: str) -> Mapping:
    """Return `part`; raise PreflightError unless it is a group of settings with a type."""
    if isinstance(part, Mapping) and 'type' in part:
        return part
    raise PreflightError(f'config key {key} is {part!r}, but it needs a group of settings with a type')


def build_part(registry: Registry, part: object, key: str, **defaults) -> Any:
    """Build a copy of the group at `key`; `defaults` are arguments that the run adds.

    Raises:
        PreflightError: it can't be built.
    """
    settings: Any = copy.deepcopy(check_group(part, key))
    arguments = dict(default_args=defaults) if defaults else {}
    return explained(lambda: registry.build(settings, **arguments), part, key)


def explained(build: Callable[[], T], config: object, key: str, place: Callable[[Exception], str] | None = None) -> T:
    """Call `build`, which makes something of the settings `config` at `key`.

    Args:
        build: What the run calls.
        config: What it is made of.
        key: Where that stands.
        place: Says for an error which part of `config` it concerns; the whole, if not given.

    Raises:
        PreflightError: `build` fails. Names a keyword that is not taken or a type that is not registered, with what
            was probably meant; whatever else it is, passes on the reason with the place.
    """
    try:
        return build()
    except Exception as error:  # whatever it is, the run would end with it
        message = _unknown_keyword(error, config, key) or _unknown_type(error, config, key)
        if message is None:
            kind = f' ({name_of(config)})' if isinstance(config, Mapping) and 'type' in config else ''
            where = f'{place(error)} can not be built' if place else f'{key}{kind}'
            message = f'{where}: {reason(error)}'
        raise PreflightError(message) from error


def _unknown_keyword(error: Exception, config: object, key: str) -> str | None:
    found = re.search(r"unexpected keyword argument '(\w+)'", str(error)) if isinstance(error, TypeError) else None
    if not found:
        return None
    given = found[1]
    for path, group in groups(config, key):
        taken: dict = {name: None for target in classes_of(group) for name in parameters(target)}
        if given in group and given not in taken:
            names = f' (it takes: {", ".join(sorted(taken))})' if taken else ''
            near = suggestion(given, taken)
            slip = suggestion(given, taken, cutoff=0.85)
            instead = '' if slip else f'. Where it comes from a base file, replace the whole group: {REPLACE}'
            return f"config key '{path}.{given}': {name_of(group)} takes no {given!r}{near}{names}{instead}"
    return None


def _unknown_type(error: Exception, config: object, key: str) -> str | None:
    if not isinstance(error, KeyError):
        return None
    for path, group in groups(config, key):
        kind = group.get('type')
        if isinstance(kind, str) and str(error.args[0] if error.args else '').startswith(f'{kind} is not in the '):
            near = suggestion(kind.rpartition('.')[2], registered_names())
            return f"config key '{path}.type': nothing is registered as {kind!r}{near}"
    return None
