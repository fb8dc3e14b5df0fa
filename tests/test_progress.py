"""Progress: a bar on a terminal, plain lines elsewhere, nothing for what is quick."""

import io
import os
import pty
import subprocess
import sys
import time

import pytest

from mmseg_deeplab import progress as module
from mmseg_deeplab.progress import progress

SCRIPT = """
import sys, time
from mmseg_deeplab.progress import progress
with progress('outer [red]', 4) as advance:
    for step in range(4):
        with progress('inner', 1):
            time.sleep(0.15)
        print('a line on stdout')
        advance(1)
"""


def on_terminal(stdout_to_terminal: bool) -> tuple[str, str]:
    """What the script writes to a terminal of 100 columns, and what to a pipe on stdout."""
    leader, follower = pty.openpty()
    env = {**os.environ, 'TERM': 'xterm', 'COLUMNS': '100'}
    stdout = follower if stdout_to_terminal else subprocess.PIPE
    process = subprocess.Popen([sys.executable, '-c', SCRIPT], stdout=stdout, stderr=follower, env=env)
    os.close(follower)
    shown = b''
    while True:
        try:
            part = os.read(leader, 4096)
        except OSError:  # the last one has closed it
            break
        if not part:
            break
        shown += part
    piped = '' if stdout_to_terminal else process.stdout.read().decode()
    assert process.wait(60) == 0
    os.close(leader)
    return shown.decode(), piped


def test_on_a_terminal_bars_go_and_lines_stay():
    shown, _ = on_terminal(True)
    assert 'outer [red]' in shown and 'inner' in shown and '2/4' in shown and 'remaining' in shown
    assert shown.count('a line on stdout') == 4
    assert shown.rstrip().endswith(('\x1b[2K', '\x1b[?25h')), 'the bars are wiped out and the cursor is back'


def test_lines_for_a_pipe_reach_the_pipe():
    shown, piped = on_terminal(False)
    assert piped == 'a line on stdout\n' * 4
    assert 'a line' not in shown and '2/4' in shown


def test_elsewhere_a_line_comes_for_what_takes_long(capsys, monkeypatch):
    monkeypatch.setattr(module, 'AT_ONCE', 0.05)
    with progress('reading masks', 1449):
        time.sleep(0.3)
    assert capsys.readouterr().err == 'reading masks (1449) ...\n'
    with progress('building the model'):
        time.sleep(0.3)
    assert capsys.readouterr().err == 'building the model ...\n'


def test_elsewhere_nothing_is_said_of_what_is_quick(capsys):
    with progress('quick', 10) as advance:
        advance(10)
    time.sleep(0.1)
    assert capsys.readouterr() == ('', '')


def test_elsewhere_lines_tell_the_remaining_time(capsys, monkeypatch):
    clock = iter([0.0, 10.0, 31.0, 40.0, 62.0])
    monkeypatch.setattr(module.time, 'monotonic', lambda: next(clock))
    with progress('testing', 100) as advance:
        for _ in range(4):
            advance(10)
    told = capsys.readouterr().err.splitlines()
    assert told == ['testing: 20 of 100, 0:02:04 remaining', 'testing: 40 of 100, 0:01:33 remaining']


def test_of_several_processes_the_first_shows(monkeypatch, capsys):
    monkeypatch.setenv('RANK', '1')
    monkeypatch.setattr(module, 'AT_ONCE', 0.0)
    with progress('testing', 3) as advance:
        advance(1)
        time.sleep(0.1)
    assert capsys.readouterr().err == ''


def test_an_error_takes_the_bar_away(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv('TERM', 'xterm')
    monkeypatch.setattr(sys, 'stderr', Terminal())
    with pytest.raises(KeyError), progress('outer'), progress('inner', 3):
        raise KeyError('of the caller')
    assert module._bars is None
    with progress('again', 1) as advance:
        advance(1)
