"""CamVid: road scenes seen from a car."""

from pathlib import Path

from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS


@DATASETS.register_module()
class CamVidDataset(BaseSegDataset):
    """CamVid with the 11 classes of SegNet (Badrinarayanan et al., 1511.00561, Table 2), 255 for void.

    Images (all .png, as in the original, or all .jpg) in `img_dir/{train,val,test}`, index masks of the same name in
    `ann_dir/{train,val,test}`.
    """

    METAINFO = dict(
        classes=(
            'sky',
            'building',
            'pole',
            'road',
            'pavement',
            'tree',
            'sign symbol',
            'fence',
            'car',
            'pedestrian',
            'bicyclist',
        ),
        palette=[
            [128, 128, 128],
            [128, 0, 0],
            [192, 192, 128],
            [128, 64, 128],
            [0, 0, 192],
            [128, 128, 0],
            [192, 128, 128],
            [64, 64, 128],
            [64, 0, 128],
            [64, 64, 0],
            [0, 128, 192],
        ],
    )

    def _join_prefix(self) -> None:
        super()._join_prefix()
        if any(Path(self.data_prefix['img_path']).glob('*.png')):
            self.img_suffix = '.png'
