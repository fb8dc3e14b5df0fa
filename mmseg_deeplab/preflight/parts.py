"""Building what the runner builds beside model and data: loaders, optimizer, schedule, hooks, metrics, drawing."""

import copy
import tempfile
from collections.abc import Iterator, Mapping

from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.runner import LogProcessor, Runner, get_priority
from mmengine.visualization import Visualizer
from mmseg.registry import EVALUATOR, HOOKS, LOG_PROCESSORS, METRICS, PARAM_SCHEDULERS, VISUALIZERS
from torch import nn
from torch.utils.data import Dataset

from .building import build_part, check_group, explained
from .errors import PreflightError
from .kinds import classes_of


class _StandIn(Dataset):
    """Has a length, which is all that loaders and samplers ask of a dataset when they are built."""

    metainfo: dict = {}

    def __len__(self) -> int:
        return 100


def check_loader(loader: Mapping, key: str) -> None:
    """Build sampler, batch sampler and loader around a stand-in for the dataset.

    Raises:
        PreflightError: one of them can't be built.
    """
    for part in ('dataset', 'sampler'):
        if part not in loader:
            raise PreflightError(f'config key {key}.{part} is missing')
    settings = {**loader, 'dataset': _StandIn()}
    explained(lambda: Runner.build_dataloader(settings, seed=0), loader, key)


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
    schedulers = cfg.get('param_scheduler') or []
    if 'optimizer' not in settings or not isinstance(schedulers, (Mapping, list, tuple)):
        return  # several optimizers
    is_one = isinstance(schedulers, Mapping)
    for i, scheduler in enumerate([schedulers] if is_one else schedulers):
        key = 'param_scheduler' if is_one else f'param_scheduler.{i}'
        check_group(scheduler, key)
        train_cfg = cfg.get('train_cfg') or {}
        end = train_cfg.get('max_epochs' if scheduler.get('by_epoch', True) else 'max_iters') or 1
        build_part(PARAM_SCHEDULERS, {'end': end, **scheduler}, key, optimizer=optim_wrapper, epoch_length=100)


def check_hooks(cfg: Config) -> None:
    """Build the hooks of a config.

    Raises:
        PreflightError: one can't be built.
    """
    try:
        Visualizer.get_current_instance()
    except RuntimeError:  # there is none yet, which hooks that draw ask for
        Visualizer.get_instance('preflight')
    for key, hook in _hooks(cfg):
        hook = dict(hook)
        priority = hook.pop('priority', 'NORMAL')
        explained(lambda priority=priority: get_priority(priority), {}, f'{key}.priority')
        build_part(HOOKS, hook, key)


def _hooks(cfg: Config) -> Iterator[tuple[str, Mapping]]:
    for name, hook in (cfg.get('default_hooks') or {}).items():
        if hook is not None:
            yield f'default_hooks.{name}', check_group(hook, f'default_hooks.{name}')
    for i, hook in enumerate(cfg.get('custom_hooks') or []):
        yield f'custom_hooks.{i}', check_group(hook, f'custom_hooks.{i}')


def check_evaluator(evaluator: object, key: str) -> None:
    """Build the metrics of an evaluator, without the folder that they write to.

    Raises:
        PreflightError: one can't be built.
    """
    if isinstance(evaluator, Mapping) and 'metrics' in evaluator:
        build_part(EVALUATOR, {'type': 'Evaluator', **evaluator}, key)
        return
    is_list = isinstance(evaluator, (list, tuple))
    for i, metric in enumerate(evaluator if is_list else [evaluator]):
        place = f'{key}.{i}' if is_list else key
        settings = dict(check_group(metric, place))
        if settings.get('output_dir'):
            settings['output_dir'] = tempfile.gettempdir()
        build_part(METRICS, settings, place)


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
