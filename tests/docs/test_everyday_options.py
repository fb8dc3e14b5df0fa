"""The lines under 'Everyday options' of docs/configs.md, each in a training of a few iterations."""

import importlib.util
import json
import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import AmpOptimWrapper

from mmseg_deeplab.checkpoints import load_file
from mmseg_deeplab.cli.configure import _enable_amp, build_runner
from mmseg_deeplab.datasets.demo import make_demo_dataset
from mmseg_deeplab.engine.describe import summarize
from mmseg_deeplab.preflight import check, merge_options, parse_options

TINY = [
    'model.backbone.width=0.25', 'model.decode_head.channels=16', 'train_dataloader.batch_size=4',
    *(f'{split}_dataloader.num_workers=0' for split in ('train', 'val', 'test')),
    *(f'{split}_dataloader.persistent_workers=False' for split in ('train', 'val', 'test')),
    'default_hooks.logger.interval=1',
]  # fmt: skip
SHORT = ['train_cfg.max_iters=4', 'train_cfg.val_interval=2']


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp('everyday') / 'demo'
    make_demo_dataset(str(root), 16, 3, 0)
    return root


@pytest.fixture
def configured(repo, data, tmp_path):
    """configured(beginning, *options): the demo's config with the block that is introduced so, checked as usual."""
    section = (repo / 'docs/configs.md').read_text().partition('## Everyday options')[2].partition('\n## ')[0]
    parts = re.split(r'```(?:python)?\n', section)  # text, code, text, ...
    blocks = dict(zip((text.strip() for text in parts[::2]), parts[1::2], strict=False))

    def configure(beginning: str, *options: str) -> Config:
        found = [block for text, block in blocks.items() if beginning in text]
        (block,) = found or [beginning]  # a block by its title, or lines of a config
        base = repo / 'configs' / 'deeplabv3plus_mobilenetv2_demo.py'
        (tmp_path / 'mine.py').write_text(f"_base_ = '{base}'\n{block}")
        cfg = Config.fromfile(tmp_path / 'mine.py')
        merge_options(cfg, parse_options([*TINY, *options]))
        for split in ('train', 'val', 'test'):
            cfg[f'{split}_dataloader'].dataset.data_root = str(data)
        cfg.work_dir = str(tmp_path / 'work')
        cfg.launcher = 'none'
        check(cfg, 'train')
        return cfg

    configure.blocks = blocks
    return configure


def trained(cfg: Config) -> tuple:
    torch.manual_seed(0)
    runner = build_runner(cfg)
    runner.train()
    return runner, load_file(Path(cfg.work_dir, 'last_checkpoint').read_text())


def test_each_block_has_a_test(configured):
    text = Path(__file__).read_text()
    assert len(configured.blocks) == 8
    called = re.findall(r"configured\(\s*'([^']+)'", text)
    assert all(sum(beginning in title for beginning in called) == 1 for title in configured.blocks)


def test_mixed_precision(configured, monkeypatch):
    """What --amp makes of a config where there is a GPU; the wrapper itself refuses to be built without one."""
    (block,) = [text for title, text in configured.blocks.items() if 'Mixed precision' in title]
    stated: dict = {}
    exec(block, {}, stated)
    with monkeypatch.context() as patch:
        patch.setattr(torch.cuda, 'is_available', lambda: True)
        cfg = Config(dict(optim_wrapper=dict(type='OptimWrapper')))
        _enable_amp(cfg)
    assert cfg.to_dict() == stated
    if torch.cuda.is_available():
        runner, _ = trained(configured('Mixed precision', *SHORT))
        assert isinstance(runner.optim_wrapper, AmpOptimWrapper)


def test_moving_average(configured):
    """MMEngine saves the average as the state dict and the weights beside it."""
    runner, checkpoint = trained(configured('A moving average', *SHORT))
    average, weights = checkpoint['state_dict'], checkpoint['ema_state_dict']
    key = 'backbone.conv1.conv.weight'
    assert key in average
    assert not torch.equal(average[key], weights[f'module.{key}'])
    assert torch.equal(runner.model.state_dict()[key].cpu(), weights[f'module.{key}'])


def test_accumulation(configured):
    runner, _ = trained(configured('Gradients of four', *SHORT))
    assert '16 = 4 images x 1 device x 4 accumulated' in summarize(runner)


def test_early_stopping(configured):
    options = [
        'train_cfg.max_iters=40', 'train_cfg.val_interval=1', 'optim_wrapper.optimizer.lr=1e-9',
        'model.frozen_bn=[backbone,decode_head]',
    ]  # fmt: skip
    runner, _ = trained(configured('Stop where', *options))
    assert runner.iter == 1 + 5  # nothing is learned after the first validation


