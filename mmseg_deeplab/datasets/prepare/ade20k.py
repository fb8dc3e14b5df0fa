"""ADE20K scene parsing (ADEChallengeData2016): already in the expected tree; it is linked, checked and counted."""

from pathlib import Path

import numpy as np
from mmseg.datasets import ADE20KDataset

from ...errors import UserError
from ..masks import read_mask
from .runner import Job, Plan, find


def plan(src: Path, dst: Path) -> Plan:
    """Source: ADEChallengeData2016 with images and annotations, training and validation."""
    root = find(src, 'annotations/training', 'ADE20K (ADEChallengeData2016)')
    masks = sorted(root.glob('annotations/*/*.png'))
    return Plan(
        classes=ADE20KDataset.METAINFO['classes'],
        jobs=[Job(check, (path,)) for path in masks],
        links={dst / folder: root / folder for folder in ('images', 'annotations')},
        first_index=1,
    )


def check(path: Path) -> np.ndarray:
    """The mask; ValueError if it is not one of the 150 classes and 0, as happens with the full ADE20K set."""
    mask = read_mask(path)
    if mask.max() > 150:
        raise UserError(f'holds the value {mask.max()}, above 150; take ADEChallengeData2016, not the full ADE20K')
    return mask
