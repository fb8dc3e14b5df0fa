"""Decoding of images: what training, testing, the CRF and pictures see of a file is decided here."""

from pathlib import Path

import cv2
import mmcv
import numpy as np

from ..errors import UserError
from .masks import read_bytes


def decode_image(content: bytes, path: str | Path, color_type: str = 'color', backend: str = 'cv2') -> np.ndarray:
    """The pixels of an encoded image: (H, W, 3) BGR, uint8; of other color types as mmcv gives them.

    Grey images become three equal channels, alpha is dropped; both as in mmcv. Images of 16 bits are refused: mmcv
    keeps their high byte only, which leaves pictures of 10 or 12 bit sensors black.

    Args:
        content: The encoded file.
        path: Its name, for the messages.
        color_type, backend: Those of mmcv's LoadImageFromFile.

    Raises:
        UserError: The file is damaged, no image, or has more than 8 bits.
    """
    if (color_type, backend) == ('color', 'cv2'):
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    else:
        image = mmcv.imfrombytes(content, flag=color_type, backend=backend)
    if image is None:
        raise UserError(f'image {path} cannot be read: the file is damaged or not an image')
    if image.dtype != np.uint8 and color_type == 'color':
        raise UserError(
            f'image {path} cannot be read: it has {image.dtype} pixels, 8 bits are needed; '
            'convert it with the contrast stretch that suits it, '
            "for example PIL.Image.fromarray(np.clip(image / image.max() * 255, 0, 255).astype('uint8'))"
        )
    return image


def read_image(path: str | Path, backend_args: dict | None = None) -> np.ndarray:
    """The image of a file, as the data pipeline decodes it, but (H, W, 3) uint8 RGB; errors as in `decode_image`."""
    return cv2.cvtColor(decode_image(read_bytes(path, 'image', backend_args), path), cv2.COLOR_BGR2RGB)