@pytest.mark.skipif(not importlib.util.find_spec('tensorboard'), reason='tensorboard is not installed')
def test_tensorboard(configured, tmp_path):
    trained(configured('TensorBoard', *SHORT))
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (events,) = (tmp_path / 'work').rglob('events.out.*')
    reader = EventAccumulator(str(events))
    reader.Reload()
    assert [event.step for event in reader.Scalars('loss')] == [1, 2, 3, 4]
    assert len(list((tmp_path / 'work').rglob('scalars.json'))) == 1


def test_learning_rates_by_part(configured):
    runner, _ = trained(configured('Learning rates by part', *SHORT))
    names = {parameter: name for name, parameter in runner.model.named_parameters()}
    for group in runner.optim_wrapper.optimizer.param_groups:
        for parameter in group['params']:
            expected = 0.005 if names[parameter].startswith('backbone') else 0.05
            assert group['initial_lr'] == pytest.approx(expected), names[parameter]


def test_a_frozen_backbone(configured):
    cfg = configured('A frozen backbone', *SHORT)
    torch.manual_seed(0)
    runner = build_runner(cfg)
    runner.model.init_weights()
    before = {key: value.clone() for key, value in runner.model.state_dict().items()}
    runner.model._is_init = True
    runner.train()
    after = runner.model.state_dict()
    moved = {key for key, value in before.items() if not torch.equal(value, after[key])}
    assert moved and not [key for key in moved if key.startswith('backbone')]


def test_epochs(configured, tmp_path):
    options = [
        'train_cfg.max_epochs=2', 'train_cfg.val_interval=1', 'default_hooks.checkpoint.interval=1',
    ]  # fmt: skip
    runner, checkpoint = trained(configured('Epochs in place', *options))
    assert runner.epoch == 2 and runner.iter == 2 * 16 // 4
    assert (tmp_path / 'work' / 'epoch_2.pth').is_file() and checkpoint['meta']['epoch'] == 2
    (log,) = (tmp_path / 'work').rglob('scalars.json')
    rates = [entry['lr'] for entry in map(json.loads, log.read_text().splitlines()) if 'lr' in entry]
    assert rates == pytest.approx([0.05 * (1 - k / 8) ** 0.9 for k in range(8)])


def test_epochs_by_one_base_file(repo, data, tmp_path, capsys):
    """As docs/configs.md has it, in batches of 5 of 16 pictures: the last has one picture and is left out."""
    base = repo / 'configs/_base_'
    bases = [
        str(base / f'{name}.py') for name in ('models/deeplabv3plus_mobilenetv2', 'datasets/demo', 'schedules/epochs')
    ]
    (tmp_path / 'mine.py').write_text(
        f'_base_ = {bases}\n'
        'model = dict(num_classes=_base_.num_classes, crop_size=_base_.crop_size, backbone=dict(init_cfg=None))\n'
        'train_dataloader = dict(drop_last=True)\ntrain_cfg = dict(max_epochs=2, val_interval=1)\n'
    )
    cfg = Config.fromfile(tmp_path / 'mine.py')
    merge_options(cfg, parse_options([*TINY, 'train_dataloader.batch_size=5']))
    for split in ('train', 'val', 'test'):
        cfg[f'{split}_dataloader'].dataset.data_root = str(data)
    cfg.work_dir, cfg.launcher = str(tmp_path / 'work'), 'none'
    check(cfg, 'train')
    runner, checkpoint = trained(cfg)
    assert (runner.epoch, runner.iter, checkpoint['meta']['epoch']) == (2, 6, 2)
    assert (tmp_path / 'work/epoch_2.pth').is_file() and list((tmp_path / 'work').glob('best_mIoU_epoch_*.pth'))
    printed = capsys.readouterr().out
    assert 'an epoch has 3 full batches of 5; of its 16 pictures 1 are left out' in printed
    assert 'A resumed training will differ' not in printed
    (log,) = (tmp_path / 'work').rglob('scalars.json')
    rates = [entry['lr'] for entry in map(json.loads, log.read_text().splitlines()) if 'lr' in entry]
    assert rates == pytest.approx([0.007 * (1 - k / 6) ** 0.9 for k in range(6)])


def test_losses(repo, configured):
    """The rows under 'Losses' in one training of the demo, whose classes are seven."""
    section = (repo / 'docs/configs.md').read_text().partition('\n## Losses')[2].partition('\n## ')[0]
    losses = re.findall(r'^\|[^|]*\| `(dict\(type=.*?\))`', section, re.MULTILINE)
    assert len(losses) == 8
    stated = re.sub(r'class_weight=\[.*?\]', f'class_weight={[0.5, *[2.0] * 6]}', ', '.join(losses))
    runner, _ = trained(configured(f'model = dict(decode_head=dict(loss_decode=[{stated}]))\n', *SHORT))
    assert runner.iter == 4 and len(runner.model.decode_head.loss_decode) == 8
