"""A training that was interrupted and resumed ends with the very bits of one that was not."""

import itertools
import multiprocessing
import os
import shutil

import numpy as np
import pytest
import torch
import torch.distributed
from mmengine.hooks import Hook
from tiny_training import Net, Points, tiny_runner
from torch.utils._pytree import tree_leaves

from mmseg_deeplab.checkpoints import load_file
from mmseg_deeplab.engine import DeepLabRunner, ExactResumeHook, ResumableSampler, exact_resume
from mmseg_deeplab.errors import UserError


def train(work_dir, **kwargs):
    torch.manual_seed(0)
    model = Net()
    runner = tiny_runner(work_dir, model=model, **kwargs)
    runner.train()
    loader = runner.train_loop.dataloader_iterator._iterator
    if loader._num_workers:  # collected with its queues, it would wait for each of its processes for five seconds
        loader._shutdown_workers()
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


@pytest.mark.parametrize(
    'schedule, begins, ends',
    [
        # warm-up, then a constant rate
        (dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=3), 4, 30),
        # a schedule that ends early, at a rate above 0
        (dict(type='PolyLR', eta_min=1e-3, power=0.9, by_epoch=False, begin=0, end=6), 7, 30),
        (dict(type='CosineAnnealingLR', eta_min=1e-3, T_max=5, by_epoch=False, begin=0, end=5), 4, 30),
        (dict(type='MultiStepLR', gamma=0.1, milestones=[2, 4], by_epoch=False, begin=0, end=5), 4, 30),
        (None, 4, 30),  # no schedule at all
        (dict(type='mmengine.PolyLR', eta_min=1e-3, power=0.9, by_epoch=False, begin=0, end=6), 7, 30),
        (dict(type='mmengine.PolyLR', power=0.9, by_epoch=False, begin=0, end=8), 7, 8),
        # one that reaches 0 with the last iteration, and is resumed just before it
        (dict(type='PolyLR', power=0.9, by_epoch=False, begin=0, end=8), 7, 8),
    ],
)
def test_a_resume_is_judged_by_the_rates_that_will_be_used(schedule, begins, ends, tmp_path):
    tiny_runner(tmp_path, begins, schedule=schedule).train()
    rates = []
    runner = tiny_runner(tmp_path, ends, schedule=schedule, resume=True, custom_hooks=[ExactResumeHook(), Rates(rates)])
    messages = watched(runner, 'info')
    runner.train()
    assert len(rates) == ends - begins and all(rate > 0 for rate in rates[:-1])
    told = next(message for message in messages if f'goes on after iteration {begins} of {ends}' in message)
    assert told.endswith(f'{rates[-1]:.3g} at the end')


@pytest.mark.parametrize(
    'schedule',
    [
        dict(type='PolyLR', power=0.9, by_epoch=False, begin=0, end=6),
        dict(type='mmengine.PolyLR', power=0.9, by_epoch=False, begin=0, end=6),
        dict(type='LinearLR', start_factor=1, end_factor=0, by_epoch=False, begin=0, end=6),
        # another schedule that reaches further does not bring the rate back
        [
            dict(type='PolyLR', power=0.9, by_epoch=False, begin=0, end=6),
            dict(type='ConstantLR', factor=1, by_epoch=False, begin=6, end=30),
        ],
    ],
)
def test_a_resume_at_a_rate_of_0_is_refused(schedule, tmp_path):
    tiny_runner(tmp_path, 4, schedule=schedule).train()
    with pytest.raises(UserError, match='max_iters=30, but the schedule .* ends at iteration 6 .*nothing is learned'):
        tiny_runner(tmp_path, 30, schedule=schedule, resume=True).train()


def test_a_checkpoint_beyond_the_end_is_explained(tmp_path):
    tiny_runner(tmp_path, 10).train()
    with pytest.raises(
        UserError, match=r'of iteration 10, .* at iteration 8: there is nothing left to train.*tools/te'
    ):
        tiny_runner(tmp_path, 8, resume=True).train()
    complete = tiny_runner(tmp_path, 10, resume=True)
    messages = watched(complete, 'info')
    complete.train()
    assert not complete.model.seen and any('the training is complete' in message for message in messages)


def test_a_loop_of_epochs_is_resumed_and_judged_too(tmp_path):
    common = dict(
        batch_size=5,
        sampler='DefaultSampler',
        schedule=dict(type='ConstantLR', factor=1, by_epoch=True, begin=0, end=9),
    )
    by_epoch = dict(interval=1, by_epoch=True, filename_tmpl='epoch_{}.pth')

    def train(epochs):
        loop = dict(type='EpochBasedTrainLoop', max_epochs=epochs)
        resume = epochs > 2 and dict(load_from=str(tmp_path / 'epoch_2.pth'), resume=True) or {}
        tiny_runner(tmp_path, train_cfg=loop, hook=by_epoch, **common, **resume).train()

    train(2)
    train(3)
    loop = dict(type='EpochBasedTrainLoop', max_epochs=1)
    with pytest.raises(UserError, match='nothing left to train'):
        tiny_runner(tmp_path, train_cfg=loop, load_from=str(tmp_path / 'epoch_2.pth'), resume=True, **common).train()


