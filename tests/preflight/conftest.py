"""The demo's config on generated pictures, which a test may change."""

import copy
import shutil
from pathlib import Path

import pytest
from mmengine.config import Config
from preflight_helpers import NUM_TRAIN

from mmseg_deeplab.datasets import set_data_root
from mmseg_deeplab.datasets.demo import make_demo_dataset


@pytest.fixture(scope='session')
def generated(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp('preflight') / 'demo'
    make_demo_dataset(str(root), NUM_TRAIN, 3, 0)
    return root


@pytest.fixture(scope='session')
def demo_config(repo) -> Config:
    return Config.fromfile(repo / 'configs' / 'deeplabv3plus_mobilenetv2_demo.py')


@pytest.fixture
def cfg(demo_config, generated, tmp_path) -> Config:
    """The demo's config on a generated dataset; a test may change it."""
    cfg = copy.deepcopy(demo_config)
    set_data_root(cfg, generated)
    cfg.work_dir = str(tmp_path / 'run')
    return cfg


@pytest.fixture
def data(cfg, generated, tmp_path) -> Path:
    """A copy of the dataset that a test may break; `cfg` points to it."""
    shutil.copytree(generated, tmp_path / 'demo')
    set_data_root(cfg, tmp_path / 'demo')
    return tmp_path / 'demo'
