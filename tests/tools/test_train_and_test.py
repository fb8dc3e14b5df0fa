"""The two tools on a generated dataset: train, resume, test and every option of both."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from mmseg_deeplab.checkpoints import load_file
from mmseg_deeplab.datasets.demo import make_demo_dataset


def scores(folder: Path) -> dict:
    """The metrics of the newest test or validation that was logged below a work dir."""
    files = [file for file in sorted(folder.glob('*/*.json')) if file.name != 'results.json']  # that is of a report
    files += sorted(folder.glob('*/vis_data/scalars.json'))
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    return {name: value for name, value in [e for e in lines if 'mIoU' in e][-1].items() if 'time' not in name}


def error_of(capsys, call, *arguments, **options) -> str:
    """The message that a tool, called in this process, ends with."""
    with pytest.raises(SystemExit) as stop:
        call(*arguments, **options)
    assert stop.value.code not in (0, None)
    return f'{stop.value.code} {capsys.readouterr().err}'


def test_training_begins_with_a_summary_and_ends_with_a_table(trained):
    lines = trained.printed.splitlines()
    # What preflight has to say of the settings stands before it: here the rate is for another batch.
    first = next(number for number, line in enumerate(lines) if 'deeplabv3plus_mobilenetv2_demo' in line)
    assert all('optimizer.lr' in line or 'max_iters' in line for line in lines[:first]), lines[:first]
    summary = '\n'.join(lines[first : first + 15])
    for words in (
        'DeepLab, 0.', 'M parameters', 'output stride  16', 'DeepLabMobileNetV2', 'rates 6 12 18', '16 images',
        '7 classes (background', '4 = 4 images x 1 device x 1 accumulated', '0.05', 'PolyLR', '4 iterations',
        'CPU' if not torch.cuda.is_available() else '', str(trained.work),
    ):  # fmt: skip
        assert words in summary, f'{words!r} is missing in\n{summary}'
    for noise in ('System environment', 'Config:', 'Hooks will be executed', 'FileClient', 'decode_head.conv'):
        assert noise not in trained.printed
    assert 'System environment' in next(trained.work.glob('*/*.log')).read_text()
    assert re.search(r'\| mean +\|', trained.printed)
    assert len(lines) < 60


def test_resume_goes_on_from_the_work_dir(tools, tmp_path):
    options = ['train_cfg.max_iters=6', 'default_hooks.checkpoint.interval=4']
    tools.call('train.py', '--work-dir', tmp_path, options=options)
    unbroken = load_file(tmp_path / 'iter_6.pth')
    (tmp_path / 'iter_6.pth').unlink()
    tools.call('train.py', '--work-dir', tmp_path, '--resume', options=options)
    resumed = load_file(tmp_path / 'iter_6.pth')
    assert resumed['meta']['iter'] == 6
    assert all(torch.equal(value, resumed['state_dict'][name]) for name, value in unbroken['state_dict'].items())
    log = max(tmp_path.glob('*/*.log'), key=lambda path: path.stat().st_mtime_ns).read_text()
    assert 'resumed epoch: 0, iter: 4' in log and 'goes on after iteration 4 of 6, learning rate 0.0' in log


def test_resume_of_a_training_that_is_over(tools, trained, capsys):
    """A job that a scheduler restarts has nothing to do; a person who asks for it learns why nothing happens."""
    before = {path: path.stat().st_mtime_ns for path in trained.work.rglob('*')}
    tools.call('train.py', '--work-dir', trained.work, '--resume', 'auto')
    assert 'there is nothing left to train' in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in trained.work.rglob('*')} == before
    message = error_of(capsys, tools.call, 'train.py', '--work-dir', trained.work, '--resume')
    assert 'there is nothing left to train' in message


def test_resume_without_a_checkpoint_says_so(tools, tmp_path, capsys):
    message = error_of(capsys, tools.call, 'train.py', '--work-dir', tmp_path, '--resume')
    assert 'error:' in message and 'no readable checkpoint' in message


def test_test_repeats_the_validation_and_saves_what_is_asked_for(tools, trained, tmp_path):
    printed = tools.run(
        'test.py', trained.checkpoint, '--work-dir', tmp_path, '--out', tmp_path / 'out',
        '--show-dir', tmp_path / 'show', '--report', tmp_path / 'report', cwd=tmp_path,
    )  # fmt: skip
    assert re.search(r'\| background +\|', printed) and re.search(r'\| mean +\|', printed)
    assert str(tmp_path / 'show') in printed
    names = (tools.data / 'ImageSets' / 'Segmentation' / 'val.txt').read_text().split()
    assert sorted(p.stem for p in (tmp_path / 'show').glob('*.png')) == names
    for name in names:
        truth = np.array(Image.open(tools.data / 'SegmentationClass' / f'{name}.png'))
        prediction = np.array(Image.open(tmp_path / 'out' / f'{name}.png'))
        assert prediction.shape == truth.shape and prediction.max() < 7
    assert (tmp_path / 'report' / 'index.html').stat().st_size > 1000
    validated, tested = scores(trained.work), scores(tmp_path)
    for name in ('aAcc', 'mIoU', 'mAcc', 'FWIoU'):
        assert tested[name] == pytest.approx(validated[name], abs=0.02), name


def test_another_output_stride_and_test_time_augmentation(tools, trained, tmp_path, capsys):
    tools.call('test.py', trained.checkpoint, '--work-dir', tmp_path, '--eval-output-stride', '8', '--tta')
    printed = capsys.readouterr().out
    assert 'DeepLabTTA' in printed and re.search(r'output stride +8\n', printed)
    assert 'rates 12 24 36' in printed
    assert 0 < scores(tmp_path)['mIoU'] <= 100


def test_the_dense_crf_by_preset(tools, trained, tmp_path, capsys):
    pytest.importorskip('pydensecrf', reason='pydensecrf2 is not installed')
    tools.call(
        'test.py', trained.checkpoint, '--work-dir', tmp_path, '--crf', 'fast', '--crf-backend', 'pydensecrf',
        options=['test_dataloader.dataset.indices=2'],
    )  # fmt: skip
    assert {'mIoU', 'before_crf/mIoU'} <= scores(tmp_path).keys()


def test_another_refiner_than_the_crf(tools, trained, tmp_path, capsys):
    tools.call(
        'test.py', trained.checkpoint, '--work-dir', tmp_path, '--report', tmp_path / 'report',
        '--refine', 'guided', 'radius=5', options=['test_dataloader.dataset.indices=2'],
    )  # fmt: skip
    assert 'mIoU' in scores(tmp_path) and 'before_crf/mIoU' not in scores(tmp_path)
    assert re.search(r'refined by +refiner guided, radius 5\n', capsys.readouterr().out)
    page = (tmp_path / 'report/index.html').read_text(encoding='utf-8')
    assert 'before CRF' not in page and 'refiner guided, radius 5' in page


def test_a_run_does_not_say_that_pictures_are_not_drawn(tools, trained, tmp_path, recwarn):
    """MMSegmentation's hook for its own --show-dir is idle here, and --show-dir draws by another one."""
    tools.call('test.py', trained.checkpoint, '--work-dir', tmp_path, '--show-dir', tmp_path / 'show')
    assert len(list((tmp_path / 'show').glob('*.png'))) == 9
    assert not [warning for warning in recwarn if 'NOT be visualized' in str(warning.message)]


