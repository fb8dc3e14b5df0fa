"""Which arguments a class or function takes, and of which types, as its signature says."""

import functools
import inspect
import types
import typing
from collections.abc import Callable

NUMBERS = {int, float, bool}


@functools.cache
def parameters(target: Callable) -> dict[str, set | None]:
    """Return the named arguments of a function, or of a class and its bases, with the types that each may have.

    The types are None where they are not known.
    """
    found: dict[str, set | None] = {}
    functions = [base.__dict__.get('__init__') for base in target.__mro__] if inspect.isclass(target) else [target]
    for function in functions:
        try:
            arguments = inspect.signature(function).parameters.values() if function is not None else ()
        except (TypeError, ValueError):  # builtins without a signature
            continue
        hints = _hints(function)
        for argument in arguments:
            if argument.kind in (argument.POSITIONAL_OR_KEYWORD, argument.KEYWORD_ONLY) and argument.name != 'self':
                found.setdefault(argument.name, _types(argument, hints))
    return found


def wrong_type(types_: set | None, value: object) -> str | None:
    """Return what is expected where `value` is a text for a number, or a fraction for a whole one; else None."""
    if isinstance(value, float) and not value.is_integer() and types_ and int in types_ and not types_ & {float, list}:
        return 'int'
    if not isinstance(value, str) or not types_ or str in types_ or not types_ & NUMBERS:
        return None
    return ' or '.join(sorted(kind.__name__ for kind in types_ & NUMBERS))


def _hints(function: Callable | None) -> dict:
    try:
        return typing.get_type_hints(inspect.unwrap(function)) if function is not None else {}
    except Exception:  # names that only a type checker can see
        return {}


def _types(parameter: inspect.Parameter, hints: dict) -> set | None:
    if parameter.name in hints:
        return _leaves(hints[parameter.name])
    default = parameter.default
    # An argument without a hint may take more than its default shows: only a text is surely no number.
    return {type(default), list} if isinstance(default, (bool, int, float)) else None


def _leaves(hint: object) -> set | None:
    """Return the classes that a type hint allows; None where it allows what can't be listed (Any, Callable, ...)."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        found: set = set()
        for part in map(_leaves, typing.get_args(hint)):
            if part is None:
                return None
            found |= part
        return found
    hint = typing.get_origin(hint) or hint
    return {hint} if inspect.isclass(hint) else None
