"""Where pictures come from: files, folders, patterns, videos, arrays, and iterators of those."""

import glob
import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image, ImageOps

from ..errors import UserError, UserFileNotFoundError

PICTURES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')
VIDEOS = ('.mp4', '.m4v', '.avi', '.mov', '.mkv', '.webm')
MOST_FRAMES = 0.95
"""Of the frames that a video states, since some formats only tell its duration."""


@dataclass(frozen=True)
class Picture:
    """One picture of a source.

    Attributes:
        name: What it is called in messages and results: its file, 'VIDEO frame N' or 'image N'.
        path: Its file, to be decoded by the model's own pipeline; None where the pixels are given.
        pixels: uint8 RGB (H, W, 3), or the bands of a model that takes such; None where there is a file.
        error: Why there is neither; raised when the picture is wanted.
    """

    name: str
    path: Path | None = None
    pixels: np.ndarray | None = None
    error: UserError | None = None


def is_one(source: Any) -> bool:
    """Whether a source is one picture, so that one answer is wanted and not an iterator."""
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        return not path.is_dir() and not _is_pattern(path) and path.suffix.lower() not in VIDEOS
    return isinstance(source, (np.ndarray, Image.Image, torch.Tensor))


def pictures_of(source: Any, name: str | None = None, bands: bool = False) -> Iterator[Picture]:
    """Yield the pictures of a source in order.

    Args:
        source: A picture file, a folder (all pictures below it, sorted by path), a pattern with `*`, `?` or `[`, a
            video, pixels (numpy uint8 RGB (H, W, 3), a PIL image, a torch uint8 tensor (3, H, W)), or an iterable of
            any of those, or of `Picture`. What is no picture in an iterable becomes a `Picture` with an `error`, and
            the others follow. Arrays of an iterator are copied, so that it may fill one again and again.
        name: Of the place in an iterable that the source has, such as 'image 3'.
        bands: Whether pixels are numpy arrays (H, W) or (H, W, bands) of any numbers, as in a .npy file.

    Raises:
        UserError: For what is none of these, and a folder, pattern or video without pictures.
        UserFileNotFoundError: If a file or folder does not exist.
    """
    if isinstance(source, (str, os.PathLike)):
        for path in files_of(source):
            yield from _frames_of(path) if path.suffix.lower() in VIDEOS else [Picture(str(path), path)]
    elif isinstance(source, Picture):
        yield source
    elif is_one(source):
        take = to_bands if bands else to_pixels
        yield Picture(name or 'image 0', pixels=take(source, name or 'image'))
    elif isinstance(source, Iterable) and not isinstance(source, (bytes, bytearray, Mapping, io.IOBase)):
        for number, item in enumerate(source):
            yield from _pictures_of_item(item, f'{name}.{number}' if name else f'image {number}', bands)
    else:
        raise UserError(
            f'a {type(source).__name__} is no source of pictures: give a file, folder, pattern, video, numpy array '
            f'(H, W, 3), PIL image, torch tensor (3, H, W), or a list or iterator of those'
        )


def _pictures_of_item(item: Any, name: str, bands: bool) -> Iterator[Picture]:
    try:
        for picture in pictures_of(item, name, bands):
            given = isinstance(item, (np.ndarray, torch.Tensor)) and not isinstance(item, np.memmap)
            yield Picture(name, pixels=np.array(picture.pixels)) if given else picture
    except UserError as error:
        yield Picture(str(item) if isinstance(item, (str, os.PathLike)) else name, error=error)


