"""Label Studio's JSON to index masks, in the tree of ImageMaskFolder."""

import re
import reprlib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from ..image_mask_folder import IMAGE_SUFFIXES
from .annotations import Picture, Reading
from .areas import Area, Brush, Ellipse, Polygons
from .parsing import numbers, read_json
from .runner import Plan

DRAWN = ('polygonlabels', 'rectanglelabels', 'ellipselabels', 'brushlabels', 'labels')
UNLABELLED = ('polygon', 'rectangle', 'ellipse', 'brush')
"""What Label Studio writes beside `labels` of the same id where shapes and labels are tags of their own."""
NO_PIXELS = ('choices', 'rating', 'number', 'textarea', 'taxonomy', 'datetime', 'pairwise', 'relation')


def plan(src: Path, dst: Path, classes: Path | None = None) -> Plan:
    """Source: .json files that Label Studio exports ("JSON") and their images, anywhere below `src`.

    Without a `classes` file the classes are the labels met, in alphabetical order, with the background (0) before them
    if none is called so: the file does not list labels. Later regions cover earlier ones.
    """
    reading = Reading(src, 'Label Studio', '.json')
    for path in reading.files:
        content = read_json(path, 'Label Studio')
        tasks = content if isinstance(content, list) else []
        if not tasks or not all(isinstance(task, dict) and {'annotations', 'data'} <= task.keys() for task in tasks):
            reading.left_out(path)
            continue
        for number, task in enumerate(tasks, 1):
            _read(path, task, reading.place(path, f'task {reprlib.repr(task.get("id", number))}'), reading)
    reading.labels = dict.fromkeys(sorted(reading.labels))
    return reading.plan(dst, classes)


def _read(path: Path, task: dict, where: str, reading: Reading) -> None:
    annotations = task['annotations']
    if not isinstance(annotations, list) or not all(
        isinstance(entry, dict) and isinstance(entry.get('result'), list) for entry in annotations
    ):
        reading.faults.add('annotations of a task are no list of objects with a result', where)
        return
    annotations = [entry for entry in annotations if not entry.get('was_cancelled')]
    if not annotations:
        reading.notes.add('a task that nobody annotated (predictions do not count), left out', where)
        return
    pictures = _pictures(task['data'])
    for what, found in (('annotations', annotations), ('pictures', pictures)):
        if len(found) != 1:
            reading.faults.add(f'a task has {len(found)} {what} where one is needed', where)
            return
    regions = [*_regions(annotations[0]['result'], where, reading)]
    sizes = {(region['original_width'], region['original_height']) for region, _, _ in regions}
    if len(sizes) > 1:
        reading.faults.add('regions of one task are of pictures of several sizes', where)
        return
    picture = Picture(path, _names(pictures[0]), where, next(iter(sizes), None))
    if not reading.add_picture(picture):
        return
    for region, label, place in regions:
        if isinstance(area := _area(region['value'], picture.size), str):
            reading.faults.add(area, place)
        elif reading.add_label(label, place):
            reading.add_shape(picture, label, area, place)


def _regions(result: list, where: str, reading: Reading) -> Iterator[tuple[dict, str, str]]:
    """The regions of a result that are to be drawn, with label and place; others are noted."""
    labelled = {str(entry.get('id')) for entry in result if isinstance(entry, dict) and entry.get('type') == 'labels'}
    for number, entry in enumerate(result, 1):
        place = f'{where}, result {number}'
        kind = entry.get('type') if isinstance(entry, dict) else None
        if kind in NO_PIXELS:
            reading.notes.add(f'{kind} of a task or region, which say nothing of pixels, left out', place)
        elif kind in UNLABELLED and str(entry.get('id')) in labelled:
            continue
        elif kind not in DRAWN:
            what = (
                'without a label' if kind in UNLABELLED else 'not filled; draw a polygon, rectangle, ellipse or brush'
            )
            reading.faults.add(f'a {reprlib.repr(kind)} is {what}', place)
        elif not isinstance(entry.get('value'), dict) or not _sized(entry):
            reading.faults.add('a region has no value, original_width and original_height', place)
        elif entry.get('image_rotation'):
            reading.faults.add('a region was drawn on a picture that was turned in Label Studio', place)
        elif not isinstance(labels := entry['value'].get(kind), list) or len(labels) != 1:
            count = len(labels) if isinstance(labels, list) else 0
            reading.faults.add(f'a region has {count} labels where one is needed', place)
        else:
            yield entry, labels[0], place


def _sized(region: dict) -> bool:
    return all(type(region.get(key)) is int for key in ('original_width', 'original_height'))


def _pictures(data: Any) -> list[str]:
    """The values of a task's data that are names or addresses of pictures."""
    texts = [value for value in data.values() if isinstance(value, str)] if isinstance(data, dict) else []
    return [text for text in texts if PurePosixPath(_names(text)[0]).suffix.lower() in IMAGE_SUFFIXES]


def _names(address: str) -> tuple[str, ...]:
    """What the file may be called: as in the address, or without the mark that Label Studio sets before uploads."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return (address,)
    if '?d=' in address:  # of local storage
        path = '/' + parse_qs(parts.query).get('d', [''])[0].lstrip('/')
    elif parts.scheme:
        path = f'{parts.scheme}://{parts.netloc}{unquote(parts.path)}'
    else:
        path = unquote(parts.path)
    head, slash, name = path.rpartition('/')
    unmarked = re.sub('^[0-9a-f]{8}-', '', name)
    return tuple(dict.fromkeys((path, head + slash + unmarked)))


def _area(value: dict, size: tuple[int, int] | None) -> Area | str:
    """What a region covers, whose places are in percent of the picture, or why it can't be told."""
    assert size is not None
    width, height = size[0] / 100, size[1] / 100
    if 'rle' in value:
        packed = value['rle']
        if not isinstance(packed, list) or not all(type(byte) is int and 0 <= byte < 256 for byte in packed):
            return 'a brush is no list of bytes'
        return Brush(bytes(packed), size)
    if 'points' in value:
        points = value['points'] if isinstance(value['points'], list) else []
        pairs = [numbers(point, 2) for point in points]
        if len(pairs) < 3 or None in pairs:
            return 'a polygon is not three or more points [x, y]'
        if value.get('closed') is False:
            return 'a polygon is not closed'
        return Polygons((tuple(chain(*((pair[0] * width, pair[1] * height) for pair in pairs if pair))),))
    turned = {'rotation': 0, **value}
    if found := numbers([turned.get(key) for key in ('x', 'y', 'radiusX', 'radiusY', 'rotation')]):
        x, y, across, down, degrees = found
        if min(across, down) <= 0:
            return 'an ellipse has radii that are not above 0'
        return Ellipse((x * width, y * height), (across * width, down * height), degrees)
    if found := numbers([turned.get(key) for key in ('x', 'y', 'width', 'height', 'rotation')]):
        x, y, across, down, degrees = found
        corner = x * width, y * height
        return Polygons.rectangle(corner, (across * width, down * height), degrees, corner)
    return 'a region is none of rle, points, x, y, radiusX, radiusY and x, y, width, height, in numbers'
