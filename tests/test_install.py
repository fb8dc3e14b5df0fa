"""The check of the installed stack: each wrong environment is named with the command that mends it."""

import importlib.metadata
import shutil
import subprocess
import sys

import pytest

from mmseg_deeplab import stack

ONEDL = {'onedl-mmsegmentation': '1.4.2', 'onedl-mmengine': '0.10.12', 'onedl-mmcv': '2.3.6'}
OPENMMLAB = {'mmsegmentation': '1.2.2', 'mmengine': '0.10.7', 'mmcv': '2.1.0'}


@pytest.fixture
def environment(monkeypatch):
    """Return a function that pretends that exactly these distributions are installed."""

    def install(versions: dict) -> None:
        def version(name: str) -> str:
            if name not in versions:
                raise importlib.metadata.PackageNotFoundError(name)
            return versions[name]

        monkeypatch.setattr(importlib.metadata, 'version', version)

    return install


@pytest.mark.parametrize('name, versions', [('onedl', ONEDL), ('openmmlab', OPENMMLAB)])
def test_one_complete_stack_is_accepted(environment, name, versions):
    environment(versions)
    assert stack.check_stack() == name


def test_a_local_version_and_a_later_patch_are_accepted(environment):
    environment({**ONEDL, 'onedl-mmcv': '2.3.10+cpu'})
    assert stack.check_stack() == 'onedl'


@pytest.mark.parametrize(
    'versions, told',
    [
        ({}, ['no OpenMMLab stack is installed', 'none of them', "pip install -e '.[onedl]'"]),
        (
            {**ONEDL, 'mmengine': '0.10.7'},
            ['two OpenMMLab stacks', 'mmengine 0.10.7', 'pip uninstall -y', "pip install -e '.[onedl]'"],
        ),
        ({**ONEDL, 'onedl-mmcv': '2.2.1'}, ['onedl-mmcv 2.2.1 is not supported', 'onedl-mmcv>=2.3.6,<2.4']),
        ({**ONEDL, 'onedl-mmcv': '2.4.0'}, ['onedl-mmcv 2.4.0 is not supported', "'.[onedl]'"]),
        ({**OPENMMLAB, 'mmcv': '2.2.0'}, ['mmcv 2.2.0 is not supported', "'.[openmmlab]'"]),
        ({'mmsegmentation': '1.2.2', 'mmcv': '2.1.0'}, ['mmengine is not installed', "'.[openmmlab]'"]),
    ],
)
def test_a_wrong_stack_is_refused_with_the_command(environment, versions, told):
    environment(versions)
    with pytest.raises(ImportError) as error:
        stack.check_stack()
    for words in told:
        assert words in str(error.value)


def test_the_import_is_quiet():
    """Registering the plugin in a fresh process prints nothing and warns of nothing."""
    done = subprocess.run(
        [sys.executable, '-c', 'import mmseg_deeplab.plugin'], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ''
    assert done.stderr == ''


def test_the_package_and_the_crf_need_no_stack():
    """`import mmseg_deeplab` brings nothing, the CRF numpy and torch; where the stack is not even installed."""
    code = (
        'import sys\n'
        'class Absent:\n'
        '    def find_spec(self, name, path=None, target=None):\n'
        '        if name.split(".")[0] in ("mmengine", "mmcv", "mmseg", "cv2", "matplotlib"):\n'
        '            raise ModuleNotFoundError(f"No module named {name!r}", name=name)\n'
        'sys.meta_path.insert(0, Absent())\n'
        'import mmseg_deeplab\n'
        'assert "torch" not in sys.modules and "numpy" not in sys.modules\n'
        'import numpy as np\n'
        'from mmseg_deeplab.crf import CRFPool, DenseCRF\n'
        'from mmseg_deeplab.crf.presets import load_preset\n'
        'assert mmseg_deeplab.DenseCRF is DenseCRF\n'
        'q = DenseCRF(**load_preset("v1"))(np.zeros((5, 6, 3), np.uint8), np.full((2, 5, 6), 0.5, np.float32))\n'
        'print(q.shape, float(q.mean()))\n'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=300)
    assert done.stdout.split() == ['(2,', '5,', '6)', '0.5'], done.stderr


@pytest.mark.skipif(shutil.which('make') is None, reason='make is not installed')
def test_the_makefile_takes_a_folder_with_a_space(repo, tmp_path):
    """With programs that only say how they were called; the file names of targets are relative."""
    clone = tmp_path / 're po'
    (clone / 'mmseg_deeplab').mkdir(parents=True)
    shutil.copy(repo / 'Makefile', clone)
    for name in ('setup.py', 'constraints.txt', 'mmseg_deeplab/stack.py'):
        (clone / name).touch()
    for name in ('python', 'ruff'):
        program = clone / '.venv' / 'bin' / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(f'#!/bin/sh\necho "{name} called: $@"\n')
        program.chmod(0o755)
    done = subprocess.run(['make', 'test', 'lint'], cwd=clone, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert 'python called: -m pytest' in done.stdout and 'ruff called: format' in done.stdout
