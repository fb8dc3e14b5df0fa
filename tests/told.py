"""docs/robustness.md: what the tests try that can not be used, and what the person is told.

    python -m pytest -n 2 --write-robustness

writes it, of all tests in which a `UserError` is raised. In every other run a test that is in the table fails where
what it is told is not what the table says, so that the table can not lie.
"""

import json
import re
from pathlib import Path

import pytest

from mmseg_deeplab.errors import UserError

REPO = Path(__file__).resolve().parents[1]
PAGE = REPO / 'docs' / 'robustness.md'
PARTS = REPO / '.pytest_cache' / 'told'
HEAD = """# What happens to what can not be used

Every row is a test of this repository: what it gives that is wrong or odd, and the sentence that its user is told. The
page is written by the tests (tests/told.py), and a test fails when its sentence is no longer the one below. Of tests
that try several things, the first one is shown, of its values by name in brackets. Paths are shortened to `...`.

| file | tried | told |
|---|---|---|
"""
_messages: list[str] = []


def _note(error, *arguments):
    """In the place of `UserError.__init__`, so that the message is noted."""
    ValueError.__init__(error, *arguments)
    _messages.append(str(error))


def pytest_addoption(parser):
    parser.addoption('--write-robustness', action='store_true', help='write docs/robustness.md')


def pytest_configure(config):
    if config.getoption('--write-robustness') and not hasattr(config, 'workerinput'):
        PARTS.mkdir(parents=True, exist_ok=True)
        for part in PARTS.iterdir():
            part.unlink()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item):
    """Compare what the test is told with the page, or note it for the page."""
    _messages.clear()
    before = UserError.__init__
    UserError.__init__ = _note
    try:
        outcome = yield
    finally:
        UserError.__init__ = before
    if outcome.excinfo or not _messages or any(words in _messages[0] for words in ('Traceback', 'sys.path')):
        return
    row = row_of(item, shortened(_messages[0]))
    if item.config.getoption('--write-robustness'):
        worker = getattr(item.config, 'workerinput', {}).get('workerid', 'main')
        with (PARTS / f'{worker}.jsonl').open('a', encoding='utf-8') as file:  # tests replace `open`
            file.write(json.dumps([item.nodeid, *row]) + '\n')
    elif (expected := rows().get(row[:2])) and loose(expected) != loose(row[2]):
        outcome.force_exception(
            AssertionError(f'docs/robustness.md says {expected!r}, told was {row[2]!r}: --write-robustness mends it')
        )


def pytest_sessionfinish(session):
    """Put the parts of all processes together."""
    if not session.config.getoption('--write-robustness') or hasattr(session.config, 'workerinput'):
        return
    found = {}
    for part in PARTS.iterdir():
        for line in part.read_text(encoding='utf-8').splitlines():
            nodeid, *row = json.loads(line)
            function = nodeid.split('[')[0]
            found[function] = min(found.get(function, (nodeid, row)), (nodeid, row))
    lines = sorted('| ' + ' | '.join(row) + ' |' for _, row in found.values())
    PAGE.write_text(HEAD + '\n'.join(lines) + '\n', encoding='utf-8')


def row_of(item, message: str) -> tuple[str, str, str]:
    """File of the test, what it tries, and the message."""
    path, *names = item.nodeid.split('::')
    tried = ': '.join(name.removeprefix('test_') for name in names).replace('_', ' ')
    return path.removeprefix('tests/'), in_table(tried), in_table(message)


def in_table(text: str) -> str:
    """The text as a cell of a table."""
    return ' '.join(text.replace('|', '\\|').split())


def shortened(message: str) -> str:
    """The message without what differs from run to run: folders of tests and this repository's."""
    message = re.sub(
        r'(/[\w.+-]+)+/pytest-of-[\w-]+/pytest-\d+(/popen-gw\d+)?/[\w-]+?\d*(?=[/\s\'":;,)]|\.?(\s|$))', '...', message
    )
    return message.replace(str(REPO), '...').strip()


def loose(message: str) -> str:
    """The message without its numbers and hashes, which can depend on the machine."""
    return re.sub(r'(?=[a-f]*\d)[0-9a-f]{8,}|[\d.]+(e[+-]?\d+)?', '#', message)


_rows: dict[tuple[str, str], str] = {}


def rows() -> dict[tuple[str, str], str]:
    """The table of the page."""
    if not _rows and PAGE.is_file():
        for line in PAGE.read_text(encoding='utf-8').splitlines()[1:]:
            cells = re.split(r'(?<!\\) ?\| ?', line)
            if len(cells) == 5 and cells[1] not in ('file', '---'):
                _rows[cells[1], cells[2]] = cells[3]
    return _rows