def test_an_epoch_without_a_batch_is_refused(tmp_path):
    """10 points, of which a batch of 16 that is not full is left out; MMEngine's loop would count to the end."""
    loop = dict(type='EpochBasedTrainLoop', max_epochs=2)
    runner = tiny_runner(tmp_path, train_cfg=loop, batch_size=16, sampler='DefaultSampler')
    runner._train_dataloader['drop_last'] = True
    with pytest.raises(UserError, match='10 pictures do not fill one of 16'):
        runner.train()


class Rates(Hook):
    """The learning rate of each iteration."""

    priority = 'VERY_HIGH'

    def __init__(self, rates):
        self.rates = rates

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.rates.append(runner.optim_wrapper.param_groups[0]['lr'])


def watched(runner, level='warning'):
    """What a runner logs from here on."""
    messages = []
    setattr(runner.logger, level, messages.append)
    return messages


def flat(batches):
    return [index for batch in batches for index in batch]


def test_another_batch_size_goes_on_after_the_samples_seen(tmp_path):
    """Neither skipped nor repeated, over two resumes with two other batches, and said in one line."""
    expected = flat(tiny(tmp_path / 'straight', 12, batch_size=2).model.seen)  # 24 samples one after the other
    seen = flat(tiny(tmp_path / 'run', 4, batch_size=2).model.seen)
    assert load_file(tmp_path / 'run/iter_4.pth')['meta']['samples_seen'] == 8
    for iterations, batch_size, samples in ((5, 4, 12), (9, 3, 24)):
        runner = tiny_runner(tmp_path / 'run', iterations, batch_size=batch_size, resume=True)
        messages = watched(runner)
        runner.train()
        seen += flat(runner.model.seen)
        assert len(seen) == samples == load_file(tmp_path / f'run/iter_{iterations}.pth')['meta']['samples_seen']
        told = [message for message in messages if 'samples that were seen' in message]
        assert len(told) == 1 and f'the batch is {batch_size} images x 1 processes' in told[0]
    assert seen == expected
    same = tiny_runner(tmp_path / 'run', 10, batch_size=3, resume=True)
    messages = watched(same)
    same.train()
    assert not [message for message in messages if 'batch' in message]


def tiny(work_dir, max_iters, **kwargs):
    runner = tiny_runner(work_dir, max_iters, **kwargs)
    runner.train()
    return runner


def test_a_checkpoint_that_does_not_tell_is_taken_at_this_batch(tmp_path):
    tiny(tmp_path, 4, batch_size=2)
    checkpoint = load_file(tmp_path / 'iter_4.pth')
    del checkpoint['meta']['samples_seen'], checkpoint['meta']['batch']
    torch.save(checkpoint, tmp_path / 'iter_4.pth')
    runner = tiny_runner(tmp_path, 6, batch_size=2, resume=True)
    messages = watched(runner)
    runner.train()
    assert any('does not say how many samples it has seen; taken are 8' in message for message in messages)
    assert (
        flat(runner.model.seen) == [int(i) for i in itertools.islice(iter(ResumableSampler(Points(), seed=1)), 12)][8:]
    )


def train_on(processes, tmp_path, **kwargs):
    """Train on so many processes; the samples of each iteration, sorted, and the seeds of the model and sampler."""
    context = multiprocessing.get_context('fork')
    queue = context.Queue()

    def work(rank):
        os.environ['LOCAL_RANK'] = str(rank)
        if processes > 1:
            address = f'file://{tmp_path}/rendezvous_{kwargs["max_iters"]}'
            torch.distributed.init_process_group('gloo', init_method=address, rank=rank, world_size=processes)
        drawn = []
        launcher = 'pytorch' if processes > 1 else 'none'
        runner = tiny_runner(tmp_path / 'run', kind=DeepLabRunner, launcher=launcher, model=Drawing(drawn), **kwargs)
        warnings = watched(runner)
        runner.train()
        model = runner.model.module if processes > 1 else runner.model
        queue.put((rank, model.seen, drawn, warnings))
        queue.close()
        queue.join_thread()
        os._exit(0)

    workers = [context.Process(target=work, args=(rank,)) for rank in range(processes)]
    for worker in workers:
        worker.start()
    results = [queue.get(timeout=300) for _ in workers]
    for worker in workers:
        worker.join(300)
    results.sort(key=lambda result: result[0])
    batches = [sorted(flat(parts)) for parts in zip(*(result[1] for result in results), strict=True)]
    return batches, [result[2] for result in results], results[0][3]


