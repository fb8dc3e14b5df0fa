"""The learning rates that a resumed training is going to use."""

import copy
import itertools
from types import SimpleNamespace
from typing import Any

from mmengine.optim import ReduceOnPlateauParamScheduler
from mmengine.runner import Runner

from ..errors import UserError


def check_schedule(runner: Runner) -> None:
    """Say how a resumed training goes on: its schedule is the checkpoint's, whatever the config says.

    Raises:
        UserError: If the checkpoint is beyond the end of the training, or from some iteration on the rate is 0.
    """
    first, end = runner.iter, runner.max_iters
    if first > end:
        raise UserError(
            f'the checkpoint is of iteration {first}, but train_cfg ends the training at iteration {end}: there is '
            f'nothing left to train. Set a later end (train_cfg.max_iters), or evaluate the checkpoint with '
            f'tools/test.py'
        )
    if first == end:
        runner.logger.info(f'the checkpoint is of iteration {first}, the last one: the training is complete')
        return
    coming = coming_rates(runner)
    last = '' if coming is None else f' and {coming[-1]:.3g} at the end'
    runner.logger.info(
        f'goes on after iteration {first} of {end}, learning rate {rates_now(runner)} as in the checkpoint{last}'
    )
    if coming is None:
        return
    learning = [first + number for number, rate in enumerate(coming) if rate > 0]
    stops = learning[-1] + 1 if learning else first
    # Schedules of MMEngine reach their smallest rate at their own last iteration already, so that one of 0 is usual.
    schedulers: Any = runner.param_schedulers or []
    ends = [scheduler.end for scheduler in schedulers]
    if stops < end - 1 or (stops < end and max(ends, default=end) < end):
        closed = max((each for each in ends if each <= stops + 1), default=stops)
        raise UserError(
            f'train_cfg.max_iters={end}, but the schedule of the resumed training ends at iteration {closed} with a '
            f'learning rate of 0, and nothing is learned from there on. To train longer, start from its weights '
            f'instead of --resume: --cfg-options load_from=CHECKPOINT'
        )


def rates_now(runner: Runner) -> str:
    """The smallest and the largest learning rate of the parameters."""
    # MMEngine adds the rate that the config gives under names that end in base_lr.
    wrapper: Any = runner.optim_wrapper
    groups = [rates for name, rates in wrapper.get_lr().items() if not name.endswith('base_lr')]
    rates = sorted(set(itertools.chain(*groups)))
    return ' to '.join(f'{rate:.3g}' for rate in rates[:: max(1, len(rates) - 1)])


def coming_rates(runner: Runner) -> list[float] | None:
    """The largest learning rate of each iteration from the next to the last; None where that can't be foretold.

    The schedulers are stepped ahead on copies. One that follows a score, or counts epochs, can't be foretold.
    """
    schedulers = runner.param_schedulers or []
    if not isinstance(schedulers, list) or any(
        isinstance(each, ReduceOnPlateauParamScheduler) or each.by_epoch for each in schedulers
    ):
        return None
    wrapper: Any = runner.optim_wrapper
    groups: list[dict] = [dict(group, params=[]) for group in wrapper.param_groups]
    ahead = SimpleNamespace(param_groups=groups, step=None)
    copies: list[Any] = [copy.copy(each) for each in schedulers if each.param_name == 'lr']
    for each in copies:
        each.optimizer, each.verbose = ahead, False
    rates = []
    for _ in range(runner.iter, runner.max_iters):
        rates.append(max(group['lr'] for group in groups))
        for each in copies:
            each.step()
    return rates
