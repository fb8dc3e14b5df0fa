"""Checkpoints that a crash cannot destroy."""

import math
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.runner import EpochBasedTrainLoop, Runner, ValLoop
from mmseg.registry import HOOKS
from torch.distributed.fsdp import FullyShardedDataParallel

from ...checkpoints.save import atomic_write, remove_unfinished
from ...checkpoints.work_dir import LAST, VALIDATED, best_of, newest_checkpoint, number_in, unnoticed_best
from ...errors import UserError, UserFileNotFoundError, UserOSError
from ...evaluation.scores import wrong_best
from ...upstream import (
    built_loops,
    cancel_resume,
    checkpoint_of,
    default_greater_keys,
    is_to_validate,
    resume_of,
    set_checkpoint,
)
from ..live_runs import LiveRun
from ..saving import check_finite, check_space, checkpoint_bytes, go_on_from, is_between_steps
from .dense_crf import DenseCRFHook

OUTDATED = 'outdated_ckpts'
"""Under this name a checkpoint tells which files go when it is written, in case that they could not."""


class AtomicLocalBackend(LocalBackend):
    """The local disk, where a file appears whole or not at all."""

    def put(self, obj: bytes | memoryview, filepath: str | Path) -> None:
        """Write `obj` to `filepath` by way of a temporary file."""
        with atomic_write(filepath) as file:
            file.write(obj)


register_backend('atomic_local', AtomicLocalBackend, force=True)


class _RemoveLater(AtomicLocalBackend):
    """Collects what is to be removed until the new file is there."""

    def __init__(self) -> None:
        super().__init__()
        self.outdated: list[str] = []

    def remove(self, filepath: str | Path) -> None:
        """Remember the file."""
        self.outdated.append(str(filepath))


