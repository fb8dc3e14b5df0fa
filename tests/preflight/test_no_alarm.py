"""No alarm for what is right: the demo, the ready configs, those of MMSegmentation."""

import pytest
from mmengine.config import Config
from preflight_helpers import STOCK, problem
from torch import nn

from mmseg_deeplab.preflight import check, check_parts
from mmseg_deeplab.preflight.data import check_pipelines
from mmseg_deeplab.preflight.keys import check_keys
from mmseg_deeplab.preflight.no_trace import no_trace
from mmseg_deeplab.preflight.step import check_prediction, check_step


@pytest.mark.parametrize('mode', ['train', 'test'])
def test_the_demo_passes(cfg, mode):
    check(cfg, mode, check_all=True)


def test_every_ready_config_passes(repo):
    """Keys, numbers and pipelines; the data of most are not here."""
    ready = [path for path in sorted((repo / 'configs').rglob('*.py')) if '_base_' not in path.parts]
    assert len(ready) > 100
    for path in ready:
        config = Config.fromfile(path)
        check_keys(config)
        for split in ('train', 'val', 'test'):
            check_pipelines(config[f'{split}_dataloader'], f'{split}_dataloader')
        check_pipelines(dict(pipeline=config.tta_pipeline), 'tta')


@pytest.mark.parametrize(
    'stock',
    [
        'deeplabv3plus/deeplabv3plus_r50-d8_4xb4-20k_voc12aug-512x512.py',
        'pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py',
        'segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py',
        'point_rend/pointrend_r101_4xb2-80k_cityscapes-512x1024.py',
        'bisenetv2/bisenetv2_fcn_4xb4-amp-160k_cityscapes-1024x1024.py',
        'swin/swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512.py',
        'cgnet/cgnet_fcn_4xb4-60k_cityscapes-680x680.py',  # the old train_cfg.sampler
        'knet/knet-s3_r50-d8_fcn_8xb2-adamw-80k_ade20k-512x512.py',  # clip_grad
    ],
)
def test_keys_of_stock_configs_pass(stock):
    check_keys(Config.fromfile(STOCK / stock))


def test_parts_of_ready_configs_can_be_built(repo):
    """Every twentieth; the checkpoints they start from are looked for by `check` alone."""
    ready = [path for path in sorted((repo / 'configs').rglob('*.py')) if '_base_' not in path.parts]
    for path in ready[::20]:
        config = Config.fromfile(path)
        with no_trace():
            check_parts(config, 'train')
            check_parts(config, 'test')


STOCK_CONFIGS = [path for path in sorted(STOCK.rglob('*.py')) if '_base_' not in path.parts]
NEEDS_MMCV_OPS = ('ccnet', 'psanet', 'mask2former', 'maskformer')  # which mmcv-lite has not


@pytest.mark.skipif(not STOCK_CONFIGS, reason='MMSegmentation is installed without its configs')
def test_stock_configs_raise_no_alarm():
    """The keys of every 21st of those that can be read, the parts and a step of every 84th."""
    read = built = 0
    for number, path in enumerate(STOCK_CONFIGS[::21]):
        try:
            config = Config.fromfile(path)
        except ImportError:  # wants mmpretrain
            continue
        read += 1
        check_keys(config)
        if number % 4 == 0 and path.parent.name not in NEEDS_MMCV_OPS and 'amp' not in path.stem:  # amp wants a GPU
            with no_trace():
                model, _ = check_parts(config, 'train')
                check_step(model, config, None, 255)
                check_prediction(model, config, None)
            built += isinstance(model, nn.Module)
    assert read > 25 and built > 4


def test_a_stock_model_on_generated_data_passes(cfg):
    cfg.model = Config.fromfile(STOCK / 'deeplabv3plus' / 'deeplabv3plus_r18-d8_4xb2-80k_cityscapes-512x1024.py').model
    cfg.model.pretrained = None
    cfg.model.decode_head.num_classes = cfg.model.auxiliary_head.num_classes = 7
    check(cfg, 'train')


@pytest.mark.parametrize('baseline', ['unet', 'segformer_b0'])
def test_baselines_on_generated_data_pass(cfg, repo, baseline):
    """U-Net takes only sides that are a multiple of 16, which its data preprocessor pads to."""
    cfg.model = Config.fromfile(repo / f'configs/baselines/{baseline}_demo.py').model
    check(cfg, 'train')


def test_a_size_that_a_network_can_not_take_is_told(cfg, repo):
    cfg.model = Config.fromfile(repo / 'configs/baselines/unet_demo.py').model
    cfg.model.data_preprocessor.test_cfg.size_divisor = 8
    assert 'model.backbone (UNet) fails to predict' in problem(cfg, 'test')


def test_stock_loading_transforms_pass(cfg):
    for split in ('train', 'val'):
        pipeline = cfg[f'{split}_dataloader'].dataset.pipeline
        pipeline[1] = dict(type='LoadAnnotations')
    check(cfg, 'train')
