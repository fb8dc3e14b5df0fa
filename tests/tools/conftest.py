"""A dataset and a network so small that the real tools run in seconds."""

import os
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from mmseg_deeplab.datasets.demo import make_demo_dataset

NUM_VAL = 9  # odd: two processes get padded shares
OPTIONS = [
    'model.backbone.width=0.25',
    'model.decode_head.channels=32',
    'train_dataloader.batch_size=4',
    *(f'{split}_dataloader.num_workers=0' for split in ('train', 'val', 'test')),
    *(f'{split}_dataloader.persistent_workers=False' for split in ('train', 'val', 'test')),
    'train_cfg.max_iters=4',
    'train_cfg.val_interval=4',
]


@pytest.fixture(scope='session')
def tools(repo, tmp_path_factory) -> SimpleNamespace:
    """`run` and `call` a tool on the demo config; `data` and `work` are folders."""
    data = tmp_path_factory.mktemp('tools') / 'demo'
    make_demo_dataset(str(data), 16, NUM_VAL, 0)
    config = str(repo / 'configs' / 'deeplabv3plus_mobilenetv2_demo.py')
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(repo)}

    def command(tool: str, *arguments: object, options: list[str] = (), root: Path = data) -> list[str]:
        arguments = [str(argument) for argument in arguments]
        return [str(repo / 'tools' / tool), config, *arguments, '--data-root', str(root)] + [
            '--cfg-options',
            *OPTIONS,
            *options,
        ]

    def run(tool: str, *arguments: object, prefix: list[str] = (), options: list[str] = (), cwd: Path | None = None):
        """Run a tool as a process of its own; return what it printed."""
        line = [sys.executable, *prefix, *command(tool, *arguments, options=options)]
        done = subprocess.run(line, capture_output=True, text=True, timeout=300, env=environment, cwd=cwd)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        return done.stdout

    def call(tool: str, *arguments: object, **where) -> None:
        """Run a tool in this process, which spares the seconds of importing the stack."""
        before = sys.argv
        sys.argv = command(tool, *arguments, **where)
        try:
            runpy.run_path(sys.argv[0], run_name='__main__')
        finally:
            sys.argv = before

    return SimpleNamespace(run=run, call=call, data=data, config=config, environment=environment, options=OPTIONS)


@pytest.fixture(scope='session')
def trained(tools, tmp_path_factory) -> SimpleNamespace:
    """A work dir after 4 iterations of tools/train.py, its checkpoint and what was printed."""
    work = tmp_path_factory.mktemp('trained')
    printed = tools.run('train.py', '--work-dir', work, cwd=work)
    return SimpleNamespace(work=work, checkpoint=work / 'iter_4.pth', printed=printed)
