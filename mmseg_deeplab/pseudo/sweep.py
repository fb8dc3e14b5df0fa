"""Pseudo masks against truth, over thresholds or powers of the background: the usual curve."""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..checkpoints.save import atomic_write
from ..crf import DenseCRF
from ..datasets.images import read_image
from ..datasets.masks import read_mask
from ..errors import UserError, UserFileNotFoundError
from ..evaluation import Scores, confusion_matrix
from ..evaluation.confusion import nanmean
from .masks import Job, collect, in_order
from .recipe import VOID, Recipe
from .score_files import read_maps


@dataclass(frozen=True)
class Point:
    """What the masks of one recipe are worth.

    Attributes:
        recipe: Of the masks.
        refined: Whether the CRF has refined them.
        matrix: (C, C) pixels, row = truth; without pixels that are void in the truth or the mask.
        labelled: Which part of the pixels with truth has a label in the mask, 0 to 1.
    """

    recipe: Recipe
    refined: bool
    matrix: np.ndarray
    labelled: float

    @property
    def scores(self) -> Scores:
        """Among the classes of the truth, as all points of a curve are judged."""
        return Scores.of(self.matrix, among=self.matrix.sum(1) > 0)

    def miou(self, classes: Sequence[int] = ()) -> float:
        """The mean IoU, 0 to 1, of some classes; of all those of the truth by default."""
        iou = self.scores.iou
        return nanmean(iou[list(classes)] if classes else iou)


def sweep(
    jobs: Sequence[Job],
    truth: str | Path,
    recipes: Sequence[Recipe],
    crf: DenseCRF | None = None,
    workers: int | None = None,
    advance: Callable[[int], None] = lambda steps: None,
) -> list[Point]:
    """Judge the masks of several recipes; nothing is written.

    Args:
        jobs: See `pair`.
        truth: Folder with PLACE.png, 255 for void.
        recipes: One for each point of the curve.
        crf: Of probabilities; with it, there are points without and with it for each recipe.
        workers: Threads; by default as many as this process may use processors.
        advance: Is told how many more pictures are done.

    Raises:
        UserFileNotFoundError: If a mask of the truth is missing.
        UnreadablePicturesError: For files that could not be used.
        UserError: If there is no pixel to judge by.
    """
    masks = {job: Path(truth) / f'{job.place}.png' for job in jobs}
    missing = [path for path in masks.values() if not path.is_file()]
    if missing:
        raise UserFileNotFoundError(f'{len(missing)} of {len(jobs)} masks of the truth are missing: {missing[0]}, ...')
    kinds = [(recipe, refiner) for recipe in recipes for refiner in ((None, crf) if crf else (None,))]
    classes = recipes[0].num_classes
    matrices = np.zeros((len(kinds), classes, classes), np.int64)
    judged = 0

    def count(job: Job) -> tuple[np.ndarray, int]:
        maps, image, right = read_maps(job.maps), read_image(job.image), read_mask(masks[job])
        counts = []
        for recipe, refiner in kinds:
            labels = recipe.labels(maps, image, refiner, str(job.maps))
            void = labels == VOID
            counts.append(confusion_matrix(np.where(void, VOID, right), np.where(void, 0, labels), classes, VOID))
        return np.stack(counts), int((right != VOID).sum())

    def take(_: Job, result: tuple[np.ndarray, int]) -> None:
        nonlocal judged
        matrices.__iadd__(result[0])
        judged += result[1]
        advance(1)

    collect(in_order(count, jobs, workers), take)
    if not judged:
        raise UserError(f'the masks in {truth} are void everywhere: there is nothing to judge by')
    return [
        Point(recipe, refiner is not None, matrix, float(matrix.sum()) / judged)
        for (recipe, refiner), matrix in zip(kinds, matrices, strict=True)
    ]


def variants(recipe: Recipe, thresholds: Sequence[float], powers: Sequence[float]) -> list[Recipe]:
    """The recipe with each of the thresholds or powers in turn; itself if there are neither."""
    found = [replace(recipe, threshold=value) for value in thresholds]
    found += [replace(recipe, power=value) for value in powers]
    return found or [recipe]


def write_table(path: Path, points: Sequence[Point], names: Sequence[str], classes: Sequence[int] = ()) -> None:
    """Write a CSV of one row a point: its recipe, mean IoU of `classes`, pixel accuracy and IoU of each class, in %."""
    text = io.StringIO(newline='')
    table = csv.writer(text)
    table.writerow(['threshold', 'power', 'crf', 'mIoU', 'aAcc', 'labelled', *names])
    for point in points:
        values = [point.miou(classes), point.scores.pixel_acc, point.labelled, *point.scores.iou]
        table.writerow(
            [
                *('' if value is None else value for value in (point.recipe.threshold, point.recipe.power)),
                int(point.refined),
                *('' if np.isnan(value) else f'{100 * value:.2f}' for value in values),
            ]
        )
    with atomic_write(path) as file:
        file.write(text.getvalue().encode())
