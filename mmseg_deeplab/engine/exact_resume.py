"""Training that is resumed continues bit for bit as if it had never stopped.

The stack restores weights, optimizer and schedule, but not the state of the random generators: after a resume the
workers repeat the augmentations of the start, and dropout draws other masks. Here nothing random has a state to
restore: the order of the samples follows from the seed, each sample's augmentation from the seed and its position in
that order, and what the model draws from the seed and the iteration. This also makes a run independent of the number
of workers. Both parts are needed: `sampler=dict(type='ResumableSampler')` of the train loader and `ExactResumeHook`.
"""

import itertools
import random
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_dist_info, get_rank, sync_random_seed
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from mmseg.registry import DATA_SAMPLERS, HOOKS
from torch.utils.data import DataLoader, Dataset, Sampler

from ..errors import UserError
from ..upstream import accumulation, has_seed_of_rank, resume_of
from .schedule import check_schedule


def mixed_seed(*numbers: int) -> int:
    """A seed of 64 bits from several numbers, so that neighbours have unrelated streams."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


class SeededIndex(int):
    """The index of a sample and the seed of its augmentation."""

    seed: int

    def __new__(cls, index: int, seed: int = 0) -> 'SeededIndex':
        self = super().__new__(cls, index)
        self.seed = seed
        return self


def _fetch(dataset: Dataset, indices: Sequence[SeededIndex]) -> list[Any]:
    samples = []
    for index in indices:
        random.seed(index.seed)
        np.random.seed(index.seed % 2**32)
        torch.default_generator.manual_seed(index.seed)  # of the CPU only, as a forked worker may not touch a GPU
        samples.append(dataset[int(index)])
    return samples


@DATA_SAMPLERS.register_module()
class ResumableSampler(Sampler):
    """An endless stream of shuffled indices, one permutation after the other, that can start anywhere.

    In an `EpochBasedTrainLoop` `ExactResumeHook` cuts it into epochs (`take_epoch`).

    The processes of a run take turns in one stream, from `start` on: with any number of processes, a batch of all of
    them together holds the samples that one process would take in one batch of that size.

    Sets `dataset.__getitems__`, PyTorch's way of fetching a batch, so that each sample is augmented with generators
    seeded by `seed` and its position in the stream, in whichever process and however the dataset is wrapped.

    Args:
        dataset: The training set.
        shuffle: Whether each pass has an order of its own.
        seed: Shared by all processes; the runner gives its own. None draws one.
    """

    def __init__(self, dataset: Any, shuffle: bool = True, seed: int | None = None):
        self.rank, self.world_size = get_dist_info()
        self.size = len(dataset)
        self.shuffle = shuffle
        self.seed = sync_random_seed() if seed is None else seed
        self.start = 0
        self.stop: int | None = None
        dataset.__getitems__ = partial(_fetch, dataset)

    def skip(self, num_samples: int) -> None:
        """Start after the first `num_samples` of this process."""
        self.start = num_samples * self.world_size

    def take_epoch(self, epoch: int) -> None:
        """Give the samples of one epoch, counted from 0, and end.

        With several processes each takes as many; those that round an epoch up are the first of the next permutation.
        """
        length = len(self) * self.world_size
        self.start, self.stop = epoch * length, (epoch + 1) * length

    def __iter__(self) -> Iterator[SeededIndex]:
        first = self.start + self.rank
        current, order = -1, []
        positions = itertools.count(first, self.world_size)
        if self.stop is not None:
            positions = range(first, self.stop, self.world_size)
        for position in positions:
            turn, place = divmod(position, self.size)
            if turn != current:
                current, order = turn, self._order(turn)
            yield SeededIndex(order[place], mixed_seed(self.seed, position))

    def _order(self, turn: int) -> list[int]:
        if not self.shuffle:
            return list(range(self.size))
        return np.random.default_rng((self.seed, turn)).permutation(self.size).tolist()

    def __len__(self) -> int:
        """Samples of a process in an epoch."""
        return -(-self.size // self.world_size)


@HOOKS.register_module()
class ExactResumeHook(Hook):
    """Start the data where the checkpoint left it, and seed each iteration by its number.

    Also spares upstream MMEngine's loading of all data that was trained on before. On the CPU a resumed training
    equals an unbroken one bit for bit; on a GPU as far as its kernels are deterministic. In an `EpochBasedTrainLoop`
    that holds for checkpoints of whole epochs, as `CheckpointHook` writes them with `by_epoch=True`.

    A checkpoint's `meta` says how many samples the training has seen (`samples_seen`), in batches of which size, on
    how many processes and accumulated over how many iterations (`batch`). So a training that goes on with another batch
    or number of processes takes up the stream of samples where it was left, and says what has changed.
    """

    def __init__(self) -> None:
        self._seen = 0  # samples, by all processes
        self._since = 0  # the iteration that follows them
        self._batch: dict[str, int] | None = None

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Read how far the training came that is to be resumed."""
        meta = checkpoint.get('meta') or {}
        if resume_of(runner) and 'samples_seen' in meta:
            self._seen, self._since, self._batch = meta['samples_seen'], meta['iter'], meta.get('batch')

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Write down how far the training came."""
        batch = _batch_of(runner)
        if batch is not None:
            meta, loop = checkpoint['meta'], runner.train_loop
            if isinstance(loop, EpochBasedTrainLoop):
                seen = meta['epoch'] * len(loop.dataloader.sampler) * batch['processes']
            else:
                seen = self._seen_until(meta['iter'], batch)
            meta.update(samples_seen=seen, batch=batch)

    def before_train(self, runner: Runner) -> None:
        """Move the sampler to the sample that comes next.

        Raises:
            UserError: If the loop or the resumed schedule can't reach the end of the training.
        """
        loop = runner.train_loop
        sampler = loop.dataloader.sampler
        batch = _batch_of(runner)
        by_epoch = isinstance(loop, EpochBasedTrainLoop)
        if by_epoch and batch is not None:
            self._check_epoch(runner, batch['images'])
        if runner.iter > 0:
            check_schedule(runner)
        if not (isinstance(sampler, ResumableSampler) and isinstance(loop, (IterBasedTrainLoop, EpochBasedTrainLoop))):
            runner.logger.warning(
                'A resumed training will differ from an unbroken one: exact resume needs '
                "train_dataloader.sampler = dict(type='ResumableSampler')"
            )
            return
        # A resumed run has the seed of the checkpoint; its loader was made before that was known.
        own = get_rank() if has_seed_of_rank(runner) else 0
        sampler.seed = runner.seed - own
        if by_epoch:
            if runner.iter != runner.epoch * len(loop.dataloader):
                runner.logger.warning(
                    f'iteration {runner.iter} of the checkpoint is not the end of {runner.epoch} epochs of '
                    f'{len(loop.dataloader)} batches: another batch, or a checkpoint within an epoch, which is begun '
                    'anew (default_hooks.checkpoint.by_epoch=True writes whole ones)'
                )
            return
        if batch is None:
            runner.logger.warning(
                'A resumed training will differ from an unbroken one: its batch sampler does not say how many samples '
                'a batch has'
            )
            return
        self._seen, self._since = self._seen_until(runner.iter, batch), runner.iter
        sampler.start = self._seen
        if runner.iter > 0 and self._batch is None:
            runner.logger.warning(
                f'the checkpoint does not say how many samples it has seen; taken are {self._seen}, which is right if '
                f'batch and processes were the same'
            )
        elif self._batch not in (None, batch):
            runner.logger.warning(_changed(self._batch, batch, self._seen))
        self._batch = batch
        rest = runner.iter % batch['accumulated']
        if rest:
            runner.logger.warning(
                f'iteration {runner.iter} lies between two steps of optim_wrapper.accumulative_counts='
                f'{batch["accumulated"]}: the next step has the gradient of {batch["accumulated"] - rest} iterations'
            )
        # The fork skips in the sampler by calling `skip_iter`, upstream by asking for that many batches.
        to_ask = 0 if hasattr(loop.dataloader_iterator, 'skip_iter') else runner.iter
        loop.dataloader_iterator = _Batches(loop.dataloader, to_ask)

    def before_train_epoch(self, runner: Runner) -> None:
        """Give an epoch of an EpochBasedTrainLoop its samples."""
        sampler = runner.train_loop.dataloader.sampler
        if isinstance(runner.train_loop, EpochBasedTrainLoop) and isinstance(sampler, ResumableSampler):
            sampler.take_epoch(runner.epoch)

    def _check_epoch(self, runner: Runner, images: int) -> None:
        """Say what becomes of the last batch of an epoch, if it is not full.

        Raises:
            UserError: An epoch has no batch, or a last one of a single picture.
        """
        loader = runner.train_loop.dataloader
        pictures = len(loader.sampler)
        rest = pictures % images
        if not len(loader):
            raise UserError(
                f'an epoch has no batch: {pictures} pictures do not fill one of {images}, and '
                'train_dataloader.drop_last=True leaves out what is not full; set batch_size to at most as many, or '
                'drop_last=False'
            )
        if not rest:
            return
        if loader.drop_last:
            runner.logger.info(
                f'an epoch has {len(loader)} full batches of {images}; of its {pictures} pictures {rest} are left out, '
                'each time others (train_dataloader.drop_last)'
            )
            return
        if rest == 1 < images:
            raise UserError(
                f'the last batch of an epoch has a single picture ({pictures} pictures in batches of {images}), of '
                'which batch norm has no statistics: leave it out by train_dataloader.drop_last=True, or take another '
                'batch_size'
            )
        runner.logger.info(
            f'an epoch has {len(loader)} batches, the last of {rest} pictures, which weigh as much as the {images} of '
            'a full one; train_dataloader.drop_last=True leaves it out'
        )

    def _seen_until(self, iteration: int, batch: dict[str, int]) -> int:
        return self._seen + (iteration - self._since) * batch['images'] * batch['processes']

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Seed what the model draws in this iteration, dropout for example."""
        torch.manual_seed(mixed_seed(runner.seed, get_rank(), runner.iter))


