"""Checks of a config's keys and types: what the stack would ignore silently or fail over late."""

import functools
import inspect
from collections.abc import Iterator, Mapping

import mmengine.registry
import mmseg.registry
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import Registry
from mmengine.runner import IterBasedTrainLoop, LogProcessor, Runner, TestLoop, ValLoop
from mmengine.utils.dl_utils import set_multi_processing
from mmseg.models import SegDataPreProcessor
from mmseg.models.segmentors import EncoderDecoder
from torch import nn
from torch.distributed import init_process_group
from torch.nn.modules.batchnorm import _NormBase
from torch.utils.data import DataLoader

from .errors import PreflightError, suggestion
from .signatures import Accepted, accepted, wrong_type

# Top-level keys that the runner, or a tool, reads. Any other one is a variable of the config file.
READ = {name for name in inspect.signature(Runner.__init__).parameters if name not in ('self', 'cfg')} | {
    *('activation_checkpointing', 'compile', 'custom_imports', 'efficient_conv_bn_eval', 'find_unused_parameters'),
    *('model_wrapper_cfg', 'runner_type', 'strategy', 'sync_bn', 'tta_model', 'tta_pipeline'),
}
# Variables of the base files: setting them does not reach what was computed from them.
INSTEAD = {
    'crop_size': 'model.data_preprocessor.size and the crop_size in train_dataloader.dataset.pipeline',
    'custom_imports': 'the config file itself: imports run before the options are read',
    'data_root': '--data-root DIR',
    'norm_cfg': 'model.norm_cfg',
    'num_classes': 'model.decode_head.num_classes',
    'test_pipeline': 'test_dataloader.dataset.pipeline and val_dataloader.dataset.pipeline',
    'train_pipeline': 'train_dataloader.dataset.pipeline',
}
HOOK_NAMES = ('runtime_info', 'timer', 'logger', 'param_scheduler', 'checkpoint', 'sampler_seed', 'visualization')
# What builders take out of a dict before they call the class.
TAKEN_BY_BUILDER = {
    'hook': {'priority'},
    'parameter scheduler': {'convert_to_iter_based'},
    'optim_wrapper': {'constructor', 'paramwise_cfg'},
}
# What mmengine.dist.init_dist and the back ends of its `init_backend` take besides PyTorch's own arguments.
DIST_CFG = {
    *('init_backend', 'port', 'auto_mpi_discovery', 'config', 'dist_init_required', 'distributed_port', 'local_rank'),
    *('seed', 'verbose'),
}
# Dicts whose place, not a type, says what reads them.
BY_PLACE = {
    **{f'{split}_dataloader': (DataLoader, {'num_batch_per_epoch'}) for split in ('train', 'val', 'test')},
    'train_cfg': (IterBasedTrainLoop, {'by_epoch', 'max_epochs'}),
    'val_cfg': (ValLoop, set()),
    'test_cfg': (TestLoop, set()),
    'optim_wrapper': (OptimWrapper, TAKEN_BY_BUILDER['optim_wrapper']),
    'log_processor': (LogProcessor, set()),
    'randomness': (Runner.set_randomness, set()),
    'env_cfg': ('env_cfg', {'cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'}),
    'env_cfg.mp_cfg': (set_multi_processing, set()),
    'env_cfg.dist_cfg': (init_process_group, DIST_CFG),
    'auto_scale_lr': ('auto_scale_lr', {'enable', 'base_batch_size'}),
}
# Numbers that the stack takes as they are and fails over late, or never: their type, and whether 0 is one of them.
NUMBERS = {
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
SIZES = ('model.data_preprocessor.size', 'model.data_preprocessor.test_cfg.size')
# Dicts that are read alike wherever they stand. The type of clip_grad is 'norm' or 'value', no registered name.
BY_NAME = {
    'data_prefix': {'img_path', 'img_path2', 'seg_map_path', 'depth_map_path'},
    'clip_grad': {'type', 'max_norm', 'norm_type', 'error_if_nonfinite', 'foreach', 'clip_value'},
}
# Dicts that a class reads itself, by its argument. train_cfg goes to the heads; the old name `sampler` to none.
READ_BY = [
    (SegDataPreProcessor, 'test_cfg', {'size', 'size_divisor'}),
    (EncoderDecoder, 'train_cfg', {'num_points', 'oversample_ratio', 'importance_sample_ratio', 'sampler'}),
    (
        EncoderDecoder,
        'test_cfg',
        {'mode', 'stride', 'crop_size', 'subdivision_steps', 'subdivision_num_points', 'scale_factor'},
    ),
]
REGISTRIES = list(
    {
        id(registry): registry
        for module in (mmseg.registry, mmengine.registry)
        for registry in vars(module).values()
        if isinstance(registry, Registry)
    }.values()
)


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
        if isinstance(_at(cfg, key), Mapping) and value is not None and not isinstance(value, Mapping):
            raise PreflightError(
                f'--cfg-options {key}={value!r}: {key} is a group of settings. Set them one by one, such as '
                f'{key}.{next(iter(_at(cfg, key)), "KEY")}=VALUE, or replace the group in a config file'
            )


def _at(cfg: Config, key: str) -> object:
    """The value of a dotted key, or None."""
    value: object = cfg
    for part in key.split('.'):
        if isinstance(value, (list, tuple)) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            value = value.get(part) if isinstance(value, (Mapping, Config)) else None
    return value


def check_keys(cfg: Config) -> None:
    """Check every key that the runner reads, at any depth, and the types of plain values.

    Raises:
        PreflightError: for a key or a registered type that does not exist, and a value that can't be meant.
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
    if not isinstance(cfg.get('custom_hooks') or [], (list, tuple)):
        raise PreflightError(
            f'config key custom_hooks is {cfg.custom_hooks!r}; it must be a list of hooks, such as '
            "[dict(type='DenseCRFHook')]. (--cfg-options custom_hooks.0.KEY=VALUE changes a hook that is in the list)"
        )
    for key in READ & set(cfg):
        _check(cfg[key], key)
    for key, (kind, zero) in NUMBERS.items():
        value = _at(cfg, key)
        right = isinstance(value, (int, kind)) and not isinstance(value, bool) and (value > 0 or (zero and value == 0))
        if value is not None and not right:
            wanted = f'{kind.__name__} {"of 0 or more" if zero else "above 0"}'
            raise PreflightError(f"config key '{key}' is {value!r}, but it needs {wanted}")
    for key in SIZES:
        value = _at(cfg, key)
        pair = isinstance(value, (list, tuple)) and len(value) == 2 and all(isinstance(side, int) for side in value)
        if value is not None and not pair:
            raise PreflightError(f"config key '{key}' is {value!r}, but it needs (height, width) in pixels")
    clip = _at(cfg, 'optim_wrapper.clip_grad')
    if clip is not None and not isinstance(clip, Mapping):
        raise PreflightError(f"config key 'optim_wrapper.clip_grad' is {clip!r}, but it needs dict(max_norm={clip!r})")


def _check(value: object, path: str) -> None:
    if isinstance(value, Mapping):
        _check_dict(value, path)
        for key, child in value.items():
            if not (key == 'transforms' and value.get('type') == 'Albu'):  # types of another library
                _check(child, f'{path}.{key}')
    elif isinstance(value, (list, tuple)):
        for i, child in enumerate(value):
            _check(child, f'{path}.{i}')


def _check_dict(value: Mapping, path: str) -> None:
    keys = {key for key in value if key not in ('type', '_scope_', '_delete_')}
    name = path.rpartition('.')[2]
    if path in BY_PLACE and 'type' not in value:
        targets = [BY_PLACE[path]]
    elif name in BY_NAME:
        targets = [(name, BY_NAME[name])]
    elif 'type' in value:
        targets = list(_targets(value['type'], path))
    else:
        return
    # One name may stand in several registries: the first one that takes all keys is meant.
    problems = [_problem(keys, value, path, *target) for target in targets]
    if problems and None not in problems:
        raise PreflightError(problems[0])
    for reader, argument, takes in READ_BY:
        group = value.get(argument)
        if isinstance(group, Mapping) and any(
            inspect.isclass(owner) and issubclass(owner, reader) for owner, _ in targets
        ):
            problem = _problem(set(group), group, f'{path}.{argument}', argument, takes)
            if problem:
                raise PreflightError(problem)


def _problem(keys: set, value: Mapping, path: str, owner: object, extra: set) -> str | None:
    """Return what is wrong with a dict for a class, a function or (owner a text) just the keys `extra`, or None."""
    takes = accepted(owner) if callable(owner) else Accepted()
    names = dict.fromkeys(extra) | takes.names
    label = owner if isinstance(owner, str) else owner.__name__
    for key in sorted(keys - set(names), key=str):
        near = suggestion(str(key), names, cutoff=0.85 if takes.open else 0.6)
        if near or not takes.open:
            known = '' if takes.open else f' (it takes: {", ".join(sorted(names))})'
            return f"config key '{path}.{key}': {label} takes no {str(key)!r}{near}{known}"
    for key in keys & set(names):
        if expected := wrong_type(names[key], value[key]):
            return f"config key '{path}.{key}' is {value[key]!r}, but {label} needs {expected}"
    return None


def _targets(kind: object, path: str) -> Iterator[tuple[object, set]]:
    """Yield the registered classes of a name, each with the keys that its builder takes away."""
    if not isinstance(kind, str):
        yield kind, _taken('', kind)
        return
    scope, _, name = kind.rpartition('.')
    if scope not in ('', 'mmseg', 'mmengine', 'mmcv'):
        return  # another package's business
    try:
        yield from _registered(name)
    except KeyError:
        names = {name for registry in REGISTRIES for name in registry.module_dict}
        raise PreflightError(
            f"config key '{path}.type': nothing is registered as {kind!r}{suggestion(kind, names)}"
        ) from None


@functools.cache  # a look-up tries imports; a KeyError is not kept, as the name may be registered later
def _registered(name: str) -> list[tuple[object, set]]:
    found = [(registry.name, registry.get(name)) for registry in REGISTRIES]
    found = [(target, _taken(registry, target)) for registry, target in found if target is not None]
    if not found:
        raise KeyError(name)
    return found


def _taken(registry: str, target: object) -> set:
    if inspect.isclass(target) and issubclass(target, (_NormBase, nn.GroupNorm, nn.LayerNorm)):
        return {'requires_grad'}
    return TAKEN_BY_BUILDER.get(registry, set())
