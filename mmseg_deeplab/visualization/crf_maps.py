"""What the dense CRF does, in pictures: maps by iteration, labels before and after, the surface of a search.

Figures are made without pyplot, as in `plots`; `figure.savefig(path)` writes them.
"""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from .overlays import overlay
from .text import drawable, text_style

WIDTH = 2.6  # inches of one panel
TITLE_LENGTH = 30  # characters in a line
SCORE_RANGE = 15.0  # log-odds of the belief that differs from 0 or 1 by 3e-7


def iteration_figure(
    image: np.ndarray, beliefs: Mapping[int, np.ndarray], classes: Sequence[str], shown: Sequence[int]
) -> Figure:
    """Score and belief maps of some classes after several mean-field iterations, as DeepLab v1's Fig. 2.

    The belief is the CRF's probability Q, the score the log-odds log Q/(1 - Q): what the softmax gets for the class,
    relative to the other classes together, since the CRF defines it only up to a number common to all classes.

    Args:
        image: (H, W, 3) uint8 RGB.
        beliefs: (C, H, W) probabilities by number of iterations; 0 is the network's softmax.
        classes: C names.
        shown: indices of the classes to draw.
    """
    height, width = image.shape[:2]
    rows, columns = 2 * len(shown), 1 + len(beliefs)
    figure = Figure((WIDTH * columns + 0.6, (WIDTH * height / width + 0.3) * rows), layout='constrained')
    grid = figure.subplots(rows, columns, squeeze=False)
    for index, row in zip(shown, range(0, rows, 2), strict=True):
        score_axes, belief_axes = grid[row], grid[row + 1]
        _show(score_axes[0], image, classes[index])
        belief_axes[0].axis('off')
        for axes, below, (iteration, q) in zip(score_axes[1:], belief_axes[1:], beliefs.items(), strict=True):
            belief = q[index].clip(1e-7, 1 - 1e-7)
            log_odds = np.log(belief / (1 - belief))
            title = f'iteration {iteration}' if iteration else 'network'
            score_map = _show(axes, log_odds, title, cmap='RdBu_r', vmin=-SCORE_RANGE, vmax=SCORE_RANGE)
            belief_map = _show(below, belief, '', cmap='magma', vmin=0, vmax=1)
        figure.colorbar(score_map, ax=list(score_axes), label='score (log-odds)', shrink=0.9, extend='both')
        figure.colorbar(belief_map, ax=list(belief_axes), label='belief', shrink=0.9)
    return figure


def label_figure(
    image: np.ndarray,
    before: np.ndarray,
    after: np.ndarray,
    palette: Sequence[Sequence[int]],
    truth: np.ndarray | None = None,
) -> Figure:
    """The image, and the labels before and after the CRF laid over it, each with the truth's boundary in white.

    Args:
        image: (H, W, 3) uint8 RGB.
        before, after, truth: (H, W) class indices; void in the truth is one more class.
        palette: RGB colours of the classes.
    """
    height, width = image.shape[:2]
    panels = [('image', image)]
    panels += [(name, overlay(image, labels, palette)) for name, labels in (('before', before), ('after CRF', after))]
    figure = Figure((2 * WIDTH * len(panels), 2 * WIDTH * height / width + 0.4), layout='constrained')
    for axes, (title, picture) in zip(figure.subplots(1, len(panels)), panels, strict=True):
        if truth is not None:
            picture = picture.copy()
            picture[boundary(truth)] = 255
        _show(axes, picture, title)
    return figure


def boundary(labels: np.ndarray) -> np.ndarray:
    """(H, W) bool: the pixels whose right or lower neighbour has another label."""
    edge = np.zeros(labels.shape, bool)
    edge[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    edge[:-1] |= labels[:-1] != labels[1:]
    return edge


def surface_figure(scores: Sequence[tuple[Mapping[str, float], float]], without: float) -> Figure:
    """The mean IoU of a search over bi_xy_std and bi_rgb_std, one panel for each bi_w, the best cell framed.

    Where other parameters were searched too, a cell shows the best over them; cells not looked at stay empty.

    Args:
        scores: (parameters, mean IoU) of the candidates, 0..1.
        without: the mean IoU without CRF.
    """
    axis = {name: sorted({candidate[name] for candidate, _ in scores}) for name in ('bi_w', 'bi_xy_std', 'bi_rgb_std')}
    surface = np.full([len(values) for values in axis.values()], np.nan)
    for candidate, miou in scores:
        cell = tuple(values.index(candidate[name]) for name, values in axis.items())
        surface[cell] = np.fmax(surface[cell], 100 * miou)
    best = np.unravel_index(np.nanargmax(surface), surface.shape)
    low, high = np.nanmin(surface), np.nanmax(surface)
    size = (1.4 + 0.75 * len(axis['bi_rgb_std'])) * len(axis['bi_w']), 1.6 + 0.5 * len(axis['bi_xy_std'])
    figure = Figure((max(size[0], 5) + 1, size[1]), layout='constrained')
    panels = figure.subplots(1, len(axis['bi_w']), squeeze=False, sharey=True)[0]
    for number, (panel, weight) in enumerate(zip(panels, axis['bi_w'], strict=True)):
        picture = panel.imshow(surface[number], cmap='viridis', vmin=low, vmax=max(high, low + 1e-6), aspect='auto')
        panel.set_xticks(range(len(axis['bi_rgb_std'])), axis['bi_rgb_std'])
        panel.set_yticks(range(len(axis['bi_xy_std'])), axis['bi_xy_std'])
        panel.set_xlabel('bi_rgb_std')
        panel.set_title(f'bi_w = {weight:g}')
        for (y, x), value in np.ndenumerate(surface[number]):
            if not np.isnan(value):
                color = 'white' if value < (low + high) / 2 else 'black'
                panel.text(x, y, f'{value:.2f}', ha='center', va='center', fontsize=8, color=color)
        if number == best[0]:
            corner = best[2] - 0.5, best[1] - 0.5
            panel.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor='red', linewidth=2, clip_on=False))
    panels[0].set_ylabel('bi_xy_std')
    figure.colorbar(picture, ax=list(panels), label='mean IoU (%)')
    figure.suptitle(f'mean IoU with CRF; without: {100 * without:.2f}', fontsize=10)
    return figure


def _show(axes: Axes, picture: np.ndarray, title: str, **kwargs):
    axes.axis('off')
    axes.set_title(textwrap.fill(drawable(title), TITLE_LENGTH), fontsize=10, **text_style([title]))
    return axes.imshow(picture, interpolation='nearest', **kwargs)
