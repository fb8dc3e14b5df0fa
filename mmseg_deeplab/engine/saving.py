"""What is settled before a checkpoint is written: whether it may be, whether the disk has room, what there is."""

import math
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import EMAHook
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import Runner

from ..checkpoints.strict import unwrap
from ..checkpoints.work_dir import named_checkpoint
from ..errors import UserError, UserOSError


def is_between_steps(wrapper: Any) -> bool:
    """Whether gradients are accumulated that the weights do not have yet, and no checkpoint would hold."""
    wrappers = [each for _, each in wrapper.items()] if isinstance(wrapper, OptimWrapperDict) else [wrapper]
    return not all(each.should_update() for each in wrappers)


def go_on_from(runner: Runner) -> str:
    """What to say about the latest checkpoint when a training ends early."""
    path = named_checkpoint(Path(runner.work_dir), [])
    if path is not None and path.is_file():
        return f'the last good checkpoint is {path}, to go on from with --resume'
    return 'there is no checkpoint to go on from yet'


def check_finite(runner: Runner, checkpoint: Mapping[str, Any]) -> None:
    """Refuse to save a training whose weights are broken, which `checkpoints.load_file` would refuse to read.

    Raises:
        UserError: If weights, their average, or the optimizer's state hold NaN or infinity, naming the first.
    """
    parts = {key: checkpoint[key] for key in ('state_dict', 'ema_state_dict', 'optimizer') if key in checkpoint}
    bad = [
        name.removeprefix('state_dict.')
        for name, value in _tensors(parts)
        if value.is_floating_point() and not torch.isfinite(value).all()
    ]
    if bad:
        more = f' and {len(bad) - 1} more' if len(bad) > 1 else ''
        raise UserError(
            f'iteration {checkpoint["meta"]["iter"]}: {bad[0]}{more} hold NaN or infinity and are not saved; '
            f'{go_on_from(runner)}. Likely causes: a learning rate that is too high, or gradients that explode: lower '
            f'optim_wrapper.optimizer.lr, warm up, or set optim_wrapper.clip_grad=dict(max_norm=10)'
        )


def checkpoint_bytes(runner: Runner, with_optimizer: bool = True) -> int:
    """About how large a checkpoint of a training is, at least."""
    size = _bytes(unwrap(runner.model).state_dict())
    if any(isinstance(hook, EMAHook) for hook in runner.hooks):
        size *= 2
    if with_optimizer and isinstance(runner.optim_wrapper, OptimWrapper):
        defaults = runner.optim_wrapper.optimizer.defaults
        moments = len(defaults['betas']) if 'betas' in defaults else bool(defaults.get('momentum'))
        size += moments * _bytes([group['params'] for group in runner.optim_wrapper.optimizer.param_groups])
    return size


def check_space(runner: Runner, folder: str | Path, size: int, files: float) -> None:
    """See to it before the first step that checkpoints fit.

    Args:
        runner: Where to say that not all will fit.
        folder: Where they go.
        size: Bytes of one.
        files: How many there will be at once that are not there yet.

    Raises:
        UserOSError: If there is no room for one.
    """
    folder = Path(folder)
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    remedy = 'make room, or choose another --work-dir'
    if free < size:
        raise UserOSError(
            f'{folder} has {_mib(free)} free, but a checkpoint of this training takes about {_mib(size)}: {remedy}'
        )
    if math.isfinite(files) and free < files * size:
        runner.logger.warning(
            f'{folder} has {_mib(free)} free, but {files:.0f} checkpoints of about {_mib(size)} each are to be kept '
            f'there: {remedy}, or keep fewer (default_hooks.checkpoint.max_keep_ckpts)'
        )


def _tensors(value: Any, name: str = '') -> Iterator[tuple[str, torch.Tensor]]:
    """All tensors in nested dicts and lists, with their keys joined by dots."""
    if isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, Mapping | list | tuple):
        for key, child in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _tensors(child, f'{name}.{key}' if name else str(key))


def _bytes(tensors: Any) -> int:
    return sum(tensor.numel() * tensor.element_size() for _, tensor in _tensors(tensors))


def _mib(size: int) -> str:
    return f'{size / 2**20:.1f} MiB'
