"""The HTML of the test report: one file with its style and pictures inside, no script, no network."""

import base64
import io
import os.path
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import cv2
import numpy as np
from PIL import Image

from ..evaluation import Scores
from ..evaluation.confusion import nanmean
from ..evaluation.metric import ImageResult
from .overlays import difference_legend

PICTURE_WIDTH = 420  # pixels to which larger pictures are reduced
LISTED_IMAGES = 20

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #1f2328; background: #fff; margin: 0 auto; max-width: 1200px;
  padding: 24px; }
h1 { font-size: 26px; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 19px; margin: 36px 0 8px; border-bottom: 1px solid #d1d9e0; padding-bottom: 4px; }
p.note, .note { color: #59636e; font-size: 13px; }
.tiles { display: flex; flex-wrap: wrap; gap: 12px; margin: 16px 0; }
.tile { border: 1px solid #d1d9e0; border-radius: 6px; padding: 8px 16px; min-width: 90px; }
.tile b { display: block; font-size: 22px; }
.tile span { color: #59636e; font-size: 13px; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 3px 12px; text-align: right; border-bottom: 1px solid #eaeef2; }
th:first-child, td:first-child, .about td { text-align: left; }
.about td, .images td { overflow-wrap: anywhere; }
tr.mean { font-weight: 600; border-top: 2px solid #59636e; }
.up { color: #1a7f37; } .down { color: #cf222e; }
.patch { display: inline-block; width: 13px; height: 13px; border: 1px solid #818b98; margin-right: 6px;
  vertical-align: -2px; }
.bar { background: #eaeef2; width: 160px; height: 10px; } .bar i { display: block; background: #1f6feb; height: 10px; }
.scroll { overflow-x: auto; } .scroll td { white-space: nowrap; }
.plot { display: block; }
.card { margin: 14px 0 22px; }
.row { display: flex; flex-wrap: wrap; gap: 8px; margin-top: 4px; }
figure { margin: 0; flex: 1 1 150px; max-width: 420px; } figure img { width: 100%; display: block; }
figcaption { font-size: 12px; color: #59636e; }
.legend span { margin-right: 14px; white-space: nowrap; font-size: 13px; }
pre { background: #f6f8fa; padding: 12px; overflow-x: auto; font-size: 12px; }
"""


@dataclass(frozen=True)
class Card:
    """One image with its scores and the pictures to show in a row (name -> (H, W, 3) uint8 RGB)."""

    after: ImageResult
    before: ImageResult | None
    pictures: dict[str, np.ndarray]


def render(
    title: str,
    about: dict[str, str],
    metrics: dict[str, float],
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
    scores: Scores,
    before: Scores | None,
    plots: dict[str, bytes],
    worst: list[Card],
    best: list[Card],
    images: list[ImageResult],
    config: str,
) -> str:
    """The whole page.

    Args:
        about: what was tested, name -> value.
        metrics: percent; names with `before_crf/` stand beside those without.
        classes, palette, scores, before: the per-class table; `before` is the one before the CRF.
        plots: PNG files by name: class_iou, trimap, confusion.
        worst, best: the images to show.
        images: every image, worst first.
        config: the complete configuration.
    """
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
    rows = ''.join(f'<tr><td>{escape(k)}</td><td>{escape(v)}</td></tr>' for k, v in about.items())
    judged = [(name, palette[k]) for k, name in enumerate(classes) if not np.isnan(scores.iou[k])]
    legend = _legend(judged) + _legend(difference_legend(before is not None))
    legend += '<p class="note">void (not scored): grey stripes. Scores: mean IoU over the classes in the image.</p>'
    names = image_names([image.img_path for image in images])
    shown = images[:LISTED_IMAGES]
    sections = [
        ('What was tested', f'<table class="about">{rows}</table>'),
        ('Classes', f'<div class="scroll">{_class_table(classes, palette, scores, before)}</div>'),
        ('IoU by class', _plot(plots['class_iou'], 'IoU of each class')),
        (
            'Near the boundaries (trimap)',
            '<p class="note">Scores of the pixels within a band of the given width around the boundaries of the truth, '
            'void pixels left out.</p>' + _plot(plots['trimap'], 'scores over trimap width'),
        ),
        ('Confusion', _plot(plots['confusion'], 'confusion matrix')),
        ('Worst images', legend + ''.join(_card(card, names) for card in worst)),
        ('Best images', ''.join(_card(card, names) for card in best)),
        (f'The {len(shown)} worst of {len(images)} images', _image_table(shown, names)),
        ('Configuration', f'<details><summary>show</summary><pre>{escape(config)}</pre></details>'),
    ]
    body = ''.join(f'<h2>{heading}</h2>{content}\n' for heading, content in sections if content)
    return (
        f'<!DOCTYPE html><html lang="en"><head>{head}<style>{STYLE}</style></head>\n'
        f'<body><h1>{escape(title)}</h1>{_tiles(metrics)}{body}</body></html>\n'
    )


def _tiles(metrics: dict[str, float]) -> str:
    tiles = []
    for name, value in metrics.items():
        if name.startswith('before_crf/') or not isinstance(value, int | float):
            continue
        before = metrics.get(f'before_crf/{name}')
        note = '' if before is None else f'<span>{before:.2f} before CRF ({_delta(value - before)})</span>'
        tiles.append(f'<div class="tile"><span>{escape(name)}</span><b>{value:.2f}</b>{note}</div>')
    return f'<div class="tiles">{"".join(tiles)}</div>'


def _class_table(classes, palette, scores: Scores, before: Scores | None) -> str:
    header = ['class', 'IoU', '', 'Acc', 'Dice'] + (['IoU before CRF', 'change'] if before else [])
    rows = []
    for k, name in enumerate([*classes, 'mean']):
        mean = k == len(classes)
        value = nanmean if mean else (lambda column, k=k: column[k])
        iou = value(scores.iou)
        width = 0 if np.isnan(iou) else 100 * iou
        label = escape(name) if mean else _patch(palette[k]) + escape(name)
        cells = [
            label,
            _percent(iou),
            f'<div class="bar"><i style="width:{width:.1f}%"></i></div>',
            _percent(value(scores.acc)),
            _percent(value(scores.dice)),
        ]
        if before:
            cells += [_percent(value(before.iou)), _delta(100 * (iou - value(before.iou)))]
        rows.append(f'<tr{" class=mean" if mean else ""}>' + ''.join(f'<td>{c}</td>' for c in cells) + '</tr>')
    return f'<table><tr>{"".join(f"<th>{h}</th>" for h in header)}</tr>{"".join(rows)}</table>'


def image_names(paths: Sequence[str]) -> dict[str, str]:
    """The part of each path below the folder that all have in common; the whole path where there is no such folder."""
    try:
        root = os.path.commonpath([os.path.dirname(path) for path in paths])
    except ValueError:  # no paths, or absolute and relative ones
        root = ''
    return {path: os.path.relpath(path, root) if root else path for path in paths}


def _image_table(images: list[ImageResult], names: dict[str, str]) -> str:
    rows = ''.join(
        f'<tr><td>{escape(names[i.img_path])}</td><td>{_percent(i.miou)}</td><td>{_percent(i.pixel_acc)}</td></tr>'
        for i in images
    )
    return f'<table class="images"><tr><th>image</th><th>mIoU</th><th>aAcc</th></tr>{rows}</table>'


def _card(card: Card, names: dict[str, str]) -> str:
    text = f'<b>{escape(names[card.after.img_path])}</b> mIoU {_percent(card.after.miou)}'
    if card.before:
        text += f' ({_percent(card.before.miou)} before CRF)'
    text += f', pixel accuracy {_percent(card.after.pixel_acc)}'
    figures = ''.join(
        f'<figure><img alt="{name}" src="{_jpeg(picture)}"><figcaption>{name}</figcaption></figure>'
        for name, picture in card.pictures.items()
    )
    return f'<div class="card">{text}<div class="row">{figures}</div></div>'


def _jpeg(picture: np.ndarray) -> str:
    height, width = picture.shape[:2]
    if width > PICTURE_WIDTH:
        size = (PICTURE_WIDTH, max(1, round(height * PICTURE_WIDTH / width)))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, 'JPEG', quality=90)
    return 'data:image/jpeg;base64,' + base64.b64encode(buffer.getvalue()).decode()


def _plot(png: bytes, alt: str) -> str:
    data = base64.b64encode(png).decode()
    return f'<div class="scroll"><img class="plot" alt="{alt}" src="data:image/png;base64,{data}"></div>'


def _legend(entries) -> str:
    return f'<p class="legend">{"".join(f"<span>{_patch(c)}{escape(name)}</span> " for name, c in entries)}</p>'


def _patch(color: Sequence[int]) -> str:
    return f'<i class="patch" style="background:rgb({",".join(str(int(c)) for c in color)})"></i>'


def _percent(fraction: float) -> str:
    return '–' if np.isnan(fraction) else f'{100 * fraction:.2f}'


def _delta(points: float) -> str:
    if np.isnan(points):
        return '–'
    return f'<span class="{"up" if points >= 0 else "down"}">{points:+.2f}</span>'
