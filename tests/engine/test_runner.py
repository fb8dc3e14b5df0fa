"""The runner's start, CPU mixed precision, and which errors the tools explain."""

import copy
import logging
import os

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS, OPTIM_WRAPPERS
from torch import nn

from mmseg_deeplab.cli import explanation
from mmseg_deeplab.engine import CPUAmpOptimWrapper, DeepLabRunner


def test_cpu_mixed_precision_computes_in_bfloat16_and_keeps_float32_weights():
    layer = nn.Linear(8, 4)
    wrapper = OPTIM_WRAPPERS.build(
        dict(type='CPUAmpOptimWrapper', optimizer=torch.optim.SGD(layer.parameters(), lr=0.1))
    )
    assert isinstance(wrapper, CPUAmpOptimWrapper) and isinstance(wrapper, OptimWrapper)
    before = copy.deepcopy(layer.weight.data)
    with wrapper.optim_context(layer):
        out = layer(torch.ones(2, 8))
        assert out.dtype == torch.bfloat16
    assert layer(torch.ones(2, 8)).dtype == torch.float32
    wrapper.update_params(out.float().square().mean())
    assert layer.weight.dtype == torch.float32 and not torch.equal(layer.weight, before)


@pytest.mark.parametrize('pays', [True, False])
def test_mixed_precision_is_said_not_to_pay_where_the_processor_has_no_units_for_it(pays, monkeypatch):
    said = []
    monkeypatch.setattr('mmseg_deeplab.engine.amp.bf16_pays', lambda: pays)
    monkeypatch.setattr('mmseg_deeplab.engine.amp.print_log', lambda text, **where: said.append((text, where['level'])))
    CPUAmpOptimWrapper(torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1))
    assert len(said) == (not pays)
    assert pays or ('leave --amp out' in said[0][0] and said[0][1] == logging.WARNING)


def test_the_console_shows_warnings_before_the_summary_and_everything_after(tmp_path, capsys):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, dilation=6)

    runner = DeepLabRunner(model=Model(), work_dir=str(tmp_path), experiment_name='quiet')
    runner.logger.info('before the summary')
    runner.logger.warning('a warning')
    assert 'before the summary' not in capsys.readouterr().out
    runner.call_hook('before_run')
    runner.logger.info('after the summary')
    printed = capsys.readouterr().out
    assert '0.00 M parameters' in printed and str(tmp_path) in printed and 'after the summary' in printed
    file = next(tmp_path.glob('*/*.log')).read_text()
    assert all(text in file for text in ('System environment', 'before the summary', 'after the summary'))
    assert any(type(handler) is logging.StreamHandler for handler in runner.logger.handlers)


def test_two_runs_of_one_process_and_second_write_to_their_own_work_dirs(repo, tmp_path, monkeypatch, capsys):
    """Neither the console, the log file nor the scores of a second run may go where the first one's went."""
    monkeypatch.setattr('mmengine.runner.runner.time.time', lambda: 1e9)
    cfg = Config.fromfile(repo / 'configs' / '_base_' / 'default_runtime.py')
    for name in ('first', 'second'):
        cfg.update(model=nn.Conv2d(3, 4, 1), work_dir=str(tmp_path / name))
        runner = DeepLabRunner.from_cfg(cfg)
        runner.logger.warning(f'the {name} run')
        runner.message_hub.update_info('run', name)
        runner.visualizer.add_scalar('mIoU', 1.0)
        assert capsys.readouterr().out.count('the ') == 1
        log = next((tmp_path / name).glob('*/*.log')).read_text()
        assert f'the {name} run' in log and log.count('the first run') == (name == 'first')
        assert 'mIoU' in next((tmp_path / name).glob('*/vis_data/scalars.json')).read_text()
    assert len(list(tmp_path.glob('first/*/*.log'))) == 1


def test_every_default_hook_can_be_left_out(repo, tmp_path):
    cfg = Config.fromfile(repo / 'configs' / '_base_' / 'default_runtime.py')
    cfg.update(model=nn.Conv2d(3, 4, 1), work_dir=str(tmp_path))
    registered = {type(hook).__name__ for hook in DeepLabRunner.from_cfg(cfg).hooks}
    left_out = {'StrictLoadHook', 'ExactResumeHook', 'FastInferenceHook', 'LoggerHook'}
    assert registered >= left_out
    cfg.default_hooks.update(strict_load=None, exact_resume=None, fast_inference=None, logger=None)
    assert {type(hook).__name__ for hook in DeepLabRunner.from_cfg(cfg).hooks} == registered - left_out


def raised(function, *arguments, **options) -> Exception:
    with pytest.raises(Exception) as error:
        function(*arguments, **options)
    return error.value


def test_an_error_that_this_package_raised_is_explained():
    assert 'output_stride=12' in explanation(raised(deeplab_at, 12))


def deeplab_at(output_stride: int) -> None:
    with DefaultScope.overwrite_default_scope('mmseg'):
        MODELS.build(dict(type='DeepLabMobileNetV2', output_stride=output_stride))


def test_an_error_from_elsewhere_keeps_its_traceback():
    assert explanation(raised(int, 'seven')) is None
    assert explanation(raised(torch.zeros(2).reshape, 3)) is None


def test_the_cause_within_another_error_is_found():
    def wrapped():
        try:
            deeplab_at(12)
        except ValueError as error:
            raise RuntimeError('building failed') from error

    assert 'output_stride=12' in explanation(raised(wrapped))


@pytest.fixture
def usual_kernels(monkeypatch):
    """What a deterministic run changes in the process is put back after it."""
    monkeypatch.delenv('CUBLAS_WORKSPACE_CONFIG', raising=False)
    monkeypatch.setattr(torch.backends.cudnn, 'deterministic', False)
    monkeypatch.setattr(torch.backends.cudnn, 'benchmark', True)
    yield
    torch.use_deterministic_algorithms(False)


def test_deterministic_kernels_are_taken_and_those_that_have_no_such_variant_are_warned_of(usual_kernels):
    runner = object.__new__(DeepLabRunner)
    runner.set_randomness(3)
    assert not torch.are_deterministic_algorithms_enabled() and 'CUBLAS_WORKSPACE_CONFIG' not in os.environ
    runner.set_randomness(3, deterministic=True)
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.backends.cudnn.deterministic and not torch.backends.cudnn.benchmark
    assert os.environ['CUBLAS_WORKSPACE_CONFIG'] == ':4096:8'
    with pytest.warns(UserWarning, match='put_ does not have a deterministic implementation'):  # on any device
        torch.zeros(3).put_(torch.tensor([0, 0]), torch.tensor([1.0, 2.0]))
