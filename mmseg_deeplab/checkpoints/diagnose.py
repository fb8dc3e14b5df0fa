"""Why a checkpoint does not fit a model, and what to do about it."""

import re
from collections.abc import Mapping

from torch import Tensor

from .comparison import Mismatch, shape_of
from .containers import parameters
from .convert import detect_format

BACKBONE_ONLY = 'the file holds a backbone only.'
FROM_BACKBONE = "start a training from it: model.backbone.init_cfg = dict(type='Pretrained'"
RESNET_DEPTHS = {2: '18', 6: '50', 23: '101', 36: '152'}
BACKBONES = {
    'a MobileNetV2': r'backbone\.layer2\.0\.conv\.',
    'a VGG-16': r'backbone\.features\.',
    'an Aligned Xception': r'backbone\.blocks\.',
}
# The first that is found counts.
HEADS = {
    "a head of MMSegmentation's own DeepLab": r'decode_head\.(image_pool|aspp_modules)\.',
    'a DeepLab v3+ head': r'decode_head\.low_level\.',
    'a DeepLab v3 head': r'decode_head\.aspp\.',
    'a DeepLab v2 head': r'decode_head\.classifiers\.',
    'a DeepLab v1 MSc head': r'decode_head\.taps\.',
    'a DeepLab v1 head': r'decode_head\.fc6\.',
    'a DeepLab v3 cascade head': r'decode_head\.conv_seg\.',
}


def explain(
    own: Mapping[str, Tensor], state: Mapping[str, Tensor], mismatch: Mismatch, classifier: set[str]
) -> tuple[str, str]:
    """The likely cause of a mismatch with a whole model, and what to do about it."""
    only_shapes = mismatch.shapes and not mismatch.missing and not mismatch.unexpected
    if (
        only_shapes
        and set(mismatch.shapes) <= classifier
        and all(getattr(state[k], 'ndim', 0) for k in mismatch.shapes)
    ):
        key = mismatch.shapes[0]
        return (
            f'another set of classes: the file has {len(state[key])}, the model {len(own[key])}.',
            'test with the config that the file was trained with. To fine-tune from it: '
            '--cfg-options default_hooks.strict_load.drop_classifier=True',
        )
    if not any(key in own for key in state):
        foreign = _explain_foreign(state)
        if foreign is not None:
            return foreign
        if any(f'backbone.{key}' in own for key in state):
            return BACKBONE_ONLY, f'{FROM_BACKBONE}, checkpoint=FILE)'
        return 'nothing in the file has a name of this model.', 'give a checkpoint that was trained with this config.'
    if all(key.startswith('backbone.') for key in state):
        return BACKBONE_ONLY, f"{FROM_BACKBONE}, checkpoint=FILE, prefix='backbone')"
    theirs, ours = describe(state), describe(own)
    differences = [
        f'the file holds {theirs[fact]}, the model {ours[fact]}'
        for fact in theirs
        if fact in ours and theirs[fact] != ours[fact]
    ]
    if differences:
        return '; '.join(differences) + '.', 'use the config that the checkpoint was trained with.'
    return (
        'the same version and backbone, with other options (see the shapes above: widths, separable convolutions, '
        'stem, number of branches).',
        'use the config that the checkpoint was trained with; its text is in the checkpoint, under meta, cfg.',
    )


def explain_part(
    own: Mapping[str, Tensor], state: Mapping[str, Tensor], mismatch: Mismatch, whole: Mapping[str, Tensor], prefix: str
) -> tuple[str, str]:
    """The likely cause of a mismatch with a part of a model, and what to do about it.

    Args:
        own: The part's parameters.
        state: Those of the file under `prefix`, without it.
        mismatch: Of the two.
        whole: All that the file holds.
        prefix: With the dot at its end, or ''.
    """
    first = next(iter(own))
    lacking = [*mismatch.missing, *mismatch.shapes]
    elsewhere = [key.removesuffix(first) for key in whole if key.endswith(first) and not state]
    if elsewhere:
        return (
            f'no parameter of the file begins with {prefix!r}, but some with {elsewhere[0]!r}.',
            f'set prefix={elsewhere[0].removesuffix(".")!r} in the init_cfg.',
        )
    foreign = None if any(key in own for key in state) else _explain_foreign(whole)
    if foreign is not None:
        return foreign
    if not state:
        cause = f'no such parameter of the file begins with {prefix!r}; its names are like {list(whole)[:3]}'
    elif not lacking:
        cause = f'another network or other options: there is no place for {prefix}{mismatch.unexpected[0]}'
    else:
        cause = 'another network or other options'
    if lacking:
        found = shape_of(state[lacking[0]]) if lacking[0] in state else 'absent'
        cause += f'; {prefix}{lacking[0]} should be {tuple(own[lacking[0]].shape)} and is {found}'
    return f'{cause}.', (
        "give the part's init_cfg a checkpoint of the same network (and its prefix, if its names begin with one), or "
        'None to start from random weights; files of other codebases go through tools/convert_checkpoint.py first.'
    )


def _explain_foreign(state: Mapping[str, Tensor]) -> tuple[str, str] | None:
    source = detect_format(parameters(state))
    if source is None:
        return None
    return (
        f'the file has the layout of another codebase ({source}).',
        f'convert it: python tools/convert_checkpoint.py SRC DST.pth --from {source} --config CONFIG',
    )


def describe(state: Mapping[str, Tensor]) -> dict[str, str]:
    """What a state dict of this package holds: its backbone and its head, as far as the names tell."""
    facts = {}
    units = {int(m[1]) for key in state if (m := re.match(r'backbone\.layer3\.(\d+)\.conv\d\.weight', key))}
    if units:
        count = max(units) + 1
        facts['backbone'] = f'a ResNet-{RESNET_DEPTHS.get(count, f"? (block3 of {count} units)")}'
    for name, pattern in BACKBONES.items():
        if any(re.match(pattern, key) for key in state):
            facts['backbone'] = name
    for name, pattern in HEADS.items():
        if any(re.match(pattern, key) for key in state):
            facts['head'] = name
            break
    return facts
