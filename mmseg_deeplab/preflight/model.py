"""Checks of the network, built without memory or arithmetic on PyTorch's meta device where that is possible."""

import copy
import traceback
from collections.abc import Iterator, Mapping

import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from torch import nn

from .errors import PreflightError, reason

DEFAULT_SIZE = (513, 513)


def build(cfg: Config) -> nn.Module:
    """Return the segmentor of a config, with shapes but no values unless its constructor computes with values.

    Raises:
        PreflightError: the config's model can not be built, with the reason that its classes give.
    """
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    _check_group(cfg.get('model'), 'model')
    given = cfg.model.get('module', cfg.model)
    for key in ('backbone', 'decode_head'):
        if key in given and not isinstance(given[key], list):  # a cascade has a list of heads
            _check_group(given[key], f'model.{key}')
    model = copy.deepcopy(given)
    if cfg.get('data_preprocessor') is not None:
        model.setdefault('data_preprocessor', copy.deepcopy(cfg.data_preprocessor))
    try:
        try:
            with torch.device('meta'):
                return MODELS.build(copy.deepcopy(model))
        except (NotImplementedError, RuntimeError):  # asks for values, which the meta device has not
            return MODELS.build(model)
    except Exception as error:  # whatever it is, the run would end with it
        raise PreflightError(f'{_place(error, given)} can not be built: {reason(error)}') from error


def _check_group(part: object, key: str) -> None:
    if not (isinstance(part, Mapping) and 'type' in part):
        raise PreflightError(f'config key {key} is {part!r}, but it needs a group of settings with a type')


def _place(error: Exception, model: Mapping) -> str:
    """Return key and class of the innermost part of the network that was being built when an error came."""
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        part = frame.f_locals.get('self')
        keys = [key for key, kind in _types(model, 'model') if isinstance(part, nn.Module) and type(part) is kind]
        if keys:
            return f'{" or ".join(keys)} ({type(part).__name__})'
    return 'model'


def _types(value: object, path: str) -> Iterator[tuple[str, object]]:
    """Yield the key of each dict with a type, and its class."""
    if isinstance(value, Mapping):
        if 'type' in value:
            yield path, MODELS.get(value['type']) if isinstance(value['type'], str) else value['type']
        value = value.items()
    elif isinstance(value, (list, tuple)):
        value = enumerate(value)
    else:
        return
    for key, child in value:
        yield from _types(child, f'{path}.{key}')


def heads(model: nn.Module) -> dict[str, nn.Module]:
    """Return the heads of a segmentor that predict classes, by their config key."""
    found = {}
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
                    f'set model.{key}.num_classes={len(names)}, or take another dataset'
                )


def check_single_image_batches(model: nn.Module, cfg: Config) -> None:
    """Check that training on one image per device does not meet batch norm on a single value per channel.

    That is what image pooling makes of one image: a 1x1 map. It is found by running the training network on shapes
    alone, whatever its layers are called.

    Raises:
        PreflightError: with the remedies.
    """
    size = (cfg.model.get('data_preprocessor') or {}).get('size') or cfg.get('crop_size') or DEFAULT_SIZE
    try:
        network = revert_sync_batchnorm(copy.deepcopy(model)).to('meta').train()
        with torch.no_grad():
            network(torch.empty(1, 3, *size, device='meta'), mode='tensor')
    except ValueError as error:
        if 'value per channel' in str(error):
            raise PreflightError(
                'train_dataloader.batch_size is 1 per device, and the model has trainable batch norm after image '
                'pooling: one image is one value per channel, of which there is no variance. Set '
                'train_dataloader.batch_size=2 or more (optim_wrapper.accumulative_counts does not help), freeze '
                "batch norm (model.frozen_bn=['backbone','decode_head']), or leave image pooling out "
                '(model.decode_head.pool_bins=())'
            ) from error
    except Exception:  # an operation that the meta device lacks is not this check's business
        return
