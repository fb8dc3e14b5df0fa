"""The pictures of one image's way through the CRF, for a segmentor."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..checkpoints.save import atomic_write
from ..crf import DenseCRF
from ..datasets.masks import read_mask
from ..errors import UserError, UserFileNotFoundError
from ..visualization.crf_maps import iteration_figure, label_figure
from .model import Segmentor
from .prediction import Prediction
from .predictor import predict
from .refine import check_one_label

ITERATIONS = (0, 1, 2, 4, 10)
"""Those of DeepLab v1's Fig. 2, and the network's own."""


def draw_crf(
    model: Segmentor,
    image: str,
    crf: dict,
    folder: Path,
    truth: str | None = None,
    classes: Sequence[str] = (),
    iterations: Sequence[int] = ITERATIONS,
) -> list[Path]:
    """Draw score and belief maps by iteration, and the labels before and after the CRF.

    Args:
        model: From `init_model`.
        image: A picture file.
        crf: Parameters of `DenseCRF`; the labels after the CRF are those after its `iterations`.
        folder: Where NAME_maps.png and NAME_labels.png go.
        truth: A label map of class indices, PNG.
        classes: Names of those to draw; by default the three that cover most of the prediction.
        iterations: After how many updates to draw.

    Returns:
        The two files.

    Raises:
        FileNotFoundError: image or truth do not exist.
        ValueError: for a class that the model does not know, and a truth that is no label map of the image's size.
    """
    names = list(model.dataset_meta['classes'])
    for name in classes:
        if name not in names:
            raise UserError(f'class {name!r}: the model knows {", ".join(names)}')
    if truth and not Path(truth).is_file():
        raise UserFileNotFoundError(f'truth {truth} does not exist')
    check_one_label(model)
    prediction = predict(model, image)
    assert isinstance(prediction, Prediction)
    pixels, probabilities = prediction.image, prediction.probabilities()
    mask = read_mask(truth) if truth else None
    if mask is not None and mask.shape != pixels.shape[:2]:
        raise UserError(
            f'truth {truth} is {mask.shape}, the image {pixels.shape[:2]}: a label map has one class index a pixel'
        )
    last = DenseCRF(**crf).iterations
    settings: dict[str, Any] = {**crf, 'iterations': max(*iterations, last)}
    refine = DenseCRF(**settings)
    states = {k: q for k, q in enumerate(refine.steps(pixels, probabilities)) if k in (*iterations, last)}
    beliefs = {k: q for k, q in states.items() if k in iterations}
    before, after = prediction.labels, states[last].argmax(0)
    area = np.bincount(before.ravel(), minlength=len(names))
    most = [int(k) for k in np.argsort(-area, kind='stable')[:3] if area[k]]
    folder.mkdir(parents=True, exist_ok=True)
    maps, labels = (folder / f'{Path(image).stem}_{kind}.png' for kind in ('maps', 'labels'))
    shown = [names.index(name) for name in classes] or most
    with atomic_write(maps) as file:
        iteration_figure(pixels, beliefs, names, shown).savefig(file, dpi=110)
    with atomic_write(labels) as file:
        label_figure(pixels, before, after, model.dataset_meta['palette'], mask).savefig(file, dpi=110)
    return [maps, labels]
