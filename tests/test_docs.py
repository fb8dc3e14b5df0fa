"""The pages against the repository: every command parses, every file that is named exists, every room is described."""

import argparse
import importlib
import re
import runpy
import sys
from functools import partial
from pathlib import Path

import pytest
from page_commands import commands, described, pages
from told import rows

from mmseg_deeplab.cli import COMMANDS
from mmseg_deeplab.cli.configure import load_config

REPO = Path(__file__).resolve().parents[1]
# Each command once, with a file that gives it.
TYPED: dict[tuple[str, ...], Path] = {
    tuple(words): path for path in reversed(described(REPO)) for words in commands(path) if words[1] != 'COMMAND'
}
# Folders in the repository that pages speak of, and what pages tell people to make in them.
ROOTS = ('benchmarks', 'configs', 'docs', 'mmseg_deeplab', 'tests', 'tools')
MADE_BY_READERS = {'configs/my_v3.py', 'configs/my_experiment.py', 'configs/CONFIG.py', 'tools/COMMAND.py'}
# Which argument of tools/dist_NAME.sh, beside those of tools/NAME.py, is the number of devices.
DEVICES = {'train': 1, 'test': 2}


def _command(script: str) -> str | None:
    """The command that a script of tools/ runs; None for the others."""
    path = REPO / script.replace('dist_', '').replace('.sh', '.py')
    called = re.search(r"\brun\('([\w-]+)'\)", path.read_text())
    return called[1] if called else None


class Parsed(Exception):
    """Ends a program when it knows its arguments; holds them."""


@pytest.fixture
def parse(monkeypatch):
    """parse(words): the arguments that a command line is read as; nothing is run."""
    parse_args = argparse.ArgumentParser.parse_args

    def stop(self, args=None, namespace=None):
        raise Parsed(parse_args(self, args, namespace))

    monkeypatch.setattr(argparse.ArgumentParser, 'parse_args', stop)

    def parse(words: list[str]) -> argparse.Namespace:
        program, *rest = words
        if program == 'deeplab':
            name, *rest = rest
            assert name in COMMANDS, f'there is no command {name}'
        else:
            script, *rest = rest
            assert (REPO / script).is_file(), f'there is no {script}'
            name = _command(script)
        if program == 'bash':
            del rest[DEVICES[name]]
        if name:
            main = importlib.import_module(f'mmseg_deeplab.cli.{name.replace("-", "_")}').main
        else:
            monkeypatch.syspath_prepend(str(REPO / 'benchmarks'))
            main = partial(runpy.run_path, str(REPO / script), run_name='__main__')
        monkeypatch.setattr(sys, 'argv', [program, *rest])
        with pytest.raises(Parsed) as parsed:
            main()
        return parsed.value.args[0]

    return parse


def test_commands_are_found():
    """Of each page that has some, and of each tool."""
    found = {path.name for path in TYPED.values()}
    assert {'README.md', 'checkpoints.md', 'datasets.md', 'dense_crf.md', 'evaluation.md', 'results.md'} <= found
    typed = {words[1] for words in TYPED}
    scripts = [f'tools/{path.name}' for path in (REPO / 'tools').glob('*.py')]
    typed |= {script for script in scripts if _command(script) in typed}  # as deeplab COMMAND
    assert typed >= {f'tools/{path.name}' for path in (REPO / 'tools').glob('*.py')}
    assert typed >= {f'benchmarks/{path.name}' for path in (REPO / 'benchmarks').glob('*.py')}


@pytest.mark.parametrize('page', sorted(set(TYPED.values())), ids=lambda path: str(path.relative_to(REPO)))
def test_every_command_parses(page, parse):
    """Its program exists and takes its options, the config exists and takes what --cfg-options says."""
    for words in (words for words, path in TYPED.items() if path == page):
        line = ' '.join(words)
        if words[0] == 'deeplab' and len(words) == 2 and words[1] in COMMANDS:
            continue  # only named
        try:
            args = parse(list(words))
        except SystemExit:
            pytest.fail(f'{page.relative_to(REPO)}: the program does not take: {line}')
        config = getattr(args, 'config', None) or ''
        if str(config).startswith('configs/') and str(config) not in MADE_BY_READERS:
            load_config(REPO / config, getattr(args, 'cfg_options', None))


