"""A file is written whole or not at all, by one function; only what dead processes left is deleted."""

import ast
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

import mmseg_deeplab
from mmseg_deeplab.checkpoints import atomic_write
from mmseg_deeplab.checkpoints.save import HOST, UNFINISHED, remove_unfinished
from mmseg_deeplab.errors import UserError

PACKAGE = Path(mmseg_deeplab.__file__).parent
# What writes by other means: into a folder that is renamed as a whole, by appending lines, to a pipe.
OTHER_WRITERS = {
    'checkpoints/save.py',
    'datasets/demo.py',
    'datasets/prepare/runner.py',
    'search/search.py',
    'crf/pool.py',
    'engine/live_runs.py',  # a lock file that stays open
    'inference/export.py',  # by PyTorch, into a file that is renamed when it is proven
    'inference/folder.py',  # a video, by OpenCV, that is renamed when it is whole
}


def test_nothing_else_in_the_package_writes_files():
    """Calls that create files: all but the listed ones go through `atomic_write`."""
    found = set()
    for path in sorted(PACKAGE.rglob('*.py')):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, 'id', '')
            arguments = [ast.unparse(argument) for argument in node.args]
            modes = [text for text in arguments if text in ("'w'", "'wb'", "'x'", "'a'")]
            to_a_file = (
                arguments
                and name in ('savefig', 'save', 'savez', 'savez_compressed', 'imwrite')
                and arguments[:1]
                not in (
                    ['file'],
                    ['buffer'],
                    ['checkpoint'],
                    ['tensors'],
                )
            )
            if to_a_file or name in ('write_text', 'write_bytes', 'mkstemp') or (name in ('open', 'fdopen') and modes):
                found.add(path.relative_to(PACKAGE).as_posix())
    assert 'checkpoints/save.py' in found
    assert found - OTHER_WRITERS == set()


@pytest.mark.parametrize('error', [KeyboardInterrupt, ValueError, OSError(5, 'Input/output error')])
def test_interrupted_write_keeps_the_old_file(error, tmp_path):
    path = tmp_path / 'file'
    path.write_text('old')
    with pytest.raises(error if isinstance(error, type) else OSError), atomic_write(path) as file:
        file.write(b'new')
        raise error
    assert path.read_text() == 'old'
    assert list(tmp_path.iterdir()) == [path]


def test_folders_are_made_and_long_names_fit(tmp_path):
    path = tmp_path / 'a' / 'b' / ('n' * 251 + '.pth')
    with atomic_write(path) as file:
        file.write(b'x')
    assert path.read_bytes() == b'x' and len(list(path.parent.iterdir())) == 1


def test_two_writers_of_one_file_do_not_meet(tmp_path):
    path = tmp_path / 'file'
    with atomic_write(path) as first, atomic_write(path) as second:
        first.write(b'first')
        second.write(b'second')
    assert path.read_bytes() == b'first'  # whichever ends last
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='needs /dev/full')
def test_a_full_disk_names_the_file(tmp_path, monkeypatch):
    real = open
    monkeypatch.setattr('builtins.open', lambda path, mode: real('/dev/full', mode))
    message = r'iter_4\.pth can not be written: No space left on device'
    with pytest.raises(UserError, match=message), atomic_write(tmp_path / 'iter_4.pth') as file:
        file.write(b'x' * 100_000)


def test_a_path_through_a_file_is_explained(tmp_path):
    (tmp_path / 'out').touch()
    with (
        pytest.raises(UserError, match=r'out/mask.png can not be written: .*\(.*out\)'),
        atomic_write(tmp_path / 'out/mask.png'),
    ):
        pass


def test_an_error_about_another_file_is_not_taken_for_this_one(tmp_path):
    with pytest.raises(PermissionError, match='elsewhere') as error, atomic_write(tmp_path / 'file'):
        raise PermissionError(13, 'Permission denied', '/elsewhere')
    assert not isinstance(error.value, UserError)


class TestLeftovers:
    def dead(self):
        process = subprocess.Popen([sys.executable, '-c', ''])
        process.wait()
        return process.pid

    def test_a_killed_writer_leaves_one_file_which_is_removed(self, tmp_path, repo):
        code = (
            'import os, sys; from mmseg_deeplab.checkpoints.save import atomic_write\n'
            "with atomic_write(sys.argv[1]) as file:\n    file.write(b'half'); file.flush()\n"
            "    print('there', flush=True); sys.stdin.read()"
        )
        command = [sys.executable, '-c', code, str(tmp_path / 'iter_3.pth')]
        pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, 'PYTHONPATH': str(repo)})
        with subprocess.Popen(command, **pipes) as writer:
            assert writer.stdout.readline() == b'there\n'
            (left,) = tmp_path.iterdir()
            assert UNFINISHED.fullmatch(left.name)
            assert remove_unfinished(tmp_path) == []  # it lives
            writer.kill()
        assert remove_unfinished(tmp_path) == [left]
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize('name', ['.x.tmp', '.notes.tmp', 'iter_3.pth.1.tmp', '.iter_3.pth.12.part', '.a.b.c.tmp'])
    def test_what_is_not_ours_stays(self, name, tmp_path):
        (tmp_path / name).touch()
        assert remove_unfinished(tmp_path) == []

    def test_the_living_are_left_alone_and_the_dead_are_not(self, tmp_path):
        dead, living = self.dead(), os.getpid()
        kept = [f'.a.{living}.tmp', f'.b.{living}-7@{HOST}.tmp', '.c.1.tmp']
        gone = [f'.d.{dead}.tmp', f'.e.{dead}-0@{HOST}.tmp', f'.f.{dead}-0@another-host.tmp']
        for name in [*kept, *gone]:
            (tmp_path / name).touch()
        (tmp_path / f'.g.{dead}.tmp').mkdir()
        (tmp_path / f'.h.{dead}.tmp').symlink_to(tmp_path / kept[0])
        assert [path.name for path in remove_unfinished(tmp_path)] == gone

    def test_a_file_that_another_machine_writes_is_left_alone(self, tmp_path):
        path = tmp_path / '.iter_9.pth.5-0@another-host.tmp'
        import fcntl

        with path.open('wb') as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            assert remove_unfinished(tmp_path) == []
        assert remove_unfinished(tmp_path) == [path]

    @pytest.mark.skipif(not os.path.exists('/proc/self/stat'), reason='needs /proc')
    def test_a_number_that_is_used_again_protects_nothing(self, tmp_path):
        """In a container that restarts the new process has the number of the one that was killed."""
        path = tmp_path / f'.iter_3.pth.{os.getpid()}.tmp'
        path.touch()
        assert remove_unfinished(tmp_path) == []
        before = time.time() - 10**7
        os.utime(path, (before, before))
        assert remove_unfinished(tmp_path) == [path]


def test_the_host_is_a_word():
    assert UNFINISHED.fullmatch(f'.x.1-0@{HOST}.tmp') and len(HOST) == len(socket.gethostname())
