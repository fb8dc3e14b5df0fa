"""Loading with checks that name the file, and the papers' random scale."""

import functools
import logging
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform, LoadImageFromFile
from mmcv.transforms.utils import cache_randomness
from mmengine.logging import print_log
from mmengine.structures import PixelData
from mmseg.datasets import BaseSegDataset
from mmseg.datasets.transforms import LoadAnnotations
from mmseg.datasets.transforms import PackSegInputs as StockPackSegInputs
from mmseg.registry import TRANSFORMS

from ..errors import UserError
from .bands import Bands
from .headers import read_bytes
from .images import decode_turned
from .masks import read_colour_mask, read_label_bands, read_mask


# Under the stock name too, which hides mmcv's transform in mmseg's scope: MMSegInferencer accepts a test pipeline only
# if it holds a transform of exactly that name.
@TRANSFORMS.register_module(name=['LoadImage', 'LoadImageFromFile'])
class LoadImage(LoadImageFromFile):
    """mmcv's LoadImageFromFile by `decode_image`: errors name the file, and nothing of it is dropped without a word.

    That takes 8-bit RGB and greys. With `bands`, PNG, TIFF and npy of any number of bands, of 8 and 16 bits, integers
    and floats are read: 8 bits to uint8, all else to float32, the values as they are stored, (H, W, n). Three bands are
    stored last first, as OpenCV stores colours, so that `bgr_to_rgb` of the data preprocessor hands them on as they are
    named; any other number as they are named.

    Args:
        bands: numbers of the bands in the file, from 0, in the order that the network gets them.
        value_range: the values that mean black and white, such as (0, 4095); needed but for 8 bits. Values outside are
            an error.
        show: three of `bands` for red, green and blue in pictures and for the dense CRF; the first three by default, or
            the first one as grey.
        kwargs: as in mmcv.transforms.LoadImageFromFile.
    """

    def __init__(
        self,
        *args,
        bands: Sequence[int] | None = None,
        value_range: Sequence[float] | None = None,
        show: Sequence[int] | None = None,
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        if bands is None and (value_range, show) != (None, None):
            raise UserError('LoadImage: value_range and show have no effect without bands; give these too')
        self.bands = None if bands is None else Bands.of(bands, value_range, show)
        if self.bands and (self.color_type != 'color' or self.imdecode_backend != 'cv2'):
            raise UserError('LoadImage: color_type and imdecode_backend have no effect with bands; take them out')

    def transform(self, results: dict) -> dict | None:
        path = results['img_path']
        try:
            content = read_bytes(path, 'image', self.backend_args)
            if self.bands:
                image, orientation = self.bands.decode(content, path)
            else:
                image, orientation = decode_turned(content, path, self.color_type, self.imdecode_backend)
        except (OSError, ValueError):
            if self.ignore_empty:
                return None
            raise
        if self.bands:
            results.update(self.bands.loaded(image))
            image = results['img']
        if self.to_float32:
            image = image.astype(np.float32)
        results.update(img=image, img_shape=image.shape[:2], ori_shape=image.shape[:2], exif_orientation=orientation)
        return results


@TRANSFORMS.register_module()
class LoadLabels(LoadAnnotations):
    """mmseg's LoadAnnotations that checks each mask as it is loaded.

    A mask must be readable, single channel, as large as its image, and after `reduce_zero_label` hold only the classes
    of its dataset, from 0 on, and `ignore_index`; else ValueError with file, values and the likely cause. The number
    of classes comes with each sample of an MMSegmentation dataset (see `count_classes`). Without `seg_map_path`
    (inference on a bare image) the transform does nothing.

    Masks of several labels a pixel (an ImageMaskFolder with `masks='bands'`) become one map (H, W) of 0, 1 and
    `ignore_index` for each class, all of them in `seg_fields` (see `label_fields`), so that every transform treats
    each as the map of labels that it is; `PackSegInputs` stacks them to (K, H, W).

    Args:
        num_classes: at most so many, up to 255; for samples of anything else than a dataset of MMSegmentation.
        ignore_index: the value of void pixels.
        drawn_on: 'shown', the picture as programs show it, turned by its EXIF orientation; the mask has no such tag, or
            is turned by its own. 'stored', the pixels as they are stored, by a program that does not know the tag; the
            mask is turned as its picture is.
    """

    def __init__(
        self,
        num_classes: int | None = None,
        ignore_index: int = 255,
        backend_args: dict | None = None,
        drawn_on: str = 'shown',
    ) -> None:
        super().__init__(backend_args=backend_args)
        if drawn_on not in ('shown', 'stored'):
            raise UserError(f"drawn_on={drawn_on!r}: choose 'shown' or 'stored'")
        self.drawn_on = drawn_on
        self._said = False
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        if num_classes is not None:
            _valid_labels(num_classes, ignore_index)

    def transform(self, results: dict) -> dict:
        if results.get('seg_map_path') is not None:
            self._load_seg_map(results)
        return results

    def _load_seg_map(self, results: dict) -> None:
        if results.get('mask_bands'):
            self._load_bands(results)
            return
        path = results['seg_map_path']
        colours = results.get('mask_colours')  # of an ImageMaskFolder
        turn = self._orientation(results)
        if colours is None:
            label = read_mask(path, self.backend_args, turn)
        else:
            label = read_colour_mask(path, colours, self.ignore_index, self.backend_args, turn)
        shape = results.get('ori_shape', label.shape)
        if label.shape != tuple(shape[:2]):
            raise UserError(f'mask {path} is {_size(label.shape)}, {_swapped(label.shape, shape)}')
        raw = label
        if results.get('reduce_zero_label', False):
            label = label - np.uint8(1)  # 0 wraps to 255: ignored
            label[raw == 255] = 255
        num_classes = min(results.get('mask_classes') or 255, self.num_classes or 255)
        valid = _valid_labels(num_classes, self.ignore_index)
        if not valid[label].all():
            self._explain(path, np.unique(raw[~valid[label]]), num_classes, results)
        if results.get('label_map') is not None:
            table = np.arange(256, dtype=np.uint8)
            for old, new in results['label_map'].items():
                table[old] = new
            label = table[label]
        results['gt_seg_map'] = label
        results['seg_fields'].append('gt_seg_map')

    def _load_bands(self, results: dict) -> None:
        path, turn = results['seg_map_path'], self._orientation(results)
        labels = read_label_bands(path, results.get('mask_classes'), self.ignore_index, self.backend_args, turn)
        shape = results.get('ori_shape', labels.shape[1:])
        if labels.shape[1:] != tuple(shape[:2]):
            raise UserError(f'mask {path} is {_size(labels.shape[1:])}, {_swapped(labels.shape[1:], shape)}')
        if results.get('label_map') is not None:
            places = {new: old for old, new in results['label_map'].items() if new != self.ignore_index}
            labels = labels[[places[new] for new in sorted(places)]]
        for number, label in enumerate(labels):
            results[f'{LABELS}{number}'] = label
            results['seg_fields'].append(f'{LABELS}{number}')

    def _orientation(self, results: dict) -> int | None:
        """By what the mask is turned, None for its own tag; the doubt that there is, is said once."""
        orientation = results.get('exif_orientation', 1)
        if self.drawn_on == 'stored':
            return orientation
        if orientation != 1 and not self._said:
            self._said = True
            print_log(
                f'image {results["img_path"]} is turned by its EXIF orientation {orientation}, as others may be; masks '
                'are taken as drawn on pictures that are shown so. If yours are drawn on the stored pixels, set '
                "LoadLabels(drawn_on='stored')",
                logger='current',
                level=logging.WARNING,
            )
        return None

    def _explain(self, path: str, values: np.ndarray, num_classes: int, results: dict) -> None:
        reduce_zero = bool(results.get('reduce_zero_label'))
        first = 1 if reduce_zero else 0
        shown = ', '.join(map(str, values[:10])) + (', ...' if len(values) > 10 else '')
        if self.ignore_index != 255 and values.tolist() == [255]:
            cause = f'255 is the usual void value but ignore_index is {self.ignore_index}; use ignore_index=255'
        elif not reduce_zero and values.tolist() == [num_classes]:
            cause = 'are the classes counted from 1 with 0 for void? then set reduce_zero_label=True'
        elif len(values) > 10 or values.max() > num_classes + 50:
            cause = 'is it a picture of colours or grey levels? tools/prepare_dataset.py colour-masks makes indices'
        else:
            cause = 'does the dataset have more classes than its config says, or were other ids exported?'
        raise UserError(
            f'mask {path} holds the values {shown}; allowed are {first}..{num_classes - 1 + first} '
            f'({num_classes} classes, reduce_zero_label={reduce_zero}) and void {self.ignore_index}: {cause}'
        )

    def __repr__(self) -> str:
        return f'{type(self).__name__}(num_classes={self.num_classes}, ignore_index={self.ignore_index})'


LABELS = 'gt_labels_'
"""What the names of the maps of several labels a pixel begin with, one for each class, in `seg_fields`."""


def label_fields(results: dict) -> list[str]:
    """The maps of a sample with several labels a pixel, one for each class in order; none if it has one a pixel."""
    return [key for key in results.get('seg_fields', []) if key.startswith(LABELS)]


def classes_in(results: dict, ignore_index: int = 255) -> list[int]:
    """The classes that a loaded sample shows, and `ignore_index` if there is void."""
    if fields := label_fields(results):
        found = [number for number, key in enumerate(fields) if (results[key] == 1).any()]
        return found + [ignore_index] * any((results[key] == ignore_index).any() for key in fields)
    return np.unique(results['gt_seg_map']).tolist()


@functools.cache
def _valid_labels(num_classes: int, ignore_index: int) -> np.ndarray:
    """Which of the values 0..255 a label may have, bool (256,)."""
    if num_classes > 255:
        raise UserError(f'num_classes={num_classes}: labels have 8 bits, which hold at most 255 classes and void')
    valid = np.zeros(256, bool)
    valid[[*range(num_classes), ignore_index]] = True
    return valid


def count_classes(dataset: BaseSegDataset) -> int | None:
    """The number of classes that the dataset's mask files hold, or None if it has no names of classes.

    That is of the dataset's class; a subset that `metainfo` chooses is mapped from these as a mask is loaded.
    """
    return max(len(dataset.metainfo.get('classes') or ()), *(old + 1 for old in dataset.label_map or ()), 0) or None


def _with_class_count(get_data_info: Callable[[BaseSegDataset, int], dict]) -> Callable[[BaseSegDataset, int], dict]:
    @functools.wraps(get_data_info)
    def get(self: Any, idx: int) -> dict:
        info = get_data_info(self, idx)
        if not hasattr(self, 'mask_classes'):
            self.mask_classes = count_classes(self)
        return {**info, 'mask_classes': self.mask_classes}

    return get


# A transform sees a sample but not its dataset, and most datasets are MMSegmentation's own: each says on its samples
# how many classes their masks have.
BaseSegDataset.get_data_info = _with_class_count(BaseSegDataset.get_data_info)


def _size(shape: Sequence[int]) -> str:
    return f'{shape[1]} x {shape[0]} pixels'


def _swapped(mask: Sequence[int], image: Sequence[int]) -> str:
    text = f'its image is {_size(image)}'
    if tuple(mask) == tuple(image[:2])[::-1]:
        text += (
            "; does the image carry an EXIF rotation that the mask lacks? Then LoadLabels(drawn_on='stored') turns the "
            'mask with it'
        )
    return text


# In the place of MMSegmentation's, whichever config names it.
@TRANSFORMS.register_module(force=True)
class PackSegInputs(StockPackSegInputs):
    """MMSegmentation's PackSegInputs for images of any size, and for several labels a pixel: (K, H, W), uint8.

    A flip is a view with negative strides. One that is a single pixel wide counts as contiguous all the same, so that
    it would reach PyTorch as it is, which takes none.
    """

    def transform(self, results: dict) -> dict:
        if 'img' in results and min(results['img'].strides, default=0) < 0:
            results['img'] = results['img'].copy()
        bands = results.get('bands')
        if bands and 'img' in results:
            _check_bands(bands, results)
        packed = super().transform(results)
        if fields := label_fields(results):
            labels = torch.from_numpy(np.stack([results[key] for key in fields]))
            packed['data_samples'].gt_sem_seg = PixelData(data=labels)
        if bands:
            packed['data_samples'].set_metainfo(dict(bands=bands))
        return packed


def _check_bands(bands: Bands, results: dict) -> None:
    """Refuse what a transform made 8 bits or other channels of."""
    image, loaded = results['img'], results['bands_dtype']
    channels = 1 if image.ndim == 2 else image.shape[2]
    if channels != len(bands.indices) or (image.dtype == np.uint8 and loaded != np.uint8):
        raise UserError(
            f'image {results.get("img_path")}: a transform of the pipeline made {channels} channels of {image.dtype} '
            f'of {len(bands.indices)} bands of {loaded}; those that change colours (PhotoMetricDistortion, CLAHE, '
            'RGB2Gray ...) are for 8-bit RGB: leave them out'
        )


@TRANSFORMS.register_module()
class RandomScale(BaseTransform):
    """Resize image and labels by a factor drawn from `scales`, the sizes rounded down.

    The papers draw from 0.5, 0.75, ..., 2.0 (v3, v3+; TF release, min/max/step) or 0.5, 0.75, 1, 1.25, 1.5 (v2). Image
    bilinear, labels nearest, both with pixel centres aligned. (mmcv's RandomResize draws from an interval relative to
    a given size, and its nearest labels are shifted against the image by up to half a pixel.)
    """

    def __init__(self, scales: Sequence[float] = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)) -> None:
        if not scales or min(scales) <= 0:
            raise UserError(f'scales={scales!r}: give one or more positive factors, such as (0.5, 1.0, 2.0)')
        self.scales = tuple(scales)

    @cache_randomness
    def _draw(self) -> float:
        return self.scales[np.random.randint(len(self.scales))]

    def transform(self, results: dict) -> dict:
        factor = self._draw()
        height, width = results['img'].shape[:2]
        size = max(1, int(width * factor)), max(1, int(height * factor))
        resized = cv2.resize(results['img'], size, interpolation=cv2.INTER_LINEAR)
        results['img'] = resized.reshape(*resized.shape[:2], *results['img'].shape[2:])  # OpenCV drops a single band
        for key in results.get('seg_fields', []):
            results[key] = cv2.resize(results[key], size, interpolation=cv2.INTER_NEAREST_EXACT)
        results.update(
            img_shape=results['img'].shape[:2],
            scale=size,
            scale_factor=(size[0] / width, size[1] / height),
            keep_ratio=True,
        )
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(scales={self.scales})'
