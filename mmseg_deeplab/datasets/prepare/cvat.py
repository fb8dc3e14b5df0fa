"""The XML of "CVAT for images" to index masks, in the tree of ImageMaskFolder."""

import reprlib
from pathlib import Path
from xml.etree.ElementTree import Element

from .annotations import Picture, Reading
from .areas import Area, Ellipse, Polygons, Runs
from .parsing import numbers, read_xml
from .runner import Plan


def plan(src: Path, dst: Path, classes: Path | None = None) -> Plan:
    """Source: .xml files of "CVAT for images" (1.1) and their images, anywhere below `src`.

    Without a `classes` file the classes are the labels in the order of the files, with the background (0) before them
    if none is called so. Shapes of a higher z_order cover those of a lower, of the same one the later the earlier.
    """
    reading = Reading(src, 'CVAT', '.xml')
    for path in reading.files:
        root = read_xml(path, 'CVAT')
        if root.tag == 'annotations':
            _read(path, root, reading)
        else:
            reading.left_out(path)
    return reading.plan(dst, classes)


def _read(path: Path, root: Element, reading: Reading) -> None:
    for track in root.iter('track'):
        where = reading.place(path, f'track {track.get("id")}')
        reading.faults.add('a track in a video is not read: export "CVAT for images"', where)
    known = set()
    for label in root.iterfind('meta//label'):
        name = label.findtext('name')
        if label.find('parent') is None and name is not None:  # others are the points of skeletons
            reading.add_label(name, reading.place(path))
            known.add(name.strip())
    for number, image in enumerate(root.iterfind('image'), 1):
        where = reading.place(path, f'image {image.get("id", number)}')
        size = _whole(image, 'width') or 0, _whole(image, 'height') or 0
        picture = Picture(path, (image.get('name', ''),), where, size)
        if not reading.add_picture(picture):
            continue
        shapes = []
        for place, shape in enumerate(image, 1):
            _read_shape(shape, size, f'{where}, {shape.tag} {place}', known, shapes, reading)
        for _, label, area, where in sorted(shapes, key=lambda shape: shape[0]):
            reading.add_shape(picture, label, area, where)


def _read_shape(
    shape: Element, size: tuple[int, int], where: str, known: set[str], shapes: list[tuple], reading: Reading
) -> None:
    """Append z_order, label, area and place of a shape, or note what keeps it from being drawn."""
    label, order = shape.get('label', '').strip(), _whole(shape, 'z_order', '0')
    if shape.tag == 'tag':
        reading.notes.add('a tag, which says nothing of pixels, left out', where)
    elif shape.tag not in AREAS:
        reading.faults.add(f'a {shape.tag} is not filled; draw a polygon, box, ellipse or mask', where)
    elif label not in known:
        reading.faults.add(f'the label {reprlib.repr(label)} is not among those of the file', where)
    elif order is None:
        reading.faults.add('a z_order is no whole number', where)
    elif isinstance(area := AREAS[shape.tag](shape, size), str):
        reading.faults.add(area, where)
    else:
        shapes.append((order, label, area, where))


def _whole(element: Element, key: str, default: str = '') -> int | None:
    try:
        return int(element.get(key, default))
    except ValueError:
        return None


def _values(element: Element, *keys: str) -> tuple[float, ...] | None:
    """Attributes that are numbers; a rotation that is not there is none."""
    try:
        return numbers([float(element.get(key, '0' if key == 'rotation' else '')) for key in keys])
    except ValueError:
        return None


def _polygon(shape: Element, size: tuple[int, int]) -> Area | str:
    pairs = [point.split(',') for point in shape.get('points', '').split(';')]
    try:
        points = numbers([float(value) for pair in pairs for value in pair])
    except ValueError:
        points = None
    if points is None or len(pairs) < 3 or any(len(pair) != 2 for pair in pairs):
        return 'a polygon is not three or more points, "x,y;x,y;x,y"'
    return Polygons((points,))


def _box(shape: Element, size: tuple[int, int]) -> Area | str:
    values = _values(shape, 'xtl', 'ytl', 'xbr', 'ybr', 'rotation')
    if values is None:
        return 'a box has no four corners and rotation that are numbers'
    left, top, right, bottom, degrees = values
    about = (left + right) / 2, (top + bottom) / 2
    return Polygons.rectangle((left, top), (right - left, bottom - top), degrees, about)


def _ellipse(shape: Element, size: tuple[int, int]) -> Area | str:
    values = _values(shape, 'cx', 'cy', 'rx', 'ry', 'rotation')
    if values is None or min(values[2:4]) <= 0:
        return 'an ellipse has no centre, radii above 0 and rotation that are numbers'
    x, y, across, down, degrees = values
    return Ellipse((x, y), (across, down), degrees)


def _mask(shape: Element, size: tuple[int, int]) -> Area | str:
    left, top, width, height = (_whole(shape, key) for key in ('left', 'top', 'width', 'height'))
    if left is None or top is None or width is None or height is None or min(width, height) < 1:
        return 'a mask has no left, top, width and height that are whole numbers'
    if min(left, top) < 0 or left + width > size[0] or top + height > size[1]:
        return 'a mask reaches beyond its picture'
    try:
        counts = tuple(int(count) for count in shape.get('rle', '').split(','))
    except ValueError:
        return 'a mask has run lengths that are no whole numbers'
    return Runs(counts, (left, top), (width, height))


AREAS = {'polygon': _polygon, 'box': _box, 'ellipse': _ellipse, 'mask': _mask}
