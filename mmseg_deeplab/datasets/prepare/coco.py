"""COCO's JSON of instances to index masks, in the tree of ImageMaskFolder."""

import reprlib
from pathlib import Path
from typing import Any

from .annotations import Picture, Reading
from .areas import Area, Polygons, Runs
from .parsing import numbers, read_json
from .runner import Plan

LARGEST = 2**29
"""Bytes of a file: COCO's own instances_train2017.json has 448 MiB."""
NEEDED = {
    'categories': ('id', 'name'),
    'images': ('id', 'file_name', 'width', 'height'),
    'annotations': ('image_id', 'category_id'),
}


def plan(src: Path, dst: Path, classes: Path | None = None) -> Plan:
    """Source: .json files of COCO and their images, anywhere below `src`.

    Without a `classes` file the classes are the categories in the order of the files, with the background (0) before
    them if none is called so. Smaller areas cover larger ones, of equal ones the later; crowds are of their category.
    """
    reading = Reading(src, 'COCO', '.json')
    for path in reading.files:
        content = read_json(path, 'COCO', LARGEST)
        if isinstance(content, dict) and 'videos' in content and 'images' not in content:
            reading.faults.add('a file is of tracks in videos, which are not read', reading.place(path))
        elif isinstance(content, dict) and NEEDED.keys() <= content.keys():
            _read(path, content, reading)
        else:
            reading.left_out(path)
    return reading.plan(dst, classes, small_above=True)


def _read(path: Path, content: dict, reading: Reading) -> None:
    faults, before = reading.faults, reading.faults.count.total()
    for key, needed in NEEDED.items():
        entries = content[key] if isinstance(content[key], list) else [None]
        for number, entry in enumerate(entries, 1):
            if not isinstance(entry, dict) or not set(needed) <= entry.keys():
                faults.add(f'{key} holds something without {", ".join(needed)}', reading.place(path, f'entry {number}'))
    if faults.count.total() > before:
        return
    labels = _by_id(path, content['categories'], 'category', reading)
    images = _by_id(path, content['images'], 'image', reading)
    seen = set()
    for category in labels.values():
        if reading.add_label(name := category['name'], reading.place(path)):
            if name.strip() in seen:
                faults.add(f'two categories are called {reprlib.repr(name.strip())}', reading.place(path))
            seen.add(name.strip())
    pictures = {key: _picture(path, image, reading) for key, image in images.items()}
    if faults.count.total() > before:
        return
    for number, annotation in enumerate(content['annotations'], 1):
        where = reading.place(path, f'annotation {reprlib.repr(annotation.get("id", number))}')
        picture, category = (_get(pictures, annotation['image_id']), _get(labels, annotation['category_id']))
        if picture is None or category is None:
            faults.add(f'an {"image_id" if picture is None else "category_id"} is of nothing in the file', where)
        elif isinstance(area := _area(annotation, picture.size), str):
            faults.add(area, where)
        else:
            if annotation.get('keypoints'):
                reading.notes.add('keypoints beside a segmentation, left out', where)
            reading.add_shape(picture, category['name'], area, where)


def _by_id(path: Path, entries: list[dict], what: str, reading: Reading) -> dict[Any, dict]:
    found: dict[Any, dict] = {}
    for number, entry in enumerate(entries, 1):
        where = reading.place(path, f'{what} {number}')
        if type(entry['id']) not in (int, str):
            reading.faults.add('an id is neither a whole number nor text', where)
        elif entry['id'] in found:
            reading.faults.add('an id is given twice', where)
        else:
            found[entry['id']] = entry
    return found


def _get(found: dict, key: Any) -> Any:
    return found.get(key) if type(key) in (int, str) else None


def _picture(path: Path, image: dict, reading: Reading) -> Picture:
    where = reading.place(path, f'image {reprlib.repr(image["id"])}')
    picture = Picture(path, (image['file_name'],), where, (image['width'], image['height']))
    reading.add_picture(picture)
    return picture


def _area(annotation: dict, size: tuple[int, int] | None) -> Area | str:
    """What an annotation covers, or why it can't be told."""
    assert size is not None
    found = annotation.get('segmentation')
    if not found:
        if annotation.get('keypoints'):
            return 'keypoints without a segmentation'
        return 'a box without a segmentation' if annotation.get('bbox') else 'an annotation without a segmentation'
    if isinstance(found, dict):
        counts = found.get('counts')
        if found.get('size') != [size[1], size[0]]:
            return 'run lengths are of another size than their image'
        if isinstance(counts, list) and all(type(count) is int for count in counts):
            counts = tuple(counts)
        if not isinstance(counts, (tuple, str)):
            return 'run lengths are neither whole numbers nor text'
        return Runs(counts, (0, 0), size, by_columns=True)
    if not isinstance(found, list):
        return 'a segmentation is neither polygons nor run lengths'
    parts = [numbers(part) for part in found]
    if any(part is None or len(part) < 6 or len(part) % 2 for part in parts):
        return 'a polygon is not three or more points, [x, y, x, y, x, y, ...]'
    return Polygons(tuple(part for part in parts if part))
