"""A kill at any moment leaves a checkpoint to resume from; a checkpoint that does not fit stops the run."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from mmengine.hooks import CheckpointHook
from mmengine.model import BaseTTAModel
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from tiny_training import Net, Points, tiny_runner
from torch import nn

from mmseg_deeplab.checkpoints import CheckpointMismatchError, load_file
from mmseg_deeplab.checkpoints.save import save_file
from mmseg_deeplab.engine.hooks.checkpoint import newest_checkpoint
from mmseg_deeplab.engine.hooks.strict_load import StrictLoadHook

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
    tiny_runner(tmp_path, 2).train()
    (tmp_path / 'last_checkpoint').write_bytes(content)
    assert newest_checkpoint(tmp_path)[0] == tmp_path / 'iter_2.pth'


def test_checkpoints_that_the_user_keeps_are_not_removed(tmp_path):
    """Files of a training that kept all of them stay when it goes on with max_keep_ckpts."""
    tiny_runner(tmp_path, 3, hook=dict(interval=1)).train()
    tiny_runner(tmp_path, 5, hook=dict(interval=1, max_keep_ckpts=1), resume=True).train()
    tiny_runner(tmp_path, 6, hook=dict(interval=1, max_keep_ckpts=1), resume=True).train()
    numbers = [name for name in files(tmp_path) if name.startswith('iter')]
    assert numbers == ['iter_1.pth', 'iter_2.pth', 'iter_3.pth', 'iter_6.pth']
