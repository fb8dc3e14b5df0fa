"""The pictures must show what the network gets: right colours after normalisation and back, padding, void."""

import numpy as np
import pytest
from mmengine.config import Config
from mmseg.registry import DATASETS
from PIL import Image

from mmseg_deeplab.datasets import make_demo_dataset, set_data_root
from mmseg_deeplab.datasets.browse import _samples, browse


@pytest.fixture
def cfg(repo, tmp_path):
    make_demo_dataset(tmp_path / 'set', train=3, val=2)
    cfg = Config.fromfile(repo / 'configs/_base_/datasets/demo.py')
    set_data_root(cfg, tmp_path / 'set')
    mean, std = [100.0, 110.0, 120.0], [50.0, 60.0, 70.0]
    cfg.model = dict(
        data_preprocessor=dict(
            type='SegDataPreProcessor',
            mean=mean,
            std=std,
            bgr_to_rgb=True,
            size=(129, 129),
            test_cfg=dict(size=(129, 129)),
        )
    )
    return cfg


def test_pictures_and_shares(cfg, tmp_path):
    table = browse(cfg, tmp_path / 'out', count=10)
    pictures = sorted((tmp_path / 'out').iterdir())
    assert [path.name for path in pictures] == [f'00{i}_train_000{i}.png' for i in range(3)]
    rows = {row.split()[0]: float(row.split()[1].rstrip('%')) for row in table.splitlines()[1:]}
    assert list(rows) == ['background', 'zebra', 'flag', 'ladybird', 'kite', 'ring', 'cross', 'void']
    assert sum(rows.values()) == pytest.approx(100, abs=0.05)


def test_normalisation_is_undone_and_padding_shows(cfg):
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    name, image, labels = next(_samples(cfg, dataset, training=False, count=1, seed=0))
    original = np.array(Image.open(dataset.get_data_info(0)['img_path']))
    height, width = labels.shape
    assert name == 'val_0000' and image.shape == (129, 129, 3) and (height, width) == original.shape[:2]
    assert abs(image[:height, :width].astype(int) - original).max() <= 2  # two JPEG decoders
    assert (image[height:] == (100, 110, 120)).all() and (image[:, width:] == (100, 110, 120)).all()  # the mean


def test_labels_follow_a_resized_test_image(cfg):
    cfg.test_dataloader.dataset.pipeline.insert(1, dict(type='Resize', scale=(64, 64), keep_ratio=True))
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    _, image, labels = next(_samples(cfg, dataset, training=False, count=1, seed=0))
    assert max(labels.shape) == 64 and image.shape == (129, 129, 3)


@pytest.mark.parametrize('label', [256, -1, 300])
def test_labels_beyond_8_bits_are_named(cfg, tmp_path, label):
    """A pipeline of stock transforms lets them through."""

    def spoil(results):
        results['gt_seg_map'] = np.full(results['img'].shape[:2], label, np.int64)
        return results

    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    dataset.pipeline.transforms.insert(-1, spoil)
    with pytest.raises(ValueError, match=rf'png: label ids \[{label}\] are no whole numbers 0..255'):
        next(_samples(cfg, dataset, training=False, count=1, seed=0))
