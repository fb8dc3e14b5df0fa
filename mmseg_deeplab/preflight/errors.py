"""What preflight raises and how it suggests a name."""

from collections.abc import Iterable
from difflib import get_close_matches


class PreflightError(ValueError):
    """A config, or the data that it names, can not be run; the message says what, where and what to do."""


def suggestion(name: str, names: Iterable[str], cutoff: float = 0.6) -> str:
    """Return "; did you mean 'X'?" for the nearest of `names`, or ''."""
    near = get_close_matches(name, list(names), n=1, cutoff=cutoff)
    return f"; did you mean '{near[0]}'?" if near else ''