def test_the_readmes_tell_the_same():
    """Commands, code, configs and links of one language are those of the other."""
    texts = [(REPO / name).read_text(encoding='utf-8') for name in ('README.md', 'README_zh-CN.md')]
    english, chinese = (list(commands(REPO / name)) for name in ('README.md', 'README_zh-CN.md'))
    assert english == chinese and len(english) > 15
    for pattern in (
        r'^ {4}(\w[^#\n]*?)\s*(?:#.*)?$',
        r'\]\(((?:docs|configs)/[^)]+)\)',
        r'^\| v\d.*?\| \[(.*?)\]',
        r'(\d+\.\d+)',
    ):
        assert len({tuple(sorted(re.findall(pattern, text, re.MULTILINE))) for text in texts}) == 1, pattern
    assert '(README_zh-CN.md)' in texts[0] and '(README.md)' in texts[1]


@pytest.mark.parametrize('page', pages(REPO), ids=lambda path: path.name)
def test_every_file_that_a_page_names_exists(page):
    text = page.read_text(encoding='utf-8')
    named = set(re.findall(rf'(?<![\w/.])(?:{"|".join(ROOTS)})/[\w./*-]*[\w/]', text)) - MADE_BY_READERS
    links = {link for link in re.findall(r'\]\(([^)#]+)', text) if '://' not in link}
    missing = {name for name in named if not (REPO / name).exists()}
    missing |= {link for link in links if not (page.parent / link).exists()}
    assert not missing


def test_every_row_of_the_page_of_robustness_has_its_test():
    assert len(rows()) > 400
    for file, tried in rows():
        name = tried.split('[')[0].split(': ')[-1].replace(' ', '_')
        assert f'def test_{name}(' in (REPO / 'tests' / file).read_text(encoding='utf-8'), (file, tried)


def test_the_architecture_names_files_that_exist():
    """Those of the package stand without its name: models/atrous.py."""
    text = (REPO / 'docs/architecture.md').read_text(encoding='utf-8')
    named = set(re.findall(r'(?<![\w/.])\w[\w/]*(?:\.py|/(?=[`\s,;|]))', text)) - MADE_BY_READERS
    assert len(named) > 40
    assert not {name for name in named if not any((root / name).exists() for root in (REPO, REPO / 'mmseg_deeplab'))}


def test_the_architecture_describes_every_room():
    text = (REPO / 'docs/architecture.md').read_text(encoding='utf-8')
    described = set(re.findall(r'^\| `([\w/.]+)` \|', text, re.MULTILINE))
    package = REPO / 'mmseg_deeplab'
    parts = {path for folder in (package, package / 'models') for path in folder.iterdir() if path.name[0] not in '_.'}
    rooms = {str(path.relative_to(package)) + '/' * path.is_dir() for path in parts if path.suffix in ('', '.py')}
    assert (rooms | {'__init__.py'}) - {'models/'} - described == set()


@pytest.mark.parametrize('name', ['results.md', 'benchmarks.md'])
def test_every_figure_has_its_commit_and_cpu(name):
    """In the last two columns of every table; what others have measured, and what is unmeasured, has neither."""
    lines = (REPO / 'docs' / name).read_text(encoding='utf-8').splitlines()
    tables = [lines[i - 1] for i, line in enumerate(lines) if line.startswith('|---')]
    assert tables and all(header.endswith('| commit | CPU |') for header in tables)
    rows = [line for line in lines if line.startswith('|') and not line.startswith('|---') and line not in tables]
    ours = [line for line in rows if not re.search('independent implementation|unmeasured', line)]
    assert all(re.search(r'\| [0-9a-f]{7} \| [\w -]+, AVX-\w+ \|$', line) for line in ours)
