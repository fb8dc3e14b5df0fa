"""Fixtures that every room's tests share."""

import os
from pathlib import Path

import pytest
import torch
from mmengine.registry import DefaultScope
from told import pytest_addoption, pytest_configure, pytest_runtest_call, pytest_sessionfinish  # noqa: F401

import mmseg_deeplab.plugin  # noqa: F401  every test finds its names registered, whatever other files are collected

REPO = Path(__file__).resolve().parents[1]
REAL_DATA = Path(os.environ.get('MMSEG_DEEPLAB_DATA', REPO.parent / 'shared' / 'data'))

torch.set_num_threads(1)


@pytest.fixture(scope='session')
def repo() -> Path:
    """The root of this repository."""
    return REPO


@pytest.fixture(scope='session')
def real_data() -> Path:
    """The folder of real images, masks and weights; a test that wants it is skipped where it is absent."""
    if not REAL_DATA.is_dir():
        pytest.skip(f'real data not found at {REAL_DATA}; set MMSEG_DEEPLAB_DATA to its folder')
    return REAL_DATA


@pytest.fixture(autouse=True)
def mmseg_scope():
    """Names in configs are looked up in MMSegmentation's registries, whatever scope an earlier runner left behind."""
    with DefaultScope.overwrite_default_scope('mmseg'):
        yield
