"""Checks of the keys and plain values that the runner itself reads: what it would ignore, or fail over late."""

import importlib.util
import inspect
import math
import multiprocessing
from collections.abc import Callable, Mapping
from typing import Any

from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.runner import IterBasedTrainLoop, LogProcessor, Runner, TestLoop, ValLoop
from mmengine.utils.dl_utils import set_multi_processing
from mmseg.registry import RUNNERS
from torch.distributed import init_process_group
from torch.utils.data import DataLoader

from .errors import PreflightError, suggestion
from .kinds import OURS, classes_of, groups, name_of, registered_names
from .signatures import parameters, wrong_type

# Top-level keys that the runner, or a tool, reads. Any other one is a variable of the config file.
READ = {name for name in inspect.signature(Runner.__init__).parameters if name not in ('self', 'cfg')} | {
    *('activation_checkpointing', 'compile', 'custom_imports', 'efficient_conv_bn_eval', 'find_unused_parameters'),
    *('model_wrapper_cfg', 'runner_type', 'strategy', 'sync_bn', 'tta_model', 'tta_pipeline'),
}
# Variables of the base files: setting them does not reach what was computed from them.
INSTEAD = {
    'crop_size': 'model.crop_size and the crop_size in train_dataloader.dataset.pipeline',
    'custom_imports': 'the config file itself: imports run before the options are read',
    'data_root': '--data-root DIR',
    'norm_cfg': 'model.norm_cfg',
    'num_classes': 'model.num_classes',
    'test_pipeline': 'test_dataloader.dataset.pipeline and val_dataloader.dataset.pipeline',
    'train_pipeline': 'train_dataloader.dataset.pipeline',
}
HOOK_NAMES = ('runtime_info', 'timer', 'logger', 'param_scheduler', 'checkpoint', 'sampler_seed', 'visualization')
# What mmengine.dist.init_dist and the back ends of its `init_backend` take besides PyTorch's own arguments.
DIST_CFG = {
    *('init_backend', 'port', 'auto_mpi_discovery', 'config', 'dist_init_required', 'distributed_port', 'local_rank'),
    *('seed', 'verbose'),
}
# The type of clip_grad is 'norm' or 'value', no registered name.
CLIP_GRAD = {'type', 'max_norm', 'norm_type', 'error_if_nonfinite', 'foreach', 'clip_value'}
# Groups whose place says what reads them: a class or function, where the group has no type, and further keys.
BY_PLACE: dict[str, tuple[Callable | None, set[str]]] = {
    **{f'{split}_dataloader': (DataLoader, {'num_batch_per_epoch'}) for split in ('train', 'val', 'test')},
    'train_cfg': (IterBasedTrainLoop, {'by_epoch', 'max_epochs'}),
    'val_cfg': (ValLoop, set()),
    'test_cfg': (TestLoop, set()),
    'optim_wrapper': (OptimWrapper, {'constructor', 'paramwise_cfg'}),
    'optim_wrapper.clip_grad': (None, CLIP_GRAD),
    'log_processor': (LogProcessor, set()),
    'randomness': (Runner.set_randomness, set()),
    'env_cfg': (None, {'cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'}),
    'env_cfg.mp_cfg': (set_multi_processing, set()),
    'env_cfg.dist_cfg': (init_process_group, DIST_CFG),
    'auto_scale_lr': (None, {'enable', 'base_batch_size'}),
}
# Numbers that the stack takes as they are and fails over late, or never: their type, and whether 0 is one of them.
NUMBERS: dict[str, tuple[type[float], bool]] = {
    **{f'{split}_dataloader.batch_size': (int, False) for split in ('train', 'val', 'test')},
    **{f'{split}_dataloader.num_workers': (int, True) for split in ('train', 'val', 'test')},
    **{f'{split}_dataloader.prefetch_factor': (int, False) for split in ('train', 'val', 'test')},
    **{f'{split}_dataloader.num_batch_per_epoch': (int, False) for split in ('train', 'val', 'test')},
    **{f'train_cfg.{key}': (int, False) for key in ('max_iters', 'max_epochs', 'val_interval')},
    'auto_scale_lr.base_batch_size': (int, False),
    'default_hooks.checkpoint.interval': (int, False),
    'default_hooks.logger.interval': (int, False),
    'optim_wrapper.accumulative_counts': (int, False),
    'optim_wrapper.clip_grad.max_norm': (float, False),
    'optim_wrapper.optimizer.weight_decay': (float, True),
    'optim_wrapper.optimizer.lr': (float, False),
    'randomness.seed': (int, True),
    'env_cfg.mp_cfg.opencv_num_threads': (int, True),
    'env_cfg.resource_limit': (int, False),
    'log_processor.window_size': (int, False),
    'log_processor.num_digits': (int, True),
}
NEVER_NONE = ('batch_size', 'num_workers', 'max_iters', 'val_interval', 'lr')
NOT_NONE = ('randomness', 'env_cfg', 'env_cfg.mp_cfg')
MAY_BE_ENDLESS = ('optim_wrapper.clip_grad.max_norm',)
SIZES = ('model.crop_size', 'model.data_preprocessor.size', 'model.data_preprocessor.test_cfg.size')


