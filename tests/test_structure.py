"""The shape of the package: which room imports which, as docs/architecture.md draws it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import mmseg_deeplab

ROOT = Path(mmseg_deeplab.__file__).parent
# A room may import those of the rows above it; within a row, only the pairs below.
ROWS = (
    ('errors', 'stack', 'progress'),
    ('upstream',),
    ('crf',),
    ('models',),
    ('config_files',),
    ('datasets', 'evaluation', 'checkpoints', 'visualization'),
    ('inference',),
    ('engine', 'search', 'preflight', 'pseudo'),
    ('plugin',),
    ('apis', 'cli'),
)
PAIRS = {
    *((room, 'checkpoints') for room in ('datasets', 'evaluation', 'visualization')),  # the one atomic write
    ('datasets', 'visualization'),
    ('visualization', 'evaluation'),
}
# Rooms that are usable alone know nothing but these.
ALONE = {'crf': {'errors'}, 'models': {'errors'}}


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name below it; a package's is that of its `__init__`."""
    paths = [path for path in ROOT.rglob('*.py') if path != ROOT / '__init__.py']
    return {'.'.join(path.relative_to(ROOT).with_suffix('').parts).removesuffix('.__init__'): path for path in paths}


def imports(name: str, path: Path, known: dict[str, Path]) -> Iterator[str]:
    """The package's modules that one imports, wherever in the file."""
    here = name.split('.') if path.name == '__init__.py' else name.split('.')[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ImportFrom):
            continue
        if node.level:
            base = here[: len(here) - node.level + 1]
        elif (node.module or '').split('.')[0] == 'mmseg_deeplab':
            base = []
        else:
            continue
        base = base + [part for part in (node.module or '').split('.') if part and part != 'mmseg_deeplab']
        for alias in node.names:
            inner = '.'.join([*base, alias.name])
            yield inner if inner in known else '.'.join(base)


def edges() -> dict[str, set[str]]:
    known = modules()
    return {name: set(imports(name, path, known)) - {name, ''} for name, path in known.items()}


def row(room: str) -> int:
    return next(number for number, rooms in enumerate(ROWS) if room in rooms)


def test_every_room_has_its_place():
    assert {name.split('.')[0] for name in modules()} <= {room for rooms in ROWS for room in rooms}


def test_no_room_imports_one_above_it():
    climbs = set()
    for name, targets in edges().items():
        room = name.split('.')[0]
        for target in {target.split('.')[0] for target in targets} - {room}:
            allowed = row(target) < row(room) or (room, target) in PAIRS
            if not allowed or (room in ALONE and target not in ALONE[room]):
                climbs.add(f'{name} -> {target}')
    assert not climbs


def test_there_are_no_circles():
    """Among modules, and among packages: a package's `__init__` stands for what it imports."""
    graph = edges()
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, ' -> '.join([*way[way.index(name) :], name])
        if name not in done:
            for target in graph[name]:
                visit(target, (*way, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_the_command_line_and_the_tools_are_the_same(repo):
    from mmseg_deeplab.cli import COMMANDS

    called = set()
    for path in (repo / 'tools').glob('*.py'):
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        called |= {call.args[0].value for call in calls}
    assert called == set(COMMANDS)
    assert all((ROOT / 'cli' / f'{name.replace("-", "_")}.py').is_file() for name in COMMANDS)
