"""What all converters share: tables of name rules, and the few permutations that codebases differ by."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ...errors import UserError

IMAGENET = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True)
CAFFE = dict(mean=[104.008, 116.669, 122.675], std=[1.0, 1.0, 1.0], bgr_to_rgb=False)
TENSORFLOW = dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5], bgr_to_rgb=True)
BACKBONE_ONLY = ('backbone.',)
RELEASE_SIZES = {21: (513, 513), 19: (1025, 2049)}
"""Number of classes -> the size to which the releases pad test images: VOC's and Cityscapes'."""
MOBILENET_UNITS = (1, 2, 3, 4, 3, 3, 1)
"""Inverted residuals of each row (MobileNetV2, Table 2)."""
RESNET_UNITS = {6: 50, 23: 101, 36: 152}


@dataclass(frozen=True)
class Rule:
    """What happens to the parameters whose whole name matches `pattern`.

    Attributes:
        pattern: Regular expression.
        target: Name in this package, with groups of the match as `\\1`, or a function of the match.
        transform: What is done to the values.
        dropped: Instead of a target: why the parameter has no place here.
    """

    pattern: str
    target: str | Callable[[re.Match], str] = ''
    transform: Callable[[Tensor], Tensor] = lambda value: value
    dropped: str = ''


PROFILER = Rule(r'(.+\.)?total_(ops|params)', dropped='counts of a profiler')
"""Which thop leaves in every module."""


@dataclass
class Conversion:
    """A converted checkpoint.

    Attributes:
        state_dict: Parameters by their names in this package.
        model: Config of the model that they fit exactly; without a head if they are a backbone's only.
        dropped: Source parameters that have no place here, with the reason.
        holds: Prefixes of what the file fills; ('',) is the whole model.
        identity_norms: Batch norms without statistics, as the source has them folded: bias only.
        notes: What the user should know.
        source: The layout that it came from.
    """

    state_dict: dict[str, Tensor]
    model: dict
    dropped: dict[str, str]
    holds: tuple[str, ...] = ('',)
    identity_norms: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    source: str = ''


def apply_rules(rules: Sequence[Rule], state: Mapping[str, Tensor], source: str) -> tuple[dict, dict[str, str]]:
    """Rename and transform every parameter by the first rule that matches.

    Returns:
        The new state dict, and what was dropped with the reasons.

    Raises:
        UserError: If a parameter matches no rule or has not the shape that is expected, or two get the same name.
    """
    converted, dropped, unknown = {}, {}, []
    compiled = [(re.compile(rule.pattern), rule) for rule in (PROFILER, *rules)]
    for name, value in state.items():
        found = next(((match, rule) for pattern, rule in compiled if (match := pattern.fullmatch(name))), None)
        if found is None:
            unknown.append(name)
            continue
        match, rule = found
        if rule.dropped:
            dropped[name] = rule.dropped
            continue
        target = rule.target(match) if callable(rule.target) else match.expand(rule.target)
        if target in converted:
            raise UserError(f'two parameters of the source become {target}; the second is {name}')
        try:
            converted[target] = rule.transform(value).contiguous()
        except (RuntimeError, IndexError) as error:
            raise UserError(f'{name} {tuple(value.shape)} has another shape than in the layout of {source}') from error
    if unknown:
        raise UserError(
            f'{len(unknown)} of {len(state)} parameters are unknown in the layout of {source}, for example '
            f'{unknown[:3]}. Is it another format (see --from), or a variant that is not supported?'
        )
    return converted, dropped


def pool_first(branches: int) -> Callable[[Tensor], Tensor]:
    """Reorder the input of ASPP's projection from [1x1, rates, pooled] to [pooled, 1x1, rates]."""
    return lambda weight: weight.roll(weight.shape[1] // branches, dims=1)


def encoder_first(low_level: int) -> Callable[[Tensor], Tensor]:
    """Reorder the input of the decoder from [low-level, encoder] to [encoder, low-level]."""
    return lambda weight: weight.roll(-low_level, dims=1)


def densify(state: Mapping[str, Tensor], depthwise: str, pointwise: str) -> dict[str, Tensor]:
    """Multiply depthwise and 1x1 convolutions, with nothing in between, into one full convolution.

    Args:
        state: A state dict.
        depthwise: End of the name of the depthwise weight, for example `.0.weight`.
        pointwise: End of the name of the 1x1 weight.

    Returns:
        The state dict with each pair replaced by `<begin>.weight`.
    """
    result = dict(state)
    for name in [name for name in state if name.endswith(depthwise)]:
        begin = name.removesuffix(depthwise)
        spatial, mixing = state[name], state.get(begin + pointwise)
        if mixing is not None and spatial.ndim == mixing.ndim == 4 and spatial.shape[:2] == (mixing.shape[1], 1):
            del result[name], result[begin + pointwise]
            result[f'{begin}.weight'] = torch.einsum('oi,ihw->oihw', mixing[:, :, 0, 0], spatial[:, 0])
    return result


def torchvision_aspp(begin: str) -> tuple[Rule, ...]:
    """Rules of an ASPP laid out as torchvision's, whose names begin with the pattern `begin`; pooled branch last."""
    ours = 'decode_head.aspp'
    return (
        Rule(rf'{begin}\.convs\.4\.1\.weight', f'{ours}.pooled.0.conv.weight'),
        Rule(rf'{begin}\.convs\.4\.2\.(\w+)', rf'{ours}.pooled.0.bn.\1'),
        Rule(rf'{begin}\.convs\.([0-3])\.0\.weight', rf'{ours}.branches.\1.conv.weight'),
        Rule(rf'{begin}\.convs\.([0-3])\.1\.(\w+)', rf'{ours}.branches.\1.bn.\2'),
        Rule(rf'{begin}\.project\.0\.weight', f'{ours}.project.conv.weight', pool_first(5)),
        Rule(rf'{begin}\.project\.1\.(\w+)', rf'{ours}.project.bn.\1'),
    )


def torchvision_mobilenet(begin: str) -> tuple[Rule, ...]:
    """Rules of MobileNetV2's first convolution and residuals laid out as torchvision's, behind the pattern `begin`."""
    return (
        Rule(rf'{begin}0\.0\.weight', 'backbone.conv1.conv.weight'),
        Rule(rf'{begin}0\.1\.(\w+)', r'backbone.conv1.bn.\1'),
        Rule(rf'{begin}(\d+)\.conv\.(\d)(?:\.([01]))?\.(\w+)', _torchvision_mobilenet_part),
    )


def _torchvision_mobilenet_part(match: re.Match) -> str:
    """Name here of a parameter of an inverted residual named as torchvision's: groups unit, place, [inner,] parameter.

    The 1x1 projection and its batch norm are in no sequence of their own there.
    """
    unit, place, inner, parameter = int(match[1]) - 1, int(match[2]), match[3], match[4]
    project = 1 if unit == 0 else 2
    if inner is None:
        place, inner = project, str(place - project)
    return f'{mobilenet_unit(unit)}.conv.{place}.{("conv", "bn")[int(inner)]}.{parameter}'


def mobilenet_width(converted: Mapping[str, Tensor]) -> float:
    """Width multiplier of a MobileNetV2, by the channels of its first convolution."""
    return len(converted['backbone.conv1.conv.weight']) / 32


def mobilenet_unit(index: int) -> str:
    """Name here of the inverted residual number `index` (0 to 16) of MobileNetV2."""
    for row, count in enumerate(MOBILENET_UNITS, start=1):
        if index < count:
            return f'backbone.layer{row}.{index}'
        index -= count
    raise UserError(f'MobileNetV2 has {sum(MOBILENET_UNITS)} inverted residuals, this source more')


def depth_of_resnet(state: Mapping[str, Tensor], unit: str) -> int:
    """Depth of a ResNet by the units of its block3; `unit` matches one, with its number (from 0) as a group."""
    count = 1 + max((int(match[1]) for name in state if (match := re.match(unit, name))), default=-1)
    if count not in RESNET_UNITS:
        raise UserError(
            f'block3 of this ResNet has {count} bottleneck units; ResNet-50, 101 and 152 have {tuple(RESNET_UNITS)}. '
            f'Other networks, ResNet-18 and 34 among them, have no counterpart in this package'
        )
    return RESNET_UNITS[count]


def resnet(converted: Mapping[str, Tensor], **options) -> dict:
    """Config of a backbone with the depth and widths of converted parameters; `options` are added."""
    cfg: dict[str, Any] = dict(
        type='DeepLabResNet', depth=depth_of_resnet(converted, r'backbone\.layer3\.(\d+)\.conv3')
    )
    if 'backbone.stem.0.weight' in converted:
        cfg['stem_channels'] = tuple(len(converted[f'backbone.stem.{i}.weight']) for i in (0, 3, 6))
    if 'backbone.layer2.0.downsample.2.weight' in converted:  # the batch norm, behind pooling and convolution
        cfg['avg_down'] = True
    width = len(converted['backbone.layer1.0.conv1.weight'])
    if width != 64:
        cfg['base_channels'] = width
    return dict(cfg, **options)


def deeplab(
    backbone: dict,
    head: dict | None,
    output_stride: int,
    preprocessor: dict,
    test_sizes: Mapping[int, tuple[int, int]] | None = None,
    **kwargs,
) -> dict:
    """Config of a model; only of a backbone and its input where `head` is None.

    Args:
        backbone: Config of it.
        head: Config of it.
        output_stride: Of the model.
        preprocessor: Mean, std and order of colours.
        test_sizes: Number of classes -> the size to which smaller test images are padded; None: they are not.
        kwargs: Further arguments of the model.
    """
    preprocessor = dict(type='SegDataPreProcessor', **preprocessor, pad_val=0, seg_pad_val=255)
    if head is None:
        return dict(data_preprocessor=preprocessor, backbone=backbone)
    if test_sizes is None:
        preprocessor['test_cfg'] = None
    elif head['num_classes'] in test_sizes:
        preprocessor['test_cfg'] = dict(size=test_sizes[head['num_classes']])
    return dict(
        type='DeepLab',
        output_stride=output_stride,
        data_preprocessor=preprocessor,
        backbone=backbone,
        decode_head=head,
        **kwargs,
    )
