"""benchmarks/dense_crf.py and crf_accuracy.py, as docs/benchmarks.md calls them, on small pictures."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from crf_helpers import make_image, make_probabilities

from mmseg_deeplab.crf import native, pydensecrf
from mmseg_deeplab.search.search import save_case

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
pytestmark = pytest.mark.skipif(not native.is_available() or not pydensecrf.is_installed(), reason='compares these two')


def test_benchmark_runs():
    command = [sys.executable, 'benchmarks/dense_crf.py', '--images', '2', '--size', '40', '50', '--rounds', '1']
    command += ['--classes', '40', '--others']
    run = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    at_once = [f'2 images at once, {classes} classes' for classes in (21, 40)]
    for text in 'one thread', 'nothing to leave out', 'uniform scores', *at_once, 'memory of a call':
        assert text in run.stdout
    rows = [line.split() for line in run.stdout.splitlines() if line.startswith(('all', 'adaptive', 'fast'))]
    assert {row[0] for row in rows} == {'all', 'adaptive', 'fast'}


def test_accuracy_goes_on_where_it_stopped(tmp_path):
    for seed in range(2):
        p = make_probabilities(5, 40, 51, seed)
        truth = p.argmax(0)
        truth[:3] = 255
        save_case(tmp_path / f'{seed}.npz', make_image(40, 51, seed), torch.from_numpy(p).log(), truth)
    results = tmp_path / 'results.jsonl'
    command = [sys.executable, 'benchmarks/crf_accuracy.py', '--cases', str(tmp_path), '--results', str(results)]
    for presets, lines in (['v1'], 2), (['v1', 'v2_r101'], 4), (['v1', 'v2_r101'], 4):
        run = subprocess.run(
            [*command, '--presets', *presets], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True
        )
        assert run.returncode == 0, run.stderr
        entries = [json.loads(line) for line in results.read_text().splitlines()]
        assert len(entries) == lines
    assert all(0 < entry['dq']['all'] < 1e-3 and entry['other']['all'] == 0 for entry in entries)
    assert '| `v2_r101` | 2 |' in run.stdout


def test_sums_in_double_are_those_of_the_reference(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / 'benchmarks')
    import crf_accuracy
    from crf_helpers import PARAMETERS, reference

    image, p = make_image(33, 45), make_probabilities(4, 33, 45)
    q = crf_accuracy.in_double(PARAMETERS['v1'], crf_accuracy.Case(image, p, p.argmax(0)))
    assert q.dtype == 'float64'
    assert abs(q - reference(image, p, PARAMETERS['v1'])).max() < 1e-5
