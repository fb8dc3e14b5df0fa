"""Samples as the network will see them."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmseg.registry import DATASETS, MODELS, TRANSFORMS

from ..checkpoints.save import atomic_write
from ..errors import UserError
from ..progress import progress
from ..visualization import as_one_map, colorize, overlay
from ..visualization.panels import Legend, compose
from .data_root import iter_datasets


def browse(cfg: Config, out_dir: str | Path, split: str = 'train', count: int = 16, seed: int = 0) -> str:
    """Draw `count` samples of a split to `out_dir`: image, labels, both, with the classes and their share of pixels.

    A sample goes through the dataset's pipeline and the model's data preprocessor (as in training for 'train'), and
    its normalisation is undone: padding, channel order and crops are what the network gets. Returns a table of the
    classes' share of the pixels and of the images.

    Raises:
        ValueError: If the config has no data of that split.
    """
    if not cfg.get(f'{split}_dataloader'):
        raise UserError(f'the config has no {split}_dataloader: there is nothing of that split to draw')
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmseg')):
        dataset = DATASETS.build(cfg[f'{split}_dataloader'].dataset)
        samples = _samples(cfg, dataset, split == 'train', count, seed)
        return _draw(samples, dataset.metainfo, min(count, len(dataset)), Path(out_dir))


def measure(cfg: Config, split: str = 'train') -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel over all pixels of a split, as `data_preprocessor` wants them.

    The pictures are as they are loaded, without augmentation; channels in the order that the network gets them.
    """
    model = cfg.get('model') or {}
    settings = model.get('data_preprocessor') or cfg.get('data_preprocessor') or dict(bgr_to_rgb=True)
    count, mean, square = 0, np.zeros(1), np.zeros(1)  # and the sum of squares about the mean
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmseg')):
        for part in iter_datasets(cfg.get(f'{split}_dataloader') or {}):
            dataset = DATASETS.build({**part, 'pipeline': []})
            load = TRANSFORMS.build(part['pipeline'][0])
            with progress('measuring', len(dataset)) as advance:
                for index in range(len(dataset)):
                    image = load(dataset.get_data_info(index))['img']
                    pixels = image.reshape(-1, image.shape[2] if image.ndim == 3 else 1).astype(np.float64)
                    new, own = count + len(pixels), pixels.mean(0)
                    square = square + pixels.var(0) * len(pixels) + (own - mean) ** 2 * (count * len(pixels) / new)
                    mean = mean + (own - mean) * (len(pixels) / new)
                    count = new
                    advance(1)
    if not count:
        raise UserError(f'the config has no pictures of {split}_dataloader: there is nothing to measure')
    if len(mean) == 3 and (settings.get('bgr_to_rgb') or settings.get('rgb_to_bgr')):
        mean, square = mean[::-1], square[::-1]
    return mean.tolist(), np.sqrt(square / count).tolist()


def _samples(
    cfg: Config, dataset, training: bool, count: int, seed: int
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Name, image uint8 RGB (H, W, 3) and labels (H, W), or several (C, H, W), spread over the dataset."""
    model = cfg.get('model') or {}
    settings = dict(model.get('data_preprocessor') or cfg.get('data_preprocessor') or {})
    settings = settings or dict(type='SegDataPreProcessor', bgr_to_rgb=True, size=cfg.get('crop_size'))
    if model.get('crop_size'):  # as the segmentor hands it on
        settings = {'size': model['crop_size'], 'test_cfg': dict(size=model['crop_size']), **settings}
    preprocessor = MODELS.build(settings)
    mean, std = (
        torch.as_tensor(settings.get(key) or default).view(-1, 1, 1) for key, default in (('mean', 0), ('std', 1))
    )
    np.random.seed(seed)
    for index in np.linspace(0, len(dataset) - 1, min(count, len(dataset))).round().astype(int):
        sample = dataset[int(index)]
        batch = preprocessor({key: [value] for key, value in sample.items()}, training)
        values = batch['inputs'][0] * std + mean
        data_sample = batch['data_samples'][0]
        bands = data_sample.get('bands')
        image = values.permute(1, 2, 0).numpy()
        image = bands.picture(image) if bands else image.round().clip(0, 255).astype(np.uint8)
        stored = data_sample.gt_sem_seg.data.numpy()
        stored = stored if len(stored) > 1 else stored[0]
        labels = stored.astype(np.uint8)
        if (labels != stored).any():
            odd = np.unique(stored[labels != stored])[:10].tolist()
            raise UserError(f'{data_sample.seg_map_path}: label ids {odd} are no whole numbers 0..255')
        if not training:  # test labels keep the original's size
            maps = [
                cv2.resize(each, data_sample.img_shape[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
                for each in labels.reshape(-1, *labels.shape[-2:])
            ]
            labels = np.stack(maps) if labels.ndim == 3 else maps[0]
        yield Path(data_sample.img_path).stem, image, labels


def _draw(samples: Iterator, metainfo: dict, total: int, out_dir: Path) -> str:
    classes, palette = metainfo['classes'], metainfo['palette']
    out_dir.mkdir(parents=True, exist_ok=True)
    pixels, images, size = np.zeros(256, np.int64), np.zeros(256, np.int64), 0
    with progress('drawing', total) as advance:
        for number, (name, image, labels) in enumerate(samples):
            shown, colours = labels, palette
            if labels.ndim == 3:  # several labels a pixel
                (shown,), _, colours = as_one_map([labels], classes, palette)
                counts = np.zeros(256, np.int64)
                counts[: len(labels)] = (labels == 1).sum((1, 2))
                counts[255] = (shown == 255).sum()
            else:
                counts = np.bincount(labels.ravel(), minlength=256)
            size += shown.size
            pixels += counts
            images += counts > 0
            legend: Legend = [
                (f'{classes[i]} {counts[i] / shown.size:.1%}', tuple(palette[i]))
                for i in np.flatnonzero(counts[: len(classes)])
            ]
            if counts[255]:
                legend.append((f'void {counts[255] / shown.size:.1%}', None))
            height, width = shown.shape
            canvas = np.zeros((*image.shape[:2], 3), np.uint8)  # test images are padded for the network, labels are not
            canvas[:height, :width] = colorize(shown, colours)
            mixed = image.copy()
            mixed[:height, :width] = overlay(image[:height, :width], shown, colours)
            panels = [(f'{name}  {image.shape[1]} x {image.shape[0]}', image), ('labels', canvas), ('both', mixed)]
            with atomic_write(out_dir / f'{number:03d}_{name}.png') as file:
                compose(panels, legend).save(file, format='PNG')
            advance(1)
    width = max(len(name) for name in [*classes, 'class'])
    rows = [f'{"class":{width}}   pixels  images']
    share = pixels / max(1, size)
    rows += [f'{name:{width}}  {share[i]:7.2%}  {images[i]:6d}' for i, name in enumerate(classes)]
    rows.append(f'{"void":{width}}  {share[255]:7.2%}  {images[255]:6d}')
    return '\n'.join(rows)
