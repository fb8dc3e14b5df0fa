"""The commands that the pages, and the scripts' own descriptions, tell people to type."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = ('deeplab ', 'python tools/', 'python benchmarks/', 'bash tools/')
# A word that stands for something, and something that it can stand for.
PLACEHOLDERS = {
    'NAME': 'voc-aug',
    'FORMAT': 'tensorflow',
    'configs/CONFIG.py': 'configs/deeplabv3plus_mobilenetv2_demo.py',
}


def pages(repo: Path) -> list[Path]:
    """Every page for readers, but the changelog, which keeps what once was, and the page that the tests write."""
    docs = [path for path in sorted((repo / 'docs').rglob('*.md')) if path.name != 'robustness.md']
    return [*sorted(repo.glob('README*.md')), repo / 'CONTRIBUTING.md', *docs]


def described(repo: Path) -> list[Path]:
    """Every file in which commands stand: the pages, configs and what `--help` and the scripts say of themselves."""
    scripts = [*(repo / 'mmseg_deeplab/cli').glob('*.py'), *(repo / 'benchmarks').glob('*.py')]
    return [*pages(repo), *sorted(scripts), *sorted((repo / 'configs').rglob('*.py'))]


def commands(path: Path) -> Iterator[list[str]]:
    """Each command of a file that starts with one of `PROGRAMS`, as a shell would split it.

    In lines of their own, continued by a backslash, and between backticks. Optional parts (in square brackets) are
    taken, dots and placeholders are replaced, what a pipe, `;` or `&&` joins to it is cut off.
    """
    text = re.sub(r'\\+\n\s*', ' ', path.read_text(encoding='utf-8'))
    spans = re.findall(r'(?<!`)`([^`]+)`(?!`)', text)
    for line in [*text.splitlines(), *(' '.join(span.split()) for span in spans)]:
        line = line.lstrip(' #$').removeprefix('srun ')
        if line.startswith(PROGRAMS):
            yield _words(line)


def _words(line: str) -> list[str]:
    line = re.sub(r'\$\([^)]*\)', 'CHECKPOINT', line)
    line = re.sub(r'\[(-[^\]]*)\]', r'\1', line)
    lexer = shlex.shlex(line, posix=True, punctuation_chars=';|&')
    lexer.whitespace_split, lexer.commenters = True, '#'
    words = []
    for word in lexer:
        if set(word) <= set(';|&'):
            break
        if word != '...':
            words.append(PLACEHOLDERS.get(word, word))
    return words
