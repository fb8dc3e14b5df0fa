"""Which keys and values a registered class takes, read from its constructor and those it hands keywords on to."""

import ast
import functools
import inspect
import textwrap
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass, field

from torch import nn

NUMBERS = {int, float, bool}


@dataclass
class Accepted:
    """Keyword arguments of a callable.

    Attributes:
        names: argument -> set of types that it may have; None where that is not known.
        open: whether further keywords may be meant for something that can not be seen from the signature.
    """

    names: dict[str, set | None] = field(default_factory=dict)
    open: bool = False


@functools.cache
def accepted(target: Callable) -> Accepted:
    """Return the keyword arguments of a class (through the `super().__init__(**kwargs)` of its bases) or a function."""
    result = Accepted()
    if not inspect.isclass(target):
        result.open = _add(target, result)
        return result
    for base in target.__mro__:
        if base in (object, nn.Module):  # both refuse unknown keywords
            break
        init = base.__dict__.get('__init__')
        if init is None:
            continue
        if not _add(init, result):
            break
        if not _hands_on_to_base(init):
            result.open = True
    return result


def wrong_type(types_: set | None, value: object) -> str | None:
    """Return what is expected if `value` is a text where one of `types_` is a number and none a text, else None."""
    if not isinstance(value, str) or not types_ or str in types_ or not types_ & NUMBERS:
        return None
    return ' or '.join(sorted(kind.__name__ for kind in types_ & NUMBERS))


def _add(function: Callable, result: Accepted) -> bool:
    """Add the parameters of a function; return whether it takes any keyword."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # builtins without a signature
        return True
    try:
        hints = typing.get_type_hints(inspect.unwrap(function))
    except Exception:  # names that only a type checker can see
        hints = {}
    for parameter in parameters:
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY) and parameter.name != 'self':
            result.names.setdefault(parameter.name, _types(parameter, hints))
    return any(parameter.kind == parameter.VAR_KEYWORD for parameter in parameters)


def _types(parameter: inspect.Parameter, hints: dict) -> set | None:
    if parameter.name in hints:
        return _leaves(hints[parameter.name])
    default = parameter.default
    # An argument without a hint may take more than its default shows: only a text is surely no number.
    return {type(default), list} if isinstance(default, (bool, int, float)) else None


def _leaves(hint: object) -> set | None:
    """Return the classes that a type hint allows; None where it allows what can't be listed (Any, Callable, ...)."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        parts = [_leaves(part) for part in typing.get_args(hint)]
        return None if None in parts else set().union(*parts)
    hint = typing.get_origin(hint) or hint
    return {hint} if inspect.isclass(hint) else None


def _hands_on_to_base(init: Callable) -> bool:
    """Whether `**kwargs` of a constructor goes to `super().__init__` (or `Base.__init__`) and nowhere else."""
    try:
        function = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(init)))).body[0]
    except (OSError, TypeError, SyntaxError):
        return False
    kwargs = function.args.kwarg.arg
    uses = [node for node in ast.walk(function) if isinstance(node, ast.Name) and node.id == kwargs]
    handed_on = [
        keyword.value
        for call in ast.walk(function)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == '__init__'
        for keyword in call.keywords
        if keyword.arg is None
    ]
    return bool(uses) and all(use in handed_on for use in uses)
