"""What comes back for a picture: labels, probabilities, areas, and pictures of them."""

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..checkpoints.save import atomic_write
from ..errors import UserError
from ..visualization import as_one_map, overlay
from ..visualization.panels import Legend, compose
from .rasters import needed_module

PNG_LEVELS = 65535
"""Confidence in a PNG: 16 bits, 65535 for 1."""


@dataclass
class Prediction:
    """The answer for one picture, at its original size.

    Attributes:
        name: The file, or 'image N' for what came without one.
        labels: Class indices (H, W), uint8, or uint16 for more than 256 classes; `void` where a file that was taken by
            tiles could not be read. With several labels a pixel (C, H, W), uint8, 1 where a class is predicted.
        classes: Names of the C classes.
        palette: RGB colours of the classes, 0 to 255.
    """

    name: str
    labels: np.ndarray
    classes: Sequence[str]
    palette: Sequence[Sequence[int]]
    _probabilities: Callable[[], np.ndarray] = field(repr=False)
    _image: Callable[[], np.ndarray] = field(repr=False)
    _confidence: Callable[[], np.ndarray] | None = field(default=None, repr=False)

    @property
    def image(self) -> np.ndarray:
        """The picture, uint8 RGB (H, W, 3); a file is read when it is asked for."""
        return self._image()

    def probabilities(self) -> np.ndarray:
        """Class probabilities (C, H, W), float32; made from the network's small logits at each call.

        They add up to 1, unless a pixel has several labels: then each is that of its class alone.
        """
        return self._probabilities()

    @property
    def void(self) -> int:
        """The label of pixels that could not be read: the largest that `labels` can hold, -1 if that is a class."""
        largest = int(np.iinfo(self.labels.dtype).max)
        return largest if largest >= len(self.classes) or self._several else -1

    @property
    def _several(self) -> bool:
        return self.labels.ndim == 3

    @property
    def confidence(self) -> np.ndarray:
        """The largest probability of each pixel (H, W), float32, 0 to 1.

        Raises:
            UserError: A pixel has several labels.
        """
        if self._several:
            raise UserError(
                f'{self.name}: with several labels a pixel each has a probability of its own, and there is no one '
                'confidence: take probabilities'
            )
        return self._confidence() if self._confidence else self.probabilities().max(axis=0)

    @property
    def areas(self) -> dict[str, int]:
        """Pixels of each class that occurs, the largest first."""
        counts = count_labels([self.labels], len(self.classes), self._several)
        return {self.classes[k]: int(counts[k]) for k in np.argsort(-counts, kind='stable') if counts[k]}

    def overlay(self, alpha: float = 0.6, legend: bool = False) -> Image.Image:
        """The class colours blended into the picture, with the names and shares of the classes below on request."""
        labels, palette = self.labels, self.palette
        if self._several:
            (labels,), _, palette = as_one_map([labels], self.classes, palette, self.void)
        mixed = overlay(self.image, labels, palette, alpha, ignore_index=self.void)
        if not legend:
            return Image.fromarray(mixed)
        colours = dict(zip(self.classes, self.palette, strict=False))
        size = self.labels[0].size if self._several else self.labels.size
        entries: Legend = [(f'{name} {count / size:.1%}', tuple(colours[name])) for name, count in self.areas.items()]
        return compose([('', mixed)], entries)

    def mask(self) -> Image.Image:
        """The labels as a picture: with the palette up to 256 classes, as 16 bits above.

        Raises:
            UserError: A pixel has several labels.
        """
        if self._several:
            raise UserError(
                f'{self.name}: a picture holds one label a pixel, and here a pixel has several: take labels (C, H, W), '
                "or save(mask='FILE.npy') or '.tif', with a band for each class"
            )
        if self.labels.dtype != np.uint8:
            return Image.fromarray(self.labels)
        picture = Image.fromarray(self.labels, mode='P')
        picture.putpalette(np.asarray(self.palette, np.uint8).ravel().tolist())
        return picture

    def save(
        self,
        mask: str | Path | None = None,
        overlay: str | Path | None = None,
        probabilities: str | Path | None = None,
        confidence: str | Path | None = None,
    ) -> None:
        """Write what is named, each file whole or not at all.

        Args:
            mask: Label map, .png; with several labels a pixel .npy (H, W, C), or .tif of C bands.
            overlay: Picture with legend, .png or .jpg.
            probabilities: .npz with `probabilities` (C, H, W) in float16 and `classes`.
            confidence: .png of 16 bits, 65535 for 1, or .npz with `confidence` (H, W) in float16.

        Raises:
            UserError: For another suffix.
        """
        if mask is not None and self._several:
            _save_bands(mask, self.labels)
        elif mask is not None:
            _save_picture(self.mask(), mask, ('.png',))
        if overlay is not None:
            _save_picture(self.overlay(legend=True), overlay, ('.png', '.jpg', '.jpeg'))
        if probabilities is not None:
            _save_arrays(
                probabilities, probabilities=self.probabilities().astype(np.float16), classes=list(self.classes)
            )
        if confidence is not None and Path(confidence).suffix == '.npz':
            _save_arrays(confidence, confidence=self.confidence.astype(np.float16))
        elif confidence is not None:
            levels = np.rint(self.confidence * PNG_LEVELS).astype(np.uint16)
            _save_picture(Image.fromarray(levels), confidence, ('.png',))

    def _repr_png_(self) -> bytes:
        """How a notebook shows it."""
        buffer = io.BytesIO()
        self.overlay(legend=True).save(buffer, 'PNG')
        return buffer.getvalue()


def count_labels(maps: Iterable[np.ndarray], classes: int, several: bool = False) -> np.ndarray:
    """Pixels of each class in label maps (H, W), or several (C, H, W); what is no class is left out."""
    counts = np.zeros(classes, np.int64)
    for labels in maps:
        if several:
            counts += (labels == 1).sum((1, 2))
            continue
        for rows in np.array_split(labels, -(-labels.size // 2**22) or 1):  # for each, bincount takes 8 bytes a pixel
            counts += np.bincount(rows.ravel(), minlength=classes)[:classes]
    return counts


def _save_picture(picture: Image.Image, path: str | Path, suffixes: tuple[str, ...]) -> None:
    path = Path(path)
    if path.suffix.lower() not in suffixes:
        raise UserError(f'{path} can not be written: name it {" or ".join(suffixes)}')
    with atomic_write(path) as file:
        picture.save(file, 'PNG' if path.suffix.lower() == '.png' else 'JPEG')


def _save_bands(path: str | Path, labels: np.ndarray) -> None:
    """Write several labels a pixel (C, H, W) as masks that `datasets.masks.read_label_bands` reads."""
    path, bands = Path(path), np.ascontiguousarray(labels.transpose(1, 2, 0))
    if path.suffix == '.npy':
        with atomic_write(path) as file:
            np.save(file, bands)
    elif path.suffix in ('.tif', '.tiff'):
        tifffile = needed_module('tifffile', path, "pip install 'mmseg_deeplab[large]'")
        with atomic_write(path) as file:
            tifffile.imwrite(file, bands, photometric='minisblack', planarconfig='contig', compression='zlib')
    else:
        raise UserError(f'{path} can not be written: masks of several labels a pixel are named .npy or .tif')


def _save_arrays(path: str | Path, **arrays: Any) -> None:
    path = Path(path)
    if path.suffix != '.npz':
        raise UserError(f'{path} can not be written: name it .npz')
    with atomic_write(path) as file:
        np.savez_compressed(file, **arrays)
