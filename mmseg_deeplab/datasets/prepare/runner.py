"""What the preparations share: a plan of small jobs, run in parallel, resumable, each file written atomically."""

import hashlib
import multiprocessing
import os
import shutil
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...crf.pool import allowed_cpus
from ...errors import UserError, UserFileNotFoundError
from ...progress import progress
from ..masks import exact_labels, read_fingerprint, read_mask, write_lines, write_mask


@dataclass(frozen=True)
class Job:
    """One mask: `make(*args)` returns (H, W) indices, or a pair of them and a Counter of unknown values, or None.

    `make` is a function of a module (it travels to other processes). Without `output` the mask is only counted.
    """

    make: Any
    args: tuple
    output: Path | None = None

    def fingerprint(self) -> str:
        """A short hash of the function's name and the arguments; a file counts by its name, size and time of change."""
        values = [self.make.__module__, self.make.__qualname__]
        for value in self.args:
            if isinstance(value, Path):
                status = value.stat()
                value = value.name, status.st_size, status.st_mtime_ns
            values.append(value)
        return hashlib.sha1(repr(values).encode()).hexdigest()[:16]


def tell_unknown(values: Counter, total: int) -> list[str]:
    """The values that became void, of `total` pixels, for the summary."""
    head = f'{len(values)} unknown values became void ({sum(values.values()) / total:.2%}):'
    return [head, *(f'  {value}: {count} pixels' for value, count in values.most_common(10))]


@dataclass
class Plan:
    """What to do for one dataset: masks to make, files and folders to link, lists to write.

    `notes` and `tell`, of what the jobs counted beside their masks, are lines of the summary.
    """

    classes: Sequence[str]
    jobs: list[Job]
    links: dict[Path, Path] = field(default_factory=dict)  # new path: source
    lists: dict[Path, list[str]] = field(default_factory=dict)
    first_index: int = 0  # of the first class in the masks; 1 where 0 is void (reduce_zero_label)
    finish: Callable[[], None] | None = None
    notes: list[str] = field(default_factory=list)
    tell: Callable[[Counter, int], list[str]] = tell_unknown


@dataclass
class Summary:
    """Pixels of each label value 0..255, images of each, unknown values met, jobs skipped because already done."""

    plan: Plan
    pixels: np.ndarray
    images: np.ndarray
    unknown: Counter
    done: int = 0
    skipped: int = 0

    def __str__(self) -> str:
        total = max(1, self.pixels.sum())
        width = max(len(name) for name in [*self.plan.classes, 'void and others'])
        there = f'{self.skipped} were there already' + '; their unknown values are not counted' * bool(self.skipped)
        lines = [f'{self.done} masks ({there})', f'{"class":{width}}   pixels   images']
        first = self.plan.first_index
        rows = [(name, slice(first + i, first + i + 1)) for i, name in enumerate(self.plan.classes)]
        for name, place in rows:
            share, images = self.pixels[place].sum() / total, self.images[place].sum()
            lines.append(f'{name:{width}}  {share:7.2%}  {images:7d}')
        others = total - self.pixels[first : first + len(rows)].sum()
        lines.append(f'{"void and others":{width}}  {others / total:7.2%}')
        lines += [f'empty lists: {path}' for path, names in self.plan.lists.items() if not names]
        lines += self.plan.notes
        if self.unknown:
            lines += self.plan.tell(self.unknown, total)
        return '\n'.join(lines)


def execute(plan: Plan, src: Path, dst: Path, workers: int | None = None, copy: bool = False) -> Summary:
    """Carry out a plan. Masks that exist are kept (each was written whole), so an interrupted run continues.

    Where a mask was made from another source file, class table or option, it is made anew (`Job.fingerprint`).
    Images are linked, or copied with `copy`. The source is only read. A job that fails does not stop the others;
    ValueError in the end names the first files and reasons.
    """
    check_apart(src, dst)
    check_inside(plan, src, dst)
    for new, old in plan.links.items():
        place(old, new, copy)
    summary = Summary(plan, np.zeros(256, np.int64), np.zeros(256, np.int64), Counter())
    failures = []
    with progress('making masks', len(plan.jobs)) as advance, _mapper(workers) as run:
        for counts, unknown, skipped, failure in run(run_job, plan.jobs):
            advance(1)
            if failure:
                failures.append(failure)
            elif counts is not None:
                summary.pixels += counts
                summary.images += counts > 0
                summary.unknown.update(unknown)
                summary.done += 1
                summary.skipped += skipped
    if failures:
        shown = '\n  '.join(failures[:5])
        raise UserError(f'{len(failures)} of {len(plan.jobs)} masks failed; the others are done:\n  {shown}')
    for path, names in plan.lists.items():
        write_lines(path, names)
    if plan.finish:
        plan.finish()
    return summary


