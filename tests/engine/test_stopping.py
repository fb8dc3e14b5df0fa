"""Signals save and leave; a data-loading process that dies is explained; runs of one process leave nothing behind."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.distributed
from mmengine.evaluator import BaseMetric
from mmengine.hooks import EMAHook, Hook
from tiny_training import Net, Points, tiny_runner

from mmseg_deeplab.checkpoints import load_file
from mmseg_deeplab.engine import DeepLabRunner
from mmseg_deeplab.engine.stopping import REQUEUE, StopRequest
from mmseg_deeplab.errors import UserError

# Trains until it is stopped, a hundredth of a second an iteration, with two data-loading processes.
ENDLESS = """
import sys, time
sys.path[:0] = {paths}
from mmseg_deeplab.cli import explain
from mmseg_deeplab.engine import DeepLabRunner
from mmengine.hooks import Hook
from tiny_training import Net, tiny_runner

class Slow(Hook):
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        print('iteration', runner.iter + 1, flush=True)
        time.sleep({pause})

hook = dict(interval=10**6)
hooks = [dict(type='ExactResumeHook'), Slow()]
runner = tiny_runner({work_dir!r}, 10**6, Net(), kind=DeepLabRunner, hook=hook, custom_hooks=hooks, workers=2, **{more})
explain(runner.train)
"""


def start(work_dir, repo, pause=0.01, after=3, **more):
    code = ENDLESS.format(paths=[str(Path(__file__).parent), str(repo)], work_dir=str(work_dir), pause=pause, more=more)
    run = subprocess.Popen(
        [sys.executable, '-c', code],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    for line in run.stdout:
        if line.startswith(f'iteration {after}'):
            break
    return run


def end(run):
    try:
        text, _ = run.communicate(timeout=60)
    finally:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
    return run.returncode, text


@pytest.mark.parametrize(
    'number, status, group',
    [(signal.SIGTERM, REQUEUE, False), (signal.SIGTERM, REQUEUE, True), (signal.SIGINT, 130, True)],
)
def test_a_signal_saves_and_leaves(number, status, group, tmp_path, repo):
    """Also where it goes to the data-loading processes too, as a terminal's and a scheduler's do."""
    run = start(tmp_path, repo)
    (os.killpg if group else os.kill)(run.pid, number)
    code, text = end(run)
    assert code == status, text
    done = int((tmp_path / 'last_checkpoint').read_text().rpartition('_')[2].removesuffix('.pth'))
    assert load_file(tmp_path / f'iter_{done}.pth')['meta']['iter'] == done >= 3
    assert f'left after iteration {done} of 1000000 by {number.name}; the last good checkpoint is' in text
    assert f'{number.name}: finishing the step' in text and 'Traceback' not in text
    resumed = tiny_runner(tmp_path, done + 2, resume='auto')
    resumed.train()
    assert len(resumed.model.seen) == 2


def test_a_second_interrupt_ends_at_once(tmp_path, repo):
    run = start(tmp_path, repo, pause=30, after=1)
    for _ in range(2):
        time.sleep(0.5)
        os.kill(run.pid, signal.SIGINT)
    begin = time.monotonic()
    code, text = end(run)
    assert code == 130 and 'interrupted at once' in text and time.monotonic() - begin < 25
    assert not list(tmp_path.glob('*.pth'))


@pytest.mark.parametrize('accumulate', [1, 4])
def test_leaving_waits_for_the_step_and_is_resumed_exactly(accumulate, tmp_path):
    """A run that is stopped at iteration 5 and one that is not end with the same weights, averages included."""

    def train(folder, signals=None, **kwargs):
        torch.manual_seed(0)
        model = Net()
        hooks = [dict(type='ExactResumeHook'), EMAHook(), *([Raise(signals)] if signals else [])]
        runner = tiny_runner(
            tmp_path / folder, 12, model, kind=DeepLabRunner, custom_hooks=hooks, accumulate=accumulate, **kwargs
        )
        runner.train()

    train('straight')
    with pytest.raises(SystemExit) as left:
        train('stopped', {5: signal.SIGTERM})
    assert left.value.code == REQUEUE
    saved = 5 if accumulate == 1 else 8
    assert [path.name for path in (tmp_path / 'stopped').glob('*.pth')] == [f'iter_{saved}.pth']
    train('stopped', resume='auto')
    one, two = (load_file(tmp_path / folder / 'iter_12.pth') for folder in ('straight', 'stopped'))
    for part in ('state_dict', 'ema_state_dict'):
        assert all(torch.equal(value, two[part][name]) for name, value in one[part].items())


def test_all_processes_leave_after_the_same_step(tmp_path):
    """One of two gets the signal; the other must not wait for its gradients for ever."""
    context = multiprocessing.get_context('fork')
    queue = context.Queue()

    def work(rank):
        os.environ['LOCAL_RANK'] = str(rank)
        address = f'file://{tmp_path}/rendezvous'
        torch.distributed.init_process_group('gloo', init_method=address, rank=rank, world_size=2)
        hooks = [dict(type='ExactResumeHook'), *([Raise({3: signal.SIGTERM})] if rank == 1 else [])]
        runner = tiny_runner(tmp_path / 'run', 8, kind=DeepLabRunner, launcher='pytorch', custom_hooks=hooks)
        try:
            runner.train()
        except SystemExit as left:
            queue.put((left.code, runner.iter))
        queue.close()
        queue.join_thread()
        os._exit(0)

    processes = [context.Process(target=work, args=(rank,)) for rank in (0, 1)]
    for process in processes:
        process.start()
    assert [queue.get(timeout=120) for _ in processes] == [(REQUEUE, 3)] * 2
    for process in processes:
        process.join(120)
    assert load_file(tmp_path / 'run/iter_3.pth')['meta']['samples_seen'] == 3 * 3 * 2


class Raise(Hook):
    """Sends this process a signal in iterations and validations, numbered from 1."""

    def __init__(self, train=None, val=None):
        self.train, self.val = train or {}, val or {}

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter + 1 in self.train:
            os.kill(os.getpid(), self.train[runner.iter + 1])

    def before_val_iter(self, runner, batch_idx, data_batch=None):
        if batch_idx + 1 in self.val:
            os.kill(os.getpid(), self.val[batch_idx + 1])


class Count(BaseMetric):
    """A metric of nothing."""

    default_prefix = ''

    def process(self, data_batch, data_samples):
        self.results.append(1)

    def compute_metrics(self, results):
        return dict(images=len(results))


def validated(work_dir, max_iters=8, kind=DeepLabRunner, model=None, **kwargs):
    loader = dict(batch_size=1, num_workers=0, dataset=Points(), sampler=dict(type='DefaultSampler', shuffle=False))
    stages = {}
    for stage in ('val', 'test'):
        stages |= {f'{stage}_cfg': {}, f'{stage}_dataloader': loader, f'{stage}_evaluator': [Count()]}
    return tiny_runner(work_dir, max_iters, kind=kind, model=model, **stages, **kwargs)


def test_a_signal_in_a_validation_saves_the_weights_that_are_trained(tmp_path):
    """EMAHook has exchanged them for their averages, and must find its own again when the training goes on."""

    def train(folder, **kwargs):
        torch.manual_seed(0)
        hooks = [dict(type='ExactResumeHook'), EMAHook(momentum=0.5)]
        if kwargs.pop('stop', False):
            hooks.append(Raise(val={2: signal.SIGTERM}))
        hook = dict(interval=100)
        validated(tmp_path / folder, model=Net(), custom_hooks=hooks, hook=hook, **kwargs).train()

    train('straight')
    with pytest.raises(SystemExit):
        train('stopped', stop=True)
    assert load_file(tmp_path / 'stopped/iter_4.pth')['meta']['iter'] == 4
    train('stopped', resume=True)
    one, two = (load_file(tmp_path / folder / 'iter_8.pth') for folder in ('straight', 'stopped'))
    for part in ('state_dict', 'ema_state_dict'):
        assert all(torch.equal(value, two[part][name]) for name, value in one[part].items())


def test_handlers_are_put_back(tmp_path):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with StopRequest() as request:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
        assert request.signal == signal.SIGTERM
    runner = tiny_runner(tmp_path, 3, kind=DeepLabRunner, custom_hooks=[Raise({2: signal.SIGINT})])
    with pytest.raises(KeyboardInterrupt, match='left after iteration 2'):
        runner.train()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    runner.train()  # in a notebook, the next cell goes on
    assert len(runner.model.seen) == 3


class Dying(Points):
    """Its data-loading process is killed, as by the system when memory runs out, or leaves by itself."""

    def __init__(self, how):
        self.how, self.parent = how, os.getpid()

    def __getitem__(self, index):
        if os.getpid() != self.parent and index == 4:
            os.kill(os.getpid(), signal.SIGKILL) if self.how == 'killed' else os._exit(3)
        return super().__getitem__(index)


@pytest.mark.parametrize('how', ['killed', 'left'])
@pytest.mark.parametrize('stage', ['train', 'test'])
def test_a_data_loading_process_that_dies_is_explained(how, stage, tmp_path):
    runner = validated(tmp_path)
    loader = getattr(runner, f'_{stage}_dataloader')
    loader.update(dataset=Dying(how), num_workers=1)
    with pytest.raises(UserError, match=r'data-loading process ended .*pid \d+.*memory.*num_workers=2.*checkpoint'):
        getattr(runner, stage)()


def test_another_runtime_error_keeps_its_type(tmp_path):
    class Failing(Net):
        def forward(self, inputs, index, mode='tensor'):
            raise RuntimeError('shapes do not match')

    with pytest.raises(RuntimeError, match='^shapes do not match$') as error:
        tiny_runner(tmp_path, 2, Failing(), kind=DeepLabRunner).train()
    assert not isinstance(error.value, UserError)


class Initialised(Net):
    """Draws its first weights when the training begins, as the networks of MMSegmentation do."""

    def init_weights(self):
        torch.nn.init.normal_(self.layer.weight)


@pytest.mark.parametrize('load', [False, True])
def test_a_training_after_a_test_is_that_of_a_training_alone(load, tmp_path):
    """With a checkpoint to start from: MMEngine would draw new weights after the test and not load again."""
    start = {}
    if load:
        validated(tmp_path / 'start', 2, model=Initialised(), seed=7).train()
        start = dict(load_from=str(tmp_path / 'start/iter_2.pth'))
    states = []
    for stages in (('train',), ('test', 'train'), ('val', 'test', 'train', 'test')):
        torch.manual_seed(3)
        runner = validated(tmp_path / '_'.join(stages), 3, model=Initialised(), **start)
        torch.manual_seed(5)
        for stage in stages:
            getattr(runner, stage)()
        states.append({name: value.clone() for name, value in runner.model.state_dict().items()})
    for state in states[1:]:
        assert all(torch.equal(value, state[name]) for name, value in states[0].items())


def test_runs_of_one_process_are_what_each_is_alone(tmp_path):
    """A loop over configs in a notebook: the second run neither sees nor changes the first."""
    states = []
    for folder in ('first', 'second'):
        torch.manual_seed(0)
        runner = validated(tmp_path / folder, 4, model=Net())
        runner.train()
        states.append(runner.model.state_dict())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
