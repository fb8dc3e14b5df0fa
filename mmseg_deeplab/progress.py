"""How far something is that takes seconds: a bar with the remaining time on a terminal, plain lines elsewhere."""

import os
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from threading import Timer

from rich.console import Console
from rich.progress import BarColumn, Progress, Task, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

AT_ONCE = 1.0  # seconds that something may take without a word where lines stay, as in a log file
BETWEEN_LINES = 30.0  # seconds

_bars: Progress | None = None  # those on the terminal; what begins within another gets a bar below it


@contextmanager
def progress(title: str, total: int | None = None) -> Generator[Callable[[int], None]]:
    """Show on stderr that something runs, as long as the block lasts.

    On a terminal this is a bar that goes with the block. Elsewhere a line says what has begun, if it takes longer than
    a second, and another one follows every 30 seconds where `total` is given. Of several processes the first shows it.

    Args:
        title: What runs, such as 'reading masks'.
        total: Of how many steps; None where that is unknown.

    Yields:
        A function that is told how many more steps are done.
    """
    show = _bar if Console(stderr=True).is_terminal else _lines
    first_process = os.environ.get('RANK', '0') == '0'
    with show(title, total) if first_process else nullcontext(lambda steps: None) as advance:
        yield advance


class _Remaining(TimeRemainingColumn):
    """How many steps are done, and the remaining time; nothing where their number is unknown."""

    def render(self, task: Task) -> Text:
        if task.total is None:
            return Text()
        return Text(f'{task.completed:.0f}/{task.total:.0f}, remaining ').append_text(super().render(task))


@contextmanager
def _bar(title: str, total: int | None) -> Generator[Callable[[int], None]]:
    global _bars
    outermost = _bars is None
    if _bars is None:
        columns = (
            TextColumn('{task.description}', markup=False),
            BarColumn(),
            TimeElapsedColumn(),
            _Remaining(),
        )
        # What is printed meanwhile stands above the bars, but what goes to a file or pipe must still arrive there.
        on_terminal = sys.stdout.isatty()
        _bars = Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=on_terminal)
        _bars.start()
    bars, task = _bars, _bars.add_task(title, total=total)
    try:
        yield lambda steps: bars.advance(task, steps)
    finally:
        bars.remove_task(task)
        if outermost:
            bars.stop()
            _bars = None


@contextmanager
def _lines(title: str, total: int | None) -> Generator[Callable[[int], None]]:
    begin = last = time.monotonic()
    done = 0

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def advance(steps: int) -> None:
        nonlocal done, last
        done += steps
        now = time.monotonic()
        if total and done and now - last >= BETWEEN_LINES:
            last = now
            remaining = timedelta(seconds=round(max(total - done, 0) * (now - begin) / done))
            say(f'{title}: {done} of {total}, {remaining} remaining')

    first = Timer(AT_ONCE, say, [f'{title} ...' if total is None else f'{title} ({total}) ...'])
    first.daemon = True
    first.start()
    try:
        yield advance
    finally:
        first.cancel()
