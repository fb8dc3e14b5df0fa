"""The options of a model that make converted weights give the results of their source."""

import copy
import inspect
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import torch
from mmengine.config import Config
from mmseg.registry import MODELS
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

PARTS = ('backbone', 'decode_head')
TRAINING = {
    *('init_cfg', 'pretrained', 'train_cfg', 'frozen', 'frozen_bn', 'frozen_bn_affine', 'frozen_stages'),
    *('loss_decode', 'sampler', 'dropout_ratio', 'aspp_dropout', 'ignore_index', 'upsample_logits'),
    *('keep_seg_logits', 'crop_size', 'initial_weights'),
}
"""Arguments of models and their parts that change no answer; every other one counts."""
APART = {'type', 'num_classes', 'norm_cfg', 'data_preprocessor', *PARTS}
"""Arguments that are compared in a way of their own."""
ATROUS = {'output_stride', 'multi_grid', 'block4_rates', 'rate_of_lost_stride', 'low_level'}
"""What a backbone of a classification network says nothing of, unless its converter does."""
UNSEEN = (
    *('output_stride', 'test_padding', 'strided_unit', 'strided_conv', 'rate_of_lost_stride', 'multi_grid'),
    *('block4_rates', 'row_rates', 'rates', 'dilations', 'align_corners'),
)
"""Arguments that leave no trace in the names and shapes of weights."""
INPUT = {'mean': None, 'std': None, 'bgr_to_rgb': False, 'rgb_to_bgr': False, 'pad_val': 0}
"""What a data preprocessor does with images at test, and its defaults; `test_cfg` beside them."""
SHOWN = 90


def option_lines(model: Mapping) -> str:
    """A model's config as text, as it stands in a config file."""
    return Config(dict(model=dict(model))).pretty_text.strip()


def build(cfg: Mapping, device: str = 'cpu') -> nn.Module:
    """Build a model, or only the backbone of a config without a head, without pretrained weights."""
    cfg = copy.deepcopy(dict(cfg))
    cfg.pop('data_preprocessor', None)  # has no parameters
    for part in PARTS:
        if part in cfg:
            cfg[part].pop('init_cfg', None)
    with torch.device(device):
        if 'decode_head' not in cfg:
            return nn.ModuleDict(dict(backbone=MODELS.build(cfg['backbone'])))
        return MODELS.build(cfg)


def unseen_options(model: Mapping) -> list[str]:
    """What a converter assumes, as no file of weights tells it: strides, rates and what is done to images."""
    lines = []
    for place, part in (('model', model), *((f'model.{part}', model[part]) for part in PARTS if part in model)):
        values = {**_defaults(_class(part)), **part} if 'type' in part else part
        lines += [f'{place}.{key}={_plain(values[key])!r}' for key in UNSEEN if _tells(place, key, values)]
    images = model['data_preprocessor']
    lines += [f'model.data_preprocessor.{key}={_plain(images[key])!r}' for key in (*INPUT, 'test_cfg') if key in images]
    if 'decode_head' in model and 'test_cfg' not in images:
        lines.append('model.crop_size, to which smaller images are padded at test: the one of the training')
    return lines


def _tells(place: str, key: str, values: Mapping) -> bool:
    return values.get(key) is not None and (place == 'model' or key != 'output_stride') or key == 'multi_grid' in values


def options_that_differ(fitting: Mapping, cfg: Mapping, identity_norms: Collection[str] = ()) -> list[str]:
    """Compare every argument that changes an answer, stated in either config or left at its default.

    Where the types of a part differ, the whole part is named. A config with all of these options set fits the weights
    and computes what the source does.

    Args:
        fitting: Config of the model that fits the source; only of its backbone and input if it has no head.
        cfg: Config of the model that is wanted.
        identity_norms: Batch norms whose eps does not matter.

    Returns:
        Lines like `model.decode_head.decoder_kernels=(3,)  (the config has (3, 3))`.
    """
    return [
        f'{path}={wanted!r}  (the config has {_short(found)})'
        for path, wanted, found in _differences(fitting, cfg, identity_norms)
    ]


def _differences(fitting: Mapping, cfg: Mapping, identity: Collection[str]) -> Iterator[tuple[str, Any, Any]]:
    if 'decode_head' in fitting:
        if _class(fitting) is not _class(cfg):
            yield 'model', {'_delete_': True, **_plain(fitting)}, cfg.get('type')
            return
        yield from _arguments(_that_count(fitting, fitting), _that_count(cfg, fitting), 'model')
        wanted, found = _num_classes(fitting), _num_classes(cfg)
        if wanted != found:
            yield ('model' if 'num_classes' in cfg else 'model.decode_head') + '.num_classes', wanted, found
    yield from _input(fitting['data_preprocessor'], cfg)
    fits = build(fitting, 'meta')
    wanted_norms, found_norms = _norms(fits, identity), _norms(build(cfg, 'meta'), identity)
    for part in PARTS:
        if part not in fitting:
            continue
        wanted, found, path = fitting[part], cfg.get(part) or {}, f'model.{part}'
        if _class(wanted) is not _class(found):
            yield path, _replacement(wanted, cfg, wanted_norms[part]), found.get('type')
            continue
        optional = ATROUS if 'decode_head' not in fitting else set()
        complete = getattr(fits, 'complete_head', dict) if part == 'decode_head' else dict
        yield from _arguments(wanted, found, path, optional, complete(wanted))
        # An output stride of a part's own comes before the model's.
        own = [each['output_stride'] for each in (wanted, found) if 'output_stride' in each]
        if own and not optional:
            strides = [part_.get('output_stride', whole.get('output_stride', 16)) for part_, whole in
                       ((wanted, fitting), (found, cfg))]  # fmt: skip
            if strides[0] != strides[1]:
                yield f'{path}.output_stride', *strides
        if wanted_norms[part] != found_norms[part] and wanted_norms[part]:
            yield from _norm(path, found, cfg, max(wanted_norms[part])[0], found_norms[part])


