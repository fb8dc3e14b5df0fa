"""Checks of the folders, files and masks that a config names."""

import copy
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from mmengine.config import Config
from mmengine.dataset import Compose
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS, TRANSFORMS

from ..crf.pool import allowed_cpus
from ..datasets import ImageMaskFolder
from ..datasets.data_root import iter_datasets
from ..datasets.split import VAL_RATIO
from ..datasets.transforms import classes_in, label_fields
from ..progress import progress
from .building import build_part, explained
from .errors import PreflightError, reason
from .keys import check_names
from .kinds import name_of

SAMPLE_SIZE = 64
PREFIXES = {'img_path', 'img_path2', 'seg_map_path', 'depth_map_path'}
ANYWHERE = 'Point the config at the data with --data-root DIR'


def open_dataset(cfg: dict, split: str) -> BaseSegDataset | None:
    """Return the dataset of a config, not yet listed; None if it is of a kind that preflight knows nothing of.

    Raises:
        PreflightError: its folder or split file does not exist, or the dataset itself refuses its arguments.
    """
    name = f'{split}_dataloader.dataset'
    kind = DATASETS.get(cfg['type']) if isinstance(cfg['type'], str) else cfg['type']
    if kind is not None and not (isinstance(kind, type) and issubclass(kind, BaseSegDataset)):
        return None
    for key in ('data_root', 'ann_file'):
        if cfg.get(key) is not None and not isinstance(cfg[key], (str, Path)):
            raise PreflightError(f'{name}.{key} is {cfg[key]!r}, but it needs a path')
    root = str(cfg.get('data_root') or '')
    if root and '://' not in root and not Path(root).is_dir():
        raise PreflightError(f"{name}.data_root: folder '{root}' does not exist (from {Path.cwd()}). {ANYWHERE}")
    ann_file = cfg.get('ann_file')
    if isinstance(ann_file, str) and ann_file and '://' not in ann_file:
        path = Path(root or '', ann_file)
        if not path.exists():
            raise PreflightError(f"{name}.ann_file: split file '{path}' does not exist{_beside(path)}. {ANYWHERE}")
    check_names(set(cfg.get('data_prefix') or {}), PREFIXES, f'{name}.data_prefix', 'data_prefix')
    dataset = build_part(DATASETS, {**cfg, 'lazy_init': True, 'pipeline': []}, name)
    for key, folder in dataset.data_prefix.items():
        if folder and '://' not in str(folder) and not Path(folder).is_dir():
            beside = _beside(Path(folder))
            raise PreflightError(f"{name}.data_prefix.{key}: folder '{folder}' does not exist{beside}. {ANYWHERE}")
    return dataset


def check_pipelines(value: object, path: str) -> None:
    """Build each transform of the pipelines in a loader's config, at any depth.

    Raises:
        PreflightError: with the key of the transform that can't be built and its own reason.
    """
    if isinstance(value, (list, tuple)):
        for i, child in enumerate(value):
            check_pipelines(child, f'{path}.{i}')
    elif isinstance(value, Mapping):
        for key, child in value.items():
            if key != 'pipeline':
                check_pipelines(child, f'{path}.{key}')
                continue
            for i, step in enumerate(child or []):
                # As datasets do; TestTimeAug changes its config.
                explained(lambda step=step: Compose([copy.deepcopy(step)]), step, f'{path}.pipeline.{i}')