def run_job(job: Job) -> tuple[np.ndarray | None, Counter, bool, str]:
    """Make one mask: counts of its values (None if the image has none), unknown values, was there, failure."""
    unknown: Counter = Counter()
    try:
        fingerprint = job.fingerprint() if job.output else None
        mask = _made_before(job.output, fingerprint)
        skipped = mask is not None
        if not skipped:
            mask = job.make(*job.args)
            if isinstance(mask, tuple):
                mask, unknown = mask
            if mask is None:
                return None, unknown, False, ''
            mask = exact_labels(mask, 'the mask made of it')
            if job.output is not None:
                write_mask(job.output, mask, fingerprint=fingerprint)
        return np.bincount(mask.ravel(), minlength=256)[:256], unknown, skipped, ''
    except Exception as error:
        return None, unknown, False, f'{job.args[0]}: {error}'


def _made_before(output: Path | None, fingerprint: str | None) -> np.ndarray | None:
    """The mask that an earlier run made of the same source, if it is whole."""
    if output is None or read_fingerprint(output) != fingerprint:
        return None
    try:
        return read_mask(output)
    except UserError:  # damaged since
        return None


@contextmanager
def _mapper(workers: int | None) -> Generator[Callable[[Callable, Sequence], Iterable], None, None]:
    workers = min(8, allowed_cpus()) if workers is None else workers
    if workers <= 1:
        yield map
        return
    context = multiprocessing.get_context('spawn')  # fork is unsafe under threads, and absent elsewhere than Linux
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        yield lambda function, items: pool.map(function, items, chunksize=8)


def place(old: Path, new: Path, copy: bool) -> None:
    """Link (or copy) a file or folder to a new place, if it is not there yet."""
    if not old.exists():
        raise UserFileNotFoundError(f'{old} is missing from the source')
    if new.exists():
        return
    new.parent.mkdir(parents=True, exist_ok=True)
    temporary = new.with_name(f'.{new.name}.{os.getpid()}')
    try:
        if not copy:
            try:
                temporary.symlink_to(old.resolve(), target_is_directory=old.is_dir())
            except OSError:  # file systems and users without links
                copy = True
        if copy:
            shutil.copytree(old, temporary) if old.is_dir() else shutil.copy2(old, temporary)
        os.replace(temporary, new)
    finally:
        if temporary.is_symlink() or temporary.is_file():
            temporary.unlink()
        elif temporary.is_dir():
            shutil.rmtree(temporary)


def check_apart(src: Path, dst: Path) -> None:
    """ValueError if one of the folders lies in the other: the source is never written to."""
    src, dst = src.resolve(), dst.resolve()
    if src == dst or dst.is_relative_to(src) or src.is_relative_to(dst):
        raise UserError(f'--dst {dst} and --src {src} must be apart: the source is never changed; choose another --dst')


def check_inside(plan: Plan, src: Path, dst: Path) -> None:
    """UserError if a plan reads outside of `src` or writes outside of `dst`.

    Names of files come from lists and annotations of the downloads, which may hold anything (`../../x`, `/etc/x`).
    Links in the source are followed; none in `dst` is written through.
    """
    old = [*plan.links.values(), *(arg for job in plan.jobs for arg in job.args if isinstance(arg, Path))]
    for path in old:
        if not Path(os.path.abspath(path)).is_relative_to(os.path.abspath(src)):
            raise UserError(f'a list or an annotation names {path}, outside of --src {src}: nothing is read there')
    new = [*plan.links, *plan.lists, *(job.output for job in plan.jobs if job.output)]
    for path in new:
        if not path.is_relative_to(dst) or '..' in path.relative_to(dst).parts:
            raise UserError(f'a list or an annotation names {path}, outside of its folder: nothing is written there')
    for parent in {path.parent for path in new}:
        if not parent.resolve().is_relative_to(dst.resolve()):
            raise UserError(f'{parent} leads to {parent.resolve()}, outside of --dst {dst}: nothing is written there')


def find(src: Path, marker: str, what: str) -> Path:
    """The folder at or below `src` (at most four levels) that contains the relative path `marker`."""
    if not src.is_dir():
        raise UserFileNotFoundError(f'--src {src}: there is no such folder')
    level = [src]
    for _ in range(5):
        for folder in level:
            if (folder / marker).exists():
                return folder
        level = [child for folder in level for child in sorted(folder.iterdir()) if child.is_dir()]
        level = [folder for folder in level if sum(1 for _ in zip(folder.iterdir(), range(2000), strict=False)) < 2000]
    raise UserFileNotFoundError(
        f'{what} is not below {src}: no {marker} found; docs/datasets.md shows the expected tree'
    )