class Drawing(Net):
    """Remembers a random number of each iteration, as dropout would draw it."""

    def __init__(self, drawn):
        super().__init__()
        self.drawn = drawn

    def forward(self, inputs, index, mode='tensor'):
        self.drawn.append(float(torch.rand(())))
        return super().forward(inputs, index, mode)


@pytest.mark.parametrize('randomness', [{}, dict(diff_rank_seed=True)])
def test_another_number_of_processes_sees_the_same_samples_in_the_same_order(randomness, tmp_path):
    """One process with 4 images an iteration, then two with 2 each, then one again; each process draws its own."""
    expected = [sorted(batch) for batch in tiny(tmp_path / 'straight', 6, batch_size=4).model.seen]
    first, _, _ = train_on(1, tmp_path, batch_size=4, max_iters=2, randomness=randomness)
    second, drawn, messages = train_on(2, tmp_path, batch_size=2, max_iters=4, resume=True, randomness=randomness)
    third, alone, _ = train_on(1, tmp_path, batch_size=4, max_iters=6, resume=True, randomness=randomness)
    assert first + second + third == expected
    assert len(set(drawn[0] + drawn[1] + alone[0])) == 6  # every process and iteration has its own
    told = [message for message in messages if 'samples that were seen' in message]
    assert len(told) == 1 and '2 images x 2 processes' in told[0] and 'with 4 images x 1 processes' in told[0]


EPOCHS = dict(hook=dict(interval=1, by_epoch=True, filename_tmpl='epoch_{}.pth', max_keep_ckpts=-1))
BY_EPOCH = dict(type='PolyLR', power=0.9, by_epoch=True, convert_to_iter_based=True, begin=0, end=4)


def by_epochs(folder, epochs, **options):
    loop = dict(type='EpochBasedTrainLoop', max_epochs=epochs)
    messages = []
    runner = tiny_runner(folder, train_cfg=loop, schedule=dict(BY_EPOCH), **EPOCHS, **options)
    runner.logger.info = runner.logger.warning = lambda text, *_: messages.append(str(text))
    runner.train()
    return runner, messages


def test_a_loop_of_epochs_gets_each_picture_once_an_epoch_and_is_resumed_exactly(tmp_path):
    whole, _ = by_epochs(tmp_path / 'whole', 4, batch_size=4)
    batches = whole.model.seen
    assert [len(batch) for batch in batches] == [4, 4, 2] * 4
    epochs = [sum(batches[k : k + 3], []) for k in range(0, 12, 3)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs) and epochs[0] != epochs[1]
    end = whole.model.state_dict()
    part, _ = by_epochs(tmp_path / 'whole', 4, batch_size=4, load_from=str(tmp_path / 'whole/epoch_2.pth'), resume=True)
    assert part.model.seen == batches[6:]
    assert all(torch.equal(value, end[key]) for key, value in part.model.state_dict().items())


@pytest.mark.parametrize(
    ('batch_size', 'drop_last', 'told'),
    [
        (4, False, '3 batches, the last of 2 pictures, which weigh as much as the 4 of a full one'),
        (4, True, '2 full batches of 4; of its 10 pictures 2 are left out'),
        (5, False, None),
    ],
)
def test_what_becomes_of_the_last_batch_is_said(tmp_path, batch_size, drop_last, told):
    loop = dict(type='EpochBasedTrainLoop', max_epochs=1)
    runner = tiny_runner(tmp_path, train_cfg=loop, schedule=dict(BY_EPOCH), batch_size=batch_size, **EPOCHS)
    runner._train_dataloader['drop_last'] = drop_last
    messages = []
    runner.logger.info = lambda text, *_: messages.append(str(text))
    runner.train()
    said = [message for message in messages if message.startswith('an epoch has')]
    assert (len(said) == 1 and told in said[0]) if told else not said
    assert [len(batch) for batch in runner.model.seen] == ([5, 5] if told is None else [4, 4] + [2] * (not drop_last))


def test_a_last_batch_of_one_picture_is_refused(tmp_path):
    with pytest.raises(UserError, match=r'a single picture \(10 pictures in batches of 3\)'):
        loop = dict(type='EpochBasedTrainLoop', max_epochs=2)
        tiny_runner(tmp_path, train_cfg=loop, batch_size=3).train()


def test_processes_share_an_epoch(monkeypatch):
    """10 samples on 4 processes: 3 each, the two that round it up are the next permutation's."""
    stream = [int(i) for i in itertools.islice(iter(ResumableSampler(Points(), seed=3)), 40)]
    for epoch in (0, 2):
        taken = []
        for rank in range(4):
            monkeypatch.setattr(exact_resume, 'get_dist_info', lambda rank=rank: (rank, 4))
            sampler = ResumableSampler(Points(), seed=3)
            sampler.take_epoch(epoch)
            taken.append([int(i) for i in sampler])
            assert len(taken[-1]) == len(sampler) == 3
        assert [*itertools.chain(*zip(*taken, strict=True))] == stream[12 * epoch : 12 * epoch + 12]


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
