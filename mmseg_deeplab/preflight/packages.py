"""Optional packages of others that a setting needs, before something deep inside of the stack misses them."""

import importlib.util
from collections.abc import Mapping

from mmengine.config import Config

from .errors import PreflightError
from .kinds import classes_of, groups, name_of

# type: package, and how it is installed. Most of these import it when they are built or write first.
TYPES = {
    'TensorboardVisBackend': ('tensorboard', 'tensorboard'),
    'WandbVisBackend': ('wandb', 'wandb'),
    'MLflowVisBackend': ('mlflow', 'mlflow'),
    'ClearMLVisBackend': ('clearml', 'clearml'),
    'NeptuneVisBackend': ('neptune', 'neptune'),
    'DVCLiveVisBackend': ('dvclive', 'dvclive'),
    'AimVisBackend': ('aim', 'aim'),
    'Albu': ('albumentations', "'mmseg_deeplab[albumentations]'"),
    'TIMMBackbone': ('timm', 'timm'),
    'TimmEncoder': ('timm', "'mmseg_deeplab[timm]'"),
    'CityscapesMetric': ('cityscapesscripts', 'cityscapesscripts'),
}
# Optimizers that MMEngine registers only where their package is installed.
OPTIMIZERS = {
    'Lion': ('lion_pytorch', 'lion-pytorch'),
    **{f'DAdapt{name}': ('dadaptation', 'dadaptation') for name in ('AdaGrad', 'Adam', 'SGD')},
    **{f'{name}8bit': ('bitsandbytes', 'bitsandbytes') for name in ('Adam', 'AdamW', 'LAMB', 'LARS', 'Lion', 'SGD')},
}
# Value of a setting: likewise.
VALUES = {
    ('imdecode_backend', 'tifffile'): ('tifffile', 'tifffile'),
    ('imdecode_backend', 'turbojpeg'): ('turbojpeg', 'PyTurboJPEG'),
    ('decode_backend', 'nifti'): ('nibabel', 'nibabel'),
    ('backend', 'lmdb'): ('lmdb', 'lmdb'),
}


def check_packages(cfg: Config, mode: str) -> None:
    """Check that each package is installed that a setting of this training ('train') or test ('test') needs.

    Raises:
        PreflightError: one is not; says which setting needs it and how it is installed.
    """
    keys = ['model', 'default_hooks', 'custom_hooks', 'visualizer']
    for split in ('train', 'val') if mode == 'train' else ('test',):
        keys += [f'{split}_dataloader', f'{split}_evaluator']
    if mode == 'train':
        keys.append('optim_wrapper')
    for key in keys:
        for path, group in groups(cfg.get(key), key):
            for package, install in _needed(group):
                if importlib.util.find_spec(package) is None:
                    kind = f' ({name_of(group)})' if 'type' in group else ''
                    raise PreflightError(
                        f'config key {path}{kind} needs the package {package}, which is not installed: '
                        f'pip install {install}, or do without'
                    )


def _needed(group: Mapping) -> list[tuple[str, str]]:
    """Packages and how they are installed."""
    kind = group.get('type')
    needed = [package for (key, value), package in VALUES.items() if group.get(key) == value]
    if kind is None:
        return needed
    name = name_of(group)
    if name in TYPES:
        needed.append(TYPES[name])
    if name in OPTIMIZERS and not classes_of(group):
        needed.append(OPTIMIZERS[name])
    # 'mmpretrain.ConvNeXt' is looked for in the registries of the package mmpretrain.
    scope = kind.partition('.')[0] if isinstance(kind, str) and '.' in kind else group.get('_scope_', 'mmseg')
    if isinstance(scope, str) and scope.startswith('mm') and scope.isidentifier():
        needed.append((scope, scope))
    return needed
