"""What of a published setting no longer holds in this run: lines for the log, no errors."""

import os
from collections.abc import Iterator, Mapping

from mmengine.config import Config

from ..datasets.data_root import iter_datasets
from .keys import value_at
from .kinds import name_of, pair


def advice(cfg: Config) -> Iterator[str]:
    """Yield a line for each setting that was made for another batch or another length of training."""
    yield from _rate(cfg)
    yield from _schedule(cfg)
    yield from _crop(cfg)


def _rate(cfg: Config) -> Iterator[str]:
    base = value_at(cfg, 'auto_scale_lr.base_batch_size')
    rate = value_at(cfg, 'optim_wrapper.optimizer.lr')
    batch = value_at(cfg, 'train_dataloader.batch_size')
    if not (isinstance(base, int) and isinstance(batch, int) and isinstance(rate, (int, float))):
        return
    accumulated = value_at(cfg, 'optim_wrapper.accumulative_counts') or 1
    images = batch * int(os.environ.get('WORLD_SIZE', 1)) * int(str(accumulated))
    if images != base and not value_at(cfg, 'auto_scale_lr.enable'):
        yield (
            f'The learning rate {rate:g} was chosen for batches of {base} images (auto_scale_lr.base_batch_size); this '
            f'run has {images}. In proportion it would be {rate * images / base:.3g}: --cfg-options '
            f'optim_wrapper.optimizer.lr={rate * images / base:.3g}'
        )


def _schedule(cfg: Config) -> Iterator[str]:
    total = value_at(cfg, 'train_cfg.max_iters')
    schedulers = cfg.get('param_scheduler') or []
    schedulers = [schedulers] if isinstance(schedulers, Mapping) else schedulers
    ends = [scheduler.get('end') for scheduler in schedulers if not scheduler.get('by_epoch', True)]
    ends = [end for end in ends if isinstance(end, int)]
    if isinstance(total, int) and ends and max(ends) > total:
        yield (
            f'The training ends at iteration {total}, but its schedule of the learning rate only at {max(ends)}: the '
            f'rate does not come down to its end. Set param_scheduler.{ends.index(max(ends))}.end={total}'
        )


def _crop(cfg: Config) -> Iterator[str]:
    """A crop that was made smaller in the pipeline only; a larger one is refused (`check_crop`)."""
    padded = pair(value_at(cfg, 'model.crop_size') or value_at(cfg, 'model.data_preprocessor.size'))
    for dataset in iter_datasets(cfg.get('train_dataloader') or {}):
        for step in dataset.get('pipeline') or []:
            crop = pair(step.get('crop_size')) if isinstance(step, Mapping) else None
            if padded and crop and crop != padded:
                yield (
                    f'Crops are {crop[0]} x {crop[1]} ({name_of(step)}), but batches are padded to {padded[0]} x '
                    f'{padded[1]} (model.crop_size), with void that teaches nothing. Set both to one size'
                )
