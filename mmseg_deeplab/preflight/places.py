"""Checks of where a run starts from and writes to: checkpoints, folders, disk space, the launcher's environment."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from mmengine.config import Config
from torch import nn

from ..checkpoints.load import load_file
from ..checkpoints.work_dir import VALIDATED, named_checkpoint
from .errors import FinishedError, PreflightError
from .kinds import groups, name_of

LAUNCHERS = {
    'pytorch': (
        ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT'),
        'torchrun --nproc_per_node=N tools/{tool}.py CONFIG ... --launcher pytorch, or tools/dist_{tool}.sh',
    ),
    'slurm': (
        ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_NODELIST'),
        'srun python tools/{tool}.py CONFIG ... --launcher slurm',
    ),
    'mpi': (
        ('OMPI_COMM_WORLD_LOCAL_RANK', 'OMPI_COMM_WORLD_SIZE', 'OMPI_COMM_WORLD_RANK', 'MASTER_ADDR'),
        'mpirun -np N -x MASTER_ADDR=HOST python tools/{tool}.py CONFIG ... --launcher mpi',
    ),
}
# The option that sets a folder, where one does.
OPTIONS = {'work_dir': '--work-dir', 'PanelHook': '--show-dir', 'ReportHook': '--report', 'output_dir': '--out'}
# Copies of the weights that an optimizer's state holds.
STATE_COPIES = {'SGD': 1, 'Adam': 2, 'AdamW': 2, 'RMSprop': 1}


def check_launcher(cfg: Config, mode: str) -> None:
    """Raise PreflightError if a launcher is named that did not start this process."""
    launcher = cfg.get('launcher') or 'none'
    if launcher not in ('none', *LAUNCHERS):
        raise PreflightError(f'launcher is {launcher!r}: choose one of none, {", ".join(LAUNCHERS)}')
    if launcher == 'none':
        return
    names, command = LAUNCHERS[launcher]
    missing = [name for name in names if name not in os.environ]
    if missing:
        raise PreflightError(
            f'--launcher {launcher}: this process was not started by it (the environment has no {", ".join(missing)}). '
            f'Start with: {command.format(tool=mode)}; for a single process leave --launcher out'
        )
    for name in names:
        if name not in ('MASTER_ADDR', 'SLURM_NODELIST') and not os.environ[name].isdigit():
            raise PreflightError(f'--launcher {launcher}: {name}={os.environ[name]!r} in the environment is no number')


def check_checkpoints(cfg: Config, mode: str) -> None:
    """Raise PreflightError if a file of weights that the run reads does not exist or is something else."""
    check_checkpoint(cfg.get('load_from'), 'load_from')
    if mode == 'train':  # a test loads its checkpoint over whatever the parts were initialised from
        for key, path in _pretrained(cfg.get('model'), 'model'):
            check_checkpoint(path, key)
        if cfg.get('resume'):
            _check_progress(cfg)


def check_checkpoint(path: object, key: str) -> None:
    """Raise PreflightError if `path` can't be a checkpoint; None and addresses pass."""
    if path is None or (isinstance(path, str) and '://' in path):
        return
    if not isinstance(path, (str, Path)):
        raise PreflightError(f'{key} is {path!r}, but it needs the path of a checkpoint')
    file = Path(path)
    if file.is_dir():
        held = sorted(each.name for each in file.iterdir() if each.suffix in ('.pth', '.pt', '.safetensors'))
        inside = f'such as {file / held[-1]}' if held else f'{file} holds none'
        raise PreflightError(f"{key}: checkpoint '{path}' is a folder; name a file in it ({inside})")
    if file.suffix == '.py':
        raise PreflightError(f"{key}: '{path}' is a config, no checkpoint; on the command line CONFIG comes first")
    if not file.is_file():
        raise PreflightError(f"{key}: checkpoint '{path}' does not exist (from {Path.cwd()})")


def _pretrained(value: object, path: str) -> Iterator[tuple[str, object]]:
    for key, group in groups(value, path):
        if name_of(group) in ('Pretrained', 'PretrainedInit'):
            yield f'{key}.checkpoint', group.get('checkpoint')
        elif isinstance(group.get('pretrained'), str):
            yield f'{key}.pretrained', group['pretrained']


