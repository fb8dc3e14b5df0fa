"""`deeplab doctor` tells what is there and what is missing, also where next to nothing is."""

import importlib.metadata
import subprocess
import sys

import pytest
import torch

from mmseg_deeplab.cli import doctor


def told(capsys) -> str:
    try:
        doctor.main([])
    except SystemExit as stop:
        return f'{capsys.readouterr().out}\nexit: {stop.code}'
    return capsys.readouterr().out


@pytest.fixture
def without(monkeypatch):
    """Return a function that hides distributions, or gives them another version."""
    real = importlib.metadata.version

    def hide(**versions: str | None) -> None:
        def version(name: str) -> str:
            given = versions.get(name.replace('-', '_'), '')
            if given is None:
                raise importlib.metadata.PackageNotFoundError(name)
            return given or real(name)

        monkeypatch.setattr(importlib.metadata, 'version', version)

    return hide


def test_where_all_is_well(capsys):
    text = told(capsys)
    assert text.endswith('ready\n') and 'exit' not in text
    assert importlib.metadata.version('torch') in text
    assert sys.executable in text and ('stack onedl' in text or 'stack openmmlab' in text)
    capability = torch.backends.cpu.get_cpu_capability()  # what torch's own kernels were chosen for
    if capability in ('AVX2', 'AVX512'):
        assert 'AVX2: yes' in text
    if capability == 'AVX512':
        assert 'AVX-512: yes' in text
    assert ('CRF native' in text) and ('built, ' in text or 'not built' in text)


@pytest.mark.parametrize('stack', ['onedl', 'openmmlab'])
def test_a_wrong_stack_is_told_with_the_command(without, capsys, stack):
    absent = dict.fromkeys(
        ('onedl_mmsegmentation', 'onedl_mmengine', 'onedl_mmcv', 'mmsegmentation', 'mmengine', 'mmcv')
    )
    without(**absent)
    text = told(capsys)
    assert 'no OpenMMLab stack is installed' in text and "pip install -e '.[onedl]'" in text
    assert 'exit: not ready: see OpenMMLab' in text
    assert 'CRF torch' in text and 'torch           2' in text  # what comes after it is told, too
    names = ('onedl_mmsegmentation', 'onedl_mmengine', 'onedl_mmcv')
    names = names if stack == 'onedl' else ('mmsegmentation', 'mmengine', 'mmcv')
    without(**{**absent, **dict.fromkeys(names, '9.9')})
    text = told(capsys)
    assert '9.9 is not supported' in text and f'.[{stack}]' in text and 'exit: not ready' in text


def test_packages_and_extras(without, capsys, monkeypatch):
    required = ['torch>=2.10', 'numpy>=1.24', 'rich', 'jinja2', 'gizmo[fast]>=3; extra == "toys"']
    monkeypatch.setattr(importlib.metadata, 'requires', lambda name: required)
    monkeypatch.setattr(importlib.metadata, 'metadata', lambda name: _Metadata(['toys', 'onedl']))
    without(rich=None, numpy='1.9', gizmo='2.99')
    text = told(capsys)
    assert 'numpy 1.9 is older than 1.24, rich is not installed' in text
    assert "pip install 'numpy>=1.24' 'rich'" in text and 'exit: not ready: see packages' in text
    assert '[toys]' in text and 'gizmo 2.99 is older than 3' in text and "'mmseg_deeplab[toys]'" in text
    without(gizmo='3.0')
    text = told(capsys)
    assert 'all 4 that are required' in text and 'mmseg_deeplab[toys]' not in text
    assert text.endswith('ready\n')


def test_a_library_of_another_version(capsys, monkeypatch):
    """Built before the sources changed, as after a pull."""
    from mmseg_deeplab.crf import native

    def stale() -> bool:
        raise AttributeError('_dcrf.so: undefined symbol: dcrf_new')

    monkeypatch.setattr(native, 'is_available', stale)
    text = told(capsys)
    assert 'undefined symbol: dcrf_new' in text and '--force-reinstall' in text and 'not ready: see CRF native' in text


class _Metadata:
    def __init__(self, extras: list[str]):
        self.extras = extras

    def get_all(self, name: str) -> list[str] | None:
        return self.extras if name == 'Provides-Extra' else None


def test_with_neither_torch_nor_stack(repo):
    code = (
        'import sys\n'
        'class Absent:\n'
        '    def find_spec(self, name, path=None, target=None):\n'
        '        if name.split(".")[0] in ("torch", "numpy", "mmengine", "mmcv", "mmseg", "cv2"):\n'
        '            raise ModuleNotFoundError(f"No module named {name!r}", name=name)\n'
        'sys.meta_path.insert(0, Absent())\n'
        'from mmseg_deeplab.cli import main\n'
        'main(["doctor"])\n'
    )
    done = subprocess.run([sys.executable, '-c', code], cwd=repo, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    assert 'pip install torch' in done.stdout and 'processor' in done.stdout
    assert done.stderr.startswith('not ready: see OpenMMLab, torch')
