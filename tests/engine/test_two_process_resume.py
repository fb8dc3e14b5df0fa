"""Two processes that are killed and resumed end with the very bits of two that were not."""

import multiprocessing
import os
import signal
import time

import pytest
import torch
import torch.distributed
from mmengine.hooks import EMAHook, Hook
from tiny_training import Net, tiny_runner, validation
from torch.utils._pytree import tree_leaves

from mmseg_deeplab.checkpoints import load_file
from mmseg_deeplab.engine import DeepLabRunner

SCHEDULE = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=4),
    dict(type='PolyLR', power=0.9, by_epoch=False, begin=4, end=20),
]


class Die(Hook):
    """Is killed at a hook point after seven iterations, or in the validation after six."""

    def __init__(self, point):
        self.at = dict(before_train_iter=7, before_val_iter=6)[point]
        setattr(self, point, self.die)

    def die(self, runner, *arguments, **options):
        if runner.iter == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


def wait(process):
    """Not by `join`, which waits for its loading processes as well, and they see its end only after seconds."""
    end = time.monotonic() + 120
    while process.is_alive() and time.monotonic() < end:
        time.sleep(0.02)


def in_two(folder, part, kill=None, point=None, **options):
    """Train twelve iterations in two processes; `kill` is the rank that dies."""
    context = multiprocessing.get_context('fork')

    def work(rank):
        os.environ['LOCAL_RANK'] = str(rank)
        address = f'file://{folder}_{part}'
        torch.distributed.init_process_group('gloo', init_method=address, rank=rank, world_size=2)
        torch.manual_seed(0)
        hooks = [dict(type='ExactResumeHook'), EMAHook(momentum=0.3), *([Die(point)] if rank == kill else [])]
        hook = dict(interval=3, max_keep_ckpts=1, save_best='score', rule='less')
        tiny_runner(
            folder, kind=DeepLabRunner, launcher='pytorch', model=Net(), hook=hook, custom_hooks=hooks,
            default_hooks=dict(batch_norm=dict(type='BatchNormHook')), schedule=SCHEDULE, resume='auto',
            train_cfg=dict(by_epoch=False, max_iters=12, val_interval=6), **validation(), **options,
        ).train()  # fmt: skip
        torch.distributed.barrier()
        os._exit(0)

    processes = [context.Process(target=work, args=(rank,)) for rank in (0, 1)]
    for process in processes:
        process.start()
    if kill is not None:  # the other one waits for its gradients, or has lost the connection
        wait(processes[kill])
        processes[1 - kill].kill()
    for process in processes:
        wait(process)
    return [process.exitcode for process in processes]


@pytest.mark.parametrize(
    'wrapper, workers, kill, point',
    [('CPUAmpOptimWrapper', 0, 1, 'before_val_iter'), ('OptimWrapper', 2, 0, 'before_train_iter')],
)
def test_resumed_equals_straight(wrapper, workers, kill, point, tmp_path):
    """With warm-up, averaged weights, gradients accumulated over two iterations, and the best score of both."""
    options = dict(workers=workers, accumulate=2, optim=dict(type=wrapper))
    assert in_two(tmp_path / 'straight', 'whole', **options) == [0, 0]
    assert in_two(tmp_path / 'killed', 'first', kill, point, **options)[kill] == -signal.SIGKILL
    assert (tmp_path / 'killed/last_checkpoint').read_text().endswith('iter_6.pth')
    assert in_two(tmp_path / 'killed', 'second', **options) == [0, 0]
    straight, resumed = (load_file(tmp_path / folder / 'iter_12.pth') for folder in ('straight', 'killed'))
    assert straight['meta']['samples_seen'] == resumed['meta']['samples_seen'] == 12 * 2 * 3
    one, two = (each['message_hub']['runtime_info'] for each in (straight, resumed))
    assert one['best_score'] == two['best_score'] and one['validated_iter'] == two['validated_iter'] == 12
    for part in ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers'):
        leaves = zip(tree_leaves(straight[part]), tree_leaves(resumed[part]), strict=True)
        assert all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in leaves), part
