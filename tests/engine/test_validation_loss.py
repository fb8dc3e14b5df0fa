"""The validation's loss: PyTorch's cross entropy of the network's answers, as a score like any other."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from PIL import Image

from mmseg_deeplab import init_model, predict
from mmseg_deeplab.cli.configure import build_runner
from mmseg_deeplab.datasets.demo import make_demo_dataset
from mmseg_deeplab.preflight import check, merge_options, parse_options

OPTIONS = [
    'model.backbone.width=0.25', 'model.decode_head.channels=16', 'train_dataloader.batch_size=4',
    *(f'{split}_dataloader.num_workers=0' for split in ('train', 'val', 'test')),
    *(f'{split}_dataloader.persistent_workers=False' for split in ('train', 'val', 'test')),
    'train_cfg.max_iters=2', 'train_cfg.val_interval=2', 'default_hooks.checkpoint.save_best=val_loss',
]  # fmt: skip


@pytest.mark.parametrize('crf', [False, True], ids=['', 'beside the CRF'])
def test_it_is_the_mean_cross_entropy_of_the_pictures(repo, tmp_path, crf):
    make_demo_dataset(str(tmp_path / 'demo'), 8, 3, 0)
    cfg = Config.fromfile(repo / 'configs/deeplabv3plus_mobilenetv2_demo.py')
    merge_options(cfg, parse_options(OPTIONS))
    for split in ('train', 'val', 'test'):
        cfg[f'{split}_dataloader'].dataset.data_root = str(tmp_path / 'demo')
    cfg.custom_hooks = [dict(type='ValidationLossHook')]
    if crf:
        cfg.custom_hooks.append(dict(type='DenseCRFHook', iterations=1, stages=('val',)))
    cfg.work_dir, cfg.launcher = str(tmp_path / 'work'), 'none'
    check(cfg, 'train')
    build_runner(cfg).train()
    (log,) = (tmp_path / 'work').rglob('scalars.json')
    (found,) = [line['val_loss'] for line in map(json.loads, log.read_text().splitlines()) if 'val_loss' in line]
    assert list((tmp_path / 'work').glob('best_val_loss_iter_2.pth'))

    model = init_model(cfg, tmp_path / 'work/iter_2.pth', device='cpu')
    losses = []
    for path in sorted((tmp_path / 'demo').rglob('val.txt'))[0].read_text().split():
        image = next((tmp_path / 'demo/JPEGImages').glob(f'{path}.*'))
        mask = np.array(Image.open(tmp_path / f'demo/SegmentationClass/{path}.png')).astype(np.int64)
        p = torch.from_numpy(predict(model, image).probabilities()).clamp(min=1e-30)
        losses.append(float(F.nll_loss(p.log()[None], torch.from_numpy(mask)[None], ignore_index=255)))
    assert found == pytest.approx(np.mean(losses), rel=1e-3)
