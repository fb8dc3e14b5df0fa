"""A validation that a kill interrupts is made again: best checkpoint and schedule are those without a kill."""

import pytest
import torch
from mmengine.hooks import Hook
from tiny_training import Net, tiny_runner, validation
from torch.utils._pytree import tree_leaves

from mmseg_deeplab.checkpoints import load_file
from mmseg_deeplab.engine import DeepLabRunner


class Killed(BaseException):
    """The process is gone."""


class Watch(Hook):
    """Notes after which iteration each validation began, and dies in one."""

    def __init__(self, begun, kill_at):
        self.begun, self.kill_at = begun, kill_at

    def before_val_iter(self, runner, batch_idx, data_batch=None):
        if batch_idx == 0:
            self.begun.append(runner.iter)
        if batch_idx == 1 and runner.iter == self.kill_at:
            raise Killed


LOOPS = {
    'iterations': (dict(by_epoch=False, max_iters=6, val_interval=2), dict(interval=2)),
    'epochs': (
        dict(type='EpochBasedTrainLoop', max_epochs=3),
        dict(interval=1, by_epoch=True, filename_tmpl='epoch_{}.pth'),
    ),
}


def trained(folder, loop, rule='less', kill_at=None, **kwargs):
    """Six iterations with a validation after every second; the iterations that were validated."""
    train_cfg, hook = LOOPS[loop]
    begun = []
    torch.manual_seed(0)
    plateau = dict(type='ReduceOnPlateauLR', monitor='score', rule='greater', patience=1, by_epoch=True)
    runner = tiny_runner(
        folder, model=Net(), kind=DeepLabRunner, train_cfg=dict(train_cfg), schedule=plateau, batch_size=5,
        hook=dict(hook, save_best='score', rule=rule, max_keep_ckpts=1),
        custom_hooks=[dict(type='ExactResumeHook'), Watch(begun, kill_at)], **validation(), **kwargs,
    )  # fmt: skip
    try:
        runner.train()
    except Killed:
        assert kill_at
    return begun


def outcome(folder):
    """All checkpoints with their weights, and the state of the last training."""
    found = {path.name: load_file(path) for path in sorted(folder.glob('*.pth'))}
    last = found[(folder / 'last_checkpoint').read_text().rpartition('/')[2]]
    state = [last[key] for key in ('optimizer', 'param_schedulers')]
    best = {key: last['message_hub']['runtime_info'][key] for key in ('best_score', 'validated_iter')}
    return list(found), tree_leaves([[file['state_dict'] for file in found.values()], state, best])


def assert_same(first, second):
    assert first[0] == second[0]
    for one, two in zip(first[1], second[1], strict=True):
        assert torch.equal(one, two) if isinstance(one, torch.Tensor) else one == two


@pytest.mark.parametrize('loop', LOOPS)
@pytest.mark.parametrize('rule', ['less', 'greater'])
def test_it_comes_again(loop, rule, tmp_path):
    assert trained(tmp_path / 'straight', loop, rule) == [2, 4, 6]
    expected = outcome(tmp_path / 'straight')
    for killed in (2, 4, 6):
        folder = tmp_path / f'{killed}'
        first = trained(folder, loop, rule, kill_at=killed)
        second = trained(folder, loop, rule, resume='auto')
        assert first + second[1:] == [2, 4, 6] and second[0] == killed
        assert_same(outcome(folder), expected)
    assert trained(tmp_path / 'straight', loop, rule, resume='auto') == []  # complete, and the checkpoint says so
    assert_same(outcome(tmp_path / 'straight'), expected)
