"""Where pictures come from: files, folders, patterns, videos, arrays, and iterators of those."""

import glob
import os
from collections.abc import Iterable, Iterator
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


@dataclass(frozen=True)
class Picture:
    """One picture of a source.

    Attributes:
        name: What it is called in messages and results: its file, 'VIDEO frame N' or 'image N'.
        path: Its file, to be decoded by the model's own pipeline; None where the pixels are given.
        pixels: uint8 RGB (H, W, 3); None where there is a file.
    """

    name: str
    path: Path | None = None
    pixels: np.ndarray | None = None


def is_one(source: Any) -> bool:
    """Whether a source is one picture, so that one answer is wanted and not an iterator."""
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        return not path.is_dir() and not _is_pattern(path) and path.suffix.lower() not in VIDEOS
    return isinstance(source, (np.ndarray, Image.Image, torch.Tensor))


def pictures_of(source: Any) -> Iterator[Picture]:
    """Yield the pictures of a source in order.

    Args:
        source: A picture file, a folder (all pictures below it, sorted by path), a pattern with `*`, `?` or `[`, a
            video, pixels (numpy uint8 RGB (H, W, 3), a PIL image, a torch uint8 tensor (3, H, W)), or an iterable of
            any of those, or of `Picture`.

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
        yield Picture('image 0', pixels=to_pixels(source))
    elif isinstance(source, Iterable):
        for number, item in enumerate(source):
            if is_one(item) and not isinstance(item, (str, os.PathLike)):
                yield Picture(f'image {number}', pixels=to_pixels(item, f'image {number}'))
            else:
                yield from pictures_of(item)
    else:
        raise UserError(
            f'a {type(source).__name__} is no source of pictures: give a file, folder, pattern, video, numpy array '
            f'(H, W, 3), PIL image, torch tensor (3, H, W), or a list or iterator of those'
        )


def to_pixels(image: np.ndarray | Image.Image | torch.Tensor, name: str = 'image') -> np.ndarray:
    """Return pixels as uint8 RGB (H, W, 3).

    A PIL image is turned as its EXIF orientation says, as files are; grey and palette pictures become RGB.

    Raises:
        UserError: For pixels of another type or shape; nothing is scaled or cast.
    """
    if isinstance(image, Image.Image):
        if image.mode not in ('RGB', 'RGBA', 'L', 'LA', 'P', 'PA', '1', 'CMYK', 'YCbCr'):
            raise UserError(f'{name} is a PIL image of mode {image.mode!r}, which holds more than 8 bits a channel')
        return np.array(ImageOps.exif_transpose(image).convert('RGB'))
    if isinstance(image, torch.Tensor):
        if image.dtype != torch.uint8 or image.ndim != 3 or image.shape[0] != 3:
            raise UserError(f'{name} is a tensor of {image.dtype} {tuple(image.shape)}; give uint8 (3, H, W) in RGB')
        return np.ascontiguousarray(image.permute(1, 2, 0).cpu().numpy())
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise UserError(f'{name} is {image.dtype} {image.shape}; give uint8 pixels (H, W, 3) in RGB order')
    return np.ascontiguousarray(image)


def files_of(source: str | os.PathLike) -> list[Path]:
    """The picture and video files of a file, folder or pattern, sorted; errors as in `pictures_of`."""
    path = Path(source).expanduser()
    if '://' in str(source):
        raise UserError(f'{source}: pictures are not read from the net; download it and give the file')
    if path.is_dir():
        found = sorted(each for each in path.rglob('*') if _is_picture(each))
        if not found:
            raise UserError(f'there are no pictures ({", ".join(PICTURES)}) below the folder {path}')
        return found
    if _is_pattern(path):
        found = [Path(each) for each in sorted(glob.glob(str(path), recursive=True)) if Path(each).is_file()]
        if not found:
            raise UserError(f'no file fits the pattern {path}')
        return found
    if not path.is_file():
        raise UserFileNotFoundError(f'picture {path} does not exist (from {Path.cwd()})')
    return [path]


def _is_pattern(path: Path) -> bool:
    return not path.exists() and glob.has_magic(str(path))


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in PICTURES and not path.name.startswith('.') and path.is_file()


def _frames_of(path: Path) -> Iterator[Picture]:
    video = cv2.VideoCapture(str(path))
    try:
        number = 0
        while True:
            there, frame = video.read()
            if not there:
                break
            yield Picture(f'{path} frame {number}', pixels=np.ascontiguousarray(frame[..., ::-1]))
            number += 1
        if number == 0:
            raise UserError(f'video {path} can not be read: the file is damaged, or of a format that OpenCV lacks')
    finally:
        video.release()
