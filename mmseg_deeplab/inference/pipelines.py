"""How the test pipeline of a config prepares a picture that has no truth."""

import copy
from typing import Any

from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope

from ..datasets import iter_datasets
from ..datasets.bands import Bands
from ..errors import UserError


def test_pipeline(cfg: Config) -> list[dict]:
    """The transforms of the config's test dataset, or its `test_pipeline`."""
    loader = cfg.get('test_dataloader')
    steps = next(iter_datasets(loader))['pipeline'] if loader else cfg.get('test_pipeline')
    if not steps:
        raise UserError('the config has neither test_dataloader nor test_pipeline, which say how pictures are prepared')
    return steps


def bands_of(model: Any) -> Bands | None:
    """The bands of a file that a model from `init_model` takes, if its test pipeline chooses some."""
    return Bands.of_step(test_pipeline(model.cfg)[0])


def pipeline_without_truth(steps: list[dict], given: bool) -> Compose:
    """The transforms for a file, or for pixels that are given, without truth.

    MMSegmentation's `inference_model` rewrites the model's own pipeline for arrays, so that files fail from then on.
    """
    steps = copy.deepcopy([step for step in steps if step['type'] not in ('LoadAnnotations', 'LoadLabels')])
    if given:
        steps[0]['type'] = 'LoadImageFromNDArray'
        for name in ('bands', 'value_range', 'show'):  # of files
            steps[0].pop(name, None)
    with DefaultScope.overwrite_default_scope('mmseg'):
        return Compose(steps)
