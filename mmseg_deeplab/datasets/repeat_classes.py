"""Repetition of images that hold hard classes."""

import hashlib
import json
import logging
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch.utils.data
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log
from mmseg.registry import DATASETS
from PIL import Image

from ..checkpoints.save import atomic_write
from ..crf.pool import allowed_cpus
from ..errors import UserError
from ..progress import progress
from .transforms import LoadLabels, classes_in

LARGE = 2**22
"""Pixels of a mask above which it is read while no other large one is."""


@DATASETS.register_module()
class RepeatClasses(torch.utils.data.Dataset):
    """A dataset in which each image that shows one of `classes` occurs `times` times.

    DeepLab v3 duplicates the images with bicycle, chair, table, potted plant and sofa (1706.05587, section 4.1,
    'bootstrapping'). The masks are scanned once; what they hold is kept in the user's cache folder, under a key made
    of the masks' names, sizes and times and of what their values or colours mean.

    Args:
        dataset: a dataset or its config.
        classes: names among those of the dataset.
        times: how often such an image occurs.
    """

    def __init__(self, dataset: BaseDataset | dict, classes: Sequence[str], times: int = 2, lazy_init: bool = False):
        if times < 1:
            raise UserError(f'times={times} must be 1 or more')
        self.dataset = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
        self._metainfo = self.dataset.metainfo
        unknown = [name for name in classes if name not in self._metainfo['classes']]
        if unknown:
            raise UserError(f'classes={unknown} are not in the dataset; it has {self._metainfo["classes"]}')
        self.classes, self.times = tuple(classes), times
        self._indices: Any = None  # made by full_init
        if not lazy_init:
            self.full_init()

    @property
    def metainfo(self) -> dict:
        return self._metainfo.copy() if isinstance(self._metainfo, dict) else self._metainfo

    def full_init(self) -> None:
        """Scan the masks, or read the cached scan, and make the list of indices."""
        if self._indices is not None:
            return
        self.dataset.full_init()
        wanted = [self._metainfo['classes'].index(name) for name in self.classes]
        hard = np.isin(np.arange(256), wanted)
        shows = class_presence(self.dataset)
        repeats = np.where((shows & hard).any(1), self.times, 1)
        absent = [name for name, index in zip(self.classes, wanted, strict=True) if not shows[:, index].any()]
        if absent:
            print_log(f'RepeatClasses: no mask shows {absent}', logger='current', level=logging.WARNING)
        self._indices = np.repeat(np.arange(len(repeats)), repeats)

    def __len__(self) -> int:
        self.full_init()
        return len(self._indices)

    def get_data_info(self, index: int) -> dict:
        self.full_init()
        return self.dataset.get_data_info(int(self._indices[index]))

    def __getitem__(self, index: int) -> dict:
        self.full_init()
        return self.dataset[int(self._indices[index])]


def class_presence(dataset: BaseDataset) -> np.ndarray:
    """Which of the label values 0..255 each image of the dataset holds, bool (images, 256); cached."""
    # Any value counts here; whether it is a class is checked where the masks are trained on.
    items: list[dict] = [{**dataset.get_data_info(index), 'mask_classes': None} for index in range(len(dataset))]
    cache = _cache_file(items)
    presence = _read_cache(cache, len(items))
    if presence is None:
        presence = _scan(items)
        try:
            with atomic_write(cache) as file:
                np.save(file, np.packbits(presence, axis=1))
        except OSError as error:
            print_log(f'{error}: the masks will be scanned anew next time; set XDG_CACHE_HOME to a folder to write to')
    return presence


def _scan(items: list[dict]) -> np.ndarray:
    """Read every mask. Each thread holds one mask, and of the large ones there is one at a time."""
    load: Any = LoadLabels()
    large = threading.Lock()

    def shown(item: dict) -> np.ndarray:
        values = np.zeros(256, bool)
        with large if _pixels(item['seg_map_path']) > LARGE else nullcontext():
            values[classes_in(load(dict(item, seg_fields=[])))] = True
        return values

    presence = np.zeros((len(items), 256), bool)
    workers = min(8, allowed_cpus())
    with progress('finding classes in masks', len(items)) as advance, ThreadPoolExecutor(workers) as pool:
        for index, values in enumerate(pool.map(shown, items)):
            presence[index] = values
            advance(1)
    return presence


def _pixels(path: str) -> int:
    try:
        with Image.open(path) as image:
            return image.width * image.height
    except Exception:  # what is wrong with the mask is told where it is read
        return 0


def _read_cache(path: Path, images: int) -> np.ndarray | None:
    """What `class_presence` kept, or None if it is not there, is damaged, or is of other images."""
    try:
        packed = np.load(path)
    except (OSError, ValueError, EOFError):
        return None
    right = isinstance(packed, np.ndarray) and packed.shape == (images, 32) and packed.dtype == np.uint8
    return np.unpackbits(packed, axis=1).astype(bool) if right else None


def _cache_file(items: list[dict]) -> Path:
    digest = hashlib.sha256()
    for item in items:
        stat = os.stat(item['seg_map_path'])
        entry = [item['seg_map_path'], stat.st_size, stat.st_mtime_ns, item['reduce_zero_label'], item['label_map']]
        digest.update(f'{json.dumps(entry)}{item.get("mask_colours")}'.encode())
    root = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache')
    return root / 'mmseg_deeplab' / f'classes_{digest.hexdigest()[:24]}.npy'
