"""Runs what a page tells its readers to do, step by step, in the current folder."""

import re
import runpy
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

from mmseg_deeplab.cli import main

BLOCK = re.compile(r'^```(\w+)\n(.*?)^```$', re.MULTILINE | re.DOTALL)


def steps(page: Path) -> Iterator[tuple[str, str]]:
    """The page's blocks in order: ('file', text that begins with its name in a comment), ('line', a command)."""
    for language, text in BLOCK.findall(page.read_text(encoding='utf-8')):
        if language == 'bash':
            yield from (('line', line) for line in text.splitlines())
        else:
            assert text.startswith('# '), f'{page.name}: a block without the name of its file'
            yield 'file', text


def follow(page: Path, options: Mapping[str, list[str]]) -> list[str]:
    """Write the files and run the commands of a page; `options` are added to commands, by their name.

    Returns:
        The commands that were run.
    """
    done = []
    for kind, text in steps(page):
        if kind == 'file':
            path = Path(text.splitlines()[0].removeprefix('# '))
            path.write_text(text if path.suffix == '.py' else text.partition('\n')[2])
            continue
        # What a shell would put in the place of $(cat FILE).
        line = re.sub(r'\$\(cat ([^)]+)\)', lambda match: Path(match[1]).read_text().strip(), text)
        program, *arguments = shlex.split(line)
        if program == 'python':
            runpy.run_path(arguments[0], run_name='__main__')
        else:
            assert program == 'deeplab', text
            try:
                main([*arguments, *options.get(arguments[0], [])])
            except SystemExit as end:
                assert not end.code, f'{text}\n{end.code}'
        done.append(arguments[0])
    return done
