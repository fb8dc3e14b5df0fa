"""Checks of the network as it is built: its parts, its classes."""

import copy
import traceback
from collections.abc import Mapping

import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from mmseg.models import SegDataPreProcessor
from mmseg.models.segmentors import EncoderDecoder
from mmseg.registry import MODELS
from torch import nn

from .building import check_group, explained
from .errors import PreflightError
from .keys import check_names
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
DEFAULT_SIZE = (513, 513)


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

    built = explained(lambda: MODELS.build(model), given, 'model', lambda error: _place(error, given))
    for argument, kind, names in READ_BY:
        group = given.get(argument)
        if isinstance(built, kind) and isinstance(group, Mapping):
            check_names(set(group), names, f'model.{argument}', argument)
    preprocessor = given.get('data_preprocessor') or {}
    if isinstance(built.data_preprocessor, SegDataPreProcessor) and preprocessor.get('test_cfg'):
        check_names(set(preprocessor['test_cfg']), PADDING, 'model.data_preprocessor.test_cfg', 'test_cfg')
    return built


def _place(error: Exception, model: Mapping) -> str:
    """Return key and class of the innermost part of the network that was being built when an error came."""
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        part = frame.f_locals.get('self')
        keys = [key for key, group in groups(model, 'model') if type(part) in classes_of(group)]
        if isinstance(part, nn.Module) and keys:
            return f'{" or ".join(keys)} ({type(part).__name__})'
    return 'model'


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
                    f'set model.num_classes={len(names)} (model.{key}.num_classes where it is stated there), or '
                    'take another dataset'
                )


def check_single_image_batches(model: nn.Module, cfg: Config) -> None:
    """Check that training on one image per device does not meet batch norm on a single value per channel.

    That is what image pooling makes of one image: a 1x1 map. It is found by running the training network on shapes
    alone, whatever its layers are called.

    Raises:
        PreflightError: with the remedies.
    """
    padded = cfg.model.get('crop_size') or (cfg.model.get('data_preprocessor') or {}).get('size')
    size = padded or cfg.get('crop_size') or DEFAULT_SIZE
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
