"""Pictures of predictions and evaluations, drawn from arrays and scores: panels, plots, the report page."""

from .overlays import colorize, difference, overlay
from .panels import draw_panels
from .plots import class_iou_figure, confusion_figure, sweep_figure, trimap_figure

__all__ = [
    'class_iou_figure',
    'colorize',
    'confusion_figure',
    'difference',
    'draw_panels',
    'overlay',
    'sweep_figure',
    'trimap_figure',
]
