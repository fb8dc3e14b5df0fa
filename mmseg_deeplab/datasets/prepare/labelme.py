"""Polygons drawn with labelme to index masks, in the tree of ImageMaskFolder."""

import base64
import io
import reprlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from ...errors import UserError, UserFileNotFoundError
from ..classes_file import Classes
from ..headers import check_size
from ..masks import write_classes
from .labels import BACKGROUND, class_indices, class_table, is_label
from .parsing import FARTHEST, is_place, read_json
from .runner import Job, Plan


def plan(src: Path, dst: Path, classes: Path | None = None) -> Plan:
    """Source: .json files of labelme beside their images, in any folders below `src`.

    Without a `classes` file the classes are the labels met, in alphabetical order after the background (0). Later
    shapes cover earlier ones, as labelme draws them; shapes named __ignore__ or void become 255. So do pixels of no
    shape if the `classes` file has no background.
    """
    files = sorted(src.rglob('*.json'))
    contents = {path: _load(path) for path in files}
    contents = {path: content for path, content in contents.items() if 'shapes' in content}
    if not contents:
        raise UserFileNotFoundError(f'{src} holds no .json file of labelme')
    labels = {shape['label'] for content in contents.values() for shape in content['shapes']}
    table = class_table(sorted(label for label in labels if label.lower() not in BACKGROUND), classes)
    jobs, links = [], {}
    for path, content in contents.items():
        image = path.parent / content['imagePath'].replace('\\', '/')
        name = path.relative_to(src).with_suffix('')
        jobs.append(Job(draw, (path, table), dst / f'masks/{name}.png'))
        links[dst / f'images/{name}{image.suffix}'] = image
    return Plan(classes=table.names, jobs=jobs, links=links, finish=lambda: write_classes(dst / 'classes.txt', table))


def _load(path: Path) -> dict:
    """The content of a .json file; of one of labelme's, with all that is needed of it."""
    content = read_json(path, 'labelme')
    if not isinstance(content, dict) or 'shapes' not in content:
        return {}
    missing = [key for key in ('imagePath', 'imageHeight', 'imageWidth') if not content.get(key)]
    if missing:
        raise UserError(f'{path} lacks {", ".join(missing)}, which labelme writes')
    image, size, shapes = content['imagePath'], (content['imageWidth'], content['imageHeight']), content['shapes']
    if not isinstance(image, str) or not image.isprintable():
        raise UserError(f"{path}: imagePath is {image!r}, which is no file's name")
    if any(type(side) is not int or side < 1 for side in size):
        raise UserError(f'{path}: imageWidth and imageHeight are {size[0]!r} and {size[1]!r}, no numbers of pixels')
    check_size(size, f'the mask of {path}')
    if not isinstance(shapes, list):
        raise UserError(f'{path}: shapes is {reprlib.repr(shapes)}, but it needs a list')
    for number, shape in enumerate(shapes, 1):
        _check_shape(shape, f'{path}, shape {number}')
    return content


def _check_shape(shape: Any, where: str) -> None:
    """Raise UserError if a shape has no label that a classes file can hold, or no points that can be drawn."""
    if not isinstance(shape, dict) or not {'label', 'points'} <= shape.keys():
        raise UserError(f'{where} is {reprlib.repr(shape)}, but it needs a label and points')
    label, kind, points = shape['label'], shape.get('shape_type') or 'polygon', shape['points']
    if not is_label(label):
        raise UserError(f'{where}: the label {reprlib.repr(label)} is no name of a class: a line without commas')
    least = {'polygon': 3, 'mask': 1}.get(str(kind), 2)
    pairs = isinstance(points, list) and all(
        isinstance(point, list) and len(point) == 2 and all(is_place(value) for value in point) for point in points
    )
    if not pairs or len(points) < least:
        raise UserError(
            f'{where}: points are {reprlib.repr(points)}, but a {kind} needs {least} or more [x, y] within '
            f'{FARTHEST} pixels'
        )


def draw(path: Path, classes: Classes) -> np.ndarray:
    """The mask of a labelme file, uint8 (H, W); where nothing is drawn, the background's index or, without one, 255."""
    content = _load(path)
    indices, background = class_indices([shape['label'] for shape in content['shapes']], classes)
    mask = np.full((content['imageHeight'], content['imageWidth']), background, np.uint8)
    for shape in content['shapes']:
        if shape['label'] not in indices:
            raise UserError(f'label {shape["label"]!r} is not in the classes file: {", ".join(classes.names)}')
        _fill(mask, shape, indices[shape['label']])
    return mask


def _fill(mask: np.ndarray, shape: dict, index: int) -> None:
    kind = shape.get('shape_type') or 'polygon'
    points = np.array(shape['points'])
    if kind == 'polygon':
        cv2.fillPoly(mask, [np.round(points).astype(np.int32)], index)
    elif kind == 'rectangle':
        low, high = np.round([points.min(0), points.max(0)]).astype(int).tolist()
        cv2.rectangle(mask, low, high, index, cv2.FILLED)
    elif kind == 'circle':  # centre and a point of the edge
        radius = int(round(np.hypot(*(points[1] - points[0]))))
        cv2.circle(mask, np.round(points[0]).astype(int).tolist(), radius, index, cv2.FILLED)
    elif kind == 'mask':  # a PNG of the box whose first corner is the first point
        x, y = points[0].astype(int)
        drawn = _decoded(shape.get('mask'), (mask.shape[1], mask.shape[0]))
        if min(x, y) < 0:
            raise UserError(f'shape {shape["label"]!r}: its mask begins at {x}, {y}, outside of the picture')
        box = mask[y : y + drawn.shape[0], x : x + drawn.shape[1]]
        box[drawn[: box.shape[0], : box.shape[1]]] = index
    else:
        raise UserError(f'shape_type {kind!r} is not filled; draw a polygon, rectangle, circle or mask')


def _decoded(text: Any, largest: tuple[int, int]) -> np.ndarray:
    """The PNG of a mask, bool (H, W), of no more pixels than its picture has, (width, height)."""
    try:
        with Image.open(io.BytesIO(base64.b64decode(text)), formats=['PNG']) as image:
            if image.width > largest[0] or image.height > largest[1]:
                raise UserError(f'a mask of {image.width} x {image.height} pixels is larger than its picture')
            return np.array(image.convert('L')) > 0
    except UserError:
        raise
    except (TypeError, ValueError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f'a mask that is no PNG in base64, which labelme writes: {error}') from error