def test_mixed_precision_and_scaled_learning_rate(tools, tmp_path, capsys):
    tools.call('train.py', '--work-dir', tmp_path, '--amp', '--auto-scale-lr')
    printed = capsys.readouterr().out
    assert ('AmpOptimWrapper' if torch.cuda.is_available() else 'CPUAmpOptimWrapper') in printed
    base = Config.fromfile(tools.config).auto_scale_lr.base_batch_size
    assert f'learning rate  {0.05 * 4 / base:g} ' in printed
    weights = load_file(tmp_path / 'iter_4.pth')['state_dict']
    assert all(torch.isfinite(value).all() for value in weights.values())
    assert all(value.dtype != torch.bfloat16 for value in weights.values())


def test_two_processes_train_and_give_the_scores_of_one(tools, tmp_path):
    """9 images on two processes: the padded one counts once; gloo stands in for NCCL where there is no GPU."""
    if torch.cuda.is_available() and torch.cuda.device_count() < 2:
        pytest.skip('one GPU can not be shared by two NCCL processes')
    torchrun = ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2']
    printed = tools.run(
        'train.py', '--work-dir', tmp_path / 'two', '--launcher', 'pytorch', prefix=torchrun, cwd=tmp_path
    )
    assert '8 = 4 images x 2 devices x 1 accumulated' in printed
    tools.call('test.py', tmp_path / 'two' / 'iter_4.pth', '--work-dir', tmp_path / 'one')
    two, one = scores(tmp_path / 'two'), scores(tmp_path / 'one')
    for name in ('aAcc', 'mIoU', 'mAcc', 'FWIoU'):
        assert one[name] == pytest.approx(two[name], abs=0.02), name


