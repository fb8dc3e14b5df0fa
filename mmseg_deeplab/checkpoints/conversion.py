"""Converting a file: read, convert, fit to a model that is built from its config, write, report."""

from pathlib import Path

import torch
from mmengine.config import Config
from torch import nn

from ..errors import UserError
from .class_names import names_in, names_of
from .comparison import compare, mismatch_error
from .convert import convert_state
from .convert.mmseg import settle
from .convert.rules import Conversion
from .options import build, option_lines, options_that_differ, unseen_options
from .save import save_file
from .sources import read_source
from .unfold import unfold_batch_norm
from .written_config import atomic_text, check_place, config_files


def convert_file(
    src: str | Path,
    dst: str | Path,
    source_format: str = 'auto',
    config: str | Path | None = None,
    calibrate: str | Path | None = None,
    write_config: str | Path | None = None,
    ema: bool = False,
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
        write_config: Config file to write, for a whole model; beside `dst` if neither it nor `config` is given.
        ema: Take the averaged weights of a source that holds plain ones too.
        variant: Of v1's head, for the fc6 and fc7 of VGG-16: see `convert_state`.

    Returns:
        A report for people: what fits, what was dropped, and how to use the file.

    Raises:
        CheckpointMismatchError: If the model has other parameters; names the options that make it fit.
        UserError: If another config lies in the place of the one to write.
    """
    state, checkpoint, notes = read_source(src, ema)
    conversion = convert_state(state, source_format, variant)
    if conversion.source == 'mmseg':
        settle(conversion, _config_in(checkpoint))
    conversion.notes += notes
    cfg = conversion.model if config is None else Config.fromfile(config).model
    differing = [] if config is None else options_that_differ(conversion.model, cfg, conversion.identity_norms)
    model = build(cfg)
    fit_to_model(conversion, model, str(src), differing)
    if calibrate is not None:
        calibrate_norms(conversion, model, calibrate)
    names = class_names(conversion, checkpoint)
    meta = dict(
        converted_from=Path(src).name,
        model=option_lines(conversion.model),
        data_preprocessor=conversion.model['data_preprocessor'],
        **names,
    )
    written = _place_of_config(conversion, Path(dst), config, write_config)
    files: dict[Path, str] = {}
    if written is not None:
        files = config_files(written, conversion.model, conversion.source, names.get('dataset_meta'), Path(dst))
        for path in files:
            check_place(path)
        meta['cfg'] = Config.fromstring(files[written], '.py').pretty_text  # with its bases in it
    save_file(dict(state_dict=conversion.state_dict, meta=meta), dst)
    for path, text in files.items():
        atomic_text(path, text)
    return report(conversion, dst, config, differing, written)


def _config_in(checkpoint: dict) -> str:
    """The text of the config in a checkpoint of OpenMMLab, by its names of 1.x or of 0.x; '' for none."""
    meta = checkpoint.get('meta')
    found = [meta.get(key) for key in ('cfg', 'config')] if isinstance(meta, dict) else []
    return next((text for text in found if isinstance(text, str)), '')


def _place_of_config(
    conversion: Conversion, dst: Path, config: str | Path | None, write_config: str | Path | None
) -> Path | None:
    """The config file to write, None for none."""
    if conversion.holds != ('',):
        if write_config is not None:
            raise UserError(f'--write-config is for whole models, but the source holds only {_part(conversion)}')
        return None
    if write_config is not None:
        return Path(write_config)
    return dst.with_suffix('.py') if config is None else None


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


def report(
    conversion: Conversion,
    dst: str | Path,
    config: str | Path | None,
    differing: list[str],
    written: Path | None = None,
) -> str:
    """What was converted and how to use it."""
    lines = [f'{dst}: {len(conversion.state_dict)} tensors, all that {_part(conversion)} has.']
    reasons: dict[str, list[str]] = {}
    for name, reason in conversion.dropped.items():
        reasons.setdefault(reason, []).append(name)
    lines += [f'Dropped, {reason}: {len(names)} ({names[0]}, ...).' for reason, names in reasons.items()]
    lines += [f'Note: {note}.' for note in conversion.notes]
    lines.append(f'Not in the file, and taken as in the published ones of {conversion.source}:')
    lines += [f'  {option}' for option in unseen_options(conversion.model)]
    if conversion.holds != ('',):
        parts = sorted({prefix.split('.')[0] for prefix in conversion.holds})
        options = [
            f'model.{part}.init_cfg.{option}'
            for part in parts
            for option in ('type=Pretrained', f'checkpoint={dst}', f'prefix={part}')
        ]
        lines.append(f'Start a training from it with --cfg-options {" ".join(options)}')
    if written is not None:
        lines.append(f'Its config is {written}: python tools/test.py {written} {dst}')
    if config is None:
        lines += ['The config that fits it:', option_lines(conversion.model)]
    elif differing:
        lines += [f'The weights fit {config}, but the source was made with other options; for its results set:']
        lines += [f'  {option}' for option in differing]
    return '\n'.join(lines)


def _part(conversion: Conversion) -> str:
    return 'the model' if conversion.holds == ('',) else 'its ' + ', '.join(p.rstrip('.') for p in conversion.holds)
