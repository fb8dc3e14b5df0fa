"""A kill at any moment leaves a checkpoint to resume from; a checkpoint that does not fit stops the run."""

import multiprocessing
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from mmengine.hooks import CheckpointHook, EMAHook, Hook
from mmengine.model import BaseTTAModel
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from tiny_training import Net, Points, tiny_runner, validation
from torch import nn

from mmseg_deeplab.checkpoints import CheckpointMismatchError, load_file
from mmseg_deeplab.checkpoints.save import save_file
from mmseg_deeplab.engine.hooks.checkpoint import AtomicLocalBackend, newest_checkpoint
from mmseg_deeplab.engine.hooks.strict_load import StrictLoadHook
from mmseg_deeplab.engine.saving import checkpoint_bytes, go_on_from
from mmseg_deeplab.errors import UserError, UserOSError

# Saves some megabytes after every iteration until it is killed.
ENDLESS = """
import sys
sys.path[:0] = {paths}
from tiny_training import Net, tiny_runner
from torch import nn
hook = dict(interval=1, max_keep_ckpts=1)
runner = tiny_runner({work_dir!r}, 10**6, Net(width=300_000), hook=hook, resume='auto')
print('ready', flush=True)
runner.train()
"""


def files(folder):
    """Names of the files in a work dir, without the dumped config."""
    return sorted(p.name for p in Path(folder).iterdir() if p.is_file() and p.suffix != '.py')


def newest_number(folder):
    numbers = [int(m[1]) for name in files(folder) if (m := re.fullmatch(r'iter_(\d+)\.pth', name))]
    return max(numbers, default=0)


def test_killed_training_can_always_be_resumed(tmp_path, repo):
    """One training, killed again and again at random moments, loses at most the step that it was saving."""
    paths = [str(Path(__file__).parent), str(repo)]
    code = ENDLESS.format(paths=paths, work_dir=str(tmp_path))
    reached = 0
    for attempt in range(3):
        with subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as run:
            deadline = time.monotonic() + 300
            while newest_number(tmp_path) < reached + 3 and run.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(random.Random(attempt).random() * 0.1)
            assert run.poll() is None, run.stdout.read().decode()
            os.kill(run.pid, signal.SIGKILL)
        path, problems = newest_checkpoint(tmp_path)
        assert not problems
        saved, newest = load_file(path)['meta']['iter'], newest_number(tmp_path)
        assert newest >= reached + 3  # it resumed and went on
        assert saved in (newest, newest - 1)  # killed between the file and the pointer to it
        reached = saved


@pytest.mark.parametrize('best', [False, True])
def test_old_files_go_last(best, tmp_path, monkeypatch):
    """When the disk refuses the third checkpoint, the second and all that points to it are still there."""
    runner = tiny_runner(tmp_path, 4, hook=dict(interval=1, max_keep_ckpts=1, save_best='mIoU' if best else None))
    hook = next(h for h in runner.hooks if isinstance(h, CheckpointHook))
    saved = []
    real = Runner.save_checkpoint

    def failing(self, out_dir, filename, *args, **kwargs):
        if len(saved) == (4 if best else 2):
            raise OSError(28, 'No space left on device')
        saved.append(filename)
        real(self, out_dir, filename, *args, **kwargs)

    monkeypatch.setattr(Runner, 'save_checkpoint', failing)
    if best:  # two validations: each writes a best checkpoint and renews the latest
        runner.train_loop.run_iter = run_then(runner.train_loop, hook, (10, 20, 30, 40))
    with pytest.raises(OSError, match='No space left'):
        runner.train()
    left = files(tmp_path)
    newest = newest_number(tmp_path)
    assert (tmp_path / 'last_checkpoint').read_text() == str(tmp_path / f'iter_{newest}.pth')
    assert 'optimizer' in load_file(tmp_path / f'iter_{newest}.pth')
    if best:
        assert any(name.startswith('best_mIoU') for name in left), left
        for name in left:
            if name.endswith('.pth'):
                load_file(tmp_path / name)


