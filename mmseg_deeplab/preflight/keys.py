"""Checks of the keys and plain values that the runner itself reads: what it would ignore, or fail over late."""

import inspect
import math
from collections.abc import Callable, Mapping

from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.runner import IterBasedTrainLoop, LogProcessor, Runner, TestLoop, ValLoop
from mmengine.utils.dl_utils import set_multi_processing
from torch.distributed import init_process_group
from torch.utils.data import DataLoader

from .errors import PreflightError, suggestion
from .kinds import classes_of, groups, name_of
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
    **{f'train_cfg.{key}': (int, False) for key in ('max_iters', 'max_epochs', 'val_interval')},
    'auto_scale_lr.base_batch_size': (int, False),
    'default_hooks.checkpoint.interval': (int, False),
    'default_hooks.logger.interval': (int, False),
    'optim_wrapper.accumulative_counts': (int, False),
    'optim_wrapper.optimizer.lr': (float, False),
    'randomness.seed': (int, True),
}
SIZES = ('model.crop_size', 'model.data_preprocessor.size', 'model.data_preprocessor.test_cfg.size')


def check_options(cfg: Config, options: Mapping) -> None:
    """Check that each --cfg-options key begins with one that is read.

    Raises:
        PreflightError: for a variable of the config file, which would change nothing, for an unknown key, and for a
            plain value in place of a dict.
    """
    for key, value in options.items():
        top = key.split('.')[0]
        if top == 'custom_imports' or (top not in READ and top in cfg):
            instead = INSTEAD.get(top, 'the key that the value was copied to')
            raise PreflightError(
                f'--cfg-options {key}: {top} is a variable of the config file, whose value was used when the file was '
                f'read; setting it now changes nothing. Use {instead}'
            )
        if top not in READ:
            raise PreflightError(f'--cfg-options {key}: no key {top!r} is read{suggestion(top, {*READ, *cfg})}')
        old = value_at(cfg, key)
        if isinstance(old, Mapping) and value is not None and not isinstance(value, Mapping):
            raise PreflightError(
                f'--cfg-options {key}={value!r}: {key} is a group of settings. Set them one by one, such as '
                f'{key}.{next(iter(old), "KEY")}=VALUE, or replace the group in a config file'
            )


def value_at(cfg: Config, key: str) -> object:
    """Return the value of a dotted key, or None."""
    value: object = cfg
    for part in key.split('.'):
        if isinstance(value, (list, tuple)) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            value = value.get(part) if isinstance(value, (Mapping, Config)) else None
    return value


def check_keys(cfg: Config) -> None:
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
    clip = value_at(cfg, 'optim_wrapper.clip_grad')
    if clip is not None and not isinstance(clip, Mapping):
        raise PreflightError(f"config key 'optim_wrapper.clip_grad' is {clip!r}, but it needs dict(max_norm={clip!r})")
    for key, (reader, further) in BY_PLACE.items():
        group = value_at(cfg, key)
        if isinstance(group, Mapping):
            _check_place(group, key, reader, further)
    for key in READ & set(cfg):
        for path, group in groups(cfg[key], key):
            _check_typed(group, path)
    _check_numbers(cfg)
    for key in SIZES:
        value = value_at(cfg, key)
        pair = isinstance(value, (list, tuple)) and len(value) == 2 and all(isinstance(side, int) for side in value)
        if value is not None and not pair:
            raise PreflightError(f"config key '{key}' is {value!r}, but it needs (height, width) in pixels")


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
    taken = [parameters(reader) for reader in classes_of(group)]
    for key, value in group.items():
        expected = [wrong_type(names.get(key), value) for names in taken]
        if expected and all(expected):
            raise PreflightError(f"config key '{path}.{key}' is {value!r}, but {name_of(group)} needs {expected[0]}")
        known = key in ('type', '_scope_', '_delete_')
        near = [not known and key not in names and suggestion(str(key), names, cutoff=0.85) for names in taken]
        if near and all(near):
            raise PreflightError(f"config key '{path}.{key}': {name_of(group)} takes no {str(key)!r}{near[0]}")


def _check_numbers(cfg: Config) -> None:
    for key, (kind, zero) in NUMBERS.items():
        value = value_at(cfg, key)
        number = value if isinstance(value, (int, kind)) and not isinstance(value, bool) else math.nan
        if value is not None and not (0 <= number < math.inf and (zero or number)):
            wanted = f'{kind.__name__} {"of 0 or more" if zero else "above 0"}'
            raise PreflightError(f"config key '{key}' is {value!r}, but it needs {wanted}")
