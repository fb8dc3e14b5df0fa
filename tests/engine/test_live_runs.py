"""Trainings of other processes in a work dir are found, also one that began in the same second, in the same folder."""

import subprocess
import sys

import pytest

from mmseg_deeplab.engine.live_runs import LiveRun

OTHER = "from mmseg_deeplab.engine.live_runs import LiveRun; run = LiveRun({!r}); print('ready', flush=True); input()"


@pytest.mark.parametrize('folder', ['same', 'another'])
def test_another_process_is_told_of_until_it_ends(tmp_path, folder, monkeypatch, repo):
    monkeypatch.setenv('PYTHONPATH', str(repo))
    code = OTHER.format(str(tmp_path / 'same'))
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with subprocess.Popen([sys.executable, '-c', code], text=True, **pipes) as other:
        assert 'ready\n' in iter(other.stdout.readline, '')
        told = LiveRun(tmp_path / folder).others()
        assert len(told) == 1 and told[0].startswith(f'process {other.pid} on ')
        assert LiveRun(tmp_path / 'third').others()[0] == told[0], 'its text is still there'
        other.kill()
    assert LiveRun(tmp_path / folder).others() == []
