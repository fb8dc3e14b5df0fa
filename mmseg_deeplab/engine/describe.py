"""The facts of a run, once: what is trained or tested, on what, how, and where.

The summary that a run begins with prints them, the report of a test shows them.
"""

import copy
import logging
from datetime import datetime
from typing import Any

import mmengine
import mmseg
import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.model import BaseTTAModel, is_model_wrapper, revert_sync_batchnorm
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader

from ..models.complexity import complexity
from ..upstream import accumulation, built_loops, checkpoint_of


def describe(runner: Runner) -> dict[str, str]:
    """The facts of a runner whose loops and optimizer are built (hook point `before_run` and later), name -> value.

    What does not apply is left out: a test has no learning rate, a model that starts anew no checkpoint.
    """
    model: Any = runner.model.module if is_model_wrapper(runner.model) else runner.model
    loops = built_loops(runner)
    rows = [('config', runner.cfg.filename), ('checkpoint', checkpoint_of(runner)), *_model_rows(model)]
    rows += [(f'{name} data', _data_line(loop.dataloader)) for name, loop in loops.items()]
    if 'train' in loops:
        rows += _training_rows(runner)
    if 'test' in loops:
        tta = f'{type(model).__name__} over the views of tta_pipeline' if isinstance(model, BaseTTAModel) else 'none'
        rows += [('test-time augmentation', tta), ('dense CRF', _crf_line(runner.cfg))]
        rows += [('refined by', _settings(hook)) for hook in _hooks_of(runner.cfg, 'RefinerHook')]
    rows += [
        ('device', _device_line(runner.world_size)),
        ('work dir', runner.work_dir),
        ('software', f'mmseg {mmseg.__version__}, mmengine {mmengine.__version__}, torch {torch.__version__}'),
        ('date', f'{datetime.now():%Y-%m-%d %H:%M}'),
    ]
    return {name: str(value) for name, value in rows if value is not None}


def summarize(runner: Runner) -> str:
    """The first lines of a run: its name and `describe` as text."""
    facts = describe(runner)
    width = max(len(name) for name in facts)
    return f'{runner.experiment_name}\n' + '\n'.join(f'  {name:<{width}}  {text}' for name, text in facts.items())


def costs(runner: Runner) -> dict[str, Any]:
    """Of a runner's network: `parameters`, and `multiply_adds` for one image of `shape` (the crop), None if unknown."""
    model: Any = runner.model.module if is_model_wrapper(runner.model) else runner.model
    model = model.module if isinstance(model, BaseTTAModel) else model
    shape = list(runner.cfg.get('crop_size') or (512, 512))
    try:
        multiply_adds = complexity(revert_sync_batchnorm(copy.deepcopy(model)), (shape[0], shape[1]))[0].multiply_adds
    except Exception as error:  # a network that is not ours may do what can't be counted; the test is done all the same
        print_log(f'multiply-adds are not counted: {type(error).__name__}: {error}', 'current', logging.WARNING)
        multiply_adds = None
    return dict(parameters=sum(p.numel() for p in model.parameters()), multiply_adds=multiply_adds, shape=shape)


def _model_rows(model: nn.Module) -> list[tuple[str, str]]:
    model = model.module if isinstance(model, BaseTTAModel) else model
    rows = [('model', f'{type(model).__name__}, {_parameters(model)}')]
    stride = getattr(model, 'output_stride', None)
    if stride:
        rows.append(('output stride', str(stride)))
    for part in ('backbone', 'neck', 'decode_head', 'auxiliary_head'):
        module = getattr(model, part, None)
        if isinstance(module, nn.ModuleList):
            rows += [(f'{part} {i}', _part_line(child, with_stages=False)) for i, child in enumerate(module)]
        elif isinstance(module, nn.Module):
            rows.append((part.replace('_', ' '), _part_line(module, with_stages=part == 'backbone')))
    return rows


def _part_line(module: nn.Module, with_stages: bool) -> str:
    line = f'{type(module).__name__}, {_parameters(module)}'
    if with_stages:
        stages = [text for name, child in module.named_children() if (text := _stage(name, child))]
        return f'{line}; {", ".join(stages)}' if stages else line
    rates = [rate for rate in _rates(module) if rate > 1]
    return f'{line}; atrous rates {_join(rates)}' if rates else line


