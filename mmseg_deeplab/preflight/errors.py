"""What preflight raises, how it suggests a name, and how it passes on another's error."""

import traceback
from collections.abc import Iterable
from difflib import get_close_matches

from ..errors import UserError


class PreflightError(UserError):
    """A config, or the data that it names, can not be run; the message says what, where and what to do."""


class FinishedError(PreflightError):
    """The checkpoint that a training would be resumed from is its last one."""


def reason(error: Exception) -> str:
    """Return what an error says, or the line that raised it where it says nothing, as a bare assert does."""
    if isinstance(error, KeyError):  # MMEngine puts its whole arguments into further lines
        return f'KeyError: {str(error.args[0]).splitlines()[0]}' if error.args else 'KeyError'
    return (
        ' '.join(str(error).split()) or f'{type(error).__name__}: {traceback.extract_tb(error.__traceback__)[-1].line}'
    )


def suggestion(name: str, names: Iterable[str], cutoff: float = 0.6) -> str:
    """Return "; did you mean 'X'?" for the nearest of `names`, or ''."""
    near = get_close_matches(name, list(names), n=1, cutoff=cutoff)
    return f"; did you mean '{near[0]}'?" if near else ''
