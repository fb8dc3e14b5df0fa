"""Datasets that MMSegmentation lacks, label-checking transforms, preparation of the public sets."""

from .albu import Albu
from .camvid import CamVidDataset
from .concat import ConcatDataset
from .data_root import iter_datasets, set_data_root
from .demo import DemoDataset, make_demo_dataset
from .fitting import FitIntoSquare
from .image_mask_folder import ImageMaskFolder
from .person_part import PersonPartDataset
from .repeat_classes import RepeatClasses
from .transforms import LoadImage, LoadLabels, PackSegInputs, RandomScale

__all__ = [
    'Albu',
    'CamVidDataset',
    'ConcatDataset',
    'DemoDataset',
    'FitIntoSquare',
    'ImageMaskFolder',
    'LoadImage',
    'LoadLabels',
    'PackSegInputs',
    'PersonPartDataset',
    'RandomScale',
    'RepeatClasses',
    'iter_datasets',
    'make_demo_dataset',
    'set_data_root',
]
