"""Polygons drawn with labelme to index masks, in the tree of ImageMaskFolder."""

import base64
import io
import json
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from ...errors import UserError, UserFileNotFoundError
from ..classes_file import VOID_NAMES, Classes, read_classes, read_text
from ..headers import check_size
from ..masks import write_classes
from ..palette import voc_palette
from .runner import Job, Plan

VOID = ('__ignore__', *VOID_NAMES)
BACKGROUND = ('_background_', 'background')


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
    if classes:
        table = read_classes(classes)
    else:
        labels = {shape['label'] for content in contents.values() for shape in content['shapes']}
        names = ('background', *sorted(labels - {*VOID, *BACKGROUND}))
        table = Classes(names, tuple(voc_palette(len(names))))
    jobs, links = [], {}
    for path, content in contents.items():
        image = path.parent / content['imagePath'].replace('\\', '/')
        name = path.relative_to(src).with_suffix('')
        jobs.append(Job(draw, (path, table), dst / f'masks/{name}.png'))
        links[dst / f'images/{name}{image.suffix}'] = image
    return Plan(classes=table.names, jobs=jobs, links=links, finish=lambda: write_classes(dst / 'classes.txt', table))


def _load(path: Path) -> dict:
    """The content of a .json file; of one of labelme's, with all that is needed of it."""
    try:
        content = json.loads(read_text(path, 'the labelme file'))
    except json.JSONDecodeError as error:
        raise UserError(f'{path} is no JSON: {error}') from error
    if not isinstance(content, dict) or 'shapes' not in content:
        return {}
    missing = [key for key in ('imagePath', 'imageHeight', 'imageWidth') if not content.get(key)]
    if missing:
        raise UserError(f'{path} lacks {", ".join(missing)}, which labelme writes')
    check_size((content['imageWidth'], content['imageHeight']), f'the mask of {path}')
    return content


def draw(path: Path, classes: Classes) -> np.ndarray:
    """The mask of a labelme file, uint8 (H, W); where nothing is drawn, the background's index or, without one, 255."""
    content = _load(path)
    indices = {name: index for index, name in enumerate(classes.names)}
    indices |= dict.fromkeys(VOID, 255)
    background = next((i for i, name in enumerate(classes.names) if name.lower() in BACKGROUND), 255)
    indices |= dict.fromkeys(BACKGROUND, background)
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
        with Image.open(io.BytesIO(base64.b64decode(shape['mask']))) as image:
            drawn = np.array(image.convert('L')) > 0
        x, y = points[0].astype(int)
        box = mask[y : y + drawn.shape[0], x : x + drawn.shape[1]]
        box[drawn[: box.shape[0], : box.shape[1]]] = index
    else:
        raise UserError(f'shape_type {kind!r} is not filled; draw a polygon, rectangle, circle or mask')
