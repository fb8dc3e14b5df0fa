"""Masks of many pictures: which maps belong to which picture, in threads, restartable, whole or not at all."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch

from ..checkpoints.save import remove_unfinished
from ..crf import DenseCRF
from ..crf.pool import allowed_cpus
from ..datasets.images import read_image
from ..datasets.masks import read_fingerprint, read_lines, write_mask
from ..errors import UserError, UserFileNotFoundError
from ..inference import UnreadablePicturesError
from ..inference.folder import Shard, places_of
from ..inference.readers import files_of
from .recipe import Recipe
from .score_files import SUFFIXES, read_maps

Item = TypeVar('Item')
Result = TypeVar('Result')


@dataclass(frozen=True)
class Job:
    """A file of maps and the picture that it is of; `place` is what they, and the mask, are called."""

    place: str
    maps: Path
    image: Path


def pair(
    maps: Sequence[str | Path],
    images: str | Path,
    names: str | Path | None = None,
    shard: Shard = Shard(0, 1),  # noqa: B008  a constant
) -> list[Job]:
    """Find the picture of each file of maps, by its place below the folder that all of these have in common.

    Args:
        maps: Files, folders and patterns of .npy, .npz and .png.
        images: The folder of the pictures.
        names: A list, one place a line: only these are taken, in its order.
        shard: Which part of the files to take.

    Raises:
        UserFileNotFoundError: For a name without maps, and maps without a picture.
        UserError: For two files of one place.
    """
    found = [path for source in maps for path in files_of(source, SUFFIXES, 'score file')]
    places = {place: path for path, place in places_of(found).items()}
    if names is not None:
        wanted = list(dict.fromkeys(read_lines(Path(names))))
        _all_there(wanted, places, f'names of {names} have no file of scores')
        places = {place: places[place] for place in wanted}
    places = dict(shard.part(list(places.items())))
    pictures = _pictures(Path(images).expanduser())
    _all_there(list(places), pictures, f'files of scores have no picture in {images}')
    for place in places:
        if len(pictures[place]) > 1:
            raise UserError(f'{place} has several pictures: {", ".join(map(str, pictures[place]))}; leave one there')
    return [Job(place, path, pictures[place][0]) for place, path in places.items()]


def _pictures(folder: Path) -> dict[str, list[Path]]:
    """The pictures of a folder by their place in it."""
    if not folder.is_dir():
        raise UserFileNotFoundError(f'there is no folder of pictures {folder} (from {Path.cwd()})')
    found: dict[str, list[Path]] = {}
    for path in files_of(folder):
        found.setdefault(str(path.relative_to(folder).with_suffix('')), []).append(path)
    return found


def _all_there(wanted: Sequence[str], known: Iterable[str], what: str) -> None:
    missing = sorted(set(wanted) - set(known))
    if missing:
        shown = ', '.join(missing[:3]) + (', ...' if len(missing) > 3 else '')
        raise UserFileNotFoundError(f'{len(missing)} of {len(wanted)} {what}: {shown}')


def in_order(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int | None = None
) -> Iterator[tuple[Item, Future[Result]]]:
    """Call a function for each item in threads, an item each, and yield items and futures in order.

    What the function does in torch takes one thread. No more is begun than the workers can take.
    """
    workers = workers or allowed_cpus()
    pending: deque[tuple[Item, Future[Result]]] = deque()
    with ThreadPoolExecutor(workers, 'pseudo_masks', torch.set_num_threads, (1,)) as pool:
        try:
            for item in items:
                pending.append((item, pool.submit(function, item)))
                if len(pending) > 2 * workers:
                    yield pending.popleft()
            yield from pending
        finally:
            pool.shutdown(cancel_futures=True)


def make_masks(
    jobs: Sequence[Job],
    out: str | Path,
    recipe: Recipe,
    crf: DenseCRF | None = None,
    palette: Sequence[Sequence[int]] | None = None,
    overwrite: bool = False,
    workers: int | None = None,
    advance: Callable[[int], None] = lambda steps: None,
) -> tuple[int, int]:
    """Write OUT/PLACE.png for each job, a palette PNG of class numbers; 255 is void.

    Each mask notes what it was made by. One that is there from the same recipe and CRF is skipped, so that an
    interrupted job goes on where it stopped.

    Args:
        jobs: See `pair`.
        out: Folder.
        recipe: How maps become labels.
        crf: Of probabilities; None for none.
        palette: RGB colours of the classes; by default VOC's.
        overwrite: Whether masks that are there are made anew.
        workers: Threads; by default as many as this process may use processors.
        advance: Is told how many more masks are done.

    Returns:
        How many masks were written, and how many were there.

    Raises:
        UserError: If masks are there that were made otherwise.
        UnreadablePicturesError: After everything else is written, for files that could not be used.
    """
    note = f'{recipe}; CRF: {crf and {k: v for k, v in crf.parameters.items() if k != "backend"}}'
    targets = {job: Path(out) / f'{job.place}.png' for job in jobs}
    there = [] if overwrite else [job for job, path in targets.items() if path.exists()]
    others = [targets[job] for job in there if read_fingerprint(targets[job]) != note]
    if others:
        found = read_fingerprint(others[0]) or 'no note'
        raise UserError(
            f'{len(others)} masks in {out} were made otherwise, such as {others[0].name} ({found}; now {note}): give '
            f'another folder, or --overwrite'
        )
    advance(len(there))
    done = set(there)
    todo = [job for job in jobs if job not in done]
    for folder in {targets[job].parent for job in todo}:
        remove_unfinished(folder)

    def make(job: Job) -> None:
        labels = recipe.labels(read_maps(job.maps), read_image(job.image), crf, str(job.maps))
        write_mask(targets[job], labels, palette, note)

    collect(in_order(make, todo, workers), lambda job, _: advance(1))
    return len(todo), len(there)


def collect(results: Iterable[tuple[Job, Future[Result]]], take: Callable[[Job, Result], None]) -> None:
    """Take each result; what is wrong with files is raised together, after all others are taken."""
    errors: list[tuple[str, Exception]] = []
    for job, future in results:
        try:
            result = future.result()
        except UserError as error:
            errors.append((job.place, error))
        else:
            take(job, result)
    if errors:
        raise UnreadablePicturesError(errors)