def value_at(cfg: Config, key: str) -> Any:
    """Return the value of a dotted key, or None."""
    value: Any = cfg
    for part in key.split('.'):
        if isinstance(value, (list, tuple)) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            value = value.get(part) if isinstance(value, (Mapping, Config)) else None
    return value


def check_keys(cfg: Config, mode: str = 'train') -> None:
    """Check the keys that the runner reads itself, and the types of plain values at any depth.

    Raises:
        PreflightError: for a key that nothing reads, and a value that can't be meant.
    """
    for key in cfg:
        # A file may have variables of its own; one that nearly has the name of a key was hardly meant as such.
        near = suggestion(key, READ - set(cfg), cutoff=0.85)
        if near and key not in READ and key not in INSTEAD:
            raise PreflightError(f'config key {key!r} is read by nothing{near}')
    for name in cfg.get('default_hooks') or {}:
        near = suggestion(name, HOOK_NAMES, cutoff=0.85)
        if name not in HOOK_NAMES and near:
            raise PreflightError(f'default_hooks.{name} adds a hook beside the default one{near}')
    check_custom_hooks(cfg)
    _check_complete(cfg, mode)
    clip = value_at(cfg, 'optim_wrapper.clip_grad')
    if clip is not None and not isinstance(clip, Mapping):
        raise PreflightError(f"config key 'optim_wrapper.clip_grad' is {clip!r}, but it needs dict(max_norm={clip!r})")
    for key, (reader, further) in BY_PLACE.items():
        group = value_at(cfg, key)
        if isinstance(group, Mapping):
            _check_place(group, key, reader, further)
        elif group is not None or (group is None and key in NOT_NONE and _is_stated(cfg, key)):
            raise PreflightError(f'config key {key} is {group!r}, but it needs a group of settings, dict(...)')
    _check_numbers(cfg)
    _check_choices(cfg)
    for key in READ & set(cfg):
        for path, group in groups(cfg[key], key):
            _check_typed(group, path)
    for key in SIZES:
        value = value_at(cfg, key)
        if value is not None and not is_size(value):
            raise PreflightError(f"config key '{key}' is {value!r}, but it needs (height, width) in pixels")


def _check_complete(cfg: Config, mode: str) -> None:
    """Check that the groups are there that the run, or a part of it, can't do without."""
    needed = {
        'train': ('train_dataloader', 'train_cfg', 'optim_wrapper'),
        'val': ('val_dataloader', 'val_cfg', 'val_evaluator'),
        'test': ('test_dataloader', 'test_cfg', 'test_evaluator'),
    }
    for part, keys in needed.items():
        there = [key for key in keys if cfg.get(key) is not None]
        missing = [key for key in keys if not cfg.get(key) and not (key in there and key.endswith('_cfg'))]
        if missing and part == mode:
            raise PreflightError(f'{mode}ing needs a {missing[0]}')
        if part != 'train' and there and missing:
            raise PreflightError(
                f'config key {missing[0]} is missing beside {there[0]}: set it, or set {", ".join(there)} to None'
            )


def check_custom_hooks(cfg: Config) -> None:
    """Raise PreflightError if `custom_hooks` is no list, as --cfg-options make of what is not there or empty."""
    hooks = cfg.get('custom_hooks')
    if not isinstance(hooks or [], (list, tuple)):
        raise PreflightError(
            f'config key custom_hooks is {hooks!r}; it must be a list of hooks: add custom_hooks = '
            "[dict(type='EMAHook')] or the like to the config file. (--cfg-options custom_hooks.0.KEY=VALUE changes a "
            'hook that is in the list; this config has no custom_hooks to change)'
        )


def check_names(names: set, taken: set, path: str, owner: str) -> None:
    """Raise PreflightError for the first of the keys `names` at `path` that is not one of `taken`."""
    for name in sorted(names - taken, key=str):
        near = suggestion(str(name), taken)
        raise PreflightError(
            f"config key '{path}.{name}': {owner} takes no {str(name)!r}{near} (it takes: {', '.join(sorted(taken))})"
        )


def _check_place(group: Mapping, path: str, reader: Callable | None, further: set[str]) -> None:
    keys = {key for key in group if key not in ('type', '_scope_', '_delete_')}
    readers = classes_of(group) if 'type' in group and reader else [reader]
    taken = [further | set(parameters(each) if each else ()) for each in readers]
    # One name may stand in several registries: the one that takes all keys is meant.
    if taken and not any(keys <= names for names in taken):
        owner = path.rpartition('.')[2] if readers[0] is None else readers[0].__name__
        check_names(keys, taken[0], path, owner)


