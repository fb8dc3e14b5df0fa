"""Building what the runner builds beside model and data: loaders, optimizer, schedule, hooks, metrics, drawing."""

import copy
import itertools
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping

from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.hooks import EMAHook, Hook
from mmengine.optim import OptimWrapper, ReduceOnPlateauParamScheduler, build_optim_wrapper
from mmengine.runner import LogProcessor, Runner, get_priority
from mmengine.visualization import Visualizer
from mmseg.datasets import BaseSegDataset
from mmseg.registry import EVALUATOR, HOOKS, LOG_PROCESSORS, METRICS, MODELS, PARAM_SCHEDULERS, RUNNERS, VISUALIZERS
from torch import nn
from torch.utils.data import Dataset

from ..crf import DenseCRF
from ..evaluation.scores import wrong_best
from ..upstream import has_visualizer
from .building import build_part, check_group, explained
from .errors import PreflightError
from .kinds import classes_of, name_of

# MMEngine's default hooks, which None leaves out; a runner may have further ones.
LEFT_OUT = ('runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler', 'checkpoint')


class _StandIn(Dataset):
    """Has a length, which is all that loaders and samplers ask of a dataset when they are built."""

    metainfo: dict = {}

    def __len__(self) -> int:
        return 100


def check_loader(loader: Mapping, key: str, by_epoch: bool) -> Callable:
    """Build sampler, batch sampler and loader around a stand-in for the dataset.

    Args:
        loader: Its settings.
        key: Their place.
        by_epoch: Whether what uses the loader stops at its end, as validation does.

    Returns:
        What makes a batch of samples.

    Raises:
        PreflightError: one of them can't be built, a sampler has no end where one is waited for, or images would be
            left out of a score.
    """
    for part in ('dataset', 'sampler'):
        if part not in loader:
            raise PreflightError(f'config key {key}.{part} is missing')
    check_group(loader['dataset'], f'{key}.dataset')
    settings = {**loader, 'dataset': _StandIn()}
    built = explained(lambda: Runner.build_dataloader(settings, seed=0), loader, key)
    if by_epoch and len(list(itertools.islice(built.sampler, 10 * len(_StandIn())))) == 10 * len(_StandIn()):
        raise PreflightError(
            f'config key {key}.sampler: {name_of(loader["sampler"])} has no end, and what uses this loader waits '
            f"for it: set {key}.sampler=dict(type='DefaultSampler', shuffle={key.startswith('train')})"
        )
    if loader.get('drop_last') and not key.startswith('train'):
        raise PreflightError(f'{key}.drop_last leaves the last images out of the score: set it to False')
    return built.collate_fn


def check_optimization(cfg: Config, model: nn.Module) -> None:
    """Build optimizer and schedule for the parameters of a model.

    Raises:
        PreflightError: one of them can't be built.
    """
    settings = cfg.get('optim_wrapper')
    if not isinstance(settings, Mapping):
        raise PreflightError(f'config key optim_wrapper is {settings!r}, but training needs dict(optimizer=...)')
    if 'optimizer' in settings:
        check_group(settings['optimizer'], 'optim_wrapper.optimizer')
    elif 'constructor' not in settings:
        raise PreflightError("config key optim_wrapper.optimizer is missing: set it to dict(type='SGD', lr=...)")
    optim_wrapper = explained(lambda: build_optim_wrapper(model, copy.deepcopy(settings)), settings, 'optim_wrapper')
    if 'optimizer' not in settings:
        return  # several optimizers, each with a schedule
    for group in optim_wrapper.param_groups:
        _check_rates(group, 'optim_wrapper')
        if not 0 <= group.get('momentum', 0) < 1:
            raise PreflightError(
                f"config key 'optim_wrapper.optimizer.momentum' is {group['momentum']}, but it needs a number from 0 "
                f'to below 1, such as 0.9'
            )
    schedulers = cfg.get('param_scheduler') or []
    if not isinstance(schedulers, (Mapping, list, tuple)):
        raise PreflightError(f'config key param_scheduler is {schedulers!r}, but it needs a list of groups with a type')
    is_one = isinstance(schedulers, Mapping)
    for i, scheduler in enumerate([schedulers] if is_one else schedulers):
        key = 'param_scheduler' if is_one else f'param_scheduler.{i}'
        _check_scheduler(check_group(scheduler, key), key, optim_wrapper, cfg.get('train_cfg') or {})


def _check_scheduler(scheduler: Mapping, key: str, optim_wrapper: OptimWrapper, train_cfg: Mapping) -> None:
    """Build a schedule and run it through, in 20 steps in place of all."""
    for name in ('begin', 'end'):
        if not isinstance(scheduler.get(name, 0), int):
            raise PreflightError(f"config key '{key}.{name}' is {scheduler[name]!r}, but it needs int")
    end = train_cfg.get('max_epochs' if scheduler.get('by_epoch', True) else 'max_iters') or 1
    whole = {'end': end, **scheduler}
    build_part(PARAM_SCHEDULERS, whole, key, optimizer=optim_wrapper, epoch_length=100)
    short = {**whole, 'begin': 0, 'end': min(whole['end'] - whole.get('begin', 0), 20)}
    built = build_part(PARAM_SCHEDULERS, short, key, optimizer=optim_wrapper, epoch_length=100)
    if isinstance(built, ReduceOnPlateauParamScheduler):
        return
    if built.by_epoch and 'max_iters' in train_cfg:
        raise PreflightError(
            f"config key '{key}.by_epoch' is True (also where it is left out), but train_cfg counts iterations, so "
            f'that this schedule would never begin: set {key}.by_epoch=False'
        )
    for _ in range(21):
        explained(built.step, scheduler, key)
        for group in optim_wrapper.param_groups:
            _check_rates(group, key)


