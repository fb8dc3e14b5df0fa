"""What of a published setting no longer holds in this run: lines for the log, no errors."""

import os
from collections.abc import Iterator, Mapping

from mmengine.config import Config

from .keys import value_at


def advice(cfg: Config) -> Iterator[str]:
    """Yield a line for each setting that was made for another batch or another length of training."""
    yield from _rate(cfg)
    yield from _schedule(cfg)


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