@HOOKS.register_module()
class CrashSafeCheckpointHook(CheckpointHook):
    """MMEngine's checkpoint hook, made so that a kill at any moment leaves a checkpoint to resume from.

    The stock hook deletes the old checkpoint before it writes the new one, in place. Here the new file is written
    beside and renamed; then `last_checkpoint` follows in the same way; then the outdated file goes. The best
    checkpoint likewise. Leftovers of interrupted writes are removed when the next training starts.

    Where gradients are accumulated over several iterations, a checkpoint that falls between two steps waits for the
    step, as the gradients would be lost to a resumed training. Weights that are not finite are never saved. Whether the
    disk has room for a checkpoint is asked before the first step, and a second training in the same work dir is told of
    the first.

    Resuming without a named file (`resume=True`) takes what `last_checkpoint` names or, where that is missing or
    damaged, the newest readable checkpoint of the work dir, and says so. Where there is none, it stops, because a
    training that silently starts anew is found out days later; `resume='auto'`, for jobs that a scheduler restarts
    with an unchanged command, warns and starts from scratch, or from the weights that `load_from` names. Of several
    processes the first one chooses, as a network's disk may show the others an older state.

    A validation that follows a checkpoint and was interrupted comes again when the training is resumed, as its score
    decides on the best checkpoint, and on some schedules.

    Args:
        interval: Iterations (epochs if `by_epoch`) between checkpoints; None is the validation interval of the train
            loop, or only the end if there is no validation.
        by_epoch: Whether `interval` counts epochs.
        kwargs: Further arguments of MMEngine's `CheckpointHook`; `out_dir` must be local.
    """

    def __init__(self, interval: int | None = None, by_epoch: bool = False, **kwargs):
        kwargs.setdefault('greater_keys', [*default_greater_keys(), 'IoU', 'Dice'])  # FWIoU, IoU/cat
        unset: Any = interval  # until before_train knows the loop
        try:
            super().__init__(interval=unset, by_epoch=by_epoch, backend_args=dict(backend='atomic_local'), **kwargs)
        except ValueError as error:
            if 'Cannot infer the rule' not in str(error):
                raise
            raise UserError(
                f'save_best={kwargs.get("save_best")!r}: it is not known whether more is better. Take a score that the '
                f"validation gives, such as 'mIoU', or say rule='greater' or rule='less'"
            ) from error
        self._began = False
        self._waits = False  # a checkpoint, for the optimizer's next step
        self._live: LiveRun | None = None

    def before_run(self, runner: Runner) -> None:
        """Choose the checkpoint to resume from.

        Raises:
            FileNotFoundError: If there is none and `resume` is not 'auto'.
        """
        resume = resume_of(runner)
        named = checkpoint_of(runner) is not None and resume != 'auto'
        if 'train' not in built_loops(runner) or not resume or named:
            return
        folder = Path(runner.work_dir)
        found: list[Any] = [newest_checkpoint(folder, self.filename_tmpl) if is_main_process() else None]
        broadcast_object_list(found)
        path, problems = found[0]
        for problem in problems:
            runner.logger.warning(problem)
        if path is not None:
            set_checkpoint(runner, path)
            runner.logger.info(f'Resuming from {path}')
        elif resume == 'auto':
            cancel_resume(runner)
            start = checkpoint_of(runner) or 'scratch'
            runner.logger.warning(f'NOTHING TO RESUME in {folder}: training starts from {start}')
        else:
            raise UserFileNotFoundError(
                f'resume=True, but there is no readable checkpoint in {folder}. Is it the right work dir? '
                f"To start from scratch leave --resume out; resume='auto' resumes if it can and starts if not"
            )

    def before_train(self, runner: Runner) -> None:
        """Settle the interval, look at disk and work dir, and remove unfinished files of an earlier run.

        Raises:
            UserError: If the validation gives no score of the name in `save_best`, or the model's parts are spread over
                the processes (FSDP).
            UserOSError: If the disk has no room for a checkpoint.
        """
        self._check_save_best(runner)
        if any(isinstance(module, FullyShardedDataParallel) for module in runner.model.modules()):
            raise UserError(
                'default_hooks.checkpoint: CrashSafeCheckpointHook writes whole weights, but FSDP spreads them over '
                "the processes. Set default_hooks.checkpoint.type='CheckpointHook', which is not safe from crashes, "
                'or train without FSDP'
            )
        if self.interval is None:
            last = runner.max_epochs if self.by_epoch else runner.max_iters
            self.interval = runner.train_loop.val_interval if runner.val_loop is not None else last
            if isinstance(runner.train_loop, EpochBasedTrainLoop) and runner.val_loop is not None and not self.by_epoch:
                self.interval *= len(runner.train_dataloader)  # that loop validates by epochs
        super().before_train(runner)
        self._follow_move(runner)
        self._tidy(runner)
        self._began, self._waits = True, False
        self._noted: int | None = runner.message_hub.runtime_info.get(VALIDATED)
        if is_main_process():
            self._live = LiveRun(runner.log_dir)
            for other in self._live.others():
                runner.logger.warning(
                    f'ANOTHER TRAINING RUNS in {runner.work_dir} ({other}). Its files are left alone, but the two '
                    f"overwrite each other's checkpoints: give each a --work-dir of its own"
                )
            to_come = self.max_keep_ckpts + 1 - len(self.keep_ckpt_ids) if self.max_keep_ckpts > 0 else math.nan
            check_space(runner, self.out_dir, checkpoint_bytes(runner, self.save_optimizer), to_come)
            for folder in {runner.work_dir, self.out_dir}:
                for path in remove_unfinished(folder):
                    runner.logger.info(f'Removed {path}, left by an interrupted write')
        if resume_of(runner) and self._noted != runner.iter and is_to_validate(runner):
            runner.logger.info(f'the checkpoint of iteration {runner.iter} has not been validated: that comes first')
            runner.val_loop.run()

    def _tidy(self, runner: Runner) -> None:
        """Finish what a kill interrupted: take over a best checkpoint, remove the outdated ones."""
        self._ahead: set[Path] = set()
        folder, hub = Path(self.out_dir), runner.message_hub
        latest = Path(checkpoint_of(runner) or '')
        if not resume_of(runner) or latest.parent.resolve() != folder.resolve():
            return
        self.last_ckpt = str(folder / latest.name)
        outdated = set(hub.runtime_info.get(OUTDATED, ()))
        done = runner.epoch if self.by_epoch else runner.iter
        for path, info in unnoticed_best(folder, self.filename_tmpl, hub.runtime_info, latest.name).items():
            if self._number(path) > done:
                self._ahead.add(path)  # of steps that come again
                continue
            for key, value in best_of(info, path.name).items():
                if key.startswith('best_ckpt'):
                    outdated.add(Path(str(hub.runtime_info.get(key, ''))).name)
                    value = str(path)
                hub.update_info(key, value)
        best = {key: str(path) for key, path in hub.runtime_info.items() if key.startswith('best_ckpt')}
        if self.save_best and len(self.key_indicators) == 1:
            self.best_ckpt_path = best.get('best_ckpt')
        elif self.save_best:
            self.best_ckpt_path_dict.update({key: best.get(f'best_ckpt_{key}') for key in self.key_indicators})
        kept = {latest.name, *(Path(path).name for path in best.values())}
        kept |= {self.filename_tmpl.format(step) for step in hub.runtime_info.get('keep_ckpt_ids', ())}
        for path in sorted(folder / name for name in outdated - kept if name):
            if is_main_process() and path.is_file() and self._number(path) >= 0:
                path.unlink()
                runner.logger.info(f'Removed {path}, outdated when the training was killed')

    def _number(self, path: Path) -> int:
        """The step of a checkpoint, latest or best; -1 for another file."""
        match = number_in(self.filename_tmpl).search(path.name)
        return int(match[1]) if match and match.end() == len(path.name) else -1

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Save a checkpoint that is due, or waits for this step."""
        super().after_train_iter(runner, batch_idx, data_batch, outputs)
        if self._waits and not is_between_steps(runner.optim_wrapper):
            self._save_now(runner, runner.iter + 1, dict(epoch=runner.epoch, iter=runner.iter + 1))

    def after_train(self, runner: Runner) -> None:
        """Save what waits for a step that an early end does not take."""
        if self._waits:
            self._save_now(runner, runner.iter, dict(epoch=runner.epoch, iter=runner.iter))
        super().after_train(runner)
        if self._live is not None:
            self._live.end()

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Save the best checkpoint, and after the last validation the latest again, which tells that it was made."""
        if not self._began:  # a validation alone has nothing to save
            return
        runner.message_hub.update_info(VALIDATED, runner.iter)
        super().after_val_epoch(runner, metrics or {})
        if runner.iter != runner.max_iters or runner.iter == self._noted:
            return
        step = runner.epoch if self.by_epoch else runner.iter
        if self.last_ckpt == str(Path(self.out_dir, self.filename_tmpl.format(step))):
            self._save_now(runner, step, dict(epoch=runner.epoch, iter=runner.iter))

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Refuse weights that are not finite."""
        check_finite(runner, checkpoint)

    def save_at(self, runner: Runner, step: int) -> None:
        """Save the checkpoint of an iteration that has just been done, if it is not there."""
        path = Path(self.out_dir, self.filename_tmpl.format(step))
        if str(path) != self.last_ckpt or not path.is_file():
            self._save_now(runner, step, dict(epoch=runner.epoch, iter=step))

    def _follow_move(self, runner: Runner) -> None:
        """Know the best checkpoint of a work dir that was moved by its place there."""
        for key in [key for key in runner.message_hub.runtime_info if key.startswith('best_ckpt')]:
            here = Path(self.out_dir, Path(runner.message_hub.get_info(key)).name)
            if here.is_file():
                runner.message_hub.update_info(key, str(here))
                if key == 'best_ckpt':
                    self.best_ckpt_path = str(here)
                elif self.save_best is not None and len(self.key_indicators) > 1:
                    self.best_ckpt_path_dict[key.removeprefix('best_ckpt_')] = str(here)

    def _check_save_best(self, runner: Runner) -> None:
        metrics = runner.val_loop.evaluator.metrics if isinstance(runner.val_loop, ValLoop) else []
        crf = any(isinstance(hook, DenseCRFHook) and 'val' in hook.stages for hook in runner.hooks)
        others = [name for hook in runner.hooks for name in getattr(hook, 'score_names', ())]
        if wrong := wrong_best(self.save_best, metrics, crf, others):
            raise UserError(f'default_hooks.checkpoint.{wrong}')

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        # One of epochs can't wait: it would be of another epoch.
        self._waits = not self.by_epoch and is_between_steps(runner.optim_wrapper)
        if self._waits:
            runner.logger.info(f'the checkpoint of iteration {step} waits for the step of the accumulated gradients')
        else:
            self._save_now(runner, step, meta)

    def _save_now(self, runner: Runner, step: int, meta: dict) -> None:
        self._waits = False
        outdated = None
        if self.max_keep_ckpts > 0 and not (self.keep_ckpt_ids and self.keep_ckpt_ids[-1] == step):
            if len(self.keep_ckpt_ids) == self.max_keep_ckpts:
                outdated = Path(self.out_dir, self.filename_tmpl.format(self.keep_ckpt_ids.popleft()))
            self.keep_ckpt_ids.append(step)
            runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
        later = [outdated.name] if outdated is not None else []
        if isinstance(self.file_backend, _RemoveLater):
            later += [Path(path).name for path in self.file_backend.outdated]
        runner.message_hub.update_info(OUTDATED, later)
        self._noted = runner.message_hub.runtime_info.get(VALIDATED)
        name = self.filename_tmpl.format(step)
        self.last_ckpt = str(Path(self.out_dir, name))
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        with _told(runner, step, self.out_dir):
            runner.save_checkpoint(
                self.out_dir,
                name,
                save_optimizer=self.save_optimizer,
                save_param_scheduler=self.save_param_scheduler,
                meta=meta,
                by_epoch=self.by_epoch,
                backend_args=self.backend_args,
                **self.args,
            )
            if is_main_process():
                with atomic_write(Path(runner.work_dir, LAST)) as file:
                    file.write(self.last_ckpt.encode())
        if is_main_process():
            if outdated is not None:
                outdated.unlink(missing_ok=True)
            best = {str(path) for key, path in runner.message_hub.runtime_info.items() if key.startswith('best_ckpt')}
            for path in [path for path in self._ahead if self._number(path) <= step and str(path) not in best]:
                path.unlink(missing_ok=True)
                self._ahead.discard(path)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        if not self.save_best:
            return
        for name in self.save_best:
            if name != 'auto' and name not in metrics:
                raise UserError(
                    f'default_hooks.checkpoint.save_best={name!r}: the validation gave {", ".join(metrics)}; choose one'
                )
            if name in metrics and math.isnan(metrics[name]):
                runner.logger.warning(f'{name} is nan after iteration {runner.iter}: it is not taken for the best')
        backend, self.file_backend = self.file_backend, _RemoveLater()
        try:
            with _told(runner, runner.iter, self.out_dir):
                super()._save_best_checkpoint(runner, metrics)
            kept = {getattr(self, 'best_ckpt_path', None), *getattr(self, 'best_ckpt_path_dict', {}).values()}
            for path in set(self.file_backend.outdated) - kept:
                if Path(path).parent == Path(self.out_dir):  # not what was resumed from another folder
                    backend.remove(path)
        finally:
            self.file_backend = backend


class _NotSaved(UserOSError):
    pass


@contextmanager
def _told(runner: Runner, step: int, folder: str) -> Generator[None, None, None]:
    """Add to a disk's error which checkpoint is missing and what there is to go on from."""
    try:
        yield
    except _NotSaved:
        raise
    except OSError as error:
        raise _NotSaved(f'checkpoint {step} was not saved to {folder}: {error}; {go_on_from(runner)}') from error
