"""Image, truth and prediction side by side, with a legend, as one picture per test sample."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import mmcv
import numpy as np
from mmengine.dist import all_gather_object, get_dist_info
from mmengine.fileio import get
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmseg.registry import HOOKS
from PIL import Image, ImageDraw, ImageFont

from ..checkpoints.save import atomic_write
from ..errors import UserError
from ..evaluation.metric import BEFORE_CRF, label_map
from .overlays import colorize, difference, difference_legend, stripes

MIN_PANEL_WIDTH = 160  # narrower images are enlarged, or their titles would not fit
GAP, LINE = 8, 22


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


def read_image(path: str) -> np.ndarray:
    """The image that a test sample names, as the data pipeline decodes it: (H, W, 3) uint8 RGB."""
    return mmcv.imfrombytes(get(path), flag='color', channel_order='rgb')


@HOOKS.register_module()
class PanelHook(Hook):
    """Draws test (or validation) samples to PNG files named as their images; `tools/test.py --show-dir` adds it.

    Only images that are drawn are read. `paths` lists the files of the last loop, on every process.

    Args:
        out_dir: folder for the pictures.
        max_images: how many, spread evenly over the dataset; None draws all.
        ignore_index: the void label.
    """

    def __init__(self, out_dir: str, max_images: int | None = None, ignore_index: int = 255) -> None:
        if max_images is not None and max_images < 1:
            raise UserError(f'max_images={max_images}: give a number of pictures, or None for all samples')
        self.out_dir = Path(out_dir)
        self.max_images = max_images
        self.ignore_index = ignore_index
        self.paths: list[Path] = []

    def _before_epoch(self, runner, mode: str = 'train') -> None:
        if mode != 'train':
            self.paths = []
            self.out_dir.mkdir(parents=True, exist_ok=True)

    def _after_iter(self, runner, batch_idx: int, data_batch=None, outputs=None, mode: str = 'train') -> None:
        if mode == 'train':
            return
        loader = (runner.test_loop if mode == 'test' else runner.val_loop).dataloader
        step = max(1, len(loader.dataset) // self.max_images) if self.max_images else 1
        last = min(len(loader.dataset), step * self.max_images if self.max_images else len(loader.dataset))
        rank, world_size = get_dist_info()
        for position, sample in enumerate(outputs):
            # Samples are dealt out to the processes in turn; those beyond the dataset repeat its first ones.
            index = (batch_idx * loader.batch_size + position) * world_size + rank
            if index < last and index % step == 0:
                self._draw(sample.to_dict(), index, loader.dataset.metainfo)

    def _after_epoch(self, runner, mode: str = 'train') -> None:
        if mode != 'train':
            self.paths = sorted(path for paths in all_gather_object(self.paths) for path in paths)
            print_log(f'drew {len(self.paths)} pictures in {self.out_dir.resolve()}', logger='current')

    def _draw(self, sample: dict, index: int, meta: dict) -> None:
        maps = {
            name: label_map(sample, key)
            for name, key in (('truth', 'gt_sem_seg'), ('before', BEFORE_CRF), ('prediction', 'pred_sem_seg'))
            if key in sample
        }
        picture = draw_panels(
            read_image(sample['img_path']),
            classes=meta['classes'],
            palette=meta['palette'],
            ignore_index=self.ignore_index,
            **maps,
        )
        path = self.out_dir / f'{Path(sample["img_path"]).stem}.png'
        if path in self.paths:  # the same name in another folder
            path = path.with_stem(f'{path.stem}_{index}')
        with atomic_write(path) as file:
            picture.save(file, format='PNG')
        self.paths.append(path)


def _present(classes: Sequence[str], palette: Sequence[Sequence[int]], maps: list[np.ndarray]) -> list[tuple]:
    labels = np.unique(np.concatenate([np.unique(m) for m in maps]))
    return [(classes[label], tuple(palette[label])) for label in labels if label < len(classes)]


def compose(panels: list[tuple[str, np.ndarray]], legend: list[tuple]) -> Image.Image:
    """Titles above the panels, the legend below in as many lines as it needs."""
    font = ImageFont.load_default(14)
    height, width = panels[0][1].shape[:2]
    scale = -(-MIN_PANEL_WIDTH // width) if width < MIN_PANEL_WIDTH else 1
    height, width = height * scale, width * scale
    total_width = (width + GAP) * len(panels) + GAP
    places, x, y = [], GAP, LINE + height + GAP
    for name, _ in legend:
        entry = 20 + int(font.getlength(name)) + 2 * GAP
        if x + entry > total_width and x > GAP:
            x, y = GAP, y + LINE
        places.append((x, y))
        x += entry
    canvas = Image.new('RGB', (total_width, y + LINE + GAP), 'white')
    draw = ImageDraw.Draw(canvas)
    for number, (title, panel) in enumerate(panels):
        left = GAP + number * (width + GAP)
        draw.text((left, 3), title, 'black', font)
        if scale > 1:
            panel = cv2.resize(panel, (width, height), interpolation=cv2.INTER_NEAREST)
        canvas.paste(Image.fromarray(panel), (left, LINE))
    for (name, color), (x, y) in zip(legend, places, strict=True):
        patch = stripes((14, 14)) if color is None else np.full((14, 14, 3), color, np.uint8)
        canvas.paste(Image.fromarray(patch), (x, y + 2))
        draw.rectangle((x, y + 2, x + 13, y + 15), outline='grey')
        draw.text((x + 20, y), name, 'black', font)
    return canvas
