"""Cross-validated search of the dense CRF's parameters, coarse to fine, as DeepLab did it.

Source: DeepLab v1 (arXiv:1412.7062), section 4, and v2 (arXiv:1606.00915), section 4: pos_w and pos_xy_std are fixed,
the other three are searched on 100 validation images.
"""

from __future__ import annotations

import itertools
import json
import os
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from ..checkpoints.save import atomic_write
from ..crf import DenseCRF
from ..errors import UserError
from ..evaluation.confusion import Scores, nanmean
from ..progress import progress

CLIP = 1e-5
"""Smallest probability that is kept; the CRF's own clip."""

GRIDS = {
    'v1': dict(bi_w=(5, 10), bi_xy_std=(50, 60, 70, 80, 90, 100), bi_rgb_std=(3, 4, 5, 6, 7, 8, 9, 10)),
    'v2': dict(bi_w=(3, 4, 5, 6), bi_xy_std=(30, 40, 50, 60, 70, 80, 90, 100), bi_rgb_std=(3, 4, 5, 6)),
}
"""What the papers searched."""

Candidate = dict[str, Any]
Counted = list[tuple[list[int], list[int]]]  # for each candidate: cells of the confusion matrix, their pixels


class Case(NamedTuple):
    """One image of the search."""

    image: np.ndarray  # (H, W, 3) uint8 RGB
    probabilities: np.ndarray  # (C, H, W) float32
    truth: np.ndarray  # (H, W) integers, class or ignore_index


def save_case(path: Path, image: np.ndarray, logits: torch.Tensor, truth: np.ndarray) -> None:
    """Write image, logits (C, H, W) and truth to one compressed file, whole or not at all.

    What the CRF sees of the logits are probabilities clipped to 1e-5, so their logarithms are kept, clipped alike, in
    half precision: most of them are the clip value, and the file is a tenth of the logits' size or less.
    """
    log_p = logits.detach().float().cpu().log_softmax(0).clamp(np.log(CLIP)).half().numpy()
    with atomic_write(path) as file:
        np.savez_compressed(file, image=image, log_p=log_p, truth=truth)


def load_case(path: Path) -> Case:
    """Read what `save_case` wrote.

    Raises:
        UserError: If the file is damaged.
    """
    try:
        with np.load(path) as file:
            return Case(file['image'], np.exp(file['log_p'].astype(np.float32)), file['truth'])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f'{path} is damaged ({error}): delete it, and the search makes it anew') from error


def is_case(path: Path) -> bool:
    """Whether there is a whole file of `save_case`; one that was cut short has lost its list of contents."""
    try:
        with np.load(path) as file:
            return set(file.files) == {'image', 'log_p', 'truth'}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return False


@dataclass(frozen=True)
class Score:
    """A candidate's scores, as fractions 0..1; `candidate` is None for the network without CRF."""

    candidate: Candidate | None
    miou: float
    pixel_acc: float


