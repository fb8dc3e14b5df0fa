"""The check of the installed stack: each wrong environment is named with the command that mends it."""

import importlib.metadata
import re
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


@pytest.fixture
def make(repo, tmp_path, monkeypatch):
    """make(*arguments) runs the Makefile in a folder with a space, and returns what it printed.

    Nothing is installed: the programs of both environments only say how they were called. The tests may themselves run
    under a make, whose variables a make that they start would inherit.
    """
    if shutil.which('make') is None:
        pytest.skip('make is not installed')
    clone = tmp_path / 're po'
    (clone / 'mmseg_deeplab').mkdir(parents=True)
    shutil.copy(repo / 'Makefile', clone)
    for name in ('setup.py', 'constraints.txt', 'mmseg_deeplab/stack.py'):
        (clone / name).touch()
    for environment in ('.venv', '.venv-openmmlab'):
        (clone / environment / 'bin').mkdir(parents=True)
        for name in ('python', 'ruff', 'ty'):
            program = clone / environment / 'bin' / name
            program.write_text(f'#!/bin/sh\necho "{environment}/{name} called: $@"\n')
            program.chmod(0o755)
    variables = re.findall(r'^(\w+) [?:]?=', (repo / 'Makefile').read_text(), re.MULTILINE)
    for name in (*variables, 'MAKEFLAGS', 'MFLAGS', 'MAKELEVEL', 'MAKEOVERRIDES', 'GNUMAKEFLAGS'):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str) -> str:
        done = subprocess.run(['make', *arguments], cwd=clone, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 and not done.stderr, done.stderr
        return done.stdout

    return run


@pytest.fixture(params=['', 'openmmlab'], ids=['alone', 'make test STACK=openmmlab'])
def outer(request, monkeypatch):
    """The environment of a suite that nobody's make, or one for the original packages, has started."""
    if request.param:
        monkeypatch.setenv('STACK', request.param)
        monkeypatch.setenv('MAKEFLAGS', f' -- STACK={request.param}')
        monkeypatch.setenv('MAKELEVEL', '1')


def test_the_makefile_takes_a_folder_with_a_space(outer, make):
    """The file names of its targets are relative."""
    printed = make('test', 'lint')
    assert re.search(r'^\.venv/python called: .*-m pytest', printed, re.MULTILINE)
    assert '.venv/ruff called: format' in printed and '.venv/ty called: check mmseg_deeplab' in printed
    assert '-e .[onedl,export,test]' in printed and '.venv-openmmlab' not in printed


def test_the_makefile_installs_the_other_stack_apart(outer, make):
    """As README.md says it: `make test STACK=openmmlab`; mmcv is compiled against the torch that is there."""
    called = [line for line in make('test', 'STACK=openmmlab').splitlines() if ' called: ' in line]
    assert all(line.startswith('.venv-openmmlab/python called: -') for line in called)
    wanted = ('torch==', 'setuptools<81', 'mmcv==2.1.0', '-e .[openmmlab,export,test]', '-m pytest')
    places = [next(i for i, line in enumerate(called) if text in line) for text in wanted]
    assert places == sorted(places)


def test_the_makefile_says_what_the_demo_scores(make, repo):
    """The same range as README.md and docs/results.md, with what was measured inside."""
    low, high = re.search(r'a mIoU of (\d+) to (\d+)', make('-n', 'demo')).groups()
    assert f'a mIoU of {low} to {high}' in (repo / 'README.md').read_text(encoding='utf-8')
    results = (repo / 'docs/results.md').read_text(encoding='utf-8')
    assert f'a mIoU of {low} to {high}' in results
    measured = re.findall(r'^\| v3\+ \|.*?demo.*? \| 800 \| ([\d.]+)', results, re.MULTILINE)
    assert len(measured) > 1 and all(float(low) < float(each) < float(high) for each in measured)
