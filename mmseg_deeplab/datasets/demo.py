"""The demo dataset: small generated pictures in PASCAL VOC layout.

Every object is painted in random colours, so colour tells nothing. A class is a pair of outline and texture: the
zebra and the flag share their stripes, the zebra and the ladybird their outline, so the inside of a large object is
told only by looking as far as its edge. Objects are 20 to 96 pixels wide, overlap, and lie on a background of
plain patches and lines in the same colours.
"""

import json
import os
import shutil
import tempfile
from pathlib import Path

import cv2
import numpy as np
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

from ..errors import UserFileNotFoundError
from .masks import write_lines, write_mask
from .palette import voc_palette

FINGERPRINT = '.demo_dataset.json'
VERSION = 1
OVERSAMPLING = 3  # pictures are painted larger and shrunk, which smooths their edges
# class: (outline, texture)
OBJECTS = {
    'zebra': ('ellipse', 'stripes'),
    'flag': ('rectangle', 'stripes'),
    'ladybird': ('ellipse', 'dots'),
    'kite': ('diamond', 'checks'),
    'ring': ('ring', 'plain'),
    'cross': ('cross', 'patchwork'),
}
PERIODS = {'stripes': 8, 'dots': 13, 'checks': 16, 'patchwork': 10, 'plain': 1}  # pixels


@DATASETS.register_module()
class DemoDataset(BaseSegDataset):
    """The generated pictures of `make_demo_dataset`: background and six classes, 255 around objects."""

    METAINFO = dict(classes=('background', *OBJECTS), palette=[list(c) for c in voc_palette(len(OBJECTS) + 1)])

    def _join_prefix(self) -> None:
        super()._join_prefix()
        if not Path(self.ann_file or '').is_file():
            raise UserFileNotFoundError(
                f'the demo dataset is not at data_root={self.data_root!r} (no {self.ann_file}); '
                f'create it with: python tools/make_demo_dataset.py {self.data_root}'
            )


def make_demo_dataset(root: str | Path, train: int = 240, val: int = 60, seed: int = 0) -> bool:
    """Generate the demo dataset at `root`, deterministically; False if it was already there and complete.

    Raises FileExistsError if `root` holds something that this function did not make.
    """
    root = Path(root)
    fingerprint = dict(generator='mmseg_deeplab demo dataset', version=VERSION, train=train, val=val, seed=seed)
    if _is_complete(root, fingerprint):
        return False
    if root.exists() and not _is_ours(root):
        raise FileExistsError(f'{root} exists and is not a demo dataset; give another folder or remove it')

    root.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=root.parent, prefix=f'.{root.name}.'))
    try:
        _write(temporary / 'new', fingerprint)
        if root.exists():
            os.replace(root, temporary / 'old')
        os.replace(temporary / 'new', root)
    except OSError:
        if not _is_complete(root, fingerprint):  # else another process was faster
            raise
    finally:
        shutil.rmtree(temporary)
    return True


def _is_ours(root: Path) -> bool:
    return root.is_dir() and ((root / FINGERPRINT).is_file() or not any(root.iterdir()))


def _is_complete(root: Path, fingerprint: dict) -> bool:
    try:
        if json.loads((root / FINGERPRINT).read_text()) != fingerprint:
            return False
    except (OSError, ValueError, RecursionError):
        return False
    names = [name for split in ('train', 'val') for name in _names(split, fingerprint[split])]
    files = [root / 'JPEGImages' / f'{n}.jpg' for n in names] + [root / 'SegmentationClass' / f'{n}.png' for n in names]
    files += [root / 'ImageSets' / 'Segmentation' / f'{split}.txt' for split in ('train', 'val')]
    return all(file.is_file() for file in files)


def _names(split: str, count: int) -> list[str]:
    return [f'{split}_{index:04d}' for index in range(count)]


def _write(root: Path, fingerprint: dict) -> None:
    (root / 'JPEGImages').mkdir(parents=True)
    for split_id, split in enumerate(('train', 'val')):
        names = _names(split, fingerprint[split])
        for index, name in enumerate(names):
            image, mask = draw_picture(np.random.default_rng([fingerprint['seed'], split_id, index]))
            path = root / 'JPEGImages' / f'{name}.jpg'
            if not cv2.imwrite(str(path), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95]):
                raise OSError(f'could not write {path}')
            write_mask(root / 'SegmentationClass' / f'{name}.png', mask)
        write_lines(root / 'ImageSets' / 'Segmentation' / f'{split}.txt', names)
    (root / FINGERPRINT).write_text(json.dumps(fingerprint))


