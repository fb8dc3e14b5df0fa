"""The `type` of a group of settings: a name in MMSegmentation's registries or, as well, the class itself."""

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import mmengine.registry
import mmseg.registry
from mmengine.registry import Registry

REGISTRIES = list(
    {
        id(registry): registry
        for module in (mmseg.registry, mmengine.registry)
        for registry in vars(module).values()
        if isinstance(registry, Registry)
    }.values()
)
# Scopes that are looked into; other packages have their own registries.
OURS = ('', 'mmseg', 'mmengine', 'mmcv')


def name_of(group: object) -> str:
    """Return the bare name of a group's type: 'Resize' of dict(type='mmseg.Resize') and of dict(type=Resize)."""
    kind = group.get('type') if isinstance(group, Mapping) else group
    return kind.rpartition('.')[2] if isinstance(kind, str) else getattr(kind, '__name__', str(kind))


def classes_of(group: Mapping) -> list:
    """Return what a group's type may stand for: one name can be in several registries, or in none."""
    kind = group.get('type')
    return list(_registered(kind)) if isinstance(kind, str) else [kind] * callable(kind)


def pair(size: Any) -> tuple[int, int] | None:
    """Return (height, width) of a size that may be one number for both; None if there is none."""
    return (size, size) if isinstance(size, int) else tuple(size) if size else None


def registered_names() -> set[str]:
    """Return every name of every registry."""
    return {name for registry in REGISTRIES for name in registry.module_dict}


def groups(value: object, path: str) -> Iterator[tuple[str, Mapping]]:
    """Yield each group of settings at any depth of `value`, with its dotted key."""
    if isinstance(value, Mapping):
        yield path, value
        children = value.items()
        if name_of(value) == 'Albu':  # its transforms have types of another library
            children = [(key, child) for key, child in children if key != 'transforms']
    elif isinstance(value, (list, tuple)):
        children = enumerate(value)
    else:
        return
    for key, child in children:
        yield from groups(child, f'{path}.{key}')


@functools.cache
def _found(name: str) -> tuple:
    found = tuple({id(target): target for registry in REGISTRIES if (target := registry.get(name))}.values())
    if not found:
        raise KeyError(name)  # which the cache does not keep: it may be registered later
    return found


def _registered(name: str) -> tuple:
    scope, _, bare = name.rpartition('.')
    try:
        return _found(bare) if scope in OURS else ()
    except KeyError:
        return ()