def _check_progress(cfg: Config) -> None:
    """Raise FinishedError if the checkpoint that is resumed from stands at or beyond the end of the training.

    One that was killed in its last validation has not finished: the checkpoint of the last step doesn't tell of it.
    """
    path = cfg.get('load_from') or named_checkpoint(Path(cfg.get('work_dir') or '.'), [])
    train_cfg = cfg.get('train_cfg') or {}
    unit, key = ('epoch', 'max_epochs') if train_cfg.get('max_epochs') else ('iter', 'max_iters')
    end = train_cfg.get(key)
    if not isinstance(end, int) or path is None or '://' in str(path) or not Path(path).is_file():
        return
    checkpoint = load_file(path, 'meta')
    meta, hub = (checkpoint.get(part) for part in ('meta', 'message_hub'))
    done = meta.get(unit) if isinstance(meta, Mapping) else None
    info = hub.get('runtime_info') if isinstance(hub, Mapping) else None
    validates = cfg.get('val_cfg') is not None and isinstance(info, Mapping)
    if validates and done == end and info.get(VALIDATED) != checkpoint['meta'].get('iter'):
        return
    if isinstance(done, int) and done >= end:
        raise FinishedError(
            f'{path} has finished {unit} {done} of a training, and train_cfg.{key} is {end}: there is nothing left to '
            f'train. To train longer set train_cfg.{key} above {done}; to train anew from its weights set '
            f'load_from={path} without --resume'
        )


def check_folders(cfg: Config) -> None:
    """Check the folders that the run writes to: the work dir, and those of hooks and metrics.

    Raises:
        PreflightError: one is a file, or nothing can be written there.
    """
    check_folder(cfg.get('work_dir'), 'work_dir', OPTIONS['work_dir'])
    for part in ('default_hooks', 'custom_hooks', 'val_evaluator', 'test_evaluator', 'visualizer'):
        for path, group in groups(cfg.get(part), part):
            for key in ('out_dir', 'output_dir', 'save_dir'):
                option = OPTIONS.get(key) or OPTIONS.get(name_of(group))
                check_folder(group.get(key), f'{path}.{key}', option)


def check_folder(folder: object, key: str, option: str | None) -> None:
    """Raise PreflightError if no file can be written below `folder`; None and addresses pass."""
    if folder is None or '://' in str(folder):
        return
    label = f'{key} ({option})' if option else key
    if not isinstance(folder, (str, Path)) or not str(folder):
        raise PreflightError(f'{label} is {folder!r}, but it needs the path of a folder')
    path = Path(folder)
    there = next(parent for parent in (path.absolute(), *path.absolute().parents) if os.path.lexists(parent))
    if not there.is_dir():
        raise PreflightError(f"{label}: '{folder}' is to be a folder, but {there} is a file: name another")
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b'written')
    except OSError as error:
        raise PreflightError(f"{label}: nothing can be written to '{there}': {error.strerror or error}") from error


def check_space(cfg: Config, model: nn.Module) -> None:
    """Check that two checkpoints fit on the disk of the work dir: the next one is written before the last one goes.

    Raises:
        PreflightError: they do not.
    """
    tensors = [*model.parameters(), *model.buffers()]
    size = sum(each.numel() * each.element_size() for each in tensors)
    trained = sum(each.numel() * each.element_size() for each in model.parameters() if each.requires_grad)
    optimizer = (cfg.get('optim_wrapper') or {}).get('optimizer') or {}
    size += STATE_COPIES.get(name_of(optimizer), 0) * trained
    folder = Path(cfg.get('work_dir') or '.').absolute()
    there = next(parent for parent in (folder, *folder.parents) if parent.is_dir())
    free = shutil.disk_usage(there).free
    if free < 2 * size:
        raise PreflightError(
            f"work_dir: {free / 2**20:.0f} MiB are free in '{there}', but one checkpoint takes about "
            f'{size / 2**20:.0f} MiB, and a new one is written before an old one is removed. Free some, or choose '
            f'another --work-dir'
        )
