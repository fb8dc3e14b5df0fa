"""Pictures of predictions and evaluations, drawn from arrays and scores: panels, plots, the report page."""

from .label_sets import as_one_map
from .overlays import colorize, difference, overlay
from .panels import draw_panels
from .plots import class_iou_figure, confusion_figure, sweep_figure, trimap_figure

__all__ = [
    'as_one_map',
    'class_iou_figure',
    'colorize',
    'confusion_figure',
    'difference',
    'draw_panels',
    'overlay',
    'sweep_figure',
    'trimap_figure',
]
