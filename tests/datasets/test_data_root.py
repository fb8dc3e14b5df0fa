"""--data-root must reach every loader, however the datasets are wrapped; one missed loader reads other data."""

import pytest
from mmengine.config import Config

from mmseg_deeplab.datasets import set_data_root


def _loader(dataset):
    return dict(batch_size=2, sampler=dict(type='InfiniteSampler'), dataset=dataset)


def test_every_dataset_of_nested_wrappers_is_moved(tmp_path):
    voc = dict(type='PascalVOCDataset', data_root='data/voc', ann_file='train.txt')
    cfg = Config(
        dict(
            data_root='data/voc',
            train_dataloader=_loader(
                dict(
                    type='ConcatDataset',
                    datasets=[
                        voc,
                        dict(type='RepeatDataset', times=2, dataset=dict(voc, data_root='data/voc/coarse')),
                        dict(type='CamVidDataset', data_root='elsewhere'),
                        dict(type='CamVidDataset'),
                    ],
                )
            ),
            val_dataloader=_loader(dict(voc)),
            test_dataloader=None,
        )
    )
    set_data_root(cfg, tmp_path)
    roots = [d.data_root if 'data_root' in d else d.dataset.data_root for d in cfg.train_dataloader.dataset.datasets]
    assert roots == [str(tmp_path), str(tmp_path / 'coarse'), str(tmp_path), str(tmp_path)]
    assert cfg.val_dataloader.dataset.data_root == cfg.data_root == str(tmp_path)
    assert 'data_root' not in cfg.train_dataloader.dataset and 'data_root' not in cfg.train_dataloader


def test_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match='--data-root .*none: there is no such folder'):
        set_data_root(Config(dict(data_root='x')), tmp_path / 'none')
