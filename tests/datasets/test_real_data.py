"""The bases on real images and masks: every check of the loaders passes, sizes and classes are those published."""

from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmseg.registry import DATASETS

from mmseg_deeplab.datasets import set_data_root

FOLDER = Path(__file__).parents[2] / 'configs/_base_/datasets'


@pytest.mark.parametrize(
    ('name', 'folder', 'train', 'val', 'present'),
    [
        # classes that must occur in 20 validation images
        ('camvid', 'camvid', 367, 101, {0, 1, 2, 3, 4, 5, 8}),
        ('voc12', 'voc2012_animals', 437, 150, {0, 8, 10, 12, 13, 15, 17}),
    ],
)
def test_loaders_on_real_data(real_data, name, folder, train, val, present):
    cfg = Config.fromfile(FOLDER / f'{name}.py')
    set_data_root(cfg, real_data / folder)
    training = DATASETS.build(cfg.train_dataloader.dataset)
    test = DATASETS.build(cfg.test_dataloader.dataset)
    assert (len(training), len(test)) == (train, val)
    for index in range(0, train, 60):
        sample = training[index]
        assert all(side <= crop for side, crop in zip(sample['inputs'].shape[1:], cfg.crop_size, strict=True))
    found = set()
    for index in range(0, val, val // 20):
        sample = test[index]
        label = sample['data_samples'].gt_sem_seg.data
        assert sample['inputs'].shape[1:] == label.shape[1:]
        found |= set(np.unique(label).tolist())
    assert present <= found <= {*range(cfg.num_classes), 255}
