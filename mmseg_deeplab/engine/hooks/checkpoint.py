"""Checkpoints that a crash cannot destroy."""

import re
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.runner import EpochBasedTrainLoop, Runner, ValLoop
from mmseg.registry import HOOKS

from ...checkpoints.load import load_file
from ...checkpoints.save import atomic_write, remove_unfinished
from ...errors import UserError, UserFileNotFoundError
from ...upstream import built_loops, cancel_resume, checkpoint_of, default_greater_keys, resume_of, set_checkpoint
from .dense_crf import DenseCRFHook

LAST = 'last_checkpoint'


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
        self.outdated.append(str(filepath))


@HOOKS.register_module()
class CrashSafeCheckpointHook(CheckpointHook):
    """MMEngine's checkpoint hook, made so that a kill at any moment leaves a checkpoint to resume from.

    The stock hook deletes the old checkpoint before it writes the new one, in place. Here the new file is written
    beside and renamed; then `last_checkpoint` follows in the same way; then the outdated file goes. The best
    checkpoint likewise. Leftovers of interrupted writes are removed when the next training starts.

    Resuming without a named file (`resume=True`) takes what `last_checkpoint` names or, where that is missing or
    damaged, the newest readable checkpoint of the work dir, and says so. Where there is none, it stops, because a
    training that silently starts anew is found out days later; `resume='auto'`, for jobs that a scheduler restarts
    with an unchanged command, warns and starts from scratch, or from the weights that `load_from` names.

    Args:
        interval: Iterations (epochs if `by_epoch`) between checkpoints; None is the validation interval of the train
            loop, or only the end if there is no validation.
        by_epoch: Whether `interval` counts epochs.
        kwargs: Further arguments of MMEngine's `CheckpointHook`; `out_dir` must be local.
    """

    def __init__(self, interval: int | None = None, by_epoch: bool = False, **kwargs):
        kwargs.setdefault('greater_keys', [*default_greater_keys(), 'IoU'])  # FWIoU
        super().__init__(interval=interval, by_epoch=by_epoch, backend_args=dict(backend='atomic_local'), **kwargs)

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
        path, problems = newest_checkpoint(folder, self.filename_tmpl)
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
        """Settle the interval and remove unfinished files of an earlier run.

        Raises:
            ValueError: If the validation gives no score of the name in `save_best`.
        """
        self._check_save_best(runner)
        if self.interval is None:
            last = runner.max_epochs if self.by_epoch else runner.max_iters
            self.interval = runner.train_loop.val_interval if runner.val_loop is not None else last
            if isinstance(runner.train_loop, EpochBasedTrainLoop) and runner.val_loop is not None and not self.by_epoch:
                self.interval *= len(runner.train_dataloader)  # that loop validates by epochs
        super().before_train(runner)
        if is_main_process():
            for folder in {runner.work_dir, self.out_dir}:
                for path in remove_unfinished(folder):
                    runner.logger.info(f'Removed {path}, left by an interrupted write')

    def _check_save_best(self, runner: Runner) -> None:
        metrics = runner.val_loop.evaluator.metrics if isinstance(runner.val_loop, ValLoop) else []
        if not metrics or not all(hasattr(metric, 'score_names') for metric in metrics):
            return  # other packages' metrics do not tell
        crf = any(isinstance(hook, DenseCRFHook) and 'val' in hook.stages for hook in runner.hooks)
        names = [
            '/'.join(filter(None, (metric.prefix, before, name)))
            for before in ('', *(['before_crf'] if crf else []))
            for metric in metrics
            for name in metric.score_names
        ]
        for name in self.save_best or ():
            if name not in (*names, 'auto'):
                raise UserError(
                    f'default_hooks.checkpoint.save_best={name!r}: the validation gives no such score; '
                    f"choose one of {', '.join(names)}, 'auto' (the first) or None"
                )

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        outdated = None
        if self.max_keep_ckpts > 0 and not (self.keep_ckpt_ids and self.keep_ckpt_ids[-1] == step):
            if len(self.keep_ckpt_ids) == self.max_keep_ckpts:
                outdated = Path(self.out_dir, self.filename_tmpl.format(self.keep_ckpt_ids.popleft()))
            self.keep_ckpt_ids.append(step)
            runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
        name = self.filename_tmpl.format(step)
        self.last_ckpt = str(Path(self.out_dir, name))
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
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
            if outdated is not None:
                outdated.unlink(missing_ok=True)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        backend, self.file_backend = self.file_backend, _RemoveLater()
        try:
            super()._save_best_checkpoint(runner, metrics)
            kept = {getattr(self, 'best_ckpt_path', None), *getattr(self, 'best_ckpt_path_dict', {}).values()}
            for path in set(self.file_backend.outdated) - kept:
                if Path(path).parent == Path(self.out_dir):  # not what was resumed from another folder
                    backend.remove(path)
        finally:
            self.file_backend = backend


def newest_checkpoint(folder: Path, template: str = 'iter_{}.pth') -> tuple[Path | None, list[str]]:
    """Find what a training can be resumed from.

    Args:
        folder: The work dir.
        template: Name of a checkpoint, with `{}` for its number.

    Returns:
        The checkpoint that `last_checkpoint` names or else the newest that can be read, and what was wrong with those
        that were passed over.
    """
    problems = []
    candidates = []
    if (folder / LAST).is_file():
        named = Path((folder / LAST).read_text().strip() or folder / 'nothing')
        # a work dir that was moved as a whole still holds the file
        candidates.append(named if named.is_file() else folder / named.name)
    pattern = re.compile(re.escape(template).replace(r'\{\}', r'(\d+)'))
    numbered = [(int(m[1]), path) for path in folder.iterdir() if (m := pattern.fullmatch(path.name))]
    candidates += [path for _, path in sorted(numbered, reverse=True)]
    for path in dict.fromkeys(candidates):
        try:
            if 'optimizer' in load_file(path):
                return path, problems
            problems.append(f'{path} holds weights only, no training state: not resumed from')
        except (FileNotFoundError, ValueError) as error:
            problems.append(f'Not resumed from {path}: {error}')
    return None, problems
