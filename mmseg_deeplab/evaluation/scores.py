"""Which scores an evaluation will give, and whether the best checkpoint is chosen by one of them."""

from collections.abc import Iterable, Sequence
from typing import Any

from mmengine.evaluator import BaseMetric
from mmseg.evaluation import IoUMetric

from .confusion import CLASS_SCORES

# What MMSegmentation's IoUMetric gives beside aAcc.
SCORES = {
    'mIoU': ('mIoU', 'mAcc'),
    'mDice': ('mDice', 'mAcc'),
    'mFscore': ('mFscore', 'mPrecision', 'mRecall'),
}


def wrong_best(
    save_best: Iterable[str] | None, metrics: Sequence[BaseMetric], crf: bool, others: Iterable[str] = ()
) -> str | None:
    """Say which score of `save_best` no metric gives, and which there are.

    Args:
        save_best: Names of scores, or 'auto'.
        metrics: Of the validation.
        crf: Whether the CRF refines it, so that there are scores from before.
        others: Scores that hooks add.

    Returns:
        The message, None if all is well or a metric of another package doesn't tell its scores.
    """
    names = [scores_of(metric) for metric in metrics]
    if not metrics or None in names:
        return None
    known = [name for scores in names for name in scores or ()]
    if crf:
        known += [
            '/'.join(filter(None, (metric.prefix, 'before_crf', name.removeprefix(f'{metric.prefix}/'))))
            for metric, scores in zip(metrics, names, strict=True)
            for name in scores or ()
        ]
    known += others
    for name in save_best or ():
        if name.removeprefix('before_crf/').split('/')[0] in CLASS_SCORES and any(
            hasattr(metric, 'per_class') and not (metric.per_class and getattr(metric, 'classes', None))
            for metric in metrics
        ):
            if all(getattr(metric, 'per_class', True) for metric in metrics):
                continue  # the classes are known when the validation begins
            return f'save_best={name!r} is the score of a class: set val_evaluator.per_class=True to get those'
        if name not in (*known, 'auto'):
            return (
                f"save_best={name!r}: the validation gives no such score: choose one of {', '.join(known)}, 'auto' "
                f'(the first) or None'
            )
    return None


def scores_of(metric: Any) -> list[str] | None:
    """The names of a metric's scores, with its prefix; None for a metric that is not known."""
    if hasattr(metric, 'score_names'):
        names = list(metric.score_names)
    elif type(metric) is IoUMetric and not metric.format_only:
        names = ['aAcc', *(score for kind in metric.metrics for score in SCORES.get(kind, ()))]
    else:
        return None
    return [f'{metric.prefix}/{name}' if metric.prefix else name for name in names]
