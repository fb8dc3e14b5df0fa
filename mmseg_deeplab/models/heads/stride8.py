"""What the heads of v1 and v2 start from."""

from collections.abc import Iterable

from mmseg.registry import WEIGHT_INITIALIZERS
from torch import nn


def random_init(classifiers: Iterable[str]) -> dict:
    """He's initialisation, and a normal distribution of 0.01 for the classifiers (release)."""
    overrides = [dict(type='Normal', name=name, std=0.01) for name in classifiers]
    return dict(type='Kaiming', layer='Conv2d', override=overrides)


def load_layers(owners: Iterable[nn.Module], names: Iterable[str], cfg: dict) -> None:
    """Copy the layers `names` of a checkpoint's head into each of `owners`.

    Args:
        owners: Modules with layers of those names.
        names: Which layers.
        cfg: `dict(checkpoint=FILE, prefix='decode_head')`.

    Raises:
        UserError: If the file lacks a layer or holds one of another shape.
    """
    load = WEIGHT_INITIALIZERS.build(
        {'prefix': 'decode_head', **cfg, 'type': 'StrictPretrained', 'layers': tuple(names)}
    )
    for owner in owners:
        load(owner)
