"""Optional packages that are missing: one sentence that names the setting, the package and the command."""

import importlib.util

import pytest
from mmengine.config import ConfigDict
from preflight_helpers import problem

from mmseg_deeplab.crf import DenseCRF
from mmseg_deeplab.preflight import packages
from mmseg_deeplab.preflight.packages import OPTIMIZERS, TYPES, VALUES, check_packages


@pytest.fixture
def absent(monkeypatch):
    """absent(name): the package is not installed, whether it is or not."""
    find_spec = importlib.util.find_spec

    def absent(name):
        monkeypatch.setattr(
            importlib.util, 'find_spec', lambda each, *rest: None if each == name else find_spec(each, *rest)
        )

    return absent


def needs(message: str, key: str, package: str, install: str) -> bool:
    return message == (
        f'config key {key} needs the package {package}, which is not installed: pip install {install}, or do without'
    )


@pytest.mark.parametrize('name', TYPES)
def test_types(cfg, absent, name):
    package, install = TYPES[name]
    absent(package)
    part = ConfigDict(type=name)
    if name.endswith('VisBackend'):
        cfg.visualizer.vis_backends, key = [ConfigDict(type='LocalVisBackend'), part], 'visualizer.vis_backends.1'
    elif name == 'Albu':
        cfg.train_dataloader.dataset.pipeline.insert(2, part)
        key = 'train_dataloader.dataset.pipeline.2'
    elif name == 'TIMMBackbone':
        part.type = 'mmseg.TIMMBackbone'
        cfg.model.backbone, key = part, 'model.backbone'
    else:
        cfg.val_evaluator, key = part, 'val_evaluator'
    assert needs(problem(cfg), f'{key} ({name})', package, install)


@pytest.mark.parametrize('name', OPTIMIZERS)
def test_optimizers(cfg, absent, monkeypatch, name):
    package, install = OPTIMIZERS[name]
    absent(package)
    monkeypatch.setattr(packages, 'classes_of', lambda group: [])  # which they then are not
    cfg.optim_wrapper.optimizer = ConfigDict(type=name, lr=1e-4)
    assert needs(problem(cfg), f'optim_wrapper.optimizer ({name})', package, install)
    check_packages(cfg, 'test')  # needs no optimizer


@pytest.mark.parametrize('setting', VALUES, ids='-'.join)
def test_values(cfg, absent, setting):
    (name, value), (package, install) = setting, VALUES[setting]
    absent(package)
    load = cfg.train_dataloader.dataset.pipeline[0]
    key = 'train_dataloader.dataset.pipeline.0'
    if name == 'backend':
        load.backend_args, key = ConfigDict(backend=value), f'{key}.backend_args'
    else:
        load[name], key = value, f'{key} ({load.type})'
    assert needs(problem(cfg), key, package, install)


@pytest.mark.parametrize('part', [dict(type='mmpretrain.ConvNeXt'), dict(type='ConvNeXt', _scope_='mmpretrain')])
def test_another_package_of_openmmlab(cfg, absent, part):
    absent('mmpretrain')
    cfg.model.backbone = ConfigDict(part)
    assert needs(problem(cfg), 'model.backbone (ConvNeXt)', 'mmpretrain', 'mmpretrain')


def test_an_installed_one_is_no_problem(cfg, monkeypatch):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name, *rest: object())
    cfg.visualizer.vis_backends = [ConfigDict(type=name) for name in TYPES if name.endswith('VisBackend')]
    check_packages(cfg, 'train')


def test_a_module_that_a_config_imports(tmp_path):
    """By `custom_imports`; the file can't even be read without it."""
    from mmseg_deeplab.cli.configure import load_config
    from mmseg_deeplab.errors import UserError

    (tmp_path / 'c.py').write_text("custom_imports = dict(imports=['not_installed_here'], allow_failed_imports=False)")
    with pytest.raises(UserError, match=r'c\.py can not be read: .*not_installed_here'):
        load_config(tmp_path / 'c.py')


def test_the_crf_reference(cfg, absent):
    absent('pydensecrf')
    with pytest.raises(ValueError, match='not installed: run `pip install pydensecrf2`'):
        DenseCRF(backend='pydensecrf')
    cfg.custom_hooks = [ConfigDict(type='DenseCRFHook', backend='pydensecrf')]
    assert 'pip install pydensecrf2' in problem(cfg)
