"""What the tests of preflight share."""

import logging
from pathlib import Path

import cv2
import mmseg
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.logging import MMLogger
from PIL import Image

from mmseg_deeplab.preflight import PreflightError, check

NUM_TRAIN = 70  # more than the sample that is looked into
STOCK = Path(mmseg.__file__).parent / '.mim' / 'configs'


def problem(cfg: Config, mode: str = 'train', **options) -> str:
    """What preflight says of a config that can't be run."""
    with pytest.raises(PreflightError) as error:
        check(cfg, mode, **options)
    return str(error.value)


def said(cfg: Config, mode: str = 'train') -> str:
    """What preflight writes to the log about a config that can be run."""
    records: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    try:
        check(cfg, mode)
    finally:
        logger.removeHandler(handler)
    return '\n'.join(records)


def names(data: Path, split: str = 'train') -> list[str]:
    return (data / 'ImageSets' / 'Segmentation' / f'{split}.txt').read_text().split()


def mask_of(data: Path, index: int) -> Path:
    return data / 'SegmentationClass' / f'{names(data)[index]}.png'


def image_of(data: Path, index: int) -> Path:
    return next((data / 'JPEGImages').glob(f'{names(data)[index]}.*'))


def write_mask(path: Path, mask: np.ndarray) -> None:
    assert cv2.imwrite(str(path), mask)


def read_mask(path: Path) -> np.ndarray:
    return np.array(Image.open(path))
