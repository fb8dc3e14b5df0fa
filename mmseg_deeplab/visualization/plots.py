"""The figures of an evaluation: confusion matrix, IoU by class, trimap curves.

Each returns a matplotlib Figure made without pyplot, so that drawing needs no display and leaves no global state;
`figure.savefig(path)` writes it.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from ..evaluation import Scores, TrimapCurve
from .text import drawable, text_style, text_width

MAX_NUMBERED = 25  # classes up to which the cells of the confusion matrix carry numbers
CRF_COLOR, PLAIN_COLOR = '#1f6feb', '#e3742f'


def confusion_figure(matrix: np.ndarray, classes: Sequence[str]) -> Figure:
    """Which class (row) is taken for which (column), in percent of the row's pixels.

    Classes without a pixel in truth and prediction are left out.

    Args:
        matrix: (C, C) pixel counts, row = truth.
        classes: C names.
    """
    shown = np.flatnonzero(matrix.sum(0) + matrix.sum(1))
    matrix = matrix[np.ix_(shown, shown)]
    pixels = matrix.sum(1, keepdims=True)
    percent = np.divide(100 * matrix, pixels, out=np.full(matrix.shape, np.nan), where=pixels > 0)
    names = [drawable(classes[k]) for k in shown]
    style = text_style(names)
    size = 9 if len(names) <= MAX_NUMBERED else 5
    side = float(np.clip(1.2 + 0.34 * len(names), 3, 22)) + _width(names, size)
    figure = Figure((side + 1.6, side + 0.5), layout='constrained')
    axes = figure.add_subplot()
    axes.set_facecolor('lightgrey')  # rows of classes that are predicted but not in the truth
    # The square root keeps confusions of one percent visible.
    picture = axes.imshow(percent, cmap='Blues', norm=PowerNorm(0.5, 0, 100))
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=size, **style)
    axes.set_yticks(range(len(names)), names, fontsize=size, **style)
    axes.set_xlabel('predicted')
    axes.set_ylabel('truth')
    if len(names) <= MAX_NUMBERED:
        for y, x in np.argwhere(percent >= 0.5):
            color = 'white' if percent[y, x] > 35 else 'black'
            axes.text(x, y, f'{percent[y, x]:.0f}', ha='center', va='center', fontsize=7, color=color)
    figure.colorbar(picture, ax=axes, label="% of the true class' pixels", shrink=0.7, ticks=[0, 1, 5, 20, 50, 100])
    return figure


def class_iou_figure(classes: Sequence[str], scores: Scores, before: Scores | None = None) -> Figure:
    """IoU of each class as bars, best first, with the mean; with and without CRF where `before` is given."""
    shown = [k for k in np.argsort(-scores.iou) if not np.isnan(scores.iou[k])]
    names, size = [drawable(classes[k]) for k in shown], 9 if len(shown) <= 40 else 6
    figure = Figure((6 + _width(names, size), 1.1 + 0.24 * max(len(shown), 2)), layout='constrained')
    axes = figure.add_subplot()
    position = np.arange(len(shown))
    bars = [('IoU', scores, CRF_COLOR, 0.0)]
    if before is not None:
        bars = [('with CRF', scores, CRF_COLOR, -0.2), ('without CRF', before, PLAIN_COLOR, 0.2)]
    for label, values, color, offset in bars:
        iou = 100 * values.iou
        mean = 100 * values.miou
        height = 0.8 / len(bars)
        axes.barh(position + offset, iou[shown], height, color=color, label=f'{label} (mean {mean:.2f})')
        axes.axvline(mean, color=color, linestyle=':', linewidth=1)
    axes.set_yticks(position, names, fontsize=size, **text_style(names))
    axes.invert_yaxis()
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xlim(0, 100)
    axes.set_xlabel('IoU (%)')
    axes.spines[['top', 'right']].set_visible(False)
    figure.legend(loc='outside upper right', ncols=2, fontsize=9, frameon=False)
    return figure


def trimap_figure(curve: TrimapCurve, before: TrimapCurve | None = None) -> Figure:
    """Pixel accuracy and mean IoU over the trimap's width, as DeepLab v1 Fig. 7; with and without CRF in one."""
    figure = Figure((10, 3.8), layout='constrained')
    for axes, name, label in zip(
        figure.subplots(1, 2), ('pixel_acc', 'miou'), ('pixel accuracy (%)', 'mean IoU (%)'), strict=True
    ):
        lines = [('with CRF' if before else 'prediction', curve, CRF_COLOR)]
        if before:
            lines.append(('without CRF', before, PLAIN_COLOR))
        for line, values, color in lines:
            score = getattr(values, name)
            axes.plot(np.arange(1, len(score) + 1), score, color=color, marker='.', markersize=4, label=line)
        axes.set_xlim(0, len(score))
        axes.set_xlabel('trimap width (pixels)')
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
        axes.spines[['top', 'right']].set_visible(False)
    axes.legend(loc='lower right', frameon=False)
    return figure


def sweep_figure(title: str, curves: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> Figure:
    """Mean IoU of masks over what their background is made by, the best of each curve marked.

    Args:
        title: What is swept, such as 'threshold'.
        curves: Name -> (values swept, mean IoU in percent).
    """
    figure = Figure((5.5, 3.8), layout='constrained')
    axes = figure.add_subplot()
    for (name, (values, mious)), color in zip(curves.items(), (PLAIN_COLOR, CRF_COLOR), strict=False):
        best = max(range(len(mious)), key=mious.__getitem__)
        label = f'{name}, best {mious[best]:.2f} at {values[best]:g}'
        axes.plot(values, mious, color=color, marker='.', label=label)
        axes.plot(values[best], mious[best], 'o', color=color, fillstyle='none')
    axes.set(xlabel=title, ylabel='mean IoU (%)')
    axes.grid(alpha=0.3)
    axes.spines[['top', 'right']].set_visible(False)
    axes.legend(frameon=False)
    return figure


def _width(names: Sequence[str], size: int) -> float:
    """Inches that the longest name takes in a font of `size` points."""
    return max((text_width(name, size) for name in names), default=0) / 72
