"""Fitting a checkpoint to a model: all of it or none, with an explanation."""

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from mmengine.logging import print_log
from mmengine.model import BaseTTAModel, is_model_wrapper
from torch import Tensor, nn

from ..errors import UserError

IGNORED = re.compile(r'(^|\.)num_batches_tracked$|^data_preprocessor\.')
"""A counter that nothing reads and the normalisation, which the config gives."""

TABLE_ROWS = 12
BACKBONE_ONLY = 'the file holds a backbone only.'
FROM_BACKBONE = "start a training from it: model.backbone.init_cfg = dict(type='Pretrained'"
RESNET_DEPTHS = {2: '18', 6: '50', 23: '101', 36: '152'}


class CheckpointMismatchError(UserError):
    """A checkpoint leaves parameters of a model unset, or holds what the model has no place for."""


@dataclass
class Mismatch:
    """Where a state dict and a model differ; names are those of the model's parameters and buffers."""

    missing: list[str]
    unexpected: list[str]
    shapes: list[str]

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.shapes)


def unwrap(model: nn.Module) -> nn.Module:
    """The model inside of data-parallel and test-time-augmentation wrappers."""
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model


def weights(checkpoint: Mapping) -> dict[str, Tensor]:
    """The state dict of a checkpoint, without the `module.` that data parallelism prepends."""
    state = checkpoint.get('state_dict', checkpoint)
    return {re.sub(r'^module\.', '', key): value for key, value in state.items()}


def compare(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> Mismatch:
    """Compare names and shapes of a model's state with those of a file's."""
    return Mismatch(
        missing=[k for k in own if k not in state and not IGNORED.search(k)],
        unexpected=[k for k in state if k not in own and not IGNORED.search(k)],
        shapes=[k for k in own if k in state and own[k].shape != _shape(state[k])],
    )


def load_state_dict(
    model: nn.Module, state_dict: Mapping, source: str = 'the checkpoint', drop_classifier: bool = False
) -> list[str]:
    """Load weights into a model, all of them.

    Args:
        model: The model; wrappers are looked through.
        state_dict: A state dict, or a checkpoint with one.
        source: Where it comes from, for messages.
        drop_classifier: Keep the model's own classifiers, the convolutions with one output channel for each class:
            fine-tuning from another set of classes.

    Returns:
        The parameters that were not loaded because of `drop_classifier`.

    Raises:
        CheckpointMismatchError: If a parameter is missing, unexpected or has another shape. The model is unchanged.
    """
    model = unwrap(model)
    state = weights(state_dict)
    dropped = take_own_classifier(model, state, source) if drop_classifier else []
    check_fit(model, state, source)
    model.load_state_dict(state, strict=False)
    return dropped


def check_fit(model: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Raise a `CheckpointMismatchError` that explains itself unless a state dict fits a model."""
    own = unwrap(model).state_dict()
    mismatch = compare(own, state)
    if mismatch:
        cause, advice = explain(own, state, mismatch, set(classifier_keys(unwrap(model))))
        raise explain_mismatch(source, own, state, mismatch, cause, advice)


def explain_mismatch(
    source: str, own: Mapping[str, Tensor], state: Mapping[str, Tensor], mismatch: Mismatch, cause: str, advice: str
) -> CheckpointMismatchError:
    """The error that shows a mismatch, its likely cause and what to do."""
    return CheckpointMismatchError(
        f'{source} does not fit the model: {len(mismatch.missing)} parameters are missing, '
        f'{len(mismatch.unexpected)} unexpected, {len(mismatch.shapes)} of another shape.\n'
        f'{table(own, state, mismatch)}\nLikely cause: {cause}\nWhat to do: {advice}'
    )


def classifier_keys(model: nn.Module) -> list[str]:
    """The parameters whose shape depends on the number of classes.

    Those are of every convolution of a head with a bias and one output channel for each class; v1 and v2 classify in
    several places. All others of a DeepLab head have batch norm instead of a bias, or 128, 1024 or 4096 channels.
    """
    keys = []
    for prefix, head in model.named_modules():
        if not (hasattr(head, 'num_classes') and hasattr(head, 'out_channels')):
            continue
        for name, conv in head.named_modules():
            if isinstance(conv, nn.Conv2d) and conv.out_channels == head.out_channels and conv.bias is not None:
                keys += [f'{prefix}.{name}.{parameter}'.lstrip('.') for parameter in ('weight', 'bias')]
    return list(dict.fromkeys(keys))


def take_own_classifier(model: nn.Module, state: dict[str, Tensor], source: str) -> list[str]:
    """Replace the classifiers in `state` by the model's own, name them in the log, and return their names."""
    own = model.state_dict()
    keys = [key for key in classifier_keys(model) if key in own]
    layers = []
    for key in keys:
        if key.endswith('.weight'):
            before = f'{len(state[key])} classes' if key in state else 'absent'
            layers.append(f'{key.removesuffix(".weight")} (in the file: {before}; now {len(own[key])}, untrained)')
        state[key] = own[key].clone()
    print_log(f'drop_classifier: not taken from {source}: {", ".join(layers)}', logger='current')
    return keys


def table(own: Mapping[str, Tensor], state: Mapping[str, Tensor], mismatch: Mismatch) -> str:
    """Count the differences by module, one line each, with an example."""
    groups: dict[str, list[list[str]]] = defaultdict(lambda: [[], [], []])
    for column, keys in enumerate((mismatch.missing, mismatch.unexpected, mismatch.shapes)):
        for key in keys:
            groups['.'.join(key.split('.')[:-1][:2]) or key][column].append(key)
    lines = [f'  {"module":28} {"missing":>8} {"unexpected":>11} {"other shape":>12}  for example']
    for module, (missing, unexpected, shapes) in list(groups.items())[:TABLE_ROWS]:
        if shapes:
            key = shapes[0]
            example = f'{key}: file {tuple(_shape(state[key]))}, model {tuple(own[key].shape)}'
        else:
            example = (missing or unexpected)[0]
        lines.append(f'  {module:28} {len(missing):8} {len(unexpected):11} {len(shapes):12}  {example}')
    if len(groups) > TABLE_ROWS:
        lines.append(f'  ... and {len(groups) - TABLE_ROWS} more modules')
    return '\n'.join(lines)


def explain(
    own: Mapping[str, Tensor], state: Mapping[str, Tensor], mismatch: Mismatch, classifier: set[str]
) -> tuple[str, str]:
    """The likely cause of a mismatch, and what to do about it."""
    if mismatch.shapes and not mismatch.missing and not mismatch.unexpected and set(mismatch.shapes) <= classifier:
        key = mismatch.shapes[0]
        return (
            f'another set of classes: the file has {_shape(state[key])[0]}, the model {len(own[key])}.',
            'test with the config that the file was trained with. To fine-tune from it: '
            '--cfg-options default_hooks.strict_load.drop_classifier=True',
        )
    overlap = sum(key in own for key in state)
    if not overlap:
        from .convert import detect_format, parameters

        source = detect_format(parameters(state))
        if source is not None:
            return (
                f'the file has the layout of another codebase ({source}).',
                f'convert it: python tools/convert_checkpoint.py SRC DST.pth --from {source} --config CONFIG',
            )
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


def _shape(value: object) -> tuple[int, ...]:
    return getattr(value, 'shape', ())
