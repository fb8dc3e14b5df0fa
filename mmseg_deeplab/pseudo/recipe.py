"""How maps become scores of classes, and these labels: background, CRF, certainty."""

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F

from ..crf import DenseCRF
from ..errors import UserError
from .score_files import ClassMaps

VOID = 255
LARGEST = 1.01  # rounding in float16 and the like leaves sums and products slightly above one


@dataclass(frozen=True)
class Recipe:
    """What is made of maps, or of labels.

    With `threshold` or `power` the maps are activations of the foreground classes, 0 to 1 (what is negative counts as
    0), and class 0, the background, gets the score `threshold` everywhere, or (1 - the largest activation) ** power,
    in [0, 1] (Ahn and Kwak, 1803.10464, section 3.2). With neither, the maps are probabilities of all classes, or
    `logits`.

    Attributes:
        num_classes: With the background, >= 2.
        threshold: In (0, 1).
        power: > 0.
        logits: Whether a softmax over the classes comes first, after the maps have got the picture's size.
        certainty: The probability, in (0, 1), that a label is right: the CRF refines labels instead of the scores.
        unsure_below: Pixels whose label has a smaller probability, its share of the scores, are void, 255; in [0, 1].
    """

    num_classes: int
    threshold: float | None = None
    power: float | None = None
    logits: bool = False
    certainty: float | None = None
    unsure_below: float = 0.0

    def __post_init__(self) -> None:
        if not 2 <= self.num_classes <= VOID:
            raise UserError(f'{self.num_classes} classes: expected 2 to 255, the background with them')
        if sum([self.threshold is not None, self.power is not None, self.logits]) > 1:
            raise UserError('threshold, power and logits exclude each other: choose one, or none for probabilities')
        if self.threshold is not None and not 0 < self.threshold < 1:
            raise UserError(f'threshold {self.threshold}: expected a number between 0 and 1, such as 0.25')
        if self.power is not None and not 0 < self.power < float('inf'):
            raise UserError(f'power {self.power}: expected a number above 0, such as 4')
        if self.certainty is not None and not 0 < self.certainty < 1:
            raise UserError(f'certainty {self.certainty}: expected a number between 0 and 1, such as 0.7')
        if not 0 <= self.unsure_below <= 1:
            raise UserError(f'unsure_below {self.unsure_below}: expected a number of 0 to 1, such as 0.95')

    @property
    def of_foreground(self) -> bool:
        """Whether the maps are of the foreground only."""
        return self.threshold is not None or self.power is not None

    def scores(self, maps: ClassMaps, size: tuple[int, int], where: str) -> tuple[np.ndarray, np.ndarray]:
        """The classes that have any score, ascending, and their scores.

        Args:
            maps: Of one picture.
            size: Its height and width, to which the maps are brought bilinearly (corners not aligned).
            where: Their file, for messages.

        Returns:
            (K,) class numbers and (K, H, W) float32 scores, 0 to 1.

        Raises:
            UserError: If number or values of the maps do not fit the recipe.
        """
        numbers = self._numbers(maps, where)
        order = np.argsort(numbers)
        numbers, values = numbers[order], maps.maps[order]
        if self.of_foreground:
            if values.max(initial=0) > LARGEST:
                raise UserError(
                    f'{where} holds activations up to {values.max():g}, expected 0 to 1: divide each map by its largest'
                    f' value before it is saved; for scores of the background too, leave threshold and power out'
                )
            values = values.clip(0, 1)
        elif not self.logits:
            self._check_probabilities(values, where)
        if values.shape[1:] != size and len(values):
            tensor = torch.from_numpy(np.ascontiguousarray(values))
            values = F.interpolate(tensor[None], size, mode='bilinear', align_corners=False)[0].numpy()
        if self.logits:
            values = torch.from_numpy(np.ascontiguousarray(values)).softmax(0).numpy()
        if self.of_foreground:
            background = np.full((1, *size), self.threshold or 0, np.float32)
            if self.power is not None:
                background[0] = (1 - values.max(0, initial=0)) ** np.float32(self.power)
            values = np.concatenate([background, values.reshape(-1, *size)])
            numbers = np.concatenate([[0], numbers])
        scored = values.any((1, 2))
        return numbers[scored], values[scored]

    def labels(
        self, maps: ClassMaps | np.ndarray, image: np.ndarray, crf: DenseCRF | None = None, where: str = 'the maps'
    ) -> np.ndarray:
        """The mask of a picture.

        Classes without any score take no part. Of several equally good classes the lowest is taken.

        Args:
            maps: Of the picture; or labels (H, W), uint8, with 255 where they are unknown, for a recipe without
                threshold, power and logits.
            image: (H, W, 3) uint8, RGB.
            crf: Of probabilities.
            where: The maps' file, for messages.

        Returns:
            (H, W) uint8.

        Raises:
            UserError: If the maps do not fit the recipe.
        """
        height, width = image.shape[:2]
        if isinstance(maps, np.ndarray):
            return self._of_labels(maps, image, crf, where)
        numbers, scores = self.scores(maps, (height, width), where)
        if len(numbers) == 0:
            raise UserError(f'{where} is zero everywhere, in all classes: there is nothing to make a mask of')
        best = scores.argmax(0)
        if crf is not None and len(numbers) > 1:
            if self.certainty is not None:
                scores = DenseCRF.from_labels(best, len(numbers), self.certainty)
            elif not ((scores > 0) & (scores < 1)).any():
                raise UserError(
                    f'{where} holds only zeros and ones, which no picture can change: say how certain these labels are '
                    f'for the CRF, such as --certainty 0.7'
                )
            scores = cast(np.ndarray, crf(image, scores))
            best = scores.argmax(0)
        labels = numbers[best].astype(np.uint8)
        if self.unsure_below:
            total = scores.sum(0)
            labels[scores.max(0) < self.unsure_below * np.where(total > 0, total, 1)] = VOID
        return labels

    def _of_labels(self, given: np.ndarray, image: np.ndarray, crf: DenseCRF | None, where: str) -> np.ndarray:
        if self.of_foreground or self.logits:
            raise UserError(f'{where} holds labels, to which threshold, power and logits do not apply: leave them out')
        if given.shape != image.shape[:2]:
            raise UserError(f'{where} has {given.shape} pixels, but its picture {image.shape[:2]} (height, width)')
        classes = np.unique(given)
        wrong = classes[(classes >= self.num_classes) & (classes != VOID)]
        if len(wrong):
            raise UserError(f'{where} holds the label {wrong[0]}, but there are {self.num_classes} classes and 255')
        classes = classes[classes != VOID]
        if crf is None:
            return given
        if self.certainty is None:
            raise UserError(f'{where} holds labels: say how certain they are for the CRF, such as --certainty 0.7')
        if len(classes) < 2:
            return np.full_like(given, classes[0]) if len(classes) else given
        place = np.full(VOID + 1, VOID)
        place[classes] = np.arange(len(classes))
        scores = cast(
            np.ndarray, crf(image, DenseCRF.from_labels(place[given], len(classes), self.certainty, unsure=VOID))
        )
        labels = classes[scores.argmax(0)]
        labels[scores.max(0) < self.unsure_below] = VOID
        return labels

    def _numbers(self, maps: ClassMaps, where: str) -> np.ndarray:
        """The class of each map."""
        first = 1 if self.of_foreground else 0
        expected = self.num_classes - first
        if maps.keys is None:
            if len(maps.maps) == expected:
                return np.arange(first, self.num_classes)
            kind = 'foreground classes' if first else 'classes with the background'
            hint = ''
            if len(maps.maps) == self.num_classes:
                hint = ': one of them is a background, so leave threshold and power out'
            elif len(maps.maps) == self.num_classes - 1:
                hint = ': it has no background, so give a threshold or a power'
            raise UserError(f'{where} holds {len(maps.maps)} maps, but there are {expected} {kind}{hint}')
        if maps.keyed and not first:
            raise UserError(f'{where} holds maps of foreground classes: give a threshold or a power for the background')
        numbers = maps.keys + first
        if len(set(numbers)) < len(numbers) or not all(first <= number < self.num_classes for number in numbers):
            raise UserError(
                f'{where} holds the keys {maps.keys.tolist()}, but '
                f'{"foreground " if first else ""}classes are 0 to {expected - 1}, each once; other classes are given '
                f'by a classes file'
            )
        if not first and 0 not in numbers:
            raise UserError(f'{where} holds no background, class 0: give a threshold or a power for it')
        return numbers

    @staticmethod
    def _check_probabilities(values: np.ndarray, where: str) -> None:
        sums = values.sum(0)
        if values.min() < 0 or values.max() > LARGEST or abs(sums - 1).max() > 0.02:
            raise UserError(
                f'{where} holds scores of {values.min():g} to {values.max():g} that add up to {sums.min():g} to '
                f'{sums.max():g} in a pixel, so they are no probabilities of all classes: give logits for logits, a '
                f'threshold or a power for activations of the foreground'
            )
