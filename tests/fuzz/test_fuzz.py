"""A sample of the fuzzing scripts of this folder, in a process of its own, whose memory is bounded."""

import os
import subprocess
import sys
from pathlib import Path


def test_mutated_checkpoints_are_read_or_refused(repo):
    script = Path(__file__).with_name('fuzz_checkpoints.py')
    command = [sys.executable, str(script), '--files', '1500', '--seed', '7']
    environment = {**os.environ, 'PYTHONPATH': str(repo), 'OMP_NUM_THREADS': '1'}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    kinds = ('zip.pth', 'zip5.pth', 'old.pth', 'plain.pth', 'a.safetensors', 'a.npz', 'b.npz', 'graph.pb')
    for kind in (*kinds, 'layer.caffemodel', 'layers.caffemodel'):
        assert f'{kind:18} read ' in done.stdout and f'{kind:18} refused ' in done.stdout
