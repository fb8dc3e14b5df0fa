"""Checks of the network as it is built: its parts, its classes."""

import copy
import traceback
from collections.abc import Mapping
from typing import Any

from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.models import SegDataPreProcessor
from mmseg.models.segmentors import EncoderDecoder
from mmseg.registry import MODELS
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from ..datasets import ImageMaskFolder
from .building import check_group, explained
from .errors import PreflightError
from .keys import check_names, is_size
from .kinds import classes_of, groups

# Groups of a segmentor that it and its heads read themselves; the old name `sampler` is read by none.
READ_BY = [
    ('train_cfg', EncoderDecoder, {'num_points', 'oversample_ratio', 'importance_sample_ratio', 'sampler'}),
    (
        'test_cfg',
        EncoderDecoder,
        {'mode', 'stride', 'crop_size', 'subdivision_steps', 'subdivision_num_points', 'scale_factor'},
    ),
]
PADDING = {'size', 'size_divisor'}


def build(cfg: Config) -> nn.Module:
    """Return the segmentor of a config on the CPU, with what its constructor fills in and no pretrained weights.

    Raises:
        PreflightError: the config's model can not be built, with the reason that its classes give.
    """
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    check_group(cfg.get('model'), 'model')
    given = cfg.model.get('module', cfg.model)
    for key in ('backbone', 'decode_head'):
        if key in given and not isinstance(given[key], list):  # a cascade has a list of heads
            check_group(given[key], f'model.{key}')
    model = copy.deepcopy(given)
    if cfg.get('data_preprocessor') is not None:
        model.setdefault('data_preprocessor', copy.deepcopy(cfg.data_preprocessor))

    built = explained(lambda: MODELS.build(model), given, 'model', lambda error: place_of(error, given))
    for argument, kind, names in READ_BY:
        group = given.get(argument)
        if isinstance(built, kind) and isinstance(group, Mapping):
            check_names(set(group), names, f'model.{argument}', argument)
    _check_test_cfg(given.get('test_cfg'))
    _check_layers(built)
    preprocessor = given.get('data_preprocessor') or {}
    if isinstance(built.data_preprocessor, SegDataPreProcessor) and preprocessor.get('test_cfg'):
        check_names(set(preprocessor['test_cfg']), PADDING, 'model.data_preprocessor.test_cfg', 'test_cfg')
    return built


def _check_test_cfg(test_cfg: Mapping | None) -> None:
    mode = (test_cfg or {}).get('mode', 'whole')
    if mode not in ('whole', 'slide'):
        raise PreflightError(f"config key 'model.test_cfg.mode' is {mode!r}: choose 'whole' or 'slide'")
    if test_cfg is None or mode == 'whole':
        return
    sizes: list[tuple[int, int]] = []
    for key in ('crop_size', 'stride'):
        size: Any = test_cfg.get(key)
        if not is_size(size):
            raise PreflightError(
                f"config key 'model.test_cfg.{key}' is {size!r}, but mode='slide' needs (height, width) in pixels, "
                f'such as crop_size=(513, 513), stride=(342, 342)'
            )
        sizes.append(tuple(size))
    if any(step > side for side, step in zip(*sizes, strict=True)):
        raise PreflightError(
            f'model.test_cfg.stride={sizes[1]} is larger than crop_size={sizes[0]}: the pixels between '
            f'two windows would not be predicted. Make it the same or smaller'
        )


def _check_layers(model: nn.Module) -> None:
    """Raise PreflightError for a layer without channels, and for batch norm whose statistics can't be."""
    for name, layer in model.named_modules():
        for parameter in layer.parameters(recurse=False):
            if parameter.numel() == 0:
                raise PreflightError(
                    f'model.{name} ({type(layer).__name__}) has a weight of shape {tuple(parameter.shape)}, which '
                    f'holds nothing: is one of the numbers of channels, or a factor of them, 0?'
                )
        momentum = getattr(layer, 'momentum', None) if isinstance(layer, _NormBase) else None
        if momentum is not None and not 0 <= momentum <= 1:
            raise PreflightError(
                f'model.{name} ({type(layer).__name__}) has momentum={momentum}, the share of each batch in the '
                f'running statistics, which is from 0 to 1: set norm_cfg.momentum'
            )


def place_of(error: Exception, model: Mapping, built: nn.Module | None = None) -> str:
    """Return key and class of the innermost part of the network that was at work when an error came.

    Where two parts are of one class, only the model as it was built tells which it was.
    """
    names = {} if built is None else {id(part): f'model.{name}' for name, part in built.named_modules()}
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        part = frame.f_locals.get('self')
        keys = [key for key, group in groups(model, 'model') if type(part) in classes_of(group)]
        if isinstance(part, nn.Module) and keys:
            keys = [names[id(part)]] if names.get(id(part)) in keys else keys
            return f'{" or ".join(keys)} ({type(part).__name__})'
    return 'model'