def draw_picture(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """One picture: RGB uint8 (H, W, 3) and its mask uint8 (H, W), 104 to 128 pixels a side."""
    height, width = rng.integers(104, 129, 2)
    shape = (height * OVERSAMPLING, width * OVERSAMPLING)
    image = _background(rng, shape)
    labels = np.zeros(shape, np.uint8)
    # Widths are log-uniform; large objects are painted first, so that small ones lie on top of them.
    for size in sorted(np.exp(rng.uniform(np.log(20), np.log(96), rng.integers(3, 6))), reverse=True):
        label = int(rng.integers(1, len(OBJECTS) + 1))
        outline, texture = list(OBJECTS.values())[label - 1]
        centre = rng.uniform(0.1, 0.9, 2) * (width, height) * OVERSAMPLING
        x, y = _object_axes(shape, centre, rng.uniform(0, np.pi))
        radius, aspect = size * OVERSAMPLING / 2, rng.uniform(0.6, 1)
        inside = _outline(outline, x / radius, y / (radius * aspect))
        period = PERIODS[texture] * rng.uniform(0.85, 1.15) * OVERSAMPLING
        pattern = _texture(texture, x[inside] / period, y[inside] / period)
        shade = 1 + 0.25 * x[inside, None] / radius  # light from one side
        image[inside] = _two_colours(rng)[pattern.astype(int)] * shade
        labels[inside] = label
    image = cv2.resize(image, (int(width), int(height)), interpolation=cv2.INTER_AREA)
    image = image + rng.normal(0, 6, image.shape)
    mask = labels[OVERSAMPLING // 2 :: OVERSAMPLING, OVERSAMPLING // 2 :: OVERSAMPLING].copy()
    edge = cv2.dilate(mask, np.ones((3, 3), np.uint8)) != cv2.erode(mask, np.ones((3, 3), np.uint8))
    mask[edge] = 255
    return np.clip(image, 0, 255).astype(np.uint8), mask


def _two_colours(rng: np.random.Generator) -> np.ndarray:
    """A dark and a light random colour, (2, 3), in random order: a texture must stay visible."""
    colours = np.stack([rng.uniform(0, 120, 3), rng.uniform(130, 250, 3)])
    return rng.permutation(colours)


def _background(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Cloudy colour, plain patches and lines, float32 (H, W, 3)."""
    height, width = shape
    clouds = rng.uniform(30, 220, (4, 4, 3)).astype(np.float32)
    image = cv2.resize(clouds, (width, height), interpolation=cv2.INTER_CUBIC)
    for _ in range(rng.integers(3, 7)):
        points = rng.uniform(0, (width, height), 2) + rng.normal(0, 0.12 * width, (rng.integers(3, 6), 2))
        hull = cv2.convexHull(points.astype(np.int32))
        cv2.fillConvexPoly(image, hull, rng.uniform(10, 240, 3).tolist())
    for _ in range(rng.integers(3, 7)):
        start, end = rng.uniform(0, (width, height), (2, 2)).astype(int).tolist()
        cv2.line(image, start, end, rng.uniform(10, 240, 3).tolist(), int(rng.integers(2, 7)), cv2.LINE_AA)
    return image


def _object_axes(shape: tuple[int, int], centre: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates along the axes of an object turned by `angle`, in pixels from its centre."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    x, y = x - centre[0], y - centre[1]
    return np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x


def _outline(name: str, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Which points lie in the object; coordinates in half axes."""
    distance = np.hypot(u, v)
    u, v = np.abs(u), np.abs(v)
    return {
        'ellipse': distance < 1,
        'rectangle': np.maximum(u, v) < 0.9,
        'diamond': u + v < 1.2,
        'ring': (distance < 1) & (distance > 0.55),
        'cross': (np.minimum(u, v) < 0.3) & (np.maximum(u, v) < 1),
    }[name]


def _texture(name: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Which of the two colours each point has; coordinates in periods of the texture."""
    a, b = np.sin(2 * np.pi * x), np.sin(2 * np.pi * y)
    return {
        'stripes': a > 0,
        'checks': (a > 0) != (b > 0),
        'dots': a * b > 0.3,
        'patchwork': np.sin(43758 * np.sin(13 * np.floor(2 * x) + 78 * np.floor(2 * y))) > 0,  # random per square
        'plain': np.zeros_like(x, bool),
    }[name]