def _batch_of(runner: Runner) -> dict[str, int] | None:
    """How many images a process takes an iteration, how many processes there are, and what a step accumulates."""
    loader = runner.train_loop.dataloader
    images = loader.batch_size or getattr(loader.batch_sampler, 'batch_size', None)
    if images is None:  # a batch sampler of another package
        return None
    return dict(images=images, processes=runner.world_size, accumulated=accumulation(runner.optim_wrapper))


def _changed(before: dict[str, int], now: dict[str, int], seen: int) -> str:
    old, new = (
        f'{batch["images"]} images x {batch["processes"]} processes x {batch["accumulated"]} accumulated'
        for batch in (before, now)
    )
    return (
        f'the batch is {new}, the checkpoint was trained with {old}: the data goes on after the {seen} samples that '
        f'were seen, the schedule by iterations as before'
    )


class _Batches:
    """The batches of a loader whose sampler stands where the training continues.

    Stands in for MMEngine's iterator, whose caller wants to skip what was trained on: nothing is left to skip.
    """

    def __init__(self, dataloader: DataLoader, to_skip: int):
        self._dataloader = dataloader
        self._to_skip = to_skip
        self._iterator: Iterator | None = None

    def skip_iter(self, num_iters: int) -> None:
        """Do nothing."""

    def __next__(self) -> Any:
        if self._to_skip > 0:
            self._to_skip -= 1
            return None
        if self._iterator is None:
            self._iterator = iter(self._dataloader)
        return next(self._iterator)