def heads(model: nn.Module) -> dict[str, Any]:
    """Return the heads of a segmentor that predict classes, by their config key."""
    found: dict[str, Any] = {}
    for key in ('decode_head', 'auxiliary_head'):
        part = getattr(model, key, None)
        parts = (
            {f'{key}.{i}': child for i, child in enumerate(part)} if isinstance(part, nn.ModuleList) else {key: part}
        )
        found |= {name: head for name, head in parts.items() if hasattr(head, 'num_classes')}
    return found


def check_classes(model: nn.Module, classes: Mapping[str, tuple[str, ...]]) -> None:
    """Check that every head has as many classes as the dataset of each split.

    Raises:
        PreflightError: naming both numbers, the keys and the classes.
    """
    for split, names in classes.items():
        for key, head in heads(model).items():
            if head.num_classes != len(names):
                raise PreflightError(
                    f'model.{key}.num_classes is {head.num_classes}, but the dataset of {split}_dataloader has '
                    f'{len(names)} classes ({", ".join(names[:25])}{", ..." if len(names) > 25 else ""}); '
                    f'set model.num_classes={len(names)} (model.{key}.num_classes where it is stated there), or '
                    'take another dataset'
                )


def check_labels(model: nn.Module, datasets: Mapping[str, object]) -> None:
    """Check that masks and network agree on how many labels a pixel has: one, or any number.

    Args:
        model: A segmentor.
        datasets: By split.

    Raises:
        PreflightError: naming the two settings.
    """
    for split, dataset in datasets.items():
        for key, head in heads(model).items():
            several = getattr(head, 'multi_label', False)
            if isinstance(dataset, ImageMaskFolder) and several != (dataset.masks == 'bands'):
                raise PreflightError(
                    f'model.{key}.multi_label is {several}, but {split}_dataloader.dataset.masks is {dataset.masks!r}: '
                    "several labels a pixel take multi_label=True and masks='bands', one label neither"
                )


def check_void(model: nn.Module, voids: Mapping[str, int]) -> None:
    """Check that the network leaves out the pixels that the training data call void, and only those.

    Args:
        model: A segmentor.
        voids: Label of void by split.

    Raises:
        PreflightError: naming the settings that contradict each other.
    """
    for split, void in voids.items():
        for key, head in heads(model).items():
            ignored = getattr(head, 'ignore_index', void)
            if ignored != void:
                raise PreflightError(
                    f'model.{key}.ignore_index is {ignored}, but void is {void} in the masks of {split}_dataloader '
                    f'(its ignore_index): leave model.{key}.ignore_index out, or set both alike'
                )
        padding = getattr(model.data_preprocessor, 'seg_pad_val', void)
        if padding != void:
            raise PreflightError(
                f'model.data_preprocessor.seg_pad_val is {padding}, so that padding is learnt as labelled, but void '
                f'is {void} in the masks of {split}_dataloader: set model.data_preprocessor.seg_pad_val={void}'
            )


def check_losses(model: nn.Module) -> None:
    """Check the losses of every head against its number of scores.

    Raises:
        PreflightError: a single score under a softmax, one class, or class weights for another number of classes.
    """
    for key, head in heads(model).items():
        scores = getattr(head, 'out_channels', None) or head.num_classes
        losses = getattr(head, 'loss_decode', None)
        if getattr(head, 'multi_label', False):  # which has checked them itself
            continue
        named = (
            {f'{key}.loss_decode.{i}': loss for i, loss in enumerate(losses)}
            if isinstance(losses, nn.ModuleList)
            else {f'{key}.loss_decode': losses}
        )
        if head.num_classes == 1:
            raise PreflightError(
                f'model.{key}.num_classes is 1: with nothing to tell the class from, every pixel is of it and '
                f"nothing is learnt. Give the dataset a second class, such as classes=('background', 'object')"
            )
        for place, loss in named.items():
            kind = type(loss).__name__
            softmax = getattr(loss, 'use_sigmoid', None) is False or kind == 'SegCrossEntropy'
            if scores == 1 and softmax:
                raise PreflightError(
                    f'model.{key}.out_channels is 1, one score for two classes, but model.{place} ({kind}) is a '
                    f'softmax, which needs a score for each class: leave model.{key}.out_channels out, or set '
                    f"model.{place}=dict(type='CrossEntropyLoss', use_sigmoid=True)"
                )
            weights = getattr(loss, 'class_weight', None)
            if weights is not None and len(weights) != scores:
                raise PreflightError(
                    f'model.{place}.class_weight has {len(weights)} entries, but there are {scores} classes '
                    f'(model.{key}.num_classes): give one for each'
                )