OUTSIDE = """
import sys
from mmengine.config import Config
from mmengine.runner import Runner
cfg = Config.fromfile(sys.argv[1])
cfg.work_dir = sys.argv[2]
cfg.merge_from_dict(eval(sys.argv[4]))
for split in ('train', 'val', 'test'):
    cfg[f'{split}_dataloader'].dataset.data_root = sys.argv[3]
runner = Runner.from_cfg(cfg)
runner.train()
print('TESTED', runner.test())
"""


def test_the_config_runs_under_the_stock_runner_outside_of_the_repository(tools, tmp_path):
    (tmp_path / 'mine.py').write_text(OUTSIDE)
    options = {key: eval(value) for key, value in (option.split('=') for option in tools.options)}
    line = [sys.executable, 'mine.py', tools.config, str(tmp_path / 'work'), str(tools.data), repr(options)]
    done = subprocess.run(line, cwd=tmp_path, env=tools.environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]
    assert 'mIoU' in done.stdout.split('TESTED')[1]


@pytest.mark.parametrize(
    'tool, arguments, options, told',
    [
        ('train.py', [], ['model.decode_head.num_clases=7'], "did you mean 'num_classes'"),
        ('train.py', [], ['data_root=/elsewhere'], '--data-root'),
        ('train.py', [], ['modle.output_stride=8'], "did you mean 'model'"),
        ('train.py', [], ['train_dataloader.dataset.pipeline.9.prob=1'], '--cfg-options do not fit'),
        ('train.py', [], ['model.output_stride=12'], 'output_stride=12'),
        ('train.py', [], ['optim_wrapper.optimizer=Adam'], 'optim_wrapper.optimizer is a group of settings'),
        ('test.py', ['nothing.pth'], [], "checkpoint 'nothing.pth' does not exist"),
        ('test.py', ['nothing.pth', '--crf', 'v9'], [], 'v2_r101'),
        ('test.py', ['nothing.pth', '--crf-backend', 'torch'], [], '--crf-backend chooses the backend of --crf'),
        ('test.py', ['nothing.pth', '--eval-output-stride', '12'], [], "checkpoint 'nothing.pth'"),
    ],
)
def test_a_mistake_ends_with_one_explained_line(tools, capsys, tmp_path, tool, arguments, options, told):
    message = error_of(capsys, tools.call, tool, *arguments, '--work-dir', tmp_path, options=options)
    assert message.startswith('error: ') and told in message
    assert 'Traceback' not in message


def test_data_elsewhere_that_is_not_there(tools, capsys, tmp_path):
    message = error_of(capsys, tools.call, 'train.py', '--work-dir', tmp_path, root=tmp_path / 'nowhere')
    assert message.startswith(f'error: --data-root {tmp_path / "nowhere"}')
    message = error_of(capsys, tools.call, 'train.py', '--work-dir', tmp_path, root=tmp_path)
    assert 'split file' in message and '--data-root' in message


def test_a_bad_mask_deep_in_the_set_is_named_when_it_is_loaded(tools, tmp_path, capsys):
    """From within a process of the loader, where the error arrives wrapped in a traceback."""
    data = shutil.copytree(tools.data, tmp_path / 'demo')
    masks = [data / 'SegmentationClass' / f'{name}.png' for name in _names(data)]
    for mask in masks[1:]:  # preflight must not meet them: let it look at the first of the set alone
        Image.fromarray(np.full_like(np.array(Image.open(mask)), 77)).save(mask)
    import mmseg_deeplab.preflight.data as checks

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checks, 'SAMPLE_SIZE', 1)
        message = error_of(
            capsys, tools.call, 'train.py', '--work-dir', tmp_path / 'work',
            options=['train_dataloader.num_workers=1'], root=data,
        )  # fmt: skip
    assert message.startswith('error: mask ') and '77' in message and str(data) in message
    assert 'Traceback' not in message


def _names(data: Path) -> list[str]:
    return (data / 'ImageSets' / 'Segmentation' / 'train.txt').read_text().split()


def test_a_short_demo_learns_what_no_untrained_network_knows(tools, tmp_path):
    """A narrower demo for 100 iterations on 96 pictures: all background scores about 9 mIoU, chance about 3.

    Measured: 22.07, and 27.27 with 150 iterations.
    """
    data = tmp_path / 'demo'
    make_demo_dataset(str(data), 96, 12, 0)
    tools.call(
        'train.py', '--work-dir', tmp_path / 'work', root=data,
        options=[
            'model.backbone.width=0.5', 'model.decode_head.channels=64', 'train_dataloader.batch_size=6',
            'train_cfg.max_iters=100', 'train_cfg.val_interval=100',
        ],
    )  # fmt: skip
    reached = scores(tmp_path / 'work')
    assert reached['mIoU'] > 15 and reached['aAcc'] > 65
