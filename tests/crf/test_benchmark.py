"""benchmarks/dense_crf.py, as docs/benchmarks.md calls it, on small pictures."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmseg_deeplab.crf import native, pydensecrf

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(not native.is_available() or not pydensecrf.is_installed(), reason='compares these two')
def test_benchmark_runs(tmp_path):
    command = [sys.executable, 'benchmarks/dense_crf.py', '--images', '2', '--size', '40', '50', '--rounds', '1']
    command += ['--classes', '40', '--others']
    env = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
    run = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    for text in (
        'one thread',
        'nothing to leave out',
        'uniform scores',
        '2 images at once',
        '40 classes',
        'memory of a call',
    ):
        assert text in run.stdout
    rows = [line.split() for line in run.stdout.splitlines() if line.startswith(('all', 'adaptive', 'fast'))]
    assert {row[0] for row in rows} == {'all', 'adaptive', 'fast'}
