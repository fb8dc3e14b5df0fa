"""Converting a file: read, convert, fit to a model that is built from its config, write, report."""

import copy
from pathlib import Path

import torch
from mmengine.config import Config
from mmseg.registry import MODELS
from torch import Tensor, nn

from ..errors import UserError
from .class_names import names_in, names_of
from .comparison import compare, mismatch_error, parameters
from .convert import convert_state
from .convert.rules import Conversion
from .load import check_weights, load_file
from .npz_file import read_npz
from .options import option_lines, options_that_differ
from .save import save_file
from .unfold import unfold_batch_norm


def read_source(path: str | Path) -> tuple[dict[str, Tensor], dict]:
    """Read a `.pth`, `.safetensors` or `.npz` file, without running code from it: its parameters, and all it holds."""
    path = Path(path)
    if path.suffix == '.npz' and path.is_file():
        checkpoint = read_npz(path)
        check_weights(path, parameters(checkpoint))
    else:
        checkpoint = load_file(path)
    state = parameters(checkpoint)
    if not state:
        raise UserError(f'{path} holds no parameters; its keys are {list(checkpoint)[:5]}')
    return state, checkpoint


def convert_file(
    src: str | Path,
    dst: str | Path,
    source_format: str = 'auto',
    config: str | Path | None = None,
    calibrate: str | Path | None = None,
    variant: str | None = None,
) -> str:
    """Convert a checkpoint, check that it fits a model to the last parameter, and write it.

    Args:
        src: Source file.
        dst: `.pth` or `.safetensors` file to write.
        source_format: One of `FORMATS`, or 'auto'.
        config: Config whose model it must fit; None builds the model that fits the source.
        calibrate: Folder of images on which the statistics of a folded batch norm are measured, so that it can be
            trained.
        variant: Of v1's head, for the fc6 and fc7 of VGG-16: see `convert_state`.

    Returns:
        A report for people: what fits, what was dropped, and how to use the file.

    Raises:
        CheckpointMismatchError: If the model has other parameters; names the options that make it fit.
    """
    state, checkpoint = read_source(src)
    conversion = convert_state(state, source_format, variant)
    cfg = conversion.model if config is None else Config.fromfile(config).model
    differing = options_that_differ(conversion.model, cfg, with_eps=not conversion.identity_norms)
    model = build(cfg)
    fit_to_model(conversion, model, str(src), differing)
    if calibrate is not None:
        calibrate_norms(conversion, model, calibrate)
    meta = dict(
        converted_from=Path(src).name, model=option_lines(conversion.model), **class_names(conversion, checkpoint)
    )
    save_file(dict(state_dict=conversion.state_dict, meta=meta), dst)
    return report(conversion, dst, config, differing)


def class_names(conversion: Conversion, checkpoint: dict) -> dict:
    """The entry `dataset_meta` with names and colours of the classes, empty if they are not known; notes say which."""
    if conversion.holds != ('',):
        return {}  # no classifier
    count = conversion.model['decode_head']['num_classes']
    own = names_in(checkpoint, count)
    if own is not None:
        conversion.notes.append(f'Class names are those of the source: {", ".join(own["classes"][:4])}, ...')
        return dict(dataset_meta=own)
    known = names_of(conversion.source, count)
    if known is None:
        conversion.notes.append(
            f'The names of its {count} classes are not known: add dataset_meta=dict(classes=..., palette=...) to its '
            f"'meta' if you show its results with other tools than this package's"
        )
        return {}
    conversion.notes.append(
        f'Class names are those of {known[0]}, on which the published {conversion.source} files of {count} classes '
        f'were trained'
    )
    return dict(dataset_meta=known[1])


def build(cfg: dict) -> nn.Module:
    """Build a model, or only the backbone of a config without a head, without pretrained weights."""
    cfg = copy.deepcopy(dict(cfg))
    cfg.pop('data_preprocessor', None)  # has no parameters
    for part in ('backbone', 'decode_head'):
        if part in cfg:
            cfg[part].pop('init_cfg', None)
    if 'decode_head' not in cfg:
        return nn.ModuleDict(dict(backbone=MODELS.build(cfg['backbone'])))
    return MODELS.build(cfg)


def fit_to_model(conversion: Conversion, model: nn.Module, source: str, differing: list[str]) -> None:
    """Load what was converted into the model, strictly.

    Completes the variance of folded batch norms, which depends on the eps of the model's, and gives batch norms their
    counters. A source that holds a part of the model (`holds`) must fill that part.
    """
    state = conversion.state_dict
    for name in conversion.identity_norms:
        eps = getattr(dict(model.named_modules()).get(name), 'eps', 1e-3)
        state[f'{name}.running_var'] = torch.full_like(state[f'{name}.bias'], 1 - eps)
    own = {key: value for key, value in model.state_dict().items() if key.startswith(conversion.holds)}
    mismatch = compare(own, state)
    if mismatch:
        raise mismatch_error(
            f'{source}, converted,',
            'the model',
            own,
            state,
            mismatch,
            cause='the source is another model than the config (number of classes, version, backbone or options).',
            advice='use these options in the config, or no --config:\n' + '\n'.join(f'  {o}' for o in differing),
        )
    for key in own:
        if key.endswith('num_batches_tracked'):
            state.setdefault(key, torch.tensor(0))
    model.load_state_dict(state, strict=False)


def calibrate_norms(conversion: Conversion, model: nn.Module, folder: str | Path) -> None:
    """Take folded batch norm out of the convolutions again, by its statistics on a folder of images.

    Raises:
        ValueError: If the source has no folded batch norm, or the folder no images.
    """
    if not conversion.identity_norms:
        raise UserError('--calibrate is for folded batch norm, and this source has its own statistics: leave it out')
    preprocessor = conversion.model['data_preprocessor']
    count = unfold_batch_norm(model, conversion.identity_norms, folder, preprocessor['mean'], preprocessor['std'])
    own = model.state_dict()
    conversion.state_dict.update({key: own[key] for key in conversion.state_dict})
    conversion.notes[:] = [f'Batch norm was folded into the weights; its statistics were measured on {count} images']


def report(conversion: Conversion, dst: str | Path, config: str | Path | None, differing: list[str]) -> str:
    """What was converted and how to use it."""
    lines = [f'{dst}: {len(conversion.state_dict)} tensors, all that {_part(conversion)} has.']
    reasons: dict[str, list[str]] = {}
    for name, reason in conversion.dropped.items():
        reasons.setdefault(reason, []).append(name)
    lines += [f'Dropped, {reason}: {len(names)} ({names[0]}, ...).' for reason, names in reasons.items()]
    lines += [f'Note: {note}.' for note in conversion.notes]
    if conversion.holds != ('',):
        parts = sorted({prefix.split('.')[0] for prefix in conversion.holds})
        options = [
            f'model.{part}.init_cfg.{option}'
            for part in parts
            for option in ('type=Pretrained', f'checkpoint={dst}', f'prefix={part}')
        ]
        lines.append(f'Start a training from it with --cfg-options {" ".join(options)}')
    if config is None:
        lines += ['The config that fits it:', option_lines(conversion.model)]
    elif differing:
        lines += [f'The weights fit {config}, but the source was made with other options; for its results set:']
        lines += [f'  {option}' for option in differing]
    return '\n'.join(lines)


def _part(conversion: Conversion) -> str:
    return 'the model' if conversion.holds == ('',) else 'its ' + ', '.join(p.rstrip('.') for p in conversion.holds)