def run_then(loop, hook, scores):
    """Run an iteration and report a validation with the next score."""
    scores = iter(scores)
    run_iter = loop.run_iter

    def run(data_batch):
        run_iter(data_batch)
        hook.after_val_epoch(loop.runner, dict(mIoU=next(scores)))

    return run


def test_best_checkpoint_is_replaced(tmp_path):
    runner = tiny_runner(tmp_path, 3, hook=dict(interval=1, max_keep_ckpts=1, save_best='mIoU'))
    hook = next(h for h in runner.hooks if isinstance(h, CheckpointHook))
    runner.train_loop.run_iter = run_then(runner.train_loop, hook, (20, 30, 10))
    runner.train()
    assert [f for f in files(tmp_path) if f.endswith('.pth')] == ['best_mIoU_iter_2.pth', 'iter_3.pth']
    assert load_file(tmp_path / 'iter_3.pth')['message_hub']['runtime_info']['best_score'] == 30


def validated_runner(work_dir, save_best, prefix=None, **kwargs):
    """A training that validates with a CRF and `SegmentationMetric`, and its checkpoint hook."""
    runner = tiny_runner(
        work_dir, hook=dict(save_best=save_best), val_cfg=dict(),
        val_dataloader=dict(batch_size=1, num_workers=0, dataset=Points(), sampler=dict(type='DefaultSampler')),
        val_evaluator=dict(type='SegmentationMetric', prefix=prefix, **kwargs),
        custom_hooks=[dict(type='DenseCRFHook', workers=0, stages='val' if prefix else 'test')],
    )  # fmt: skip
    return runner, next(h for h in runner.hooks if isinstance(h, CheckpointHook))


def test_unknown_score_stops_before_the_first_step(tmp_path):
    runner, _ = validated_runner(tmp_path, 'mIoUU')
    names = 'choose one of aAcc, mIoU, mAcc, mDice, FWIoU, '
    with pytest.raises(ValueError, match=f"default_hooks.checkpoint.save_best='mIoUU'.*{names}'auto'"):
        runner.train()
    assert not runner.model.seen
    for missing in ('before_crf/mIoU', 'mIoU_subset'):
        runner, hook = validated_runner(tmp_path, missing)
        with pytest.raises(ValueError, match=missing):
            hook.before_train(runner)


def test_known_scores_pass(tmp_path):
    for name in (None, 'auto', 'FWIoU', ['mIoU', 'aAcc']):
        runner, hook = validated_runner(tmp_path, name)
        hook.before_train(runner)
    for name in ('a/mIoU_subset', 'a/before_crf/mIoU_subset'):
        runner, hook = validated_runner(tmp_path, name, prefix='a', class_subset=['b'])
        hook.before_train(runner)


def test_kept_files_and_interval(tmp_path, monkeypatch):
    tiny_runner(tmp_path / 'a', 8, hook=dict(interval=3, max_keep_ckpts=2)).train()
    assert files(tmp_path / 'a') == ['iter_6.pth', 'iter_8.pth', 'last_checkpoint']
    tiny_runner(tmp_path / 'b', 8).train()  # no validation: at the end only
    assert files(tmp_path / 'b') == ['iter_8.pth', 'last_checkpoint']
    validated = tiny_runner(tmp_path / 'c', 8)
    hook = next(h for h in validated.hooks if isinstance(h, CheckpointHook))
    monkeypatch.setattr(Runner, 'val_loop', property(lambda self: 'a loop'))
    hook.before_train(validated)
    assert hook.interval == 4  # val_interval of the tiny training
    loop = dict(type='EpochBasedTrainLoop', max_epochs=6, val_interval=2)
    by_epochs = tiny_runner(tmp_path / 'd', sampler='DefaultSampler', train_cfg=loop)
    hook = next(h for h in by_epochs.hooks if isinstance(h, CheckpointHook))
    hook.before_train(by_epochs)
    assert hook.interval == 2 * 4  # 10 samples, 3 a batch


