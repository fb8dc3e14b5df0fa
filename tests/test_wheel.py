"""The wheel is the product: it holds all that is needed, and works in an empty folder without the repository."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

CONFIG = 'deeplabv3plus_mobilenetv2_demo'
SMALL = [
    'model.backbone.width=0.25',
    'model.decode_head.channels=32',
    'train_dataloader.batch_size=4',
    *(f'{split}_dataloader.num_workers=0' for split in ('train', 'val', 'test')),
    'train_cfg.max_iters=4',
    'train_cfg.val_interval=4',
]


@pytest.fixture(scope='module')
def wheel(repo, tmp_path_factory) -> SimpleNamespace:
    """The wheel, unpacked in a folder of its own (`site`), and `run` a command there that can't see the repository."""
    root = tmp_path_factory.mktemp('wheel')
    source = root / 'source'
    for name in ('mmseg_deeplab', 'configs'):
        shutil.copytree(repo / name, source / name, ignore=shutil.ignore_patterns('__pycache__', '*.so'))
    for name in ('setup.py', 'pyproject.toml', 'README.md', 'LICENSE'):
        shutil.copy(repo / name, source)
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(root / 'site'), 'NO_COLOR': '1'}
    if shutil.which('g++'):  # the kernel's own -O3 takes a minute
        compiler = root / 'unoptimised'
        compiler.write_text('#!/bin/sh\nexec g++ "$@" -O0\n')
        compiler.chmod(0o755)
        environment |= {'CC': str(compiler), 'CXX': str(compiler)}

    def run(*line: object, cwd: Path = root, code: int = 0) -> str:
        done = subprocess.run(
            list(map(str, line)), cwd=cwd, env=environment, capture_output=True, text=True, timeout=580
        )
        assert done.returncode == code, done.stdout[-2000:] + done.stderr[-4000:]
        return done.stdout + done.stderr

    pip = [sys.executable, '-m', 'pip', '--disable-pip-version-check', '-q']
    run(*pip, 'wheel', '--no-deps', '--no-build-isolation', '-w', root, source)
    (path,) = root.glob('*.whl')
    shutil.rmtree(source)
    run(*pip, 'install', '--no-deps', '--target', root / 'site', path)
    return SimpleNamespace(path=path, site=root / 'site', run=run, deeplab=root / 'site' / 'bin' / 'deeplab')


def test_it_holds_everything(repo, wheel):
    held = set(zipfile.ZipFile(wheel.path).namelist())
    expected = {f'mmseg_deeplab/{p.relative_to(repo).as_posix()}' for p in (repo / 'configs').rglob('*.py')}
    for path in (repo / 'mmseg_deeplab').rglob('*'):
        if path.is_file() and path.suffix not in ('.pyc', '.so'):
            expected.add(path.relative_to(repo).as_posix())
    assert 'mmseg_deeplab/py.typed' in expected
    assert expected - held == set()
    if shutil.which('g++') or shutil.which('c++'):
        assert any(name.startswith('mmseg_deeplab/crf/native/_dcrf') for name in held)
    assert not [name for name in held if name.startswith(('tests', 'configs', 'tools', 'build'))]
    assert wheel.deeplab.is_file()


def test_from_the_demo_data_to_predictions_and_an_export_in_an_empty_folder(wheel, tmp_path):
    def deeplab(*arguments):
        return wheel.run(wheel.deeplab, *arguments, cwd=tmp_path)

    deeplab('make-demo-dataset', '--train', 8, '--val', 3)
    printed = deeplab('train', CONFIG, '--cfg-options', *SMALL)
    assert str(wheel.site) in printed, 'the config of the wheel'
    work = tmp_path / 'work_dirs' / CONFIG
    checkpoint = work / 'iter_4.pth'
    printed = deeplab('test', CONFIG, checkpoint, '--report', 'report', '--cfg-options', *SMALL)
    assert 'mIoU' in printed and (tmp_path / 'report' / 'index.html').is_file()
    deeplab('predict', CONFIG, checkpoint, 'data/demo/JPEGImages', '--out', 'answers', '--cfg-options', *SMALL)
    assert len(list((tmp_path / 'answers').rglob('*.png'))) == 2 * 11  # a mask and an overlay for each
    printed = deeplab('export', CONFIG, checkpoint, '--format', 'torchscript', '--out', 'm.ts', '--cfg-options', *SMALL)
    assert '100.000 %' in printed and (tmp_path / 'm.ts').stat().st_size > 10**5


def test_the_crf_needs_no_openmmlab_package(wheel, tmp_path):
    code = (
        'import sys\n'
        'class Absent:\n'
        '    def find_spec(self, name, path=None, target=None):\n'
        '        if name.split(".")[0] in ("mmengine", "mmcv", "mmseg"):\n'
        '            raise ModuleNotFoundError(f"No module named {name!r}", name=name)\n'
        'sys.meta_path.insert(0, Absent())\n'
        'import numpy as np\n'
        'import mmseg_deeplab.crf\n'
        'q = mmseg_deeplab.DenseCRF()(np.zeros((5, 6, 3), np.uint8), np.full((2, 5, 6), 0.5, np.float32))\n'
        'print(mmseg_deeplab.crf.__file__, q.shape, float(q.mean()))\n'
    )
    printed = wheel.run(sys.executable, '-c', code, cwd=tmp_path)
    assert str(wheel.site) in printed and '(2, 5, 6) 0.5' in printed
