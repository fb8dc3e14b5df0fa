"""From the command line to a config and a runner."""

import gc
import os
from argparse import Namespace
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from mmengine.config import Config
from mmengine.dist import is_distributed
from mmengine.runner import Runner
from mmseg.evaluation import CityscapesMetric, IoUMetric
from mmseg.registry import METRICS, RUNNERS

from ..checkpoints.zoo import PRETRAINED, pretrained
from ..config_files import read_config
from ..crf.memory import keep_freed_memory
from ..datasets import ImageMaskFolder, iter_datasets, set_data_root
from ..engine.hooks import DenseCRFHook, RefinerHook
from ..errors import UserError
from ..evaluation import SegmentationMetric
from ..models import DeepLab
from ..preflight import merge_options
from .options import crf_of, refiner_of


def load_train_config(args: Namespace) -> Config:
    """Load the config of a training and apply the command line to it.

    Raises:
        ValueError, FileNotFoundError: an option asks for what can't be; the message says what to do.
    """
    cfg = _load(args)
    if args.resume:
        cfg.resume = args.resume if args.resume in (True, 'auto') else True
        # 'auto' starts from the config's own load_from where the work dir holds nothing to resume.
        if args.resume != 'auto':
            cfg.load_from = None if args.resume is True else args.resume
    if args.amp:
        _enable_amp(cfg)
    if args.deterministic:
        cfg.randomness = dict(cfg.get('randomness') or {}, deterministic=True)
    if args.auto_scale_lr:
        if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
            raise UserError(
                '--auto-scale-lr needs to know the batch size that the learning rate was chosen for: '
                'set auto_scale_lr = dict(base_batch_size=16) in the config'
            )
        cfg.auto_scale_lr.enable = True
    return cfg


def load_test_config(args: Namespace) -> Config:
    """Load the config of a test and apply the command line to it; errors as in `load_train_config`."""
    use_published(args)
    cfg = _load(args)
    cfg.load_from, cfg.resume = args.checkpoint, False
    if args.eval_output_stride is not None:
        if cfg.model.type not in ('DeepLab', DeepLab):
            raise UserError(f'--eval-output-stride needs model.type DeepLab; the config has {cfg.model.type}')
        cfg.model.output_stride = args.eval_output_stride
    if args.out is not None:
        _save_predictions(cfg, args.out)
    configured = list(cfg.get('custom_hooks') or [])
    hooks = []
    crf, refiner = crf_of(args), refiner_of(args)
    if crf is not None or refiner is not None:
        refining = ('DenseCRFHook', DenseCRFHook, 'RefinerHook', RefinerHook)
        configured = [hook for hook in configured if hook.get('type') not in refining]
        hooks.append(dict(type='DenseCRFHook', **crf) if crf else dict(type='RefinerHook', **(refiner or {})))
    if args.show_dir is not None:
        hooks.append(dict(type='PanelHook', out_dir=args.show_dir))
    if args.report is not None:
        hooks.append(dict(type='ReportHook', out_dir=args.report))
    cfg.custom_hooks = [*configured, *hooks]
    if args.tta:
        _enable_tta(cfg)
    return cfg


def use_published(args: Namespace) -> None:
    """Put a config and a checkpoint in the place of `NAME pretrained`, which are published weights."""
    if args.checkpoint == PRETRAINED:
        args.config, args.checkpoint = map(str, pretrained(args.config))


def build_runner(cfg: Config) -> Runner:
    """Build the runner that `cfg.runner_type` names, as MMSegmentation's tools do."""
    if not torch.cuda.is_available():
        keep_freed_memory()
    settings: Any = cfg  # MMEngine takes it for a dict
    return RUNNERS.build(settings) if 'runner_type' in cfg else Runner.from_cfg(cfg)


def close_process_group() -> None:
    """End the distributed run; without it a process may abort as it exits.

    gloo's threads free Python objects after the interpreter is gone, and PyTorch ends them only together with the
    group's last reference: the runner's model holds one, in a cycle.
    """
    if is_distributed():
        gc.collect()
        torch.distributed.destroy_process_group()


def load_config(config: str | Path, cfg_options: dict | None = None) -> Config:
    """Read a config, a file or a ready one by its name, and apply `--cfg-options` to it.

    Raises:
        ValueError, FileNotFoundError: If there is none, or it or the options can't be used.
    """
    cfg = read_config(config)
    merge_options(cfg, cfg_options or {})
    return cfg


def _load(args: Namespace) -> Config:
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = load_config(args.config, args.cfg_options)
    if args.data_root is not None:
        set_data_root(cfg, args.data_root)
    for split in ('train', 'val', 'test'):
        loader = cfg.get(f'{split}_dataloader') or {}
        if loader.get('num_workers') == 0:
            loader['persistent_workers'] = False  # of no workers; PyTorch refuses the pair
    cfg.launcher = args.launcher
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or str(Path('work_dirs', Path(args.config).stem))
    return cfg


def _save_predictions(cfg: Config, folder: str) -> None:
    evaluators = cfg.test_evaluator if isinstance(cfg.test_evaluator, list) else [cfg.test_evaluator]
    for metric in evaluators:
        kind = METRICS.get(metric['type']) if isinstance(metric['type'], str) else metric['type']
        if kind is not None and issubclass(kind, (SegmentationMetric, IoUMetric, CityscapesMetric)):
            break
    else:
        raise UserError('--out needs a metric that saves predictions: add SegmentationMetric to test_evaluator')
    metric['output_dir'] = folder
    dataset = cfg.test_dataloader.dataset
    # Images of the same name may lie in several folders.
    if dataset.type in ('ImageMaskFolder', ImageMaskFolder) and issubclass(kind, SegmentationMetric):
        images = (dataset.get('data_prefix') or {}).get('img_path', 'images')
        metric['image_root'] = str(Path(dataset.get('data_root') or '', images))


def _enable_amp(cfg: Config) -> None:
    wrapper = cfg.optim_wrapper
    kind = wrapper.get('type', 'OptimWrapper')
    if kind not in ('OptimWrapper', 'AmpOptimWrapper', 'CPUAmpOptimWrapper'):
        raise UserError(f'--amp changes an OptimWrapper into its mixed-precision form, but the config has {kind}')
    wrapper.type = 'AmpOptimWrapper' if torch.cuda.is_available() else 'CPUAmpOptimWrapper'


def _enable_tta(cfg: Config) -> None:
    for key in ('tta_pipeline', 'tta_model'):
        if not cfg.get(key):
            raise UserError(f'--tta needs {key} in the config; configs/_base_ shows how it looks')
    for dataset in iter_datasets(cfg.test_dataloader):
        dataset['pipeline'] = cfg.tta_pipeline
    # Padding to a fixed size after the scaling would make most of a small view mean colour, which image pooling
    # averages over; the TensorFlow release pads first, so that there the padding is scaled with the image.
    preprocessor = cfg.model.get('data_preprocessor') or {}
    # The segmentor pads to its crop_size where test_cfg is not stated.
    if preprocessor and preprocessor.get('test_cfg', cfg.model.get('crop_size')):
        cfg.model.data_preprocessor.test_cfg = dict(size_divisor=1)
    cfg.model = dict(**cfg.tta_model, module=cfg.model)
