"""What is put on a GPU stays there, from the input to the loss, the gradients and the label map."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from pretended_gpu import gpu

from mmseg_deeplab.models import DeepLabTTA

SIDE = 65
CONFIGS = {
    'deeplabv1_vgg16_msc_voc': dict(),
    'deeplabv2_r101_voc': dict(base_channels=8),
    'deeplabv3_r101_voc': dict(base_channels=8),
    'deeplabv3_r101_cascade_voc': dict(base_channels=8),
    'deeplabv3plus_mobilenetv2_voc': dict(width=0.25),
    'deeplabv3plus_xception41_voc': dict(),
    'deeplabv3plus_mobilenetv2_crf_demo': dict(width=0.25),
}


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a real GPU, which refuses by itself')
def test_the_pretended_gpu_refuses_what_a_gpu_refuses():
    with gpu():
        there, here = torch.ones(2, 3, device='cuda'), torch.ones(3)
        assert there.is_cuda and (there + 1).device.type == 'cuda' and (there * torch.tensor(2.0)).is_cuda
        assert not there.cpu().is_cuda and there.to(torch.float16).is_cuda and here.to(there).is_cuda
        assert there[:, here > 5].is_cuda and there.cpu().numpy().sum() == 6
        for mixed in (
            lambda: there + here,
            lambda: torch.cat([here, there[0]]),
            lambda: torch.where(here > 0, there, 0),
            lambda: here[there[0] > 5],
        ):
            with pytest.raises(RuntimeError, match='on the CPU'):
                mixed()
        for function in (there.numpy, lambda: np.asarray(there)):
            with pytest.raises(TypeError, match='use cpu'):
                function()
        layer = torch.nn.Conv2d(2, 3, 1)
        with pytest.raises(RuntimeError, match='on the CPU'):
            layer(there[:, :, None])


@pytest.mark.parametrize('name', CONFIGS)
def test_a_training_step_and_a_prediction(repo, name):
    cfg = Config.fromfile(repo / 'configs' / f'{name}.py')
    cfg.model.backbone.update(init_cfg=None, **CONFIGS[name])
    cfg.model.crop_size = (SIDE, SIDE)
    cfg.model.data_preprocessor.test_cfg = None
    meta = dict(img_shape=(SIDE, SIDE), pad_shape=(SIDE, SIDE), ori_shape=(SIDE + 5, SIDE - 3), flip=False)
    label = torch.randint(cfg.num_classes, (1, SIDE, SIDE))
    label[:, :3] = 255
    inputs = [torch.randint(256, (3, SIDE, SIDE), dtype=torch.uint8) for _ in range(2)]
    samples = [SegDataSample(metainfo=meta, gt_sem_seg=PixelData(data=label)) for _ in inputs]
    with gpu():
        model = revert_sync_batchnorm(MODELS.build(cfg.model)).to('cuda').train()
        model.train_step(dict(inputs=inputs, data_samples=samples), build_optim_wrapper(model, cfg.optim_wrapper))
        assert all(tensor.is_cuda for tensor in model.state_dict().values())
        tta = DeepLabTTA(module=model.eval())
        flipped = [sample.clone() for sample in samples]
        for sample in flipped:
            sample.set_metainfo(dict(flip=True, flip_direction='horizontal'))
        views = [torch.stack(inputs), torch.stack(inputs).flip(3)]
        results = tta.test_step(dict(inputs=views, data_samples=[samples, flipped]))
        assert all(result.pred_sem_seg.data.is_cuda for result in results)
        assert results[0].pred_sem_seg.data.shape == (1, SIDE + 5, SIDE - 3)
