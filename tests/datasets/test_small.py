"""Images from 1 x 1 pixels on go through every pipeline, flipped or not, and through the network's test."""

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmseg.datasets.transforms import PackSegInputs as Stock
from mmseg.registry import MODELS, TRANSFORMS
from PIL import Image

from mmseg_deeplab.datasets import PackSegInputs

SIZES = [(1, 1), (1, 2), (2, 1), (1, 50), (50, 1), (3, 5)]


@pytest.fixture
def sample(tmp_path):
    def sample(size):
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)).save(tmp_path / 'a.png')
        Image.fromarray(np.zeros(size, np.uint8)).save(tmp_path / 'm.png')
        return dict(
            img_path=str(tmp_path / 'a.png'),
            seg_map_path=str(tmp_path / 'm.png'),
            seg_fields=[],
            reduce_zero_label=False,
        )

    return sample


def test_stock_configs_get_ours():
    assert TRANSFORMS.get('PackSegInputs') is TRANSFORMS.get('mmseg.PackSegInputs') is PackSegInputs
    assert issubclass(PackSegInputs, Stock)


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('base', ['demo', 'voc12', 'voc12_aug_v1', 'cityscapes', 'camvid', 'ade20k'])
def test_pipelines(repo, sample, size, base):
    cfg = Config.fromfile(repo / f'configs/_base_/datasets/{base}.py')
    for flip in (0.0, 1.0):
        steps = [dict(step, prob=flip) if step.type == 'RandomFlip' else step for step in cfg.train_pipeline]
        np.random.seed(0)
        packed = Compose(steps)(sample(size))
        assert packed['inputs'].shape[1:] == packed['data_samples'].gt_sem_seg.shape
    assert Compose(cfg.test_pipeline)(sample(size))['data_samples'].gt_sem_seg.shape == size
    assert all(view.shape[0] == 3 for view in Compose(cfg.tta_pipeline)(sample(size))['inputs'])


@pytest.mark.parametrize('direction', ['horizontal', 'vertical', 'diagonal'])
@pytest.mark.parametrize('size', SIZES)
def test_a_flip_is_a_flip(sample, size, direction):
    load = [dict(type='LoadImage'), dict(type='LoadLabels')]
    flip = dict(type='RandomFlip', prob=1.0, direction=direction)
    plain, flipped = (Compose([*load, *step, dict(type='PackSegInputs')])(sample(size)) for step in ([], [flip]))
    axes = dict(horizontal=[2], vertical=[1], diagonal=[1, 2])[direction]
    assert flipped['inputs'].equal(plain['inputs'].flip(axes))


@pytest.mark.parametrize('size', SIZES)
def test_the_networks_test_with_and_without_augmentation(repo, sample, size):
    cfg = Config.fromfile(repo / 'configs/deeplabv3plus_mobilenetv2_demo.py')
    cfg.model.backbone.update(init_cfg=None, width=0.25)
    cfg.model.decode_head.update(channels=8, decoder_channels=8)
    cfg.model.norm_cfg = dict(type='BN')
    model = MODELS.build(cfg.model).eval()
    batch = pseudo_collate([Compose(cfg.test_pipeline)(sample(size))])
    assert model.test_step(batch)[0].pred_sem_seg.shape == size
    cfg.model.data_preprocessor.test_cfg = dict(size_divisor=1)  # as --tta sets it
    tta = MODELS.build(dict(cfg.tta_model, module=cfg.model)).eval()
    batch = pseudo_collate([Compose(cfg.tta_pipeline)(sample(size))])
    assert tta.test_step(batch)[0].pred_sem_seg.shape == size
