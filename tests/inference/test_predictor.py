"""`init_model` and `segment`, on files and arrays, with and without the CRF."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from PIL import Image
from pretended_gpu import gpu
from torch import nn

from mmseg_deeplab.apis import init_model, segment
from mmseg_deeplab.checkpoints import CheckpointMismatchError


@pytest.fixture(scope='module')
def saved(repo, tmp_path_factory) -> tuple[Config, str]:
    """A small config of the demo, with SyncBN, and a checkpoint of it."""
    cfg = Config.fromfile(repo / 'configs' / 'deeplabv3plus_mobilenetv2_demo.py')
    init_default_scope('mmseg')
    cfg.model.backbone.width = 0.25
    cfg.model.decode_head.channels = 16
    cfg.model.norm_cfg.type = 'SyncBN'
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp('apis') / 'model.pth'
    model = MODELS.build(cfg.model)
    model.init_weights()
    nn.init.normal_(model.decode_head.conv_seg.weight, std=1)  # else one class wins everywhere
    torch.save(dict(state_dict=model.state_dict(), meta={}), path)
    return cfg, str(path)


@pytest.fixture(scope='module')
def picture() -> np.ndarray:
    patches = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return patches.repeat(20, axis=0).repeat(21, axis=1)


def test_file_and_array_give_the_same_labels_at_the_original_size(saved, picture, tmp_path):
    model = init_model(*saved, device='cpu')
    assert not model.training and not any(isinstance(layer, nn.SyncBatchNorm) for layer in model.modules())
    assert model.dataset_meta['classes'][1] == 'zebra'
    Image.fromarray(picture).save(tmp_path / 'picture.png')
    from_array = segment(model, picture)
    assert from_array.shape == (100, 126) and from_array.dtype == np.uint8
    np.testing.assert_array_equal(segment(model, tmp_path / 'picture.png'), from_array)
    np.testing.assert_array_equal(segment(model, picture), from_array)
    assert not np.array_equal(segment(model, picture[..., ::-1].copy()), from_array)  # so the order of colours counts


def test_the_crf_is_taken_for_one_call(saved, picture):
    pytest.importorskip('pydensecrf', reason='pydensecrf2 is not installed')
    model = init_model(*saved, device='cpu')
    plain = segment(model, picture)
    assert segment(model, picture, crf='v2_r101').shape == plain.shape
    np.testing.assert_array_equal(segment(model, picture), plain)


def test_a_gpu_gives_the_labels_of_the_cpu(saved, picture):
    wanted = segment(init_model(*saved, device='cpu'), picture, crf='fast')
    with gpu():
        labels = segment(init_model(*saved, device='cuda'), picture, crf='fast')
    assert isinstance(labels, np.ndarray) and (labels == wanted).mean() > 0.99


def test_classes_that_only_the_datasets_files_tell(saved, repo, tmp_path):
    cfg, checkpoint = saved
    cfg = Config(cfg.to_dict())
    folder = Config.fromfile(repo / 'configs/_base_/datasets/image_mask_folder.py').test_dataloader
    cfg.test_dataloader = {**folder, 'dataset': {**folder.dataset, 'data_root': str(tmp_path)}}
    with pytest.raises(ValueError, match=r'names no classes.*ImageMaskFolder.*classes\.txt'):
        init_model(cfg, checkpoint, device='cpu')
    (tmp_path / 'classes.txt').write_text('land, 1, 2, 3\nwater, 4, 5, 6\n')
    meta = init_model(cfg, checkpoint, device='cpu').dataset_meta
    assert list(meta['classes']) == ['land', 'water'] and meta['palette'] == [[1, 2, 3], [4, 5, 6]]


def test_mistakes_are_explained(saved, picture, tmp_path):
    cfg, checkpoint = saved
    with pytest.raises(FileNotFoundError, match='no_such_config.py'):
        init_model('no_such_config.py', checkpoint)
    other = Config(cfg.to_dict())
    other.model.num_classes = 3
    with pytest.raises(CheckpointMismatchError):
        init_model(other, checkpoint, device='cpu')
    model = init_model(cfg, checkpoint, device='cpu')
    with pytest.raises(FileNotFoundError, match='none.jpg'):
        segment(model, tmp_path / 'none.jpg')
    with pytest.raises(ValueError, match='uint8 pixels'):
        segment(model, picture.astype(np.float32))
    with pytest.raises(ValueError, match='v9'):
        segment(model, picture, crf='v9')