class Search:
    """Scores CRF parameters on saved cases, several processes at once; what is counted stays in a state file.

    Args:
        state: The file; one line is one image's confusion under one candidate. A search that is started again with
            the same file goes on where it stopped; a line that was cut off is counted anew.
        origin: What the cases were made of, any text; a state with another one is refused.
        num_classes: C of the cases.
        fixed: Parameters of `DenseCRF` that are not searched.
        class_subset: Classes whose mean IoU is searched for; empty means all. Those that are not in the truth of the
            cases do not count.
        ignore_index: The label of pixels that do not count.
        workers: Threads; 1 counts in this one. `close` ends them, or a `with` block.
        title: Of the present round, for its progress display.
    """

    def __init__(
        self,
        state: Path,
        num_classes: int,
        fixed: Mapping[str, Any],
        class_subset: Sequence[int] = (),
        ignore_index: int = 255,
        workers: int = 1,
        title: str = 'searching',
        origin: str = '',
    ):
        self.num_classes, self.fixed, self.ignore_index = num_classes, dict(fixed), ignore_index
        self.class_subset = list(class_subset)
        self.workers, self.title = workers, title
        self._state = state
        self._pool: ThreadPoolExecutor | None = None
        self._counted: dict[tuple[str, str], tuple[list[int], list[int]]] = {}
        self._read_state(dict(origin=origin, num_classes=num_classes, fixed=self.fixed, ignore_index=ignore_index))

    def scores(self, candidates: Sequence[Candidate | None], cases: Sequence[Path]) -> list[Score]:
        """One score for each candidate, over all cases; None is the network without CRF."""
        tasks = {}
        for path in cases:
            missing = [c for c in candidates if (path.name, _key(c)) not in self._counted]
            if missing:
                tasks[path] = missing
        self._count_all(tasks, len(cases))
        return [self._score(candidate, cases) for candidate in candidates]

    def coarse_to_fine(self, grid: Mapping[str, Sequence[float]], cases: Sequence[Path]) -> list[Score]:
        """Every score that the search over `grid` looked at, best first."""
        return coarse_to_fine(grid, lambda candidates: self.scores(candidates, cases))

    def _score(self, candidate: Candidate | None, cases: Sequence[Path]) -> Score:
        matrix = np.zeros(self.num_classes**2, np.int64)
        for path in cases:
            cells, counts = self._counted[path.name, _key(candidate)]
            matrix[np.asarray(cells, np.int64)] += np.asarray(counts, np.int64)
        if not matrix.any():
            raise UserError(f'all {len(cases)} images of the search are void: there is nothing to judge the CRF by')
        matrix = matrix.reshape(self.num_classes, self.num_classes)
        # All candidates are judged among the classes of the truth: to predict no false class is worth its pixels, not a
        # mean over fewer classes.
        scores = Scores.of(matrix, among=matrix.sum(1) > 0)
        iou = scores.iou[self.class_subset] if self.class_subset else scores.iou
        return Score(candidate, nanmean(iou), scores.pixel_acc)

    def close(self) -> None:
        """End the workers; what they have begun is lost, what they have handed in is in the state file."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> Search:
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def _count_all(self, tasks: Mapping[Path, Sequence[Candidate | None]], total: int) -> None:
        if not tasks:
            return
        with self._state.open('a') as file, progress(self.title, total) as advance:
            advance(total - len(tasks))
            for path, counted in self._run(tasks):
                for candidate, (cells, counts) in zip(tasks[path], counted, strict=True):
                    self._counted[path.name, _key(candidate)] = cells, counts
                    line = dict(case=path.name, candidate=candidate, cells=cells, counts=counts)
                    file.write(json.dumps(line) + '\n')
                file.flush()
                advance(1)

    def _run(self, tasks: Mapping[Path, Sequence[Candidate | None]]) -> Iterator[tuple[Path, Counted]]:
        setup = self.fixed, self.num_classes, self.ignore_index
        if self.workers < 2:
            for path, candidates in tasks.items():
                yield path, _count(path, candidates, *setup)
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.workers, 'crf_search', torch.set_num_threads, (1,))
        futures = {self._pool.submit(_count, path, candidates, *setup): path for path, candidates in tasks.items()}
        for future in as_completed(futures):
            yield futures[future], future.result()

    def _read_state(self, setup: dict) -> None:
        """Take over what an earlier run has counted, as far as its file is whole."""
        lines = self._state.read_bytes().splitlines(keepends=True) if self._state.exists() else []
        found, *entries = [*map(_parsed, lines)] or [None]
        if not isinstance(found, dict) or 'origin' not in found:
            if lines:
                warnings.warn(f'{self._state} is damaged from its first line on: counting begins anew', stacklevel=3)
            with atomic_write(self._state) as file:
                file.write(f'{json.dumps(setup)}\n'.encode())
            return
        if found != setup:
            raise UserError(
                f'{self._state} belongs to a search with other settings:\n  there: {json.dumps(found)}\n'
                f'  now:   {json.dumps(setup)}\nDelete it, or give this search another folder'
            )
        whole = list(itertools.takewhile(partial(_is_count, num_classes=self.num_classes), entries))
        for entry in whole:
            self._counted[entry['case'], _key(entry['candidate'])] = entry['cells'], entry['counts']
        if len(whole) < len(entries):  # the next line must not continue the one cut off
            os.truncate(self._state, sum(map(len, lines[: 1 + len(whole)])))


def _parsed(line: bytes) -> Any:
    """What a line of the state file says, None for one that is not whole."""
    try:
        return json.loads(line) if line.endswith(b'\n') else None
    except (ValueError, RecursionError):
        return None


def _is_count(entry: Any, num_classes: int) -> bool:
    """Whether this is what one image's confusion under one candidate looks like."""
    if not isinstance(entry, dict) or entry.keys() != {'case', 'candidate', 'cells', 'counts'}:
        return False
    cells, counts = entry['cells'], entry['counts']
    if not isinstance(cells, list) or not isinstance(counts, list) or len(cells) != len(counts):
        return False
    return all(type(n) is int and 0 <= n < num_classes**2 for n in cells) and all(
        type(n) is int and 0 < n < 2**40 for n in counts
    )