def numbers(folder):
    return sorted(int(m[1]) for name in files(folder) if (m := re.fullmatch(r'iter_(\d+)\.pth', name)))


@pytest.mark.parametrize('best', [False, True])
@pytest.mark.parametrize('accumulate, interval, saved', [(2, 5, [6, 10, 11]), (3, 2, [3, 6, 9, 11]), (4, 11, [11])])
def test_a_checkpoint_waits_for_the_step_of_accumulated_gradients(accumulate, interval, saved, best, tmp_path):
    """Also the latest that a new best one renews; the last of the training never waits, as MMEngine steps there."""
    hook = dict(interval=interval, save_best='mIoU' if best else None)
    runner = tiny_runner(tmp_path, 11, hook=hook, accumulate=accumulate)
    if best:
        runner.train_loop.run_iter = run_then(runner.train_loop, runner_hook(runner), range(11))
    runner.train()
    found = numbers(tmp_path)
    assert found[-1] == 11 and set(found) >= set(saved) and all(n % accumulate == 0 for n in found[:-1])
    assert best or found == saved
    if best:  # weights alone, as they were validated
        assert 'best_mIoU_iter_11.pth' in files(tmp_path)
    for number in found:
        assert load_file(tmp_path / f'iter_{number}.pth')['meta']['iter'] == number


def runner_hook(runner):
    return next(h for h in runner.hooks if isinstance(h, CheckpointHook))


class ScaledWrapper(AmpOptimWrapper):
    """MMEngine's mixed precision, which wants a GPU, with a scaler of the CPU."""

    def __init__(self, **kwargs):
        OptimWrapper.__init__(self, **kwargs)
        self.loss_scaler = torch.amp.GradScaler('cpu', init_scale=2.0**10, growth_interval=2)
        self._scale_update_param = self.cast_dtype = None


@pytest.mark.parametrize('amp', [False, True])
def test_resuming_is_exact_with_accumulated_gradients(amp, tmp_path):
    optim = dict(type=ScaledWrapper) if amp else {}

    def train(folder, **kwargs):
        torch.manual_seed(0)
        model = Net()
        tiny_runner(folder, 8, model=model, accumulate=2, hook=dict(interval=5), optim=dict(optim), **kwargs).train()
        return model.state_dict(), load_file(folder / 'iter_8.pth')['optimizer']

    straight, optimizer = train(tmp_path / 'straight')
    assert numbers(tmp_path / 'straight') == [6, 8]
    (tmp_path / 'resumed').mkdir()
    shutil.copy(tmp_path / 'straight/iter_6.pth', tmp_path / 'resumed')
    resumed, resumed_optimizer = train(tmp_path / 'resumed', resume=True)
    for name, value in straight.items():
        assert torch.equal(value, resumed[name]), name
    for name, value in optimizer['state'][0].items():
        assert torch.equal(value, resumed_optimizer['state'][0][name]), name
    assert optimizer.get('loss_scaler') == resumed_optimizer.get('loss_scaler') and amp == ('loss_scaler' in optimizer)


def test_an_early_end_saves_what_waited(tmp_path):
    runner = tiny_runner(tmp_path, 8, accumulate=4, hook=dict(interval=5))
    run_iter = runner.train_loop.run_iter

    def run(batch):
        run_iter(batch)
        runner.train_loop.stop_training = runner.train_loop.iter == 6  # as EarlyStoppingHook does

    runner.train_loop.run_iter = run
    runner.train()
    assert numbers(tmp_path) == [6]


class Breaking(Net):
    """Weights, statistics or nothing become infinite at an iteration, while the loss stays as it is."""

    def __init__(self, part, at=4):
        super().__init__()
        self.part, self.at = part, at
        self.spare = nn.Parameter(torch.zeros(3))

    def forward(self, inputs, index, mode='tensor'):
        result = super().forward(inputs, index, mode)
        if len(self.seen) == self.at:
            value = {'spare': self.spare.data, 'running_var': self.norm.running_var.data}[self.part]
            value[0] = float('nan' if self.part != 'running_var' else 'inf')
        return result


