"""The tools on a network with a CRF that is trained with it."""

import pytest
import torch
from test_train_and_test import error_of, scores

from mmseg_deeplab.checkpoints import load_file

CRF = ['model.crf.iterations=2', 'model.crf.bi_xy_std=20', 'model.crf.bi_rgb_std=10', 'train_dataloader.batch_size=2']
RATE = ['optim_wrapper.paramwise_cfg.crf_lr_mult=3', 'default_hooks.checkpoint.interval=2']


def test_training_resumes_exactly_and_is_tested_with_its_crf(tools, tmp_path, capsys):
    work, options = tmp_path / 'run', [*CRF, *RATE, 'train_cfg.max_iters=3', 'train_cfg.val_interval=3']
    tools.call('train.py', '--work-dir', work, options=options)
    unbroken = load_file(work / 'iter_3.pth')['state_dict']
    assert unbroken['crf.layer.bi_w'] != 4 and unbroken['crf.layer.bi_w'].isfinite()
    (work / 'iter_3.pth').unlink()
    tools.call('train.py', '--work-dir', work, '--resume', options=options)
    resumed = load_file(work / 'iter_3.pth')['state_dict']
    assert list(unbroken) == list(resumed)
    assert all(torch.equal(value, resumed[name]) for name, value in unbroken.items())

    tools.call('test.py', work / 'iter_3.pth', '--work-dir', tmp_path / 'test', options=CRF)
    assert scores(tmp_path / 'test')['mIoU'] == pytest.approx(scores(work)['mIoU'], abs=0.02)
    tools.call('test.py', work / 'iter_3.pth', '--work-dir', tmp_path / 'tta', '--tta', options=CRF)
    assert 0 < scores(tmp_path / 'tta')['mIoU'] <= 100
    message = error_of(capsys, tools.call, 'test.py', work / 'iter_3.pth', '--work-dir', tmp_path / 'without')
    assert '2 unexpected' in message and 'crf.layer' in message


def test_training_starts_from_a_network_without_a_crf(tools, trained, tmp_path, capsys):
    options = [*CRF, f'load_from={trained.checkpoint}', 'train_cfg.max_iters=1', 'train_cfg.val_interval=1']
    tools.call('train.py', '--work-dir', tmp_path, '--amp', options=options)
    assert 'holds no CRF: crf.layer.pos_w, crf.layer.bi_w stay as the config gives them' in capsys.readouterr().out
    assert load_file(tmp_path / 'iter_1.pth')['state_dict']['crf.layer.pos_w'].isfinite()
    resume = [*options, 'train_cfg.max_iters=6', 'default_hooks.checkpoint.interval=2']
    message = error_of(
        capsys, tools.call, 'train.py', '--work-dir', tmp_path, '--resume', trained.checkpoint, options=resume
    )
    assert '2 parameters are missing' in message or '2 missing' in message