def _stage(name: str, stage: nn.Module) -> str:
    """'layer4 rates 2 4 8' for a stage that strides or is atrous, '' for any other."""
    strides = [m.stride[0] for m in stage.modules() if isinstance(m, nn.Conv2d) and isinstance(m.stride, tuple)]
    stride, rates = max(strides, default=1), _rates(stage)
    text = [f'stride {stride}'] * (stride > 1) + [f'rates {_join(rates)}'] * (len(rates) > 0)
    return f'{name} {" ".join(text)}' if text else ''


def _rates(module: nn.Module) -> list[int]:
    """Atrous rates of the convolutions in order, each once, [] where all are 1."""
    convs = [m for m in module.modules() if isinstance(m, nn.Conv2d) and max(m.kernel_size) > 1]
    rates = list(dict.fromkeys(conv.dilation[0] for conv in convs))
    return rates if max(rates, default=1) > 1 else []


def _join(numbers: list[int]) -> str:
    return ' '.join(str(number) for number in numbers)


def _parameters(module: nn.Module) -> str:
    total = sum(p.numel() for p in module.parameters())
    trained = sum(p.numel() for p in module.parameters() if p.requires_grad)
    line = f'{total / 1e6:.2f} M parameters'
    return line if trained == total else f'{line} ({trained / 1e6:.2f} M trained)'


def _data_line(loader: DataLoader) -> str:
    dataset: Any = loader.dataset
    line = f'{type(dataset).__name__}, {len(dataset)} images'
    classes = getattr(dataset, 'metainfo', {}).get('classes') or ()
    if classes:
        shown = ', '.join(classes[:8]) + (', ...' if len(classes) > 8 else '')
        line += f', {len(classes)} classes ({shown})'
    return line


def _training_rows(runner: Runner) -> list[tuple[str, str]]:
    loader: DataLoader = runner.train_dataloader
    wrapper: Any = runner.optim_wrapper
    dataset: Any = loader.dataset
    sampler: Any = loader.batch_sampler
    batch = loader.batch_size or sampler.batch_size
    accumulated = accumulation(wrapper)
    effective = batch * accumulated * runner.world_size
    devices = f'{runner.world_size} device' + 's' * (runner.world_size > 1)
    optimizer = wrapper.optimizer
    rates = sorted({group.get('initial_lr', group['lr']) for group in optimizer.param_groups})
    lr_line = ' to '.join(f'{rate:g}' for rate in dict.fromkeys((rates[0], rates[-1])))
    schedulers = runner.param_schedulers if isinstance(runner.param_schedulers, list) else []
    names = ', '.join(type(scheduler).__name__ for scheduler in schedulers) or 'constant'
    epochs = runner.max_iters * batch * runner.world_size / max(len(dataset), 1)
    return [
        ('batch', f'{effective} = {batch} images x {devices} x {accumulated} accumulated'),
        ('learning rate', f'{lr_line} ({type(wrapper).__name__}, {type(optimizer).__name__}), {names}'),
        ('schedule', f'{runner.max_iters} iterations ({epochs:.1f} epochs), validation every {runner.val_interval}'),
    ]


def _crf_line(cfg: Config) -> str:
    """The dense CRF of a test as its config asks for it, in a hook or in the loop."""
    hooks = _hooks_of(cfg, 'DenseCRFHook')
    settings = hooks[0] if hooks else (cfg.get('test_cfg') or {}).get('crf')
    return 'none' if settings is None else _settings(settings) or 'defaults'


def _hooks_of(cfg: Config, kind: str) -> list[dict]:
    return [hook for hook in cfg.get('custom_hooks') or () if _name(hook['type']) == kind]


def _settings(group: dict) -> str:
    return ', '.join(f'{name} {value}' for name, value in group.items() if name != 'type')


def _name(kind: str | type) -> str:
    return kind if isinstance(kind, str) else kind.__name__


def _device_line(world_size: int) -> str:
    cpu = f'CPU, {torch.get_num_threads()} threads'
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else cpu
    return f'{world_size} x {name}' if world_size > 1 else name
