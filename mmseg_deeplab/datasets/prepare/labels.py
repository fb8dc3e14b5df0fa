"""The labels of annotation tools as classes: which are void, which the background, and which index each gets."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ...errors import UserError
from ..classes_file import MOST, VOID_NAMES, Classes, read_classes
from ..palette import voc_palette

VOID = ('__ignore__', *VOID_NAMES)
BACKGROUND = ('_background_', 'background')


def is_label(label: Any) -> bool:
    """Whether it can be the name of a class: a line of a classes file without commas."""
    return isinstance(label, str) and label.isprintable() and ',' not in label and label.strip()[:1] not in ('', '#')


def class_table(labels: Iterable[str], classes: Path | None) -> Classes:
    """The classes of a `classes` file; without one, those of the labels in their order.

    Names of void are no classes. The background comes first where no label is called so.
    """
    if classes:
        return read_classes(classes)
    names = [label for label in dict.fromkeys(labels) if label.lower() not in VOID]
    background = [name for name in names if name.lower() in BACKGROUND]
    names = [name for name in names if name not in background[1:]]
    if not background:
        names.insert(0, 'background')
    if len(names) > MOST:
        raise UserError(
            f'there are {len(names)} classes, and masks have 8 bits, which hold at most {MOST} and void; name those '
            'that are meant by --classes'
        )
    return Classes(tuple(names), tuple(voc_palette(len(names))))


def class_indices(labels: Iterable[str], classes: Classes) -> tuple[dict[str, int], int]:
    """The index of each label that has one, 255 for names of void; and that of pixels without a label.

    The latter is the background's index, or 255 where no class is called so.
    """
    known = {name: index for index, name in enumerate(classes.names)}
    elsewhere = next((index for name, index in known.items() if name.lower() in BACKGROUND), 255)
    for label in labels:
        if label.lower() in VOID:
            known.setdefault(label, 255)
        elif label.lower() in BACKGROUND:
            known.setdefault(label, elsewhere)
    return known, elsewhere