def _check_rates(group: Mapping, key: str) -> None:
    rate = group['lr']
    if not 0 <= rate < math.inf:
        raise PreflightError(f'{key} makes a learning rate of {rate:g}, which must be a number of 0 or more')


def check_hooks(cfg: Config, model: nn.Module) -> dict[str, Hook]:
    """Build the hooks of a config; return them by their keys.

    Raises:
        PreflightError: one can't be built.
    """
    if not has_visualizer():  # which hooks that draw ask for
        Visualizer.get_instance('preflight')
    built = {}
    for key, hook in _hooks(cfg):
        hook = dict(hook)
        priority = hook.pop('priority', 'NORMAL')
        explained(lambda priority=priority: get_priority(priority), {}, f'{key}.priority')
        built[key] = build_part(HOOKS, hook, key)
        if getattr(built[key], 'interval', None) == 0:
            raise PreflightError(f"config key '{key}.interval' is 0, but it needs int above 0")
        if isinstance(own := built[key], EMAHook):  # builds its copy of the model when the run begins
            build_part(MODELS, own.ema_cfg, key, model=model)
        template = getattr(built[key], 'filename_tmpl', '{}')
        if '{}' not in template:
            raise PreflightError(
                f"config key '{key}.filename_tmpl' is {template!r}, but it needs a place for the number of the "
                f"iteration, as in 'iter_{{}}.pth': each checkpoint would overwrite the one before"
            )
    return built


def _hooks(cfg: Config) -> Iterator[tuple[str, Mapping]]:
    kind = cfg.get('runner_type', 'Runner')
    runner = RUNNERS.get(kind) if isinstance(kind, str) else kind
    optional = (*LEFT_OUT, *getattr(runner, 'optional_hooks', ()))
    for name, hook in (cfg.get('default_hooks') or {}).items():
        if hook is None and name not in optional:
            raise PreflightError(
                f'default_hooks.{name} is None, which leaves out {", ".join(optional)} only: delete it'
            )
        if hook is not None:
            yield f'default_hooks.{name}', check_group(hook, f'default_hooks.{name}')
    for i, hook in enumerate(cfg.get('custom_hooks') or []):
        yield f'custom_hooks.{i}', check_group(hook, f'custom_hooks.{i}')


def check_evaluator(evaluator: object, key: str) -> list[BaseMetric]:
    """Build the metrics of an evaluator, without the folder that they write to; return them.

    Raises:
        PreflightError: one can't be built.
    """
    if isinstance(evaluator, Mapping) and 'metrics' in evaluator:
        return build_part(EVALUATOR, {'type': 'Evaluator', **evaluator}, key).metrics
    is_list = isinstance(evaluator, (list, tuple))
    metrics = []
    for i, metric in enumerate(evaluator if is_list else [evaluator]):
        place = f'{key}.{i}' if is_list else key
        settings = dict(check_group(metric, place))
        if settings.get('output_dir'):
            settings['output_dir'] = tempfile.gettempdir()
        metrics.append(build_part(METRICS, settings, place))
        if getattr(metrics[-1], 'collect_device', 'cpu') not in ('cpu', 'gpu', 'npu'):
            raise PreflightError(f"config key '{place}.collect_device' is {metrics[-1].collect_device!r}: choose 'cpu'")
    return metrics


def check_metrics(metrics: list[BaseMetric], dataset: BaseSegDataset, split: str) -> None:
    """Check that metrics fit the classes and the void of the data that they score.

    Raises:
        PreflightError: they do not.
    """
    key = f'{split}_evaluator'
    for metric in metrics:
        explained(lambda metric=metric: setattr(metric, 'dataset_meta', dataset.metainfo), {}, key)
        ignored = getattr(metric, 'ignore_index', dataset.ignore_index)
        if ignored != dataset.ignore_index:
            raise PreflightError(
                f'{key}.ignore_index is {ignored} ({type(metric).__name__}), but void is {dataset.ignore_index} in the '
                f'masks of {split}_dataloader (its ignore_index): set both alike'
            )


def check_save_best(hooks: Mapping[str, Hook], metrics: list[BaseMetric]) -> None:
    """Check that the validation gives the score that the best checkpoint is chosen by.

    Raises:
        PreflightError: it gives none of that name. What metrics of other packages give is not known.
    """
    crf = any(isinstance(getattr(hook, 'crf', None), DenseCRF) and 'val' in hook.stages for hook in hooks.values())
    others = [name for hook in hooks.values() for name in getattr(hook, 'score_names', ())]
    for key, hook in hooks.items():
        if wrong := wrong_best(getattr(hook, 'save_best', None), metrics, crf, others):
            raise PreflightError(f'{key}.{wrong}')


def check_drawing(cfg: Config) -> None:
    """Build what writes logs and pictures: the log processor and the visualizer's back ends.

    Raises:
        PreflightError: one can't be built.
    """
    processor = cfg.get('log_processor') or {}
    if 'type' in processor:
        build_part(LOG_PROCESSORS, processor, 'log_processor')
    else:
        explained(lambda: LogProcessor(**processor), processor, 'log_processor')
    visualizer = cfg.get('visualizer')
    if visualizer is None:
        return
    check_group(visualizer, 'visualizer')
    settings = {'name': 'preflight', 'save_dir': tempfile.gettempdir(), **copy.deepcopy(visualizer)}
    if not classes_of(settings):
        build_part(VISUALIZERS, visualizer, 'visualizer')  # refuses
    del settings['type']
    # The registry would make it the process's current one.
    explained(lambda: classes_of(visualizer)[0](**settings), visualizer, 'visualizer')
