"""DeepLabPolyLR against the papers' formula, rate x (1 - iteration / iterations)^0.9."""

import pytest
from mmengine.config import Config
from mmengine.hooks import Hook
from mmseg.registry import PARAM_SCHEDULERS
from tiny_training import tiny_runner

from mmseg_deeplab.engine import DeepLabPolyLR, ExactResumeHook
from mmseg_deeplab.errors import UserError


class Rates(Hook):
    """Notes the rate that each iteration uses."""

    def __init__(self):
        self.rates = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.rates.append(runner.optim_wrapper.param_groups[0]['lr'])


def run(work_dir, iterations, schedule, **kwargs):
    hook = Rates()
    tiny_runner(work_dir, iterations, schedule=schedule, custom_hooks=[ExactResumeHook(), hook], **kwargs).train()
    return hook.rates


def test_every_iteration_has_the_rate_of_the_papers_formula(tmp_path):
    first, *_ = rates = run(tmp_path, 12, dict(type='PolyLR', power=0.9, by_epoch=False))
    assert rates == pytest.approx([first * (1 - i / 12) ** 0.9 for i in range(12)])
    assert rates[-1] > 0


def test_a_resumed_training_has_the_same_rates(tmp_path):
    schedule = dict(type='PolyLR', power=0.9, by_epoch=False, end=12)
    whole = run(tmp_path / 'whole', 12, schedule)
    first = run(tmp_path / 'parts', 5, schedule)
    assert first + run(tmp_path / 'parts', 12, schedule, resume=True) == pytest.approx(whole)


def test_a_smallest_rate_and_bounds(tmp_path):
    schedule = dict(type='PolyLR', power=2, eta_min=1e-3, by_epoch=False, begin=2, end=6)
    rates = run(tmp_path, 8, schedule)
    rate = rates[0]
    poly = [(rate - 1e-3) * (1 - i / 4) ** 2 + 1e-3 for i in range(4)]
    assert rates == pytest.approx([rate, rate, *poly, 1e-3, 1e-3])


def test_after_a_warm_up(tmp_path):
    warm_up = dict(type='LinearLR', start_factor=0.5, by_epoch=False, begin=0, end=3)
    rates = run(tmp_path, 8, [warm_up, dict(type='PolyLR', power=0.9, by_epoch=False, begin=3, end=8)])
    full = 2 * rates[0]
    assert rates[:3] == pytest.approx([full * f for f in (0.5, 0.75, 1)])
    assert rates[3:] == pytest.approx([full * (1 - i / 5) ** 0.9 for i in range(5)])


def test_the_configs_name_it_and_the_plugin_makes_it_of_the_name(repo):
    assert PARAM_SCHEDULERS.get('PolyLR') is DeepLabPolyLR is not PARAM_SCHEDULERS.get('mmengine.PolyLR')
    for path in sorted((repo / 'configs').rglob('*.py')):
        if path.parent.name not in ('datasets', 'models'):
            for schedule in Config.fromfile(path).get('param_scheduler', []):
                warms_up = schedule.type == 'LinearLR' and schedule.end <= 100
                assert schedule.type in ('PolyLR', 'StepLR') or warms_up, path.name


def test_a_power_that_lets_the_rate_rise_is_refused(tmp_path):
    with pytest.raises(UserError, match='power=-5: the rate falls with a positive power only'):
        run(tmp_path, 3, dict(type='PolyLR', power=-5, by_epoch=False))