def to_pixels(image: np.ndarray | Image.Image | torch.Tensor, name: str = 'image') -> np.ndarray:
    """Return pixels as uint8 RGB (H, W, 3).

    A PIL image is turned as its EXIF orientation says, and its alpha is left out, as a file's is; grey and palette
    pictures become RGB.

    Raises:
        UserError: For pixels of another type or shape, or none at all; nothing is scaled or cast.
    """
    if isinstance(image, Image.Image):
        if image.mode in ('I', 'F') or image.mode.startswith('I;'):
            raise UserError(f'{name} is a PIL image of mode {image.mode!r}, which holds more than 8 bits a channel')
        if image.mode not in ('RGB', 'RGBA', 'L', 'LA', 'P', 'PA', '1', 'YCbCr'):
            raise UserError(
                f"{name} is a PIL image of mode {image.mode!r}; convert it to RGB, with its convert('RGB') or, where "
                'colours matter, with its colour profile'
            )
        pixels = np.array(ImageOps.exif_transpose(image).convert('RGB'))
    elif isinstance(image, torch.Tensor):
        if image.dtype != torch.uint8 or image.ndim != 3 or image.shape[0] != 3:
            raise UserError(f'{name} is a tensor of {image.dtype} {tuple(image.shape)}; give uint8 (3, H, W) in RGB')
        pixels = image.permute(1, 2, 0).cpu().numpy()
    else:
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise UserError(f'{name} is {image.dtype} {image.shape}; give uint8 pixels (H, W, 3) in RGB order')
        pixels = image
    if pixels.size == 0:
        raise UserError(f'{name} has no pixels: {pixels.shape}, (H, W, 3)')
    return np.ascontiguousarray(pixels)


def to_bands(image: Any, name: str = 'image') -> np.ndarray:
    """Return pixels (H, W) or (H, W, bands) as they are; UserError for anything else than such a numpy array."""
    if isinstance(image, np.ndarray) and image.ndim in (2, 3) and image.size:
        return image
    shape = f' {tuple(image.shape)}' if hasattr(image, 'shape') else ''
    raise UserError(
        f'{name} is a {type(image).__name__}{shape}; to a model that takes bands (LoadImage(bands=...)) give a numpy '
        'array (H, W, bands), with the bands and numbers of a file'
    )


def files_of(source: str | os.PathLike, suffixes: Sequence[str] = PICTURES, kind: str = 'picture') -> list[Path]:
    """The files of a file, folder or pattern, sorted; of a folder those of a `kind`, by its suffixes.

    By default these are pictures, and a file may be a video. Errors as in `pictures_of`.
    """
    path = Path(source).expanduser()
    if not str(source):
        raise UserError(f"the path of a {kind} is empty; for the current folder give '.'")
    if '://' in str(source):
        raise UserError(f'{source}: {kind}s are not read from the net; download it and give the file')
    if path.is_dir():
        found = sorted(each for each in path.rglob('*') if _is_one_of(each, suffixes))
        if not found:
            raise UserError(
                f'there are no {kind}s ({", ".join(suffixes)}) below the folder {path}; others are named by a pattern, '
                "such as 'FOLDER/*.npy'"
            )
        return found
    if _is_pattern(path):
        found = [Path(each) for each in sorted(glob.glob(str(path), recursive=True)) if Path(each).is_file()]
        if not found:
            raise UserError(f'no file fits the pattern {path}')
        return found
    if not path.is_file():
        raise UserFileNotFoundError(f'{kind} {path} does not exist (from {Path.cwd()})')
    return [path]


def _is_pattern(path: Path) -> bool:
    return not path.exists() and glob.has_magic(str(path))


def _is_one_of(path: Path, suffixes: Sequence[str]) -> bool:
    return path.suffix.lower() in suffixes and not path.name.startswith('.') and path.is_file()


def _frames_of(path: Path) -> Iterator[Picture]:
    video = cv2.VideoCapture(str(path))
    try:
        number, stated = 0, int(video.get(cv2.CAP_PROP_FRAME_COUNT))
        while True:
            there, frame = video.read()
            if not there:
                break
            yield Picture(f'{path} frame {number}', pixels=np.ascontiguousarray(frame[..., ::-1]))
            number += 1
        if number == 0:
            raise UserError(f'video {path} can not be read: the file is damaged, or of a format that OpenCV lacks')
        if number < MOST_FRAMES * stated:
            damage = UserError(f'the video states {stated} frames, but ends here: the file is damaged')
            yield Picture(f'{path} frame {number}', error=damage)
    finally:
        video.release()
