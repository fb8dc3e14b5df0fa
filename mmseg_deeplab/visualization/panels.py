"""Image, truth and prediction side by side, with a legend, as one picture per test sample."""

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw

from .overlays import colorize, difference, difference_legend, stripes
from .text import draw_text, text_width

Legend = list[tuple[str, Sequence[int] | None]]  # names and RGB colours; None is void
MIN_PANEL_WIDTH = 160  # narrower images are enlarged, or their titles would not fit
GAP, LINE, FONT_SIZE = 8, 22, 14


def draw_panels(
    image: np.ndarray,
    prediction: np.ndarray,
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
    truth: np.ndarray | None = None,
    before: np.ndarray | None = None,
    ignore_index: int = 255,
) -> Image.Image:
    """Image | truth | before CRF | prediction | difference (those that exist), with the legend of what occurs.

    Args:
        image: (H, W, 3) uint8 RGB.
        prediction, truth, before: (H, W) class indices; `before` is the prediction before the dense CRF.
        classes, palette: the dataset's names and RGB colours.
        ignore_index: the void label.
    """
    panels = [('image', image)]
    if truth is not None:
        panels.append(('truth', colorize(truth, palette, ignore_index)))
    if before is not None:
        panels.append(('before CRF', colorize(before, palette, ignore_index)))
    panels.append(('prediction' if before is None else 'after CRF', colorize(prediction, palette, ignore_index)))
    legend = _present(classes, palette, [m for m in (truth, before, prediction) if m is not None])
    if truth is not None:
        panels.append(('difference', difference(image, truth, prediction, before, ignore_index)))
        legend += difference_legend(before is not None)
        if (truth == ignore_index).any():
            legend.append(('void', None))
    return compose(panels, legend)


def _present(classes: Sequence[str], palette: Sequence[Sequence[int]], maps: list[np.ndarray]) -> Legend:
    labels = np.unique(np.concatenate([np.unique(m) for m in maps]))
    return [(classes[label], tuple(palette[label])) for label in labels if label < len(classes)]


def compose(panels: list[tuple[str, np.ndarray]], legend: Legend) -> Image.Image:
    """Titles above the panels, the legend below in as many lines as it needs."""
    height, width = panels[0][1].shape[:2]
    scale = -(-MIN_PANEL_WIDTH // width) if width < MIN_PANEL_WIDTH else 1
    height, width = height * scale, width * scale
    entries = [20 + text_width(name, FONT_SIZE) + 2 * GAP for name, _ in legend]
    total_width = max([(width + GAP) * len(panels) + GAP, *(GAP + entry for entry in entries)])
    places, x, y = [], GAP, LINE + height + GAP
    for entry in entries:
        if x + entry > total_width and x > GAP:
            x, y = GAP, y + LINE
        places.append((x, y))
        x += entry
    canvas = Image.new('RGB', (total_width, y + LINE + GAP), 'white')
    draw = ImageDraw.Draw(canvas)
    for number, (title, panel) in enumerate(panels):
        left = GAP + number * (width + GAP)
        draw_text(draw, (left, 3), _cut(title, width), FONT_SIZE)
        if scale > 1:
            panel = cv2.resize(panel, (width, height), interpolation=cv2.INTER_NEAREST)
        canvas.paste(Image.fromarray(panel), (left, LINE))
    for (name, color), (x, y) in zip(legend, places, strict=True):
        patch = stripes((14, 14)) if color is None else np.full((14, 14, 3), color, np.uint8)
        canvas.paste(Image.fromarray(patch), (x, y + 2))
        draw.rectangle((x, y + 2, x + 13, y + 15), outline='grey')
        draw_text(draw, (x + 20, y), name, FONT_SIZE)
    return canvas


def _cut(title: str, width: int) -> str:
    """As much of the title as `width` pixels hold."""
    if text_width(title, FONT_SIZE) <= width:
        return title
    while title and text_width(f'{title}…', FONT_SIZE) > width:
        title = title[:-1]
    return f'{title}…'
