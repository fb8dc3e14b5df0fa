"""The options of a model that make converted weights give the results of their source."""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config
from mmseg.registry import MODELS

NEUTRAL = ('pad_val', 'seg_pad_val')


def option_lines(model: Mapping) -> str:
    """A model's config as text, as it stands in a config file."""
    return Config(dict(model=dict(model))).pretty_text.strip()


def options_that_differ(fitting: Mapping, cfg: Mapping, with_eps: bool = True) -> list[str]:
    """Compare the options that a source needs with those of a config, stated or by default.

    Args:
        fitting: Config of the model that fits the source.
        cfg: Config of the model that is wanted.
        with_eps: Whether eps of batch norm matters.

    Returns:
        Lines like `model.decode_head.decoder_kernels=(3,)  (the config has (3, 3))`.
    """
    return [
        f'{path}={wanted!r}  (the config has {found!r})'
        for path, wanted, found in _differences(fitting, cfg, 'model', cfg)
        if with_eps or not path.endswith('.eps')
    ]


def _differences(fitting: Mapping, cfg: Mapping, path: str, whole: Mapping) -> Iterator[tuple[str, Any, Any]]:
    for key, wanted in fitting.items():
        if key in NEUTRAL:
            continue
        found = cfg.get(key, _default(cfg, key))
        if key == 'num_classes' and key not in cfg and key in whole:  # stated once, for all heads
            if wanted != whole[key]:
                yield f'model.{key}', wanted, whole[key]
        elif key == 'norm_cfg':
            found = found or {}
            if 'type' not in found:  # the segmentor adds its own
                found = {**(whole.get('norm_cfg') or {}), **found}
            wanted, found = _eps(wanted), _eps(found)
            if wanted != found:
                yield f'{path}.norm_cfg.eps', wanted, found
        elif isinstance(wanted, Mapping):
            yield from _differences(wanted, found or {}, f'{path}.{key}', whole)
        elif _plain(wanted) != _plain(found):
            yield f'{path}.{key}', wanted, found


def _eps(norm_cfg: Mapping) -> float:
    return norm_cfg.get('eps', 1e-5)


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | tuple) else value


def _default(cfg: Mapping, key: str) -> Any:
    """Default of an argument of the class that `cfg` names, its base classes included."""
    cls = MODELS.get(cfg['type']) if 'type' in cfg else None
    for base in cls.__mro__ if cls else ():
        parameter = inspect.signature(base.__init__).parameters.get(key)
        if parameter is not None and parameter.default is not inspect.Parameter.empty:
            return parameter.default
    return None
