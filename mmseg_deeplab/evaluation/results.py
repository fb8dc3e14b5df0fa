"""What one evaluation found, as the report writes it for programs: `results.json`."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np

from ..errors import UserError, UserFileNotFoundError

FILE = 'results.json'
FORMAT = 'mmseg_deeplab results 1'


@dataclass(frozen=True)
class Results:
    """One evaluation. Scores are in percent, None where there is nothing to score.

    Attributes:
        title: Name of the config.
        facts: What was tested, as the report's first table has it.
        classes: C names.
        metrics: The evaluators' numbers; those with `before_crf/` are of the predictions before the CRF.
        iou: (C,) IoU of each class.
        iou_before_crf: The same before the CRF; None without CRF.
        trimap: Mean IoU inside of trimaps of 1, 2, ... pixels.
        trimap_before_crf: The same before the CRF; None without CRF.
        images: How many were tested.
        seconds: What the test took from its first image to its last, with loading, network, CRF and scoring.
        parameters: Number of parameters of the network.
        multiply_adds: For one image of `shape`, without test-time augmentation; None where they can't be counted.
        shape: (height, width) in pixels.
    """

    title: str
    facts: dict
    classes: list
    metrics: dict
    iou: list
    iou_before_crf: list | None
    trimap: list
    trimap_before_crf: list | None
    images: int
    seconds: float
    parameters: int
    multiply_adds: int | None
    shape: list

    def to_json(self) -> bytes:
        """The file's content."""
        return json.dumps({'format': FORMAT, **asdict(self)}, indent=1, allow_nan=False).encode()


def numbers(values: Sequence[float] | np.ndarray) -> list[float | None]:
    """Values for JSON, which has no nan."""
    return [None if np.isnan(value) else float(value) for value in values]


def read_results(path: str | Path) -> Results:
    """Read `results.json`: the file itself, or that in the folder of a report, or the only one below a folder.

    Raises:
        UserError: If there is none, or several, or it is not such a file.
    """
    path = Path(path)
    if path.is_dir():
        path = _in_folder(path)
    elif not path.is_file():
        raise UserFileNotFoundError(f'{path} does not exist; name the folder of a report (tools/test.py --report DIR)')
    try:
        content: Any = json.loads(path.read_bytes())
        if content.pop('format') != FORMAT:
            raise ValueError(f'its format is not {FORMAT!r}')
        hints = get_type_hints(Results)
        for field in fields(Results):
            kind = (int, float) if hints[field.name] is float else hints[field.name]
            if not isinstance(content[field.name], kind):
                raise TypeError(f'{field.name} is {content[field.name]!r}')
        results = Results(**content)
        if len(results.iou) != len(results.classes):
            raise ValueError(f'{len(results.classes)} classes but {len(results.iou)} IoU')
        return results
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        what = f'{error} is missing' if isinstance(error, KeyError) else str(error)
        raise UserError(f'{path} is not the {FILE} of a report: {what}') from error


def _in_folder(folder: Path) -> Path:
    if (folder / FILE).is_file():
        return folder / FILE
    found = sorted(folder.rglob(FILE))
    if not found:
        raise UserFileNotFoundError(f'{folder} holds no {FILE}; test with --report DIR, which writes it, and name DIR')
    if len(found) > 1:
        raise UserError(f'{folder} holds {len(found)} reports; name them one by one: {", ".join(map(str, found[:5]))}')
    return found[0]
