"""From what people download to the trees that the configs expect. `prepare` is what tools/prepare_dataset.py calls."""

from collections.abc import Callable
from pathlib import Path

from ...errors import UserError, UserFileNotFoundError
from . import (
    ade20k,
    camvid,
    cityscapes,
    class_masks,
    coco,
    coco_stuff,
    colour_masks,
    cvat,
    label_studio,
    labelme,
    pascal_context,
    person_part,
    voc_aug,
)
from .runner import Plan, Summary, check_apart, execute

PLANS: dict[str, Callable[..., Plan]] = {
    'voc-aug': voc_aug.plan,
    'pascal-context': pascal_context.plan,
    'person-part': person_part.plan,
    'cityscapes': cityscapes.plan,
    'ade20k': ade20k.plan,
    'coco-stuff10k': coco_stuff.plan_10k,
    'coco-stuff164k': coco_stuff.plan_164k,
    'camvid': camvid.plan,
    'colour-masks': colour_masks.plan,
    'class-masks': class_masks.plan,
    'labelme': labelme.plan,
    'coco': coco.plan,
    'cvat': cvat.plan,
    'label-studio': label_studio.plan,
}


def prepare(
    name: str, src: str | Path, dst: str | Path, workers: int | None = None, copy: bool = False, **options
) -> Summary:
    """Make the dataset `name` (a key of `PLANS`) at `dst` from the downloads at `src`; returns class frequencies.

    `options` go to the plan (`classes`, `tolerance`). The source is only read; images are linked, or copied with
    `copy`; a run that was interrupted continues.
    """
    if name not in PLANS:
        raise UserError(f'unknown dataset {name!r}; choose one of {", ".join(PLANS)}')
    src, dst = Path(src), Path(dst)
    if not src.is_dir():
        raise UserFileNotFoundError(f'--src {src}: there is no such folder')
    check_apart(src, dst)
    return execute(PLANS[name](src, dst, **options), src, dst, workers, copy)