def check_files(dataset: BaseSegDataset, cfg: dict, split: str, check_all: bool, doubts: list[str]) -> list[dict]:
    """Check that a dataset has images, each with its mask, and that images and masks can be used as they are.

    Existence is checked of all files, by one listing of each folder; contents of `SAMPLE_SIZE` files spread over the
    set; of all with `check_all`, or where the sample shows a single class or void alone. Returns one sample for each
    size of image among those read; adds to `doubts` what may be meant but hardly is.

    Raises:
        PreflightError: for the first file in the order of the dataset that can't be used; if all masks are void; or if
            those for training seem to be black and white (0 and 255).
    """
    try:
        samples = dataset.load_data_list()
    except Exception as error:  # whatever it is, the run would end with it
        raise PreflightError(f'{split}_dataloader.dataset: {reason(error)}') from error
    if not samples:
        images = dataset.data_prefix.get('img_path')
        listed = f"split file '{dataset.ann_file}' is empty" if dataset.ann_file else 'no file has that name'
        raise PreflightError(
            f"{split}_dataloader.dataset: no images in '{images}' that end in '{dataset.img_suffix}': {listed}. "
            f'Check img_suffix, ann_file and data_prefix'
        )
    steps = []
    for step in _loading_steps(cfg.get('pipeline') or []):
        if step not in steps:
            steps.append(step)
    loads = [TRANSFORMS.build(step) for step in steps]
    wants_masks = any('Label' in type(step).__name__ or 'Annot' in type(step).__name__ for step in loads)
    folders = _Folders()
    for sample in samples:
        if sample['img_path'] not in folders:
            raise PreflightError(f'{split}: image {sample["img_path"]} does not exist, but the split names it')
        mask = sample.get('seg_map_path')
        if wants_masks and mask is not None and mask not in folders:
            raise PreflightError(
                f'{split}: image {sample["img_path"]} has no mask: {mask} does not exist. '
                f"Add it, take the image out of the split, or set seg_map_suffix (now '{dataset.seg_map_suffix}')"
            )
    step = 1 if check_all else max(1, -(-len(samples) // SAMPLE_SIZE))
    chosen = samples[::step]
    classes = len(dataset.metainfo.get('classes') or ())
    seen: set[int] = set()
    sizes: dict[str, tuple[int, int]] = {}
    workers = min(8, allowed_cpus())
    title = f'checking {len(chosen)} of {len(samples)} {split} images'
    with progress(title, len(chosen)) as advance, ThreadPoolExecutor(workers) as pool:
        checks = pool.map(lambda sample: _problem(sample, loads, classes, dataset.ignore_index, seen, sizes), chosen)
        for problem in checks:
            advance(1)
            if problem:
                pool.shutdown(cancel_futures=True)
                raise PreflightError(f'{split}: {problem}')
    several = bool(samples[0].get('mask_bands'))  # labels a pixel
    if (split == 'train' and not seen - {dataset.ignore_index}) if several else seen == {dataset.ignore_index}:
        if step > 1:
            return check_files(dataset, cfg, split, True, doubts)
        void = dataset.ignore_index in seen
        raise PreflightError(_no_label(dataset, void) if several else _only_void(dataset, split))
    if split == 'train' and not several and classes > 1 and seen == {0, dataset.ignore_index}:
        raise PreflightError(_only_void_beside_zero(dataset, len(chosen), len(samples)))
    if split == 'train' and not several and len(seen - {dataset.ignore_index}) == 1 < classes:
        if step > 1:
            return check_files(dataset, cfg, split, True, doubts)
        doubts.append(_only_one_class(dataset, *(seen - {dataset.ignore_index})))
    by_size: dict = {}
    for sample in chosen:
        by_size.setdefault(sizes.get(sample['img_path']), sample)
    return list(by_size.values())


def check_batches(samples: list[dict], pipeline: Sequence, key: str, batch_size: int) -> None:
    """Check that images of different sizes leave the pipeline of a validation or test loader with one size.

    Raises:
        PreflightError: they do not; MMSegmentation pads batches in training only.
    """
    transform = Compose(copy.deepcopy(list(pipeline)))
    first = None
    for sample in samples:
        inputs = (transform(copy.deepcopy(sample)) or {}).get('inputs')
        inputs = inputs[0] if isinstance(inputs, list) else inputs  # of test-time augmentation
        if inputs is None:
            continue
        size = f'{sample["img_path"]} has {inputs.shape[-1]} x {inputs.shape[-2]}'
        first = first or (inputs.shape, size)
        if inputs.shape != first[0]:
            raise PreflightError(
                f'{key}.batch_size is {batch_size}, but images in a batch of validation or test must be of one size, '
                f'and {first[1]} pixels, {size}. Set {key}.batch_size=1'
            )


def check_shares(cfg: Config, splits: Sequence[str]) -> None:
    """Check that the loaders of `splits` divide a folder as `train_dataloader` does.

    Raises:
        PreflightError: their `val_ratio` or `group_by` differ.
    """
    for train, split in itertools.product(_shares(cfg, 'train', 'train'), splits):
        for val in _shares(cfg, split, 'val'):
            if train == val or train.folder != val.folder:
                continue
            if train.group_by != val.group_by:
                name, place = 'group_by', 'both trained on and validated on or in neither split'
            elif val.val_ratio > train.val_ratio:
                name, place = 'val_ratio', 'both trained on and validated on'
            else:
                name, place = 'val_ratio', 'in neither split'
            raise PreflightError(
                f'{name} is {getattr(train, name)!r} in train_dataloader.dataset but {getattr(val, name)!r} in '
                f"{split}_dataloader's: images of '{val.folder}' can be {place}. Set both alike"
            )


class _Share(NamedTuple):
    folder: str
    group_by: str | None
    val_ratio: float


def _shares(cfg: Config, loader: str, split: str) -> Iterator[_Share]:
    """The datasets of a loader that are this share of a folder."""
    for data in iter_datasets(cfg.get(f'{loader}_dataloader') or {}):
        if name_of(data) == ImageMaskFolder.__name__ and data.get('split') == split:
            folder = os.path.join(
                data.get('data_root') or '', (data.get('data_prefix') or {}).get('img_path', 'images')
            )
            yield _Share(folder, data.get('group_by'), data.get('val_ratio') or VAL_RATIO)


def _only_void(dataset: BaseSegDataset, split: str) -> str:
    cause = ', which reduce_zero_label=True makes of 0' * bool(dataset.reduce_zero_label)
    return (
        f"{split}: all masks in '{dataset.data_prefix.get('seg_map_path')}' hold nothing but "
        f'{dataset.ignore_index} (void{cause}): there is nothing to learn or to score. Are these the right masks, and '
        f'is {dataset.ignore_index} void (ignore_index)?'
    )


def _no_label(dataset: BaseSegDataset, has_void: bool) -> str:
    cause = f'. {dataset.ignore_index} is void, which is not learnt: where it is meant as 1, store it as 1' * has_void
    return (
        f"train: no band of the masks in '{dataset.data_prefix.get('seg_map_path')}' holds a 1, which says that a "
        f'class is there: there is nothing to learn{cause}'
    )


def _only_one_class(dataset: BaseSegDataset, label: int) -> str:
    names = dataset.metainfo['classes']
    return (
        f"train: all masks in '{dataset.data_prefix.get('seg_map_path')}' show class {label} ({names[label]}) only, of "
        f'{len(names)} classes: there is nothing to tell it from. Are these the right masks, and their values '
        f'class indices?'
    )


def _only_void_beside_zero(dataset: BaseSegDataset, number: int, total: int) -> str:
    names, void = dataset.metainfo['classes'], dataset.ignore_index
    cause = (
        'reduce_zero_label=True makes 0 void and 1 the first class; is 0 a class here? Then set it to False'
        if dataset.reduce_zero_label
        else f"if {void} stands for a class, store it as 1, or use ImageMaskFolder with masks='colours' and a "
        f"classes.txt of the lines '{names[0]}, 0, 0, 0' and '{names[1]}, {void}, {void}, {void}'"
    )
    read = f'{number} of {total} read' + '; --check-all reads all' * (number < total)
    return (
        f"train: the masks in '{dataset.data_prefix.get('seg_map_path')}' ({read}) hold only class "
        f'0 ({names[0]}) and {void} (void, not learnt), but the dataset has {len(names)} classes: {cause}'
    )


def _problem(
    sample: dict, loads: list, classes: int, ignore_index: int, seen: set[int], sizes: dict[str, tuple[int, int]]
) -> str | None:
    """Load an image and its mask as training does; return what is wrong with them or None.

    Adds the labels met to `seen` and the image's shape to `sizes`.
    """
    results = dict(sample)
    files = f'image {sample["img_path"]}'
    try:
        for load in loads:
            results = load(results)
            files = f'mask {sample.get("seg_map_path")}'
    except (ValueError, OSError, AssertionError, SyntaxError) as error:
        text = str(error)
        return text if Path(files.split(' ', 1)[1]).name in text else f'{files} cannot be read: {text}'
    except Exception as error:  # OpenCV's errors share no base but this
        return f'{files} cannot be read: {type(error).__name__}: {error}'
    image, mask = results.get('img'), results.get('gt_seg_map')
    if image is not None:
        sizes[sample['img_path']] = image.shape[:2]
    if label_fields(results):  # whose size and values are checked as they are loaded
        seen.update(classes_in(results, ignore_index))
    if mask is None or image is None:
        return None
    if mask.shape != image.shape[:2]:
        return f'{files} is {mask.shape[1]} x {mask.shape[0]} pixels, its image {image.shape[1]} x {image.shape[0]}'
    values = np.unique(mask)
    seen.update(values.tolist())
    wrong = values[(values >= classes) & (values != ignore_index)] if classes else []
    if len(wrong):
        shown = ', '.join(map(str, wrong[:10]))
        return (
            f'{files} holds the values {shown}; with {classes} classes 0..{classes - 1} and {ignore_index} '
            f'(ignored) are allowed. Does the dataset have more classes, or need reduce_zero_label=True?'
        )
    return None


def _loading_steps(pipeline: Iterable) -> Iterator[dict]:
    """Yield the steps that load an image or a mask, wherever they stand; what lies between may change sizes."""
    for step in pipeline:
        if isinstance(step, (list, tuple)):
            yield from _loading_steps(step)
            continue
        name = name_of(step)
        if name.startswith('Load'):
            yield step
        elif name == 'TestTimeAug':
            yield from _loading_steps(step.get('transforms') or [])


class _Folders:
    """Whether files exist, by one listing of each folder."""

    def __init__(self) -> None:
        self._names: dict[str, set[str]] = {}

    def __contains__(self, path: str) -> bool:
        if '://' in path:
            return True
        folder, name = os.path.split(path)
        if folder not in self._names:
            self._names[folder] = set(os.listdir(folder or '.')) if os.path.isdir(folder or '.') else set()
        return name in self._names[folder]


def _beside(path: Path) -> str:
    """Return what the nearest existing folder above a missing path holds."""
    parent = next((folder for folder in path.parents if folder.is_dir()), Path('.'))
    names = sorted(entry.name for entry in parent.iterdir())
    return f" ('{parent}' holds {', '.join(names[:8])}{', ...' if len(names) > 8 else ''})" if names else ''
