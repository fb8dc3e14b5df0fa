"""Which file of a folder is whose: names by pattern, and lists of names, files or pairs."""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError, UserFileNotFoundError
from .masks import read_lines

_GAP = re.compile(r'\s*[,;]\s*|\s+')


@dataclass(frozen=True)
class NamePattern:
    """How files are called: `{}_sat.jpg`, where `{}` is a picture's name, with the folders above it."""

    text: str

    @classmethod
    def of(cls, text: str, argument: str) -> 'NamePattern':
        """Check what was given as `argument`; UserError for a pattern that can fit no file, or fits only one."""
        if '{}' not in text or Path(text).is_absolute() or Path(text).name.startswith('.'):
            raise UserError(
                f'{argument}={text!r} is no pattern of file names: write {{}} for the part that differs from picture '
                "to picture, below the folder of data_prefix, such as '{}_sat.jpg'"
            )
        return cls(text)

    def name(self, file: str) -> str | None:
        """The name of a file, given by its path below the folder with `/`; None if the pattern does not fit."""
        first, *rest = map(re.escape, self.text.split('{}'))
        found = re.fullmatch(f'{first}(?P<name>.+)' + '(?P=name)'.join(rest), file)
        return found['name'] if found else None

    def file(self, name: str) -> str:
        """The path below the folder."""
        return self.text.replace('{}', name)


def files_below(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """Every file below a folder, in order, also in linked folders; a link back to a folder above is not followed.

    Hidden files and folders (a dot before their name) are left out: archives of other systems leave such behind.
    """
    real = folder.resolve()
    if real in above or not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        if path.name.startswith('.'):
            continue
        if path.is_dir():
            yield from files_below(path, (*above, real))
        else:
            yield path


def holds(folder: Path) -> str:
    """What there is in a folder, for messages: `it holds 3 .png (a_mask.png, ...) and 1 .json (notes.json)`."""
    if not folder.is_dir():
        return 'the folder does not exist'
    files = [path.relative_to(folder).as_posix() for path in files_below(folder)]
    kinds = Counter(Path(file).suffix for file in files).most_common(4)
    if not kinds:
        return 'the folder is empty'
    first = {kind: next(file for file in files if Path(file).suffix == kind) for kind, _ in kinds}
    shown = [f'{count} {kind or "without suffix"} ({first[kind]}{", ..." * (count > 1)})' for kind, count in kinds]
    return f'the folder holds {" and ".join(shown)}'


def read_pairs(
    path: Path, images: Mapping[str, Path], folder: Path, root: Path, masks: Path | None, mask_of: Callable[[str], Path]
) -> list[tuple[str, Path | None]]:
    """The pictures that a list names, in its order, each with the mask that stands beside it, or None.

    A line is a picture, or a picture and its mask with a blank, tab, comma or semicolon between. A picture is its name,
    or its file, with suffix or without; a file's path starts at its folder or at `root`, with or without a slash, or is
    absolute.

    Args:
        path: The list.
        images: The files of the pictures by name.
        folder: Where they are.
        root: Of the data.
        masks: The folder of the masks; None if there are none, so that masks in the list say nothing.
        mask_of: The mask of a picture by its name, for masks that are listed without suffix.

    Raises:
        UserFileNotFoundError: It names the list and its first entry that is not there.
    """
    known: dict[str, str] = {}
    for name, file in images.items():
        below = Path(os.path.relpath(file, folder))
        from_root = Path(os.path.relpath(file, root))
        for key in (below, from_root, below.with_suffix(''), from_root.with_suffix(''), file):
            known.setdefault(key.as_posix().removeprefix('/') if key is not file else str(file), name)
    known |= {name: name for name in images}

    def image(text: str) -> str | None:
        text = text.replace('\\', '/')
        return known.get(text) or known.get(text.removeprefix('./').removeprefix('/'))

    def mask(text: str) -> Path | None:
        text = text.replace('\\', '/')
        below = text.removeprefix('/')
        assert masks is not None
        places = (masks / below, root / below, Path(text), mask_of(below))
        return next((place for place in places if place.is_file()), None)

    pairs: list[tuple[str, Path | None]] = []
    for line in read_lines(path):
        name, lost = image(line), None
        if name is not None:
            pairs.append((name, None))
            continue
        for gap in _GAP.finditer(line):
            name = image(line[: gap.start()])
            if name is None:
                continue
            if masks is None:
                pairs.append((name, None))
                break
            if found := mask(line[gap.end() :]):
                pairs.append((name, found))
                break
            lost = line[gap.end() :]
        else:
            if lost is not None:
                raise UserFileNotFoundError(
                    f'{path} names the mask {lost!r}, which is neither in {masks} nor in {root}'
                )
            raise UserFileNotFoundError(
                f'{path} names {line!r}, which is not in {folder}; a line is the name or the file of a picture there, '
                f'or a picture and its mask, and {holds(folder)}'
            )
    if not pairs:
        raise UserFileNotFoundError(f'{path} is empty; it should name images of {folder}')
    return pairs
