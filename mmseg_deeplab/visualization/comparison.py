"""Several evaluations side by side: one table as Markdown, CSV and HTML, and one picture."""

import base64
import csv
import io
from collections.abc import Mapping
from itertools import chain

import jinja2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..evaluation.results import Results
from .text import drawable, text_style, text_width

TRIMAPS = (1, 5, 20)
"""Widths in pixels that the table shows; the picture has all."""
Rows = list[list[str]]


def overview(runs: Mapping[str, Results]) -> Rows:
    """A header and one row a run: scores in percent, costs, speed. A column that no run has is left out."""
    columns = {
        'run': [*runs],
        'config': [r.title for r in runs.values()],
        'mIoU': [_number(r.metrics.get('mIoU')) for r in runs.values()],
        'before CRF': [_number(r.metrics.get('before_crf/mIoU')) for r in runs.values()],
        'CRF gain': [_gain(r) for r in runs.values()],
        **{name: [_number(r.metrics.get(name)) for r in runs.values()] for name in ('aAcc', 'mAcc', 'mDice', 'FWIoU')},
        **{
            f'mIoU within {width} px': [_number(dict(enumerate(r.trimap, 1)).get(width)) for r in runs.values()]
            for width in TRIMAPS
        },
        'parameters (M)': [f'{r.parameters / 1e6:.2f}' for r in runs.values()],
        'multiply-adds (B)': [_number(r.multiply_adds and r.multiply_adds / 1e9) for r in runs.values()],
        'at (height x width)': [' x '.join(map(str, r.shape)) for r in runs.values()],
        'images/s': [_number(r.images / r.seconds if r.seconds else None) for r in runs.values()],
        'images': [str(r.images) for r in runs.values()],
    }
    shown = {name: values for name, values in columns.items() if any(values)}
    return [[*shown], *map(list, zip(*shown.values(), strict=True))]


def by_class(runs: Mapping[str, Results]) -> Rows:
    """A header and one row a class with its IoU in each run, in percent; classes of all runs, in order."""
    known = {name: dict(zip(run.classes, run.iou, strict=True)) for name, run in runs.items()}
    classes = dict.fromkeys(chain.from_iterable(run.classes for run in runs.values()))
    return [['class', *runs], *([each, *(_number(known[name].get(each)) for name in runs)] for each in classes)]


def warnings(runs: Mapping[str, Results]) -> list[str]:
    """What keeps the runs from being compared, one sentence each."""
    found = []
    for what, values in (
        ('classes', [tuple(run.classes) for run in runs.values()]),
        ('test data', [run.facts.get('test data') for run in runs.values()]),
        ('number of images', [run.images for run in runs.values()]),
    ):
        if len(set(values)) > 1:
            found.append(f'The runs differ in their {what}: their scores are not of the same task.')
    if len({run.facts.get('device') for run in runs.values()}) > 1:
        found.append('The runs were on different devices: their speeds do not compare.')
    if len({tuple(run.shape) for run in runs.values()}) > 1:
        found.append('Multiply-adds are of different image sizes.')
    return found


def as_markdown(runs: Mapping[str, Results]) -> str:
    """Both tables as Markdown, with the warnings."""
    tables = []
    for header, *rows in (overview(runs), by_class(runs)):
        lines = [header, ['---', *['---:'] * (len(header) - 1)], *rows]
        escaped = [[cell.replace('|', r'\|').replace('\n', ' ') for cell in line] for line in lines]
        tables.append('\n'.join(f'| {" | ".join(line)} |' for line in escaped))
    return '\n\n'.join([*warnings(runs), *tables]) + '\n'


def as_csv(runs: Mapping[str, Results]) -> str:
    """One line a run: the overview and the IoU of each class."""
    text = io.StringIO(newline='')
    header, *rows = by_class(runs)
    columns = [[f'IoU {name}', *values] for name, *values in rows]
    first = overview(runs)
    csv.writer(text).writerows([line + [column[k] for column in columns] for k, line in enumerate(first)])
    return text.getvalue()


def as_html(runs: Mapping[str, Results], picture: bytes) -> str:
    """One page with the picture (PNG) inside. All text is escaped."""
    loader = jinja2.PackageLoader('mmseg_deeplab.visualization', '')
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters['base64'] = lambda content: base64.b64encode(content).decode()
    page = environment.get_template('comparison_page.html')
    facts = list(dict.fromkeys(chain.from_iterable(run.facts for run in runs.values())))
    about = [['', *runs], *([name, *(str(run.facts.get(name, '')) for run in runs.values())] for name in facts)]
    return page.render(
        warnings=warnings(runs), tables={'Scores and costs': overview(runs), 'IoU by class': by_class(runs)},
        about=about, picture=picture,
    )  # fmt: skip


def comparison_figure(runs: Mapping[str, Results]) -> Figure:
    """Mean IoU with and without CRF, IoU by class, mean IoU over the trimap's width."""
    names = [drawable(name) for name in runs]
    classes = [row[0] for row in by_class(runs)[1:]]
    drawn = [drawable(name) for name in classes]
    widest = max(text_width(name, 9) for name in [*names, *drawn]) / 72
    height = max(3.6, 1.2 + len(classes) * max(0.24, 0.1 * len(runs)))
    figure = Figure((13 + 2 * widest, height), layout='constrained')
    means, single, trimaps = figure.subplots(1, 3, width_ratios=(3, 5, 5))
    _draw_means(means, runs, names)
    thickness = 0.8 / len(runs)
    for k, (name, run) in enumerate(runs.items()):
        iou = dict(zip(run.classes, run.iou, strict=True))
        values = np.array([iou.get(each) for each in classes], float)
        single.barh(np.arange(len(classes)) + (k + 0.5) * thickness - 0.4, values, thickness, label=drawable(name))
        curve = np.array(run.trimap, float)
        trimaps.plot(np.arange(1, len(curve) + 1), curve, marker='.', markersize=4, label=drawable(name))
    single.set_yticks(range(len(classes)), drawn, fontsize=9 if len(classes) <= 40 else 6, **text_style(drawn))
    single.set_ylim(len(classes) - 0.5, -0.5)
    single.set(xlim=(0, 100), xlabel='IoU (%)')
    trimaps.set(xlabel='trimap width (pixels)', ylabel='mean IoU (%)')
    trimaps.grid(alpha=0.3)
    for axes in (means, single, trimaps):
        axes.spines[['top', 'right']].set_visible(False)
    handles, labels = trimaps.get_legend_handles_labels()
    figure.legend(handles, labels, loc='outside upper right', ncols=min(len(runs), 4), frameon=False)
    return figure


def _draw_means(axes: Axes, runs: Mapping[str, Results], names: list[str]) -> None:
    for k, run in enumerate(runs.values()):
        miou, before = run.metrics.get('mIoU', np.nan), run.metrics.get('before_crf/mIoU')
        axes.barh(k, miou, 0.6, color=f'C{k % 10}')
        label = f'{miou:.2f}'
        if before is not None:
            axes.plot([before, before], [k - 0.3, k + 0.3], color='black')
            label += f' ({before:.2f} before CRF)'
        axes.text(1, k, label, va='center', fontsize=8)
    axes.set_yticks(range(len(names)), names, **text_style(names))
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set(xlim=(0, 100), xlabel='mIoU (%)')


def _gain(run: Results) -> str:
    after, before = run.metrics.get('mIoU'), run.metrics.get('before_crf/mIoU')
    return '' if after is None or before is None else f'{after - before:+.2f}'


def _number(value: float | None) -> str:
    return '' if value is None else f'{value:.2f}'
