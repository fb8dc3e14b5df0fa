"""PASCAL-Person-Part."""

from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

from .palette import voc_palette


@DATASETS.register_module()
class PersonPartDataset(BaseSegDataset):
    """PASCAL-Person-Part: 1716 training and 1817 validation images of VOC 2010, six parts of persons and background.

    The parts of PASCAL-Part (Chen et al., 1406.2031) merged as in Chen et al., 1511.03339.
    """

    METAINFO = dict(
        classes=('background', 'head', 'torso', 'upper arms', 'lower arms', 'upper legs', 'lower legs'),
        palette=[list(colour) for colour in voc_palette(7)],
    )
