"""MMEngine's Runner with a console that a person can read and with distributed runs on the CPU."""

import io
import logging
import os
import sys
import warnings
from collections import Counter
from collections.abc import Generator
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from typing import Any

import torch
import torch.distributed
from mmengine.dist import is_distributed
from mmengine.hooks import EMAHook
from mmengine.logging import MMLogger
from mmengine.model import revert_sync_batchnorm
from mmengine.runner import Runner
from mmseg.registry import RUNNERS
from torch import nn
from torch.utils.data import DataLoader

from ..progress import progress
from ..upstream import has_loaded, set_timestamp
from .describe import summarize
from .hooks.progress import ProgressHook
from .stopping import StopRequest, explained_workers, leave_if_asked, start_worker

# Warnings of MMEngine about its own CheckpointHook, whatever the config.
STALE_WARNINGS = ('"FileClient" will be deprecated', '"HardDiskBackend" is the alias')
_runs_begun: Counter[str] = Counter()  # by the second


class _Stdout(io.TextIOBase):
    """Writes to what sys.stdout is at that time: a progress bar takes its place, to keep printed lines above itself."""

    def write(self, text: str) -> int:
        return sys.stdout.write(text)

    def flush(self) -> None:
        sys.stdout.flush()


def _is_news(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith(STALE_WARNINGS)


def _own_generator() -> AbstractContextManager[None]:
    """What is drawn inside does not move on PyTorch's generators outside."""
    return torch.random.fork_rng([torch.cuda.current_device()] if torch.cuda.is_available() else [])


@RUNNERS.register_module()
class DeepLabRunner(Runner):
    """Runner whose console begins with a summary of the run.

    What MMEngine prints first (environment, the whole config, hook lists, a line for every parameter and how it was
    initialised) goes to the log file only; warnings are always shown. What takes seconds without a line of the log
    shows that it runs, see `mmseg_deeplab.progress`.

    On the CPU `--launcher pytorch` runs with gloo, where MMEngine calls CUDA whatever the backend: SyncBN becomes BN
    and the model is wrapped without device ids.

    Runs that follow each other in one process, as in a notebook or a loop over configs, each have a logger, a message
    hub, a visualizer and a log folder of their own. MMEngine finds these by names that end in the second of the start:
    a second run within that second would print and write into the first one's files.
    """

    _stop: StopRequest | None = None
    _evaluates = False
    _normalises_alone = False

    optional_hooks = ('strict_load', 'exact_resume', 'batch_norm', 'batch_loss', 'finite', 'fast_inference')
    """Names of default_hooks, beside MMEngine's, that None leaves out."""

    def setup_env(self, env_cfg: dict) -> None:
        """Set up the processes; on the CPU the process group is opened here, since MMEngine would ask for a GPU."""
        if self.launcher == 'pytorch' and not torch.cuda.is_available() and not is_distributed():
            torch.distributed.init_process_group('gloo')
        super().setup_env(env_cfg)
        earlier = _runs_begun[self.timestamp]
        _runs_begun[self.timestamp] += 1
        if earlier:
            set_timestamp(self, f'{self.timestamp}_{earlier}')

    def set_randomness(self, seed: int | None, diff_rank_seed: bool = False, deterministic: bool = False) -> None:
        """Seed all generators; with `deterministic`, take kernels that give the same result every time.

        PyTorch names each kernel that has no such variant in a warning, and runs it; MMEngine would end the training.
        """
        if deterministic:  # cuBLAS reads it once, as it starts
            os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
        super().set_randomness(seed, diff_rank_seed, deterministic)
        if deterministic:
            torch.use_deterministic_algorithms(True, warn_only=True)

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """Move the model to its device and wrap it for a distributed run."""
        if self.distributed and not torch.cuda.is_available():
            layers = [layer for layer in model.train().modules() if isinstance(layer, nn.SyncBatchNorm)]
            self._normalises_alone = any(layer.training for layer in layers)
            model = revert_sync_batchnorm(model)
            defaults = dict(
                broadcast_buffers=False, find_unused_parameters=self.cfg.get('find_unused_parameters', False)
            )
            model_wrapper_cfg = {**(model_wrapper_cfg or defaults), 'device_ids': None}
        return super().wrap_model(model_wrapper_cfg, model)

    def build_logger(self, *args, **kwargs) -> MMLogger:
        """Build the logger; its console takes warnings only until the summary."""
        logger = super().build_logger(*args, **kwargs)
        self._console: list[Any] = [h for h in logger.handlers if type(h) is logging.StreamHandler]
        self._console_levels = [handler.level for handler in self._console]
        for handler in self._console:
            handler.addFilter(_is_news)
            handler.setStream(_Stdout())
        self._mute()
        return logger

    def register_hooks(self, default_hooks: dict | None = None, custom_hooks: list | None = None) -> None:
        """Register the hooks; MMSegmentation's for pictures warns of being idle, which it is meant to be here.

        Any of the default hooks is left out by None, which MMEngine takes for its own ones only.
        """
        default_hooks = {
            k: v for k, v in (default_hooks or {}).items() if v is not None or k not in self.optional_hooks
        }
        with warnings.catch_warnings():
            warnings.filterwarnings('ignore', 'The draw is False')
            super().register_hooks(default_hooks, custom_hooks)
        self._progress = ProgressHook()
        self.register_hook(self._progress)

    def build_model(self, model: nn.Module | dict) -> nn.Module:
        """Build the model."""
        with progress('building the model'):
            return super().build_model(model)

    @staticmethod
    def build_dataloader(*args, **kwargs) -> DataLoader:
        """Build a data loader, whose processes leave signals to this one, and open its dataset."""
        with progress('opening the dataset'):
            loader = Runner.build_dataloader(*args, **kwargs)
        loader.worker_init_fn = partial(start_worker, loader.worker_init_fn)
        return loader

    def load_or_resume(self) -> None:
        """Load the weights or the whole state that the config names, if any."""
        with progress('loading the checkpoint'):
            super().load_or_resume()

    def train(self) -> nn.Module:
        """Train; SIGTERM and a first Ctrl-C save and leave (`engine.stopping`)."""
        if self._normalises_alone:
            self.logger.warning(
                'SyncBN needs GPUs: on the CPU each process normalises by its own images, and the running statistics '
                'are averaged over the processes. With few images a process train in one, or freeze batch norm '
                "(model.frozen_bn=('backbone', 'decode_head'))"
            )
        with closing(self._progress), explained_workers(self), StopRequest() as self._stop:
            try:
                with self._own_weights():
                    return super().train()
            finally:
                self._stop = None

    def val(self) -> dict:
        """Validate; a training that follows does not notice."""
        with closing(self._progress), explained_workers(self), _own_generator(), self._own_weights():
            return super().val()

    def test(self) -> dict:
        """Test; a training that follows does not notice."""
        with closing(self._progress), explained_workers(self), _own_generator(), self._own_weights():
            return super().test()

    def call_hook(self, fn_name: str, **kwargs) -> None:
        """Call all hooks; before the first ones of a run, print the summary."""
        if fn_name == 'before_run':
            self._unmute()
            self.logger.info(summarize(self))
        if fn_name in ('after_val_epoch', 'after_test_epoch'):
            self._evaluates = False
        super().call_hook(fn_name, **kwargs)
        if fn_name in ('before_val_epoch', 'before_test_epoch'):
            self._evaluates = True
        if self._stop is not None and fn_name in ('after_train_iter', 'after_val_iter'):
            leave_if_asked(self, self._stop, fn_name, self._put_weights_back)

    def _put_weights_back(self) -> None:
        """End an evaluation early: EMAHook has put averages in the place of the weights that are trained."""
        if self._evaluates:
            self._evaluates = False
            for hook in self.hooks:
                if isinstance(hook, EMAHook):
                    hook.after_val_epoch(self)

    @contextmanager
    def _own_weights(self) -> Generator[None]:
        try:
            yield
        finally:
            self._put_weights_back()

    def _init_model_weights(self) -> None:
        if has_loaded(self):  # for a test before; MMEngine would initialise anew and not load again
            return
        with self._muted(), progress('initialising the weights'):
            super()._init_model_weights()

    @contextmanager
    def _muted(self) -> Generator[None]:
        self._mute()
        try:
            yield
        finally:
            self._unmute()

    def _mute(self) -> None:
        for handler, level in zip(self._console, self._console_levels, strict=True):
            handler.setLevel(max(level, logging.WARNING))

    def _unmute(self) -> None:
        for handler, level in zip(self._console, self._console_levels, strict=True):
            handler.setLevel(level)