def _check_typed(group: Mapping, path: str) -> None:
    """Check what building a group may not tell: a text for a number, and a slip in a name that **kwargs would take."""
    if '_delete_' in group:
        raise PreflightError(
            f"config key '{path}._delete_': it replaces what a base file says, but no base says anything of {path}: "
            f'leave _delete_ out'
        )
    readers = classes_of(group)
    kind = group.get('type')
    known = not isinstance(kind, str) or kind.rpartition('.')[0] not in OURS or readers
    if not known and path != 'optim_wrapper.clip_grad':
        near = suggestion(str(kind), registered_names())
        raise PreflightError(f"config key '{path}.type': nothing is registered as {kind!r}{near}")
    taken = [parameters(reader) for reader in readers]
    for key, value in group.items():
        if value != value and isinstance(value, float):
            raise PreflightError(f"config key '{path}.{key}' is nan, but it needs a number")
        expected = [wrong_type(names.get(key), value) for names in taken]
        if expected and all(expected):
            raise PreflightError(f"config key '{path}.{key}' is {value!r}, but {name_of(group)} needs {expected[0]}")
        known = key in ('type', '_scope_', '_delete_')
        near = [not known and key not in names and suggestion(str(key), names, cutoff=0.85) for names in taken]
        if near and all(near):
            raise PreflightError(f"config key '{path}.{key}': {name_of(group)} takes no {str(key)!r}{near[0]}")


def _check_choices(cfg: Config) -> None:
    scope = cfg.get('default_scope', 'mmseg')
    if not isinstance(scope, str) or importlib.util.find_spec(scope) is None:
        raise PreflightError(f"config key default_scope is {scope!r}, but it needs the name of a package, 'mmseg' here")
    runner = cfg.get('runner_type', 'Runner')
    if not (inspect.isclass(runner) or (isinstance(runner, str) and RUNNERS.get(runner))):
        near = suggestion(str(runner), RUNNERS.module_dict)
        raise PreflightError(f"config key 'runner_type': nothing is registered as {runner!r}{near}")
    runner_class = runner if inspect.isclass(runner) else RUNNERS.get(runner)
    if cfg.get('strategy') and 'strategy' not in inspect.signature(runner_class.__init__).parameters:
        raise PreflightError(
            f"config key 'strategy' is read by runner_type='FlexibleRunner' only, and {runner} would ignore it: every "
            'process would hold the whole model. Leave it out'
        )
    level = cfg.get('log_level', 'INFO')
    names = ('DEBUG', 'INFO', 'WARNING', 'ERROR', 'CRITICAL')
    if not (level in names or (isinstance(level, int) and not isinstance(level, bool))):
        raise PreflightError(f'config key log_level is {level!r}: choose one of {", ".join(names)}')
    seed = value_at(cfg, 'randomness.seed')
    if seed is not None and seed >= 2**32:
        raise PreflightError(f'config key randomness.seed is {seed}, but it must be below 2**32, as NumPy has it')
    method, methods = value_at(cfg, 'env_cfg.mp_cfg.mp_start_method'), multiprocessing.get_all_start_methods()
    if method is not None and method not in methods:
        raise PreflightError(
            f"config key 'env_cfg.mp_cfg.mp_start_method' is {method!r}: choose one of {', '.join(methods)}"
        )
    intervals = value_at(cfg, 'train_cfg.dynamic_intervals')
    if intervals is not None and not (isinstance(intervals, list) and all(map(is_size, intervals))):
        raise PreflightError(
            f"config key 'train_cfg.dynamic_intervals' is {intervals!r}, but it needs a list of (begin, interval)"
        )


def _is_stated(cfg: Config, key: str) -> bool:
    """Whether a config says anything of a key, be it None."""
    group, _, name = key.rpartition('.')
    return name in ((value_at(cfg, group) or {}) if group else cfg)


def is_size(value: object) -> bool:
    """Whether a value is (height, width) in pixels."""
    return isinstance(value, (list, tuple)) and len(value) == 2 and all(isinstance(n, int) and n > 0 for n in value)


def _check_numbers(cfg: Config) -> None:
    for key, (kind, zero) in NUMBERS.items():
        value = value_at(cfg, key)
        number = value if isinstance(value, (int, kind)) and not isinstance(value, bool) else math.nan
        absent = value is None and not (key.rpartition('.')[2] in NEVER_NONE and _is_stated(cfg, key))
        if key in MAY_BE_ENDLESS and value == math.inf:
            continue
        if not absent and not (0 <= number < math.inf and (zero or number)):
            wanted = f'{kind.__name__} {"of 0 or more" if zero else "above 0"}'
            raise PreflightError(f"config key '{key}' is {value!r}, but it needs {wanted}")