def coarse_to_fine(
    grid: Mapping[str, Sequence[float]], scores: Callable[[list[Candidate]], list[Score]]
) -> list[Score]:
    """First every second value of each parameter, then all neighbours of the best until none of them is better.

    Args:
        grid: The values of each parameter, in order.
        scores: Scores candidates.

    Returns:
        The scores of all candidates looked at, best first; of equals the one looked at first.
    """
    axes = [list(values) for values in grid.values()]
    seen: dict[tuple[int, ...], Score] = {}
    todo = list(itertools.product(*(range(0, len(axis), 2) for axis in axes)))
    while todo:
        candidates = [dict(zip(grid, (axis[i] for axis, i in zip(axes, at, strict=True)), strict=True)) for at in todo]
        seen.update(zip(todo, scores(candidates), strict=True))
        best = max(seen, key=lambda at: seen[at].miou)
        todo = [at for at in _neighbours(best, axes) if at not in seen]
    return sorted(seen.values(), key=lambda score: -score.miou)


def _neighbours(at: tuple[int, ...], axes: list[list[float]]) -> Iterator[tuple[int, ...]]:
    steps = itertools.product((-1, 0, 1), repeat=len(axes))
    for place in (tuple(i + step for i, step in zip(at, move, strict=True)) for move in steps):
        if all(0 <= i < len(axis) for i, axis in zip(place, axes, strict=True)):
            yield place


def _key(candidate: Candidate | None) -> str:
    return json.dumps(candidate, sort_keys=True)


def _count(
    path: Path, candidates: Sequence[Candidate | None], fixed: dict, num_classes: int, ignore_index: int
) -> Counted:
    """The non-zero cells of the case's (C, C) confusion matrix (row = truth) and their pixels, for each candidate."""
    case = load_case(path)
    valid = case.truth != ignore_index
    truth = case.truth[valid].astype(np.int64) * num_classes
    if truth.size and truth.max() >= num_classes**2:
        raise UserError(
            f'{path}: the truth has the label {truth.max() // num_classes}, but there are {num_classes} classes and '
            f'ignore_index={ignore_index}: set the ignore_index of the evaluator to the label of void'
        )
    result = []
    for candidate in candidates:
        q = case.probabilities
        if candidate is not None:
            parameters: dict[str, Any] = {**fixed, **candidate}
            q = DenseCRF(**parameters)(case.image, q)
        counts = np.bincount(truth + q.argmax(0)[valid], minlength=num_classes**2)
        cells = np.flatnonzero(counts)
        result.append((cells.tolist(), counts[cells].tolist()))
    return result
