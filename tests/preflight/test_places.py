"""Where a run starts from and writes to."""

import os
from collections import namedtuple

import pytest
import torch
from mmengine.config import ConfigDict
from preflight_helpers import problem

from mmseg_deeplab.preflight import check, places


@pytest.fixture
def file(tmp_path):
    path = tmp_path / 'file.txt'
    path.write_text('mine')
    return path


@pytest.mark.parametrize(
    'launcher, missing', [('pytorch', 'MASTER_ADDR'), ('slurm', 'SLURM_PROCID'), ('mpi', 'OMPI_COMM_WORLD_RANK')]
)
def test_a_launcher_that_did_not_start_this_process(cfg, monkeypatch, launcher, missing):
    for names, _ in places.LAUNCHERS.values():
        for name in names:
            monkeypatch.delenv(name, raising=False)
    cfg.launcher = launcher
    message = problem(cfg)
    assert message.startswith(f'--launcher {launcher}: this process was not started by it') and missing in message


def test_a_launcher_whose_numbers_are_none(cfg, monkeypatch):
    for name, value in dict(RANK='0', WORLD_SIZE='x', LOCAL_RANK='0', MASTER_ADDR='a', MASTER_PORT='1').items():
        monkeypatch.setenv(name, value)
    cfg.launcher = 'pytorch'
    assert "WORLD_SIZE='x' in the environment is no number" in problem(cfg)


@pytest.mark.parametrize('below', ['', 'deeper/run'])
def test_a_work_dir_that_is_a_file(cfg, file, below):
    cfg.work_dir = str(file / below)
    message = problem(cfg)
    assert message.startswith('work_dir (--work-dir)') and f'{file} is a file' in message


@pytest.mark.parametrize('hook, option', [('PanelHook', '--show-dir'), ('ReportHook', '--report')])
def test_a_folder_of_pictures_that_is_a_file(cfg, file, hook, option):
    cfg.custom_hooks = [dict(type=hook, out_dir=str(file))]
    message = problem(cfg, 'test')
    assert message.startswith(f'custom_hooks.0.out_dir ({option})') and f'{file} is a file' in message
    assert file.read_text() == 'mine'


def test_a_folder_of_predictions_that_is_a_file(cfg, file):
    cfg.test_evaluator = dict(type='SegmentationMetric', output_dir=str(file))
    assert problem(cfg, 'test').startswith('test_evaluator.output_dir (--out)')


@pytest.mark.parametrize('value', [5, '', ['a']])
def test_a_folder_that_is_none(cfg, value):
    cfg.default_hooks.checkpoint.out_dir = value
    assert f'default_hooks.checkpoint.out_dir is {value!r}' in problem(cfg)


def test_a_folder_that_can_not_be_written_to(cfg):
    """Nobody can make a file there, root neither."""
    cfg.work_dir = '/proc/run'
    message = problem(cfg)
    assert message.startswith("work_dir (--work-dir): nothing can be written to '/proc'")


def test_a_disk_without_room_for_two_checkpoints(cfg, monkeypatch):
    usage = namedtuple('usage', 'total used free')
    model = 2.3 * 4 * 2**20  # roughly: 2.3 M parameters and as much momentum
    monkeypatch.setattr(places.shutil, 'disk_usage', lambda path: usage(0, 0, int(model)))
    message = problem(cfg)
    assert 'MiB are free' in message and 'one checkpoint takes about' in message
    check(cfg, 'test')  # writes none


def test_a_checkpoint_that_is_a_folder(cfg, tmp_path):
    (tmp_path / 'iter_8.pth').touch()
    cfg.load_from = str(tmp_path)
    message = problem(cfg, 'test')
    assert f"load_from: checkpoint '{tmp_path}' is a folder" in message and str(tmp_path / 'iter_8.pth') in message


def test_a_config_in_place_of_a_checkpoint(cfg, repo):
    cfg.load_from = str(repo / 'configs' / 'deeplabv3plus_mobilenetv2_demo.py')
    assert 'is a config, no checkpoint; on the command line CONFIG comes first' in problem(cfg, 'test')


def test_a_checkpoint_that_is_no_path(cfg):
    cfg.model.backbone.init_cfg = dict(type='Pretrained', checkpoint=7)
    assert problem(cfg).startswith('model.backbone.init_cfg.checkpoint is 7, but it needs the path')


@pytest.mark.parametrize('named', [True, False])
@pytest.mark.parametrize('done', [8, 10])
def test_a_training_that_is_over(cfg, tmp_path, named, done):
    work = tmp_path / 'run'
    work.mkdir()
    path = work / f'iter_{done}.pth'
    torch.save(dict(meta=dict(iter=done, epoch=0), state_dict={}), path)
    (work / 'last_checkpoint').write_text(str(path))
    cfg.resume, cfg.load_from = True, str(path) if named else None
    cfg.train_cfg.max_iters = 8
    message = problem(cfg)
    assert f'{path} has finished iter {done} of a training, and train_cfg.max_iters is 8' in message
    cfg.train_cfg.max_iters = done + 1
    check(cfg, 'train')


@pytest.mark.parametrize(
    ('validated', 'over'), [({}, False), ({'validated_iter': 4}, False), ({'validated_iter': 8}, True)]
)
def test_a_training_whose_last_validation_is_missing_is_not_over(cfg, tmp_path, validated, over):
    """It was killed in it, and validates when it is resumed."""
    path = tmp_path / 'iter_8.pth'
    torch.save(dict(meta=dict(iter=8, epoch=0), state_dict={}, message_hub=dict(runtime_info=validated)), path)
    cfg.resume, cfg.load_from = True, str(path)
    cfg.train_cfg.max_iters = 8
    if over:
        assert 'there is nothing left to train' in problem(cfg)
    else:
        check(cfg, 'train')
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    assert 'there is nothing left to train' in problem(cfg)


def test_back_ends_that_are_not_installed(cfg):
    cfg.visualizer.vis_backends = [ConfigDict(type='LocalVisBackend'), ConfigDict(type='ClearMLVisBackend')]
    message = problem(cfg)
    assert message.startswith('config key visualizer.vis_backends.1 (ClearMLVisBackend) needs the package clearml')
    assert 'pip install clearml' in message and os.linesep not in message


@pytest.mark.parametrize('content', [b'\xff\xfe\x00\x01', b'a\0b', b'x' * 5000, b'', b'..'])
def test_a_broken_pointer_is_no_end(cfg, tmp_path, content):
    """The training's own search for the newest readable checkpoint follows."""
    cfg.work_dir, cfg.resume, cfg.load_from = str(tmp_path), True, None
    (tmp_path / 'last_checkpoint').write_bytes(content)
    places.check_checkpoints(cfg, 'train')