def _that_count(cfg: Mapping, fitting: Mapping) -> dict:
    """A model's config, less what has no effect in the fitting one."""
    head = fitting['decode_head']
    corners = head.get('align_corners', _defaults(_class(head))['align_corners'])
    idle = set() if corners or 'cells' in (cfg.get('test_padding'), fitting.get('test_padding')) else {'test_padding'}
    if len(fitting.get('multi_scale_inputs', (1,))) == 1:
        idle.add('scaled_size')
    return {key: value for key, value in cfg.items() if key not in idle}


def _arguments(
    wanted: Mapping, found: Mapping, path: str, optional: Collection[str] = (), complete: Mapping | None = None
) -> Iterator[tuple[str, Any, Any]]:
    """Compare the arguments of two configs of one class; those of `optional` only if `wanted` states them.

    `complete` is `wanted` with the channels that the segmentor fills in, for a config that states them itself.
    """
    defaults = _defaults(_class(wanted))
    for key in dict.fromkeys([*wanted, *found, *defaults]):
        if key in TRAINING or key in APART or (key in optional and key not in wanted):
            continue
        if path != 'model' and key == 'output_stride':
            continue
        values = [each.get(key, defaults.get(key, inspect.Parameter.empty)) for each in (wanted, found)]
        if values[0] is inspect.Parameter.empty and complete:
            values[0] = complete.get(key, values[0])
        if inspect.Parameter.empty in values:
            continue  # the segmentor fills it in by the backbone's channels
        if key == 'test_cfg':
            values = [_mode(value) for value in values]
        if _plain(values[0]) != _plain(values[1]):
            yield f'{path}.{key}', _instead(values[0], found.get(key)), values[1]


def _input(wanted: Mapping, cfg: Mapping) -> Iterator[tuple[str, Any, Any]]:
    """Compare what happens to images before the network; padding only where the source states it."""
    found = cfg.get('data_preprocessor')
    if not found:
        yield 'model.data_preprocessor', _plain(wanted), None
        return
    for key, default in INPUT.items():
        values = wanted.get(key, default), found.get(key, default)
        if _plain(values[0]) != _plain(values[1]):
            yield f'model.data_preprocessor.{key}', *map(_plain, values)
    if 'test_cfg' in wanted:
        padding = dict(size=tuple(cfg['crop_size'])) if cfg.get('crop_size') else None
        values = wanted['test_cfg'] or None, found.get('test_cfg', padding) or None
        if _plain(values[0]) != _plain(values[1]):
            yield 'model.data_preprocessor.test_cfg', _instead(values[0], found.get('test_cfg')), values[1]


def _norm(path: str, found: Mapping, whole: Mapping, eps: float, norms: set) -> Iterator[tuple[str, Any, Any]]:
    stated = {**(whole.get('norm_cfg') or {}), **(found.get('norm_cfg') or {})}
    if str(stated.get('type')).endswith('BN') and not {'affine', 'track_running_stats'} & stated.keys():
        yield f'{path}.norm_cfg.eps', eps, max(norms)[0]
    else:
        yield f'{path}.norm_cfg', _instead(dict(type='BN', eps=eps), found.get('norm_cfg')), stated


def _instead(value: Any, stated: Any) -> Any:
    """A value as it is stated where a config has another: of two dicts nothing of the old one stays."""
    value = _plain(value)
    return {'_delete_': True, **value} if isinstance(value, dict) and isinstance(stated, Mapping) else value


def _replacement(wanted: Mapping, whole: Mapping, norms: set) -> dict:
    """A part's config that stands in any model as it does in its own."""
    part = {'_delete_': True, **_plain(wanted)}
    if 'num_classes' in whole:
        part.pop('num_classes', None)  # stated once, for all heads
    if norms:
        part['norm_cfg'] = dict(type='BN', eps=max(norms)[0])
    return part


def _norms(model: nn.Module, identity: Collection[str]) -> dict[str, set[tuple[float, bool, bool]]]:
    """The batch norms of each part as they are built: eps, and whether they have weights and statistics."""
    found: dict[str, set[tuple[float, bool, bool]]] = {part: set() for part in PARTS}
    for name, module in model.named_modules():
        part = name.partition('.')[0]
        if isinstance(module, _BatchNorm) and part in found and name not in identity:
            found[part].add((module.eps, module.affine, module.track_running_stats))
    return found


def _num_classes(cfg: Mapping) -> int | None:
    return cfg.get('num_classes', cfg['decode_head'].get('num_classes'))


def _mode(test_cfg: Mapping | None) -> Any:
    """A model's `test_cfg`; of mode 'whole' nothing else counts."""
    return test_cfg if test_cfg and test_cfg.get('mode', 'whole') != 'whole' else dict(mode='whole')


def _class(cfg: Mapping) -> Any:
    kind = cfg.get('type')
    return MODELS.get(kind) if isinstance(kind, str) else kind


def _defaults(cls: type) -> dict[str, Any]:
    """The arguments of a class and its bases; of those without a default `inspect.Parameter.empty`."""
    found: dict[str, Any] = {}
    for base in cls.__mro__:
        for parameter in inspect.signature(base.__init__).parameters.values():
            if parameter.kind is parameter.POSITIONAL_OR_KEYWORD or parameter.kind is parameter.KEYWORD_ONLY:
                found.setdefault(parameter.name, parameter.default)
    found.pop('self', None)
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    return tuple(_plain(each) for each in value) if isinstance(value, list | tuple) else value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else f'{text[:SHOWN]} ...'
