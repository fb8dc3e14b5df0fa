"""A training that was interrupted and resumed ends with the very bits of one that was not."""

import itertools
import shutil

import numpy as np
import pytest
import torch
from tiny_training import Net, Points, tiny_runner
from torch.utils._pytree import tree_leaves

from mmseg_deeplab.checkpoints import load_file
from mmseg_deeplab.engine.exact_resume import ResumableSampler


def train(work_dir, **kwargs):
    torch.manual_seed(0)
    model = Net()
    tiny_runner(work_dir, model=model, **kwargs).train()
    return model, load_file(work_dir / 'iter_8.pth')


def assert_same_training(first, second):
    parts = ('state_dict', 'optimizer', 'param_schedulers')
    for a, b in zip(*(tree_leaves([training[part] for part in parts]) for training in (first, second)), strict=True):
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


@pytest.mark.parametrize('workers, workers_after, seed', [(0, 0, 1), (0, 0, None), (0, 2, 1), (2, 0, 1)])
def test_resumed_equals_straight(workers, workers_after, seed, tmp_path):
    straight, end = train(tmp_path / 'straight', workers=workers, seed=seed, hook=dict(interval=5))
    (tmp_path / 'resumed').mkdir()
    shutil.copy(tmp_path / 'straight/iter_5.pth', tmp_path / 'resumed')
    resumed, resumed_end = train(tmp_path / 'resumed', workers=workers_after, seed=seed, resume=True)
    assert resumed.seen == straight.seen[5:]
    assert_same_training(end, resumed_end)


def test_stock_sampler_and_no_hook_differ(tmp_path):
    """The tiny training does notice the generators' state: without the remedy its weights differ."""
    stock = dict(sampler='InfiniteSampler', custom_hooks=[])
    _, end = train(tmp_path / 'straight', hook=dict(interval=5), **stock)
    (tmp_path / 'resumed').mkdir()
    shutil.copy(tmp_path / 'straight/iter_5.pth', tmp_path / 'resumed')
    _, resumed_end = train(tmp_path / 'resumed', resume=True, **stock)
    with pytest.raises(AssertionError):
        assert_same_training(end, resumed_end)


def test_stock_sampler_is_warned_about(tmp_path):
    runner = tiny_runner(tmp_path, max_iters=1, sampler='InfiniteSampler')
    messages = []
    runner.logger.warning = messages.append
    runner.train()
    assert any("train_dataloader.sampler = dict(type='ResumableSampler')" in m for m in messages)


def test_a_training_is_not_resumed_beyond_its_schedule(tmp_path):
    """MMEngine would go on at the learning rate of the end, which is 0, whatever the config says."""
    tiny_runner(tmp_path, 4).train()  # its schedule has 20 iterations
    tiny_runner(tmp_path, 20, resume=True).train()
    with pytest.raises(
        ValueError, match='max_iters=21, but the schedule .* ends at iteration 20.*load_from=CHECKPOINT'
    ):
        tiny_runner(tmp_path, 21, resume=True).train()


def test_a_loop_of_epochs_wants_a_sampler_with_an_end(tmp_path):
    loop = dict(type='EpochBasedTrainLoop', max_epochs=2)
    with pytest.raises(ValueError, match="use train_dataloader.sampler = dict.type='DefaultSampler'"):
        tiny_runner(tmp_path, train_cfg=loop).train()


def test_each_pass_is_a_permutation_of_its_own():
    stream = list(itertools.islice(iter(ResumableSampler(Points(), seed=3)), 30))
    passes = [stream[i : i + 10] for i in (0, 10, 20)]
    assert all(sorted(p) == list(range(10)) for p in passes)
    assert passes[0] != passes[1] != passes[2]
    assert len({index.seed for index in stream}) == 30
    ordered = ResumableSampler(Points(), shuffle=False, seed=3)
    assert list(itertools.islice(iter(ordered), 12)) == [*range(10), 0, 1]


def test_skip_is_the_tail_of_the_stream():
    sampler = ResumableSampler(Points(), seed=3)
    stream = [(int(i), i.seed) for i in itertools.islice(iter(sampler), 40)]
    for start in (1, 9, 10, 25):
        sampler.skip(start)
        assert [(int(i), i.seed) for i in itertools.islice(iter(sampler), 15)] == stream[start : start + 15]


def test_processes_share_one_stream():
    """Two processes see what one sees, alternating; world size 3 does not divide the set of 10."""
    alone = [int(i) for i in itertools.islice(iter(ResumableSampler(Points(), seed=3)), 30)]
    for world_size in (2, 3):
        parts = []
        for rank in range(world_size):
            sampler = ResumableSampler(Points(), seed=3)
            sampler.rank, sampler.world_size = rank, world_size
            parts.append([int(i) for i in itertools.islice(iter(sampler), 30 // world_size)])
        assert np.stack(parts, axis=1).ravel().tolist() == alone
