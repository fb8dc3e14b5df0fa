"""Losses and scores of trainings over their iterations, from what MMEngine logs."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ..errors import UserError, UserFileNotFoundError
from .text import drawable

LOG = 'vis_data/scalars.json'
NOT_DRAWN = ('time', 'data_time', 'memory', 'iter', 'epoch', 'step', 'base_lr')
SCORES = ('mIoU', 'mIoU_subset', 'before_crf/mIoU', 'mDice', 'aAcc')
"""The scores that are drawn, if they were validated."""


@dataclass(frozen=True)
class Curves:
    """What a training logged: name -> (iterations, values), in order; `scores` in percent, of its validations."""

    losses: dict[str, tuple[list[int], list[float]]]
    rates: dict[str, tuple[list[int], list[float]]]
    scores: dict[str, tuple[list[int], list[float]]]


def read_curves(work_dir: Path) -> Curves:
    """Read the logs of a work dir, all its parts where the training was resumed: what was logged last counts.

    Raises:
        UserError: If the folder holds no log, or one that can't be read.
    """
    if not work_dir.is_dir():
        raise UserFileNotFoundError(f'{work_dir} is not a folder; name the work dir of a training')
    # Folders of runs are named by their time.
    files = sorted([*work_dir.glob(LOG), *work_dir.glob(f'*/{LOG}')])
    values: dict[tuple[str, str], dict[int, float]] = {}
    for file in files:
        began = None
        # What follows the last line end was being written when the run was killed.
        whole = file.read_text(encoding='utf-8', errors='replace').rpartition('\n')[0]
        for number, line in enumerate(whole.splitlines(), 1):
            entry = _entry(file, number, line)
            if began is None:
                # A run that was resumed at an earlier iteration than the last one logged replaces what came after it.
                began = entry['step']
                values = {key: {step: v for step, v in each.items() if step < began} for key, each in values.items()}
            for name, value in entry.items():
                kind = _kind(name, entry)
                if kind and isinstance(value, int | float):
                    values.setdefault((kind, name), {})[int(entry['step'])] = value
    if not any(values.values()):
        raise UserFileNotFoundError(
            f'{work_dir} holds no log of a training ({LOG} in it or in its folders): name a work dir, and leave '
            "LocalVisBackend in the config's vis_backends, which writes it"
        )
    kinds: dict[str, dict] = {'loss': {}, 'rate': {}, 'score': {}}
    for (kind, name), points in values.items():
        if points:
            kinds[kind][name] = (sorted(points), [points[step] for step in sorted(points)])
    return Curves(kinds['loss'], kinds['rate'], kinds['score'])


def _entry(file: Path, number: int, line: str) -> dict:
    try:
        entry = json.loads(line)
        if not isinstance(entry['step'], int):
            raise TypeError(f'step {entry["step"]!r}')
        return entry
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f'{file}, line {number}, is not of a log of MMEngine: {error}') from error


def _kind(name: str, entry: dict) -> str | None:
    if name in NOT_DRAWN:
        return None
    if name == 'lr' or name.endswith('/lr'):
        return 'rate'
    if 'loss' in name:
        return 'loss'
    # Training entries hold an accuracy of the batch, and belong to no validation.
    return 'score' if name in SCORES and 'lr' not in entry else None


def curves_figure(runs: Mapping[str, Curves]) -> Figure:
    """The total loss with its parts, the learning rate and the validated scores; a colour a run.

    With several runs the parts of the loss are left out.
    """
    figure = Figure((13, 4.4), layout='constrained')
    losses, rates, scores = figure.subplots(1, 3)
    for k, (name, run) in enumerate(runs.items()):
        color, label = f'C{k % 10}', drawable(name)
        total = {'loss': run.losses['loss']} if 'loss' in run.losses else {}
        shown = run.losses if len(runs) == 1 or not total else total
        for j, (part, (steps, values)) in enumerate(shown.items(), k + 1):
            style = dict(color=color, label=label) if part == 'loss' else dict(color=f'C{j % 10}', label=part, lw=0.8)
            losses.plot(steps, values, **style)
        for steps, values in run.rates.values():
            rates.plot(steps, values, color=color, label=label)
        for (score, (steps, values)), style in zip(_of_scores(run), ('-', '--', ':', '-.'), strict=False):
            scores.plot(steps, values, style, color=color, marker='.', label=f'{label} {score}, best {max(values):.2f}')
    for axes, title in ((losses, 'loss'), (rates, 'learning rate'), (scores, 'score (%)')):
        axes.set(xlabel='iteration', ylabel=title)
        axes.grid(alpha=0.3)
        axes.spines[['top', 'right']].set_visible(False)
        if axes.lines:
            axes.legend(fontsize=8, frameon=False)
    positive = [v for run in runs.values() for _, values in run.losses.values() for v in values]
    if positive and min(positive) > 0 and max(positive) / min(positive) > 50 and np.isfinite(positive).all():
        losses.set_yscale('log')
    return figure


def _of_scores(run: Curves) -> list[tuple[str, tuple[list[int], list[float]]]]:
    """mIoU before and after the CRF, and the subset's; others only where there is no mIoU."""
    chosen = [name for name in SCORES if name in run.scores and 'mIoU' in name]
    return [(name, run.scores[name]) for name in chosen or [name for name in SCORES if name in run.scores]]
