"""Dividing pictures into those to train on and those to validate on."""

import hashlib
import re
from collections.abc import Collection, Sequence

from ..errors import UserError

VAL_RATIO = 0.2
"""Share of the pictures to validate on where none is given."""
LARGEST_GROUP = 0.9
"""Share of the pictures; of a larger group too little is left for the other side."""


def compile_groups(expression: str) -> re.Pattern[str]:
    """The expression of `group_by`; UserError where it is none."""
    why = 'it is no text'
    if isinstance(expression, str):
        try:
            return re.compile(expression)
        except re.error as error:
            why = str(error)
    raise UserError(
        f"group_by={expression!r} is no regular expression ({why}); for example r'patient\\d+', or r'(.+)_\\d+' for "
        'all before the last number'
    )


def group_of(name: str, expression: re.Pattern[str]) -> str | None:
    """What the brackets of the expression hold where it is first found in a name, or all that it finds."""
    found = expression.search(name)
    parts = () if found is None else found.groups() or (found[0],)
    return '\0'.join(part for part in parts if part) or None


def groups_of(names: Collection[str], expression: re.Pattern[str]) -> dict[str, list[str]]:
    """The names of each group; UserError where one has none, or where nearly all are one group."""
    groups: dict[str, list[str]] = {}
    lost = []
    for name in names:
        group = group_of(name, expression)
        if group is None:
            lost.append(name)
        else:
            groups.setdefault(group, []).append(name)
    if lost:
        raise UserError(
            f'group_by={expression.pattern!r} finds no group in {len(lost)} of {len(names)} names of pictures, the '
            f'first: {lost[0]!r}; it is looked for in names without suffix, with their folders'
        )
    group, largest = max(groups.items(), key=lambda item: len(item[1]))
    if len(largest) > LARGEST_GROUP * len(names):
        raise UserError(
            f'group_by={expression.pattern!r} puts {len(largest)} of {len(names)} pictures into one group, '
            f'{_shown(group)}: they can not be divided; choose an expression that tells more groups apart, or give '
            'lists (ann_file)'
        )
    return groups


def divide(names: Collection[str], ratio: float, groups: dict[str, list[str]] | None) -> tuple[list[str], list[str]]:
    """The names of two or more pictures to train on and to validate on, each sorted, neither of them empty.

    They are drawn by a hash of the names, so that they are the same on every machine. Of `groups` each goes to one side
    as a whole: in the order of the hashes of their names, a group is for validation if that brings the number of
    pictures there nearer to `ratio` of all.
    """
    if groups is None:
        by_hash = sorted(names, key=_hash)
        count = min(max(1, round(len(names) * ratio)), len(names) - 1)
        return sorted(by_hash[count:]), sorted(by_hash[:count])
    wanted, val = len(names) * ratio, set()
    order = sorted(groups, key=_hash)
    for group in order:
        size = len(groups[group])
        if abs(len(val) + size - wanted) < abs(len(val) - wanted) and len(val) + size < len(names):
            val.update(groups[group])
    if not val:  # each alone is more than twice what is wanted
        val.update(min((groups[group] for group in order), key=len))
    return sorted({*names} - val), sorted(val)


def told(parts: Sequence[Sequence[str]], groups: dict[str, list[str]], ratio: float) -> str:
    """The sizes of both sides, for the log."""
    side = {name: number for number, names in enumerate(parts) for name in names}
    count = [sum(side[names[0]] == number for names in groups.values()) for number in (0, 1)]
    share = len(parts[1]) / (len(parts[0]) + len(parts[1]))
    return (
        f'split by group: train {len(parts[0])} pictures of {count[0]} groups, val {len(parts[1])} of {count[1]} '
        f'({share:.1%}; val_ratio={ratio})'
    )


def _shown(group: str) -> str:
    return repr(group.replace('\0', ' '))


def _hash(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()
