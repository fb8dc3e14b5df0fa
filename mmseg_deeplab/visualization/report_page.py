"""The HTML of the test report: one file with its style and pictures inside, no script, no network."""

import base64
import io
import math
import os.path
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real

import cv2
import jinja2
import numpy as np
from PIL import Image

from ..evaluation import Scores
from ..evaluation.confusion import nanmean
from ..evaluation.metric import ImageResult
from .overlays import difference_legend

PICTURE_WIDTH = 420  # pixels to which larger pictures are reduced
LISTED_IMAGES = 20


@dataclass(frozen=True)
class Card:
    """One image with its scores and the pictures to show in a row (name -> (H, W, 3) uint8 RGB)."""

    after: ImageResult
    before: ImageResult | None
    pictures: dict[str, np.ndarray]


def render(
    title: str,
    facts: Mapping[str, str],
    metrics: Mapping[str, float],
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
    scores: Scores,
    before: Scores | None,
    plots: Mapping[str, bytes],
    worst: Sequence[Card],
    best: Sequence[Card],
    images: Sequence[ImageResult],
    config: str,
    only_before: Sequence[str] = (),
) -> str:
    """The whole page. All text is escaped.

    Args:
        facts: what was tested, name -> value.
        metrics: percent; names with `before_crf/` stand beside those without.
        classes, palette, scores, before: the per-class table; `before` is the one before the CRF.
        plots: PNG files by name: class_iou, trimap, confusion.
        worst, best: the images to show.
        images: every image, worst first.
        config: the complete configuration.
        only_before: names of the classes that are predicted before the CRF only, and left out of the means.
    """
    return _template().render(
        title=title,
        facts=facts,
        metrics={name: value for name, value in metrics.items() if isinstance(value, Real)},
        class_rows=_class_rows(classes, palette, scores, before),
        before=before is not None,
        only_before=only_before,
        plots=plots,
        class_legend=[(name, palette[k]) for k, name in enumerate(classes) if not np.isnan(scores.iou[k])],
        difference_legend=difference_legend(before is not None),
        worst=worst,
        best=best,
        images=images,
        listed=images[:LISTED_IMAGES],
        names=image_names([image.img_path for image in images]),
        config=config,
    )


def _template() -> jinja2.Template:
    loader = jinja2.PackageLoader('mmseg_deeplab.visualization', '')
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters |= {
        'percent': lambda fraction: '–' if math.isnan(fraction) else f'{100 * fraction:.2f}',
        'base64': lambda content: base64.b64encode(content).decode(),
        'jpeg': _jpeg,
    }
    return environment.get_template('report_page.html')


def _class_rows(
    classes: Sequence[str], palette: Sequence[Sequence[int]], scores: Scores, before: Scores | None
) -> list[dict]:
    """One row a class and one, without a colour, for the mean; fractions."""
    columns = {name.lower(): values for name, values in scores.columns().items()}
    if before is not None:
        columns['iou_before'] = before.iou
    rows = [
        dict(name=name, color=palette[k], **{column: values[k] for column, values in columns.items()})
        for k, name in enumerate(classes)
    ]
    return [*rows, dict(name='mean', color=None, **{column: nanmean(values) for column, values in columns.items()})]


def image_names(paths: Sequence[str]) -> dict[str, str]:
    """The part of each path below the folder that all have in common; the whole path where there is no such folder."""
    try:
        root = os.path.commonpath([os.path.dirname(path) for path in paths])
    except ValueError:  # no paths, or absolute and relative ones
        root = ''
    return {path: os.path.relpath(path, root) if root else path for path in paths}


def _jpeg(picture: np.ndarray) -> bytes:
    """The picture, reduced to `PICTURE_WIDTH`, as a JPEG file."""
    height, width = picture.shape[:2]
    if width > PICTURE_WIDTH:
        size = (PICTURE_WIDTH, max(1, round(height * PICTURE_WIDTH / width)))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, 'JPEG', quality=90)
    return buffer.getvalue()
