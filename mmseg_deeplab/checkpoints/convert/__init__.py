"""Converters from other codebases: one module for each layout, found by its name."""

import importlib
from collections.abc import Mapping

from torch import Tensor

from ...errors import UserError
from .paddleseg import no_counterpart
from .rules import Conversion

FORMATS = (
    *('tensorflow', 'torchvision', 'mmseg', 'kazuto', 'vgg', 'vainf', 'jfzhang95', 'timm', 'detectron2', 'smp'),
    *('huggingface', 'paddleseg', 'caffe', 'kerashub', 'hed'),
)


def detect_format(state: Mapping[str, Tensor]) -> str | None:
    """The layout that the names of a state dict belong to, None if it is none of `FORMATS`."""
    return next((name for name in FORMATS if _converter(name).recognises(state)), None)


def convert_state(state: Mapping[str, Tensor], source_format: str = 'auto', variant: str | None = None) -> Conversion:
    """Convert a state dict of another codebase.

    Args:
        state: Its parameters.
        source_format: One of `FORMATS`, or 'auto'.
        variant: Of v1's head, for which VGG's fc6 and fc7 are made: 'LargeFOV' if not given, '4x4' or '7x7'.

    Raises:
        UserError: If the layout is unknown, or a parameter of it, or has no variants.
    """
    if source_format == 'auto':
        found = detect_format(state)
        if found is None:
            raise UserError(
                no_counterpart(state)
                or f'the layout is not recognised; its names are like {list(state)[:3]}: networks other than DeepLab '
                f'and the backbones of its papers have no counterpart here. Known: {FORMATS}'
            )
        source_format = found
    if source_format not in FORMATS:
        raise UserError(f'unknown format {source_format!r}; choose auto or one of {FORMATS}')
    if variant is not None and source_format != 'vgg':
        raise UserError(
            f"--variant is for fc6 and fc7 of VGG-16, and this source's layout is {source_format}: leave it out"
        )
    options = {} if variant is None else dict(variant=variant)
    conversion = _converter(source_format).convert(state, **options)
    conversion.source = source_format
    return conversion


def _converter(name: str):
    return importlib.import_module(f'.{name}', __name__)
