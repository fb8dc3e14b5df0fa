"""What readers of annotation tools share: finding the pictures, naming what can't be used, and the plan."""

import itertools
import os
import re
import reprlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from ...errors import UserError, UserFileNotFoundError
from ..headers import check_size
from ..image_mask_folder import IMAGE_SUFFIXES
from ..masks import write_classes
from ..pairing import files_below
from .areas import Area
from .labels import class_indices, class_table, is_label
from .painting import Shape, paint
from .runner import Job, Plan


class Tally:
    """Kinds of things that were met: how often, and where first."""

    def __init__(self) -> None:
        self.count: Counter[str] = Counter()
        self.first: dict[str, str] = {}

    def add(self, what: str, where: str) -> None:
        self.count[what] += 1
        self.first.setdefault(what, where)

    def lines(self) -> list[str]:
        return [f'{count} x {what} (the first: {self.first[what]})' for what, count in self.count.items()]


@dataclass
class Picture:
    """A picture as an annotation file has it.

    Attributes:
        file: The annotation file.
        names: What the picture is called there; of several the first that is found. With `/`, on this machine or
            another.
        where: Its entry, for messages.
        size: (width, height), None where the file does not say.
    """

    file: Path
    names: tuple[str, ...]
    where: str
    size: tuple[int, int] | None = None
    shapes: list[Shape] = field(default_factory=list)


class Reading:
    """What the annotation files below `src` say, gathered by a reader: its tool's `name`, pictures and labels.

    `faults` are what can't be used. `plan` refuses all of them at once. `notes` are what is left out or changed and
    leaves the masks right; the summary names them.
    """

    def __init__(self, src: Path, tool: str, suffix: str) -> None:
        self.src, self.tool = src, tool
        self.everything = [*files_below(src)]
        self.files = [path for path in self.everything if path.suffix.lower() == suffix]
        self.pictures: list[Picture] = []
        self.labels: dict[str, None] = {}
        self.faults, self.notes = Tally(), Tally()

    def place(self, path: Path, entry: str = '') -> str:
        """An entry of an annotation file, for messages."""
        return f'{path.relative_to(self.src)}{", " * bool(entry)}{entry}'

    def left_out(self, path: Path) -> None:
        """A file that is not of the tool."""
        self.notes.add(f'a {path.suffix} file that is not of {self.tool}, left out', self.place(path))

    def add_label(self, label: Any, where: str) -> bool:
        """Note a class; False, and a fault, where it can't be the name of one."""
        if not is_label(label):
            self.faults.add(f'the label {reprlib.repr(label)} is no name of a class: a line without commas', where)
            return False
        self.labels[label.strip()] = None
        return True

    def add_picture(self, picture: Picture) -> bool:
        """Note a picture; False, and a fault, where it has no name or size."""
        if not all(isinstance(name, str) and name and name.isprintable() for name in picture.names):
            self.faults.add("a picture's name is none of a file", picture.where)
            return False
        width, height = picture.size or (1, 1)
        if type(width) is not int or type(height) is not int or min(width, height) < 1:
            self.faults.add('the width and height of a picture are no numbers of pixels', picture.where)
            return False
        check_size((width, height), f'the mask of {picture.where}')
        self.pictures.append(picture)
        return True

    def add_shape(self, picture: Picture, label: str, area: Area, where: str) -> None:
        """Note an area of a picture, unless nothing of it lies there."""
        assert picture.size is not None
        left, top, right, bottom = area.box
        width, height = picture.size
        if right <= 0 or bottom <= 0 or left >= width or top >= height:
            self.faults.add('a shape lies outside of its picture', where)
            return
        if min(left, top) < -1 or right > width + 1 or bottom > height + 1:
            self.notes.add('a shape reaches beyond its picture, and is cut at the edge', where)
        picture.shapes.append(Shape(label.strip(), area, where))

    def plan(self, dst: Path, classes: Path | None, small_above: bool = False) -> Plan:
        """Masks, links and classes; UserError names all that can't be used.

        Args:
            dst: Where they are made.
            classes: A classes file; without one, the labels are the classes, in the order that they were added.
            small_above: Smaller areas cover larger ones; otherwise later ones cover earlier ones.
        """
        if not (self.pictures or self.faults.count):
            others = ''.join(f'; {line}' for line in self.notes.lines())
            raise UserFileNotFoundError(f'{self.src} holds no pictures annotated in a file of {self.tool}{others}')
        found = self._find_all()
        table = class_table(self.labels, classes)
        index, elsewhere = class_indices(self.labels, table)
        jobs, links = [], {}
        for path, picture in found.items():
            for shape in picture.shapes:
                if shape.label not in index:
                    self.faults.add(f'the label {reprlib.repr(shape.label)} is not among the classes', shape.where)
            shapes = tuple(Shape(index.get(str(s.label), 255), s.area, s.where) for s in picture.shapes)
            name = path.relative_to(self.src)
            mask = (dst / 'masks' / name).with_suffix('.png')
            jobs.append(Job(paint, (path, shapes, picture.size, elsewhere, small_above), mask))
            links[dst / 'images' / name] = path
            if not shapes:
                self.notes.add(
                    f'a picture without a shape: all of it is {_name(elsewhere, table.names)}', picture.where
                )
        for mask, count in Counter(job.output for job in jobs).items():
            if count > 1:
                self.faults.add('pictures share the name of their mask', str(mask))
        for path in self.everything:
            if path.suffix.lower() in IMAGE_SUFFIXES and path not in found:
                self.notes.add('a picture that no annotation names, left out', self.place(path))
        if self.faults.count:
            raise UserError(
                f'{self.faults.count.total()} annotations below {self.src} can not be used, and nothing was written: '
                f'{"; ".join(self.faults.lines()[:8])}. Mend or delete them in the annotation tool'
            )
        return Plan(
            classes=table.names,
            jobs=jobs,
            links=links,
            finish=lambda: write_classes(dst / 'classes.txt', table),
            notes=self.notes.lines(),
            tell=_tell_hidden,
        )

    def _find_all(self) -> dict[Path, Picture]:
        by_name: dict[str, list[Path]] = {}
        for path in self.everything:
            by_name.setdefault(path.name, []).append(path)
        found: dict[Path, Picture] = {}
        for picture in self.pictures:
            places = next((places for name in picture.names if (places := _places(name, picture.file, by_name))), [])
            named = f'{picture.where}: {reprlib.repr(picture.names[0])}'
            if not places:
                self.faults.add(f'a picture is missing below {self.src}; nothing outside of that folder is read', named)
            elif len(places) > 1:
                self.faults.add('a name fits several pictures', f'{named}, {" or ".join(map(str, places[:2]))}')
            elif places[0].suffix.lower() not in IMAGE_SUFFIXES:
                self.faults.add(f'a picture is none of {", ".join(IMAGE_SUFFIXES)}', named)
            elif places[0] in found:
                self.faults.add('a picture is annotated twice', f'{named}, and {found[places[0]].where}')
            else:
                found[places[0]] = picture
        return found


