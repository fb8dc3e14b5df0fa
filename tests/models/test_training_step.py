"""benchmarks/training_step.py, as its documentation calls it, at the size of the demo."""

import re
import subprocess
import sys


def test_the_benchmark_prints_a_row_for_each_config(repo):
    configs = ['configs/deeplabv3_mobilenetv2_demo.py']
    command = [
        sys.executable,
        'benchmarks/training_step.py',
        *configs,
        '--batch',
        '2',
        '--rounds',
        '1',
        '--device',
        'cpu',
    ]
    done = subprocess.run(command, cwd=repo, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    row = done.stdout.splitlines()[-1]
    number = r'[\d.]+'
    expected = (
        rf'\| deeplabv3_mobilenetv2_demo \| 2 \| \d+x\d+ \| {number} \({number} - {number}\) \| {number} \| \d+ \|'
    )
    assert re.fullmatch(expected, row), row
    seconds, images = float(row.split('|')[4].split()[0]), float(row.split('|')[5])
    assert abs(images * seconds / 2 - 1) < 0.02