@pytest.mark.parametrize('part', ['spare', 'running_var'])
@pytest.mark.parametrize('best', [False, True])
def test_weights_that_are_not_finite_are_never_saved(part, best, tmp_path):
    """The loss does not show it. What was saved before stays, and is named."""
    hook = dict(interval=2 if not best else 100, max_keep_ckpts=1, save_best='mIoU' if best else None)
    runner = tiny_runner(tmp_path, 8, model=Breaking(part), hook=hook)
    if best:
        runner.train_loop.run_iter = run_then(runner.train_loop, runner_hook(runner), range(8))
    with pytest.raises(UserError, match=rf'iteration 4: .*{part} .*NaN or infinity and are not saved.*optimizer\.lr'):
        runner.train()
    name = 'best_mIoU_iter_3.pth' if best else 'iter_2.pth'
    assert [file for file in files(tmp_path) if file.endswith('.pth')] == [name]
    assert all(torch.isfinite(value).all() for value in load_file(tmp_path / name)['state_dict'].values())


def test_averaged_weights_that_are_not_finite_are_not_saved(tmp_path):
    class Poison(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            ema = next(hook for hook in runner.hooks if isinstance(hook, EMAHook))
            ema.ema_model.module.layer.weight.data[0, 0] = float('nan')

    with pytest.raises(UserError, match='NaN or infinity'):
        tiny_runner(tmp_path, 2, custom_hooks=[EMAHook(), Poison()]).train()
    assert not numbers(tmp_path)


def test_a_score_that_is_nan_is_no_best_and_said(tmp_path):
    runner = tiny_runner(tmp_path, 3, hook=dict(interval=1, save_best='mIoU'))
    messages = []
    runner.logger.warning = messages.append
    runner.train_loop.run_iter = run_then(runner.train_loop, runner_hook(runner), [float('nan'), 20, float('nan')])
    runner.train()
    assert [name for name in files(tmp_path) if 'best' in name] == ['best_mIoU_iter_2.pth']
    assert sum('mIoU is nan after iteration' in message for message in messages) == 2


def test_a_full_disk_names_checkpoint_and_the_last_good_one(tmp_path, monkeypatch):
    runner = tiny_runner(tmp_path, 4, hook=dict(interval=1, max_keep_ckpts=1))
    real = AtomicLocalBackend.put

    def failing(self, obj, filepath):
        if 'iter_3' in str(filepath):
            raise OSError(28, 'No space left on device')
        real(self, obj, filepath)

    monkeypatch.setattr(AtomicLocalBackend, 'put', failing)
    good = tmp_path / 'iter_2.pth'
    with pytest.raises(UserOSError, match=rf'checkpoint 3 was not saved to .*No space left.*good checkpoint is {good}'):
        runner.train()
    assert load_file(good)['meta']['iter'] == 2


class Quota(Hook):
    """From the third iteration on the system refuses files of more than a kilobyte, as a quota or a full disk does."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == 2:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1024, resource.RLIM_INFINITY))


@pytest.mark.parametrize('best', [False, True])
def test_a_write_that_the_system_refuses_leaves_whole_files(best, tmp_path):
    """By a real limit, in a process of its own: the last good checkpoint and its pointer stay, and nothing half."""

    def work():
        hook = dict(interval=1, max_keep_ckpts=1, save_best='score' if best else None, rule='greater')
        evaluation = validation() if best else {}
        train_cfg = dict(by_epoch=False, max_iters=4, val_interval=1)
        custom = [dict(type='ExactResumeHook'), Quota()]
        runner = tiny_runner(tmp_path / 'run', train_cfg=train_cfg, hook=hook, custom_hooks=custom, **evaluation)
        try:
            runner.train()
        except UserOSError as error:
            (tmp_path / 'told').write_text(str(error))  # less than a kilobyte
        os._exit(0)

    process = multiprocessing.get_context('fork').Process(target=work)
    process.start()
    process.join(120)
    told = (tmp_path / 'told').read_text()
    good = tmp_path / 'run/iter_2.pth'
    assert 'checkpoint 3 was not saved to' in told and 'iter_3.pth can not be written: File too large' in told
    assert f'the last good checkpoint is {good}, to go on from with --resume' in told
    assert (tmp_path / 'run/last_checkpoint').read_text() == str(good)
    left = [name for name in files(tmp_path / 'run') if '.pth' in name]
    assert 'iter_2.pth' in left and 'iter_3.pth' not in left and len(left) == 1 + best
    assert all('state_dict' in load_file(tmp_path / 'run' / name) for name in left)


@pytest.mark.parametrize('optimizer, tensors', [('SGD', 2), ('Adam', 3)])
def test_room_for_a_checkpoint_is_asked_before_the_first_step(optimizer, tensors, tmp_path, monkeypatch):
    """The estimate is what a checkpoint takes; with less room nothing is trained."""
    settings = dict(type=optimizer, lr=0.1, **(dict(momentum=0.9) if optimizer == 'SGD' else {}))

    def runner(folder):
        return tiny_runner(tmp_path / folder, 1, model=Net(width=100_000), optim=dict(optimizer=settings))

    estimate = []
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: estimate.append(path) or Usage(10**12))
    asked = runner('a')
    asked.train()
    size = checkpoint_bytes(asked)
    real = (tmp_path / 'a/iter_1.pth').stat().st_size
    assert 0.98 * real < size <= real and size > tensors * 100_000 * 5 * 4
    assert estimate
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: Usage(size - 1))
    full = runner('b')
    with pytest.raises(UserOSError, match=r'MiB free, but a checkpoint of this training takes about .*make room'):
        full.train()
    assert not full.model.seen


class Usage:
    def __init__(self, free):
        self.free = free


def test_another_training_in_the_same_work_dir_is_told_of(tmp_path, repo):
    """A live one, by its process; not one that was killed, nor one that has ended."""
    paths = [str(Path(__file__).parent), str(repo)]
    code = ENDLESS.format(paths=paths, work_dir=str(tmp_path))

    def warnings(resume):
        runner = tiny_runner(tmp_path, 10**6 if resume else 1, model=Net(width=300_000), resume=resume)
        messages = []
        runner.logger.warning = messages.append
        runner.train_loop.stop_training = True
        runner.train()
        return [message for message in messages if 'ANOTHER TRAINING RUNS' in message]

    with subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as run:
        deadline = time.monotonic() + 300
        while newest_number(tmp_path) < 1 and run.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        try:
            told = warnings(resume=False)  # what it resumed from could go at any moment
        finally:
            os.kill(run.pid, signal.SIGKILL)
    assert len(told) == 1 and f'process {run.pid} on ' in told[0]
    assert not warnings(resume=True) and not warnings(resume=True)


def test_the_best_checkpoint_of_a_moved_work_dir_is_replaced_there(tmp_path):
    def train(folder, max_iters, scores, **kwargs):
        runner = tiny_runner(tmp_path / folder, max_iters, hook=dict(interval=1, save_best='mIoU'), **kwargs)
        runner.train_loop.run_iter = run_then(runner.train_loop, runner_hook(runner), scores)
        runner.train()

    train('a', 2, [10, 5])
    (tmp_path / 'a').rename(tmp_path / 'b')
    train('b', 4, [20, 15], resume=True)
    assert [name for name in files(tmp_path / 'b') if 'best' in name] == ['best_mIoU_iter_3.pth']
    assert not (tmp_path / 'a').exists()


def test_leftovers_are_removed_at_the_start(tmp_path):
    dead = subprocess.Popen([sys.executable, '-c', ''])
    dead.wait()
    (tmp_path / f'.iter_3.pth.{dead.pid}.tmp').write_bytes(b'half')
    tiny_runner(tmp_path, 1).train()
    assert files(tmp_path) == ['iter_1.pth', 'last_checkpoint']


@pytest.mark.parametrize('damage', ['missing', 'cut', 'empty pointer', 'no pointer', 'moved'])
def test_resume_takes_the_newest_readable(damage, tmp_path):
    folder = tmp_path / 'run'
    tiny_runner(folder, 3, hook=dict(interval=1)).train()
    last = folder / 'iter_3.pth'
    expected = 2
    if damage == 'missing':
        last.unlink()
    elif damage == 'cut':
        last.write_bytes(last.read_bytes()[:-500])
    else:
        expected = 3
        if damage == 'empty pointer':
            (folder / 'last_checkpoint').write_text('')
        elif damage == 'no pointer':
            (folder / 'last_checkpoint').unlink()
        else:
            folder = folder.rename(tmp_path / 'moved')
    runner = tiny_runner(folder, 5, resume=True)
    runner.train()
    assert len(runner.model.seen) == 5 - expected


def test_resume_with_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no readable checkpoint in .*leave --resume out'):
        tiny_runner(tmp_path / 'a', resume=True).train()
    runner = tiny_runner(tmp_path / 'b', max_iters=1, resume='auto')
    messages = []
    runner.logger.warning = messages.append
    runner.train()
    assert any('NOTHING TO RESUME' in m for m in messages)
    assert len(runner.model.seen) == 1


def test_resume_auto_prefers_the_work_dir_to_the_weights_to_start_from(tmp_path):
    """The config of a second phase names the first one's weights; a job that is restarted goes on with the second."""
    tiny_runner(tmp_path / 'first', 2, seed=3).train()
    start = str(tmp_path / 'first' / 'iter_2.pth')
    messages = []
    runner = tiny_runner(tmp_path / 'second', 3, load_from=start, resume='auto')
    runner.logger.warning = messages.append
    runner.train()
    assert any(f'training starts from {start}' in m for m in messages)
    assert len(runner.model.seen) == 3
    runner = tiny_runner(tmp_path / 'second', 5, load_from=start, resume='auto')
    runner.train()
    assert len(runner.model.seen) == 2


def test_the_best_checkpoint_of_another_work_dir_is_left_alone(tmp_path):
    def train(folder, max_iters, scores, **kwargs):
        runner = tiny_runner(tmp_path / folder, max_iters, hook=dict(interval=1, save_best='mIoU'), **kwargs)
        hook = next(h for h in runner.hooks if isinstance(h, CheckpointHook))
        runner.train_loop.run_iter = run_then(runner.train_loop, hook, scores)
        runner.train()

    train('a', 1, [10])
    train('b', 3, [20, 30], load_from=str(tmp_path / 'a' / 'iter_1.pth'), resume=True)
    assert 'best_mIoU_iter_1.pth' in files(tmp_path / 'a')
    assert [name for name in files(tmp_path / 'b') if 'best' in name] == ['best_mIoU_iter_3.pth']


def test_weights_alone_are_not_resumed(tmp_path):
    torch.save(Net().state_dict(), tmp_path / 'iter_9.pth')
    path, problems = newest_checkpoint(tmp_path)
    assert path is None and 'holds weights only' in problems[0]


@pytest.mark.parametrize('suffix', ['pth', 'safetensors'])
def test_a_named_file_of_weights_alone_is_not_resumed(suffix, tmp_path):
    source = str(tmp_path / f'converted.{suffix}')
    save_file(dict(state_dict=Net().state_dict(), meta={}), source)
    told = rf'{source} holds weights only, .*--cfg-options load_from={source}\)'
    with pytest.raises(ValueError, match=told):
        tiny_runner(tmp_path / 'a', load_from=source, resume=True).train()
    runner = tiny_runner(tmp_path / 'b', max_iters=1, load_from=source)
    runner.train()
    assert len(runner.model.seen) == 1


class Head(nn.Module):
    """Something with classes, and a layer that does not depend on them."""

    def __init__(self, classes):
        super().__init__()
        self.num_classes = self.out_channels = classes
        self.fc = nn.Conv2d(4, 4, 1)
        self.conv_seg = nn.Conv2d(4, classes, 1)


class Classifier(Net):
    def __init__(self, classes):
        super().__init__()
        self.decode_head = Head(classes)


class TestStrictLoad:
    def test_load_from_and_resume_refuse_other_weights(self, tmp_path):
        tiny_runner(tmp_path / 'a', 1).train()
        source = str(tmp_path / 'a/iter_1.pth')
        for resume in (False, True):
            runner = tiny_runner(tmp_path / 'b', 2, model=Net(width=5), load_from=source, resume=resume)
            with pytest.raises(
                CheckpointMismatchError, match=r'iter_1\.pth does not fit.*\n.*\n.*layer.*file \(4, 2\)'
            ):
                runner.train()

    def test_right_weights_pass_with_and_without_wrappers(self, tmp_path):
        state = Net().state_dict()

        class TTA(BaseTTAModel):
            def merge_preds(self, data_samples_list):
                raise NotImplementedError

        runner = tiny_runner(tmp_path, 1, load_from='somewhere.pth')
        hook = StrictLoadHook()
        hook.after_load_checkpoint(runner, dict(state_dict={f'module.{k}': v for k, v in state.items()}))
        runner.model = TTA(module=Net())
        hook.after_load_checkpoint(runner, dict(state))
        del state['layer.weight']
        with pytest.raises(CheckpointMismatchError, match='1 parameters are missing'):
            hook.after_load_checkpoint(runner, dict(state_dict=state))

    def test_drop_classifier_trains_other_classes(self, tmp_path):
        """Only what depends on the classes is the model's own afterwards; test and resume don't allow it."""
        tiny_runner(tmp_path / 'a', 1, model=Classifier(3)).train()
        source = str(tmp_path / 'a/iter_1.pth')
        strict = dict(strict_load=dict(type='StrictLoadHook', drop_classifier=True))
        model = Classifier(7)
        own = {name: value.clone() for name, value in model.state_dict().items()}
        runner = tiny_runner(tmp_path / 'b', 1, model=model, load_from=source, default_hooks=strict)
        runner._train_loop = runner.build_train_loop(runner._train_loop)
        runner.load_or_resume()
        taken = load_file(source)['state_dict']
        for name, value in model.state_dict().items():
            assert torch.equal(value, own[name] if 'conv_seg' in name else taken[name]), name
        runner = tiny_runner(tmp_path / 'c', 2, Classifier(7), load_from=source, resume=True, default_hooks=strict)
        with pytest.raises(CheckpointMismatchError, match='the file has 3, the model 7'):
            runner.train()
        runner = tiny_runner(tmp_path / 'd', 1, Classifier(7), load_from=source, default_hooks=strict)
        with pytest.raises(ValueError, match='evaluate .* with an untrained classifier'):
            runner.load_or_resume()

    def test_priority_comes_before_ema(self):
        from mmengine.hooks import EMAHook
        from mmengine.runner.priority import get_priority

        assert get_priority(StrictLoadHook.priority) < get_priority(EMAHook.priority)
        assert HOOKS.get('mmseg.StrictLoadHook') is StrictLoadHook


class Killed(BaseException):
    """The process is gone."""


SCORES = {1: 20, 2: 30, 3: 10, 4: 40}


def train_with_scores(folder, kill_at=None, after=False, **kwargs):
    """Four iterations, each saved and validated; dies before or after the file event number `kill_at`.

    Returns the number of file events and the model.
    """
    torch.manual_seed(0)
    hook = dict(interval=1, max_keep_ckpts=1, save_best='mIoU')
    runner = tiny_runner(folder, 4, Net(), hook=hook, **kwargs)
    hook = next(h for h in runner.hooks if isinstance(h, CheckpointHook))
    run_iter, events = runner.train_loop.run_iter, []

    def run(data_batch):
        run_iter(data_batch)
        hook.after_val_epoch(runner, dict(mIoU=SCORES[runner.iter]))

    def event(real):
        def counted(*args, **kwargs):
            events.append(args)
            if len(events) - 1 == kill_at and not after:
                raise Killed
            result = real(*args, **kwargs)
            if len(events) - 1 == kill_at:
                raise Killed
            return result

        return counted

    runner.train_loop.run_iter = run
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('os.replace', event(os.replace))
        patch.setattr('pathlib.Path.unlink', event(Path.unlink))
        patch.setattr('os.remove', event(os.remove))
        try:
            runner.train()
        except Killed:
            assert kill_at is not None
    return len(events), runner.model


@pytest.mark.parametrize('after', [False, True])
def test_a_kill_at_every_file_event_leaves_nothing_behind(after, tmp_path):
    """Resumed and finished, weights and files are those of a training that was never stopped."""
    count, straight = train_with_scores(tmp_path / 'straight')
    expected = files(tmp_path / 'straight')
    assert expected == ['best_mIoU_iter_4.pth', 'iter_4.pth', 'last_checkpoint'] and count > 20
    for number in range(count):
        folder = tmp_path / f'{number}'
        train_with_scores(folder, number, after)
        if newest_checkpoint(folder)[0] is None:
            assert number < 2  # nothing was saved yet
            continue
        written = newest_number(folder)
        assert load_file(newest_checkpoint(folder)[0])['meta']['iter'] == written  # no work that was saved is lost
        _, model = train_with_scores(folder, resume=True)
        for name, value in model.state_dict().items():
            assert torch.equal(value, straight.state_dict()[name]), (number, name)
        left = files(folder)
        best = [name for name in left if name.startswith('best')]
        assert len(best) == 1 and set(left) - set(best) == set(expected[1:]), (number, left)
        info = load_file(folder / 'iter_4.pth')['message_hub']['runtime_info']
        if written < 4:  # else nothing is trained any more, and the best is taken over again at the next start
            assert best == expected[:1] and info['best_score'] == 40
            assert Path(info['best_ckpt']).name == best[0]
        assert [path.name for path in folder.iterdir() if path.name.endswith('.tmp')] == []


def test_an_older_training_in_the_same_folder_is_not_resumed(tmp_path):
    tiny_runner(tmp_path, 5).train()
    old = tmp_path / 'iter_5.pth'
    os.utime(old, (1, 1))
    tiny_runner(tmp_path, 2).train()
    assert newest_checkpoint(tmp_path)[0] == tmp_path / 'iter_2.pth'
    os.utime(old)
    assert newest_checkpoint(tmp_path)[0] == old


@pytest.mark.parametrize('content', [b'\xff\xfe\x00\x01', b'a\0b', b'x' * 5000, b'\n', b'/nowhere/iter_9.pth', b'..'])
def test_a_broken_pointer_is_passed_over(content, tmp_path):
    runner = tiny_runner(tmp_path, 2)
    runner.train()
    (tmp_path / 'last_checkpoint').write_bytes(content)
    assert newest_checkpoint(tmp_path)[0] == tmp_path / 'iter_2.pth'
    assert 'no checkpoint' in go_on_from(runner) or str(tmp_path / 'iter_2.pth') in go_on_from(runner)


def test_checkpoints_that_the_user_keeps_are_not_removed(tmp_path):
    """Files of a training that kept all of them stay when it goes on with max_keep_ckpts."""
    tiny_runner(tmp_path, 3, hook=dict(interval=1)).train()
    tiny_runner(tmp_path, 5, hook=dict(interval=1, max_keep_ckpts=1), resume=True).train()
    tiny_runner(tmp_path, 6, hook=dict(interval=1, max_keep_ckpts=1), resume=True).train()
    numbers = [name for name in files(tmp_path) if name.startswith('iter')]
    assert numbers == ['iter_1.pth', 'iter_2.pth', 'iter_3.pth', 'iter_6.pth']