def _tell_hidden(shapes: Counter, _: int) -> list[str]:
    return [f'{len(shapes)} shapes have no pixel in their masks:', *(f'  {shape}' for shape in [*shapes][:10])]


def _name(index: int, names: Sequence[str]) -> str:
    return names[index] if index < len(names) else 'void'


def _places(name: str, file: Path, by_name: dict[str, list[Path]]) -> list[Path]:
    """The files that a name of a picture may mean.

    That is the one at this path from the annotation file, else those whose paths end so. Of a name that begins at the
    root of a machine or is an address, only the end is known here: those that agree with the most of it.
    """
    name = name.replace('\\', '/')
    parts = PurePosixPath(name).parts
    near = by_name.get(parts[-1], []) if parts else []
    beside = os.path.normpath(file.parent / name)
    if exact := [path for path in near if os.path.normpath(path) == beside]:
        return exact
    if not re.match(r'(?:[A-Za-z]:)?/|[\w+.-]+://', name):
        return [path for path in near if path.parts[-len(parts) :] == parts]
    shared = {path: _shared_end(path.parts, parts) for path in near}
    return [path for path, count in shared.items() if count == max(shared.values())]


def _shared_end(one: Sequence[str], other: Sequence[str]) -> int:
    same = (a == b for a, b in zip(reversed(one), reversed(other), strict=False))
    return sum(1 for _ in itertools.takewhile(bool, same))
