"""The files of annotation tools, parsed within bounds, and the numbers in them."""

import json
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from ...errors import UserError
from ..classes_file import LARGEST, read_bounded, read_text

FARTHEST = 10**6
"""Pixels from the corner of the picture."""
DEEPEST = 32
"""Elements of XML, one in the other."""


def read_json(path: Path, tool: str, largest: int = LARGEST) -> Any:
    """The content of a .json file of at most `largest` bytes; UserError names `tool` where it is none."""
    text = read_text(path, f'the {tool} file', largest)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f'{path} is no JSON of {tool}: {error}') from error


def read_xml(path: Path, tool: str) -> Element:
    """The root of an XML file of at most `LARGEST` bytes, without entities and document types of its own."""

    def refuse(*_: Any) -> None:
        raise UserError(f'{path} declares a document type, which {tool} does not write; nothing of it is read')

    def start(tag: str, attributes: dict) -> None:
        nonlocal depth
        depth += 1
        if depth > DEEPEST:
            raise UserError(f'{path} is no XML of {tool}: more than {DEEPEST} elements lie in one another')
        builder.start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(tag)

    depth, builder, parser = 0, TreeBuilder(), expat.ParserCreate()
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, builder.data
    try:
        parser.Parse(read_bounded(path, f'the {tool} file'), True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f'{path} is no XML of {tool}: {error}') from error
    return builder.close()


def is_place(value: Any) -> bool:
    """Whether it is a number within `FARTHEST`."""
    return type(value) in (int, float) and -FARTHEST <= value <= FARTHEST


def numbers(values: Any, count: int | None = None) -> tuple[float, ...] | None:
    """A list's `count` values (by default all), if each is a number within `FARTHEST`, or None."""
    if isinstance(values, list) and count in (None, len(values)) and all(map(is_place, values)):
        return tuple(map(float, values))
    return None
