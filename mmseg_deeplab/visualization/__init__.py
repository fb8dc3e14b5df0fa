"""Pictures of predictions and evaluations: panels, plots, the report page."""

from .overlays import colorize, difference, overlay
from .panels import PanelHook, draw_panels
from .plots import class_iou_figure, confusion_figure, trimap_figure
from .report import ReportHook

__all__ = [
    'PanelHook',
    'ReportHook',
    'class_iou_figure',
    'colorize',
    'confusion_figure',
    'difference',
    'draw_panels',
    'overlay',
    'trimap_figure',
]
