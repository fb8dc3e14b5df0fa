"""PanelHook: one picture per sample of a test or validation; `tools/test.py --show-dir DIR` adds it."""

import os.path
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.dataset import BaseDataset
from mmengine.dist import all_gather_object, get_dist_info
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from mmseg.registry import HOOKS
from torch.utils.data import DataLoader

from ...checkpoints.save import atomic_write
from ...datasets.bands import read_shown
from ...errors import UserError
from ...evaluation.metric import BEFORE_CRF, label_map
from ...visualization import as_one_map, draw_panels
from ...visualization.report_page import image_names


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
        self._names: dict[int, Path] = {}

    def before_val_epoch(self, runner: Runner) -> None:
        self._choose(runner.val_dataloader.dataset)

    def before_test_epoch(self, runner: Runner) -> None:
        self._choose(runner.test_dataloader.dataset)

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs: Sequence | None = None) -> None:
        self._draw_batch(runner.val_dataloader, batch_idx, outputs or ())

    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs: Sequence | None = None) -> None:
        self._draw_batch(runner.test_dataloader, batch_idx, outputs or ())

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        self.paths = sorted(path for paths in all_gather_object(self.paths) for path in paths)
        print_log(f'drew {len(self.paths)} pictures in {self.out_dir.resolve()}', logger='current')

    after_test_epoch = after_val_epoch

    def _choose(self, dataset: BaseDataset) -> None:
        """Which samples to draw, and under which names."""
        step = max(1, len(dataset) // self.max_images) if self.max_images else 1
        chosen = list(range(len(dataset)))[::step][: self.max_images]
        images = [dataset.get_data_info(index)['img_path'] for index in chosen]
        names = picture_names(images)
        self._names = {index: names[image] for index, image in zip(chosen, images, strict=True)}
        self.paths = []

    def _draw_batch(self, loader: DataLoader, batch_idx: int, outputs: Sequence) -> None:
        dataset: Any = loader.dataset
        meta = dataset.metainfo
        rank, world_size = get_dist_info()
        for position, sample in enumerate(outputs):
            # Samples are dealt out to the processes in turn; those beyond the dataset repeat its first ones.
            index = (batch_idx * (loader.batch_size or 1) + position) * world_size + rank
            if index in self._names:
                self._draw(sample.to_dict(), self.out_dir / self._names[index], meta)

    def _draw(self, sample: dict, path: Path, meta: dict) -> None:
        truth, before = (label_map(sample, key) if key in sample else None for key in ('gt_sem_seg', BEFORE_CRF))
        prediction, classes, palette = label_map(sample, 'pred_sem_seg'), meta['classes'], meta['palette']
        if prediction.ndim == 3:  # several labels a pixel
            maps = [prediction] if truth is None else [truth, prediction]
            maps, classes, palette = as_one_map(maps, classes, palette, self.ignore_index)
            truth, prediction = (None, *maps)[-2:]
        picture = draw_panels(
            read_shown(sample['img_path'], sample.get('bands')),
            prediction,
            classes,
            palette,
            truth,
            before,
            self.ignore_index,
        )
        with atomic_write(path) as file:
            picture.save(file, format='PNG')
        self.paths.append(path)


def picture_names(images: Sequence[str]) -> dict[str, Path]:
    """A picture's relative path for each image file: the image's name, with as much before and after as it takes.

    That is the path below the folder that all have in common, and the suffix, where names without them are not unique.
    """
    unique = list(dict.fromkeys(images))
    below = [Path(name) for name in image_names([os.path.abspath(image) for image in unique]).values()]
    for names in ([Path(path.stem) for path in below], [path.with_suffix('') for path in below]):
        if len({str(name).lower() for name in names}) == len(unique):
            return {image: name.with_name(f'{name.name}.png') for image, name in zip(unique, names, strict=True)}
    return {image: name.with_name(f'{name.name}.png') for image, name in zip(unique, below, strict=True)}
