"""The test pipelines serve MMSegmentation's own inference, which has no masks and looks for loaders by their names."""

import numpy as np
import pytest
from mmengine.config import Config
from mmseg.apis import MMSegInferencer, inference_model, init_model

import mmseg_deeplab.datasets  # noqa: F401  registers the transforms


@pytest.fixture(scope='module')
def config(repo):
    cfg = Config.fromfile(repo / 'configs/_base_/datasets/demo.py')
    cfg.model = dict(
        type='EncoderDecoder',
        data_preprocessor=dict(
            type='SegDataPreProcessor', mean=[0.0] * 3, std=[1.0] * 3, bgr_to_rgb=True, test_cfg=dict(size=(65, 65))
        ),
        backbone=dict(type='MobileNetV2', widen_factor=0.1, out_indices=(4, 6)),
        decode_head=dict(type='FCNHead', in_channels=32, channels=8, num_classes=7, num_convs=1),
        test_cfg=dict(mode='whole'),
    )
    cfg.default_scope = 'mmseg'
    cfg.visualizer = dict(type='SegLocalVisualizer')
    return cfg


IMAGE = np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)


def test_inference_model(config):
    model = init_model(Config(config.to_dict()), device='cpu')
    assert inference_model(model, IMAGE).pred_sem_seg.data.shape == (1, 40, 50)


def test_inferencer(config, tmp_path):
    config.dump(tmp_path / 'config.py')
    inferencer = MMSegInferencer(
        str(tmp_path / 'config.py'), classes=list('abcdefg'), palette=[[0, 0, 0]] * 7, device='cpu'
    )
    assert inferencer(IMAGE)['predictions'].shape == (40, 50)
