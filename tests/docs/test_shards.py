"""The parts of a job under slurm and Ray, as docs/large_images.md shows them."""

import os
import re
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from mmseg_deeplab.cli.options import shard_of


@pytest.fixture
def blocks(repo) -> list[str]:
    section = (repo / 'docs/large_images.md').read_text().partition('## Many pictures on many machines')[2]
    return re.findall(r'```(?:bash|python)\n(.*?)```', section, re.DOTALL)


def test_a_slurm_array_takes_every_part(blocks, monkeypatch):
    script = blocks[0]
    first, last = map(int, re.search(r'--array=(\d+)-(\d+)', script).groups())
    text = re.search(r'--shard (\S+)', script)[1]
    parts = []
    for number in range(first, last + 1):
        monkeypatch.setenv('SLURM_ARRAY_TASK_ID', str(number))
        parts.append(shard_of(Namespace(shard=os.path.expandvars(text))))
    assert {part.count for part in parts} == {len(parts)}
    assert [part.index for part in parts] == list(range(len(parts)))


def test_ray_takes_every_part(blocks, tmp_path, monkeypatch):
    """A program in the place of deeplab notes what it is told."""
    compile(blocks[1], 'shards.py', 'exec')
    pytest.importorskip('ray', reason='ray is not installed')
    program = tmp_path / 'deeplab'
    program.write_text(f'#!{sys.executable}\nimport sys\nopen({str(tmp_path)!r} + "/" + sys.argv[-1][0], "w")\n')
    program.chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path}:{os.environ["PATH"]}')
    code = blocks[1].replace('PARTS = 100', 'PARTS = 3').replace('num_gpus=1', 'num_cpus=1')
    (tmp_path / 'shards.py').write_text(code)
    subprocess.run([sys.executable, 'shards.py'], cwd=tmp_path, check=True, timeout=300)
    assert sorted(path.name for path in Path(tmp_path).iterdir()) == ['0', '1', '2', 'deeplab', 'shards.py']
