"""The first lines of a run: what is trained or tested, on what, how, and where."""

import torch
from mmengine.dataset import BaseDataset
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader


def summarize(runner: Runner) -> str:
    """Return the readable summary of a runner whose loops and optimizer are built (hook point `before_run`)."""
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    rows = [*_model_rows(model)]
    loops = (('train', runner._train_loop), ('val', runner._val_loop), ('test', runner._test_loop))
    # A loop that this run does not use is still the dict of the config.
    built = {name: loop for name, loop in loops if hasattr(loop, 'dataloader')}
    rows += [(f'{name} data', _data_line(loop.dataloader, runner.world_size)) for name, loop in built.items()]
    if 'train' in built:
        rows += _training_rows(runner)
    rows.append(('device', _device_line(runner.world_size)))
    rows.append(('work dir', runner.work_dir))
    width = max(len(name) for name, _ in rows)
    return f'{runner.experiment_name}\n' + '\n'.join(f'  {name:<{width}}  {text}' for name, text in rows)


def _model_rows(model: nn.Module) -> list[tuple[str, str]]:
    rows = []
    if isinstance(model, BaseTTAModel):
        rows.append(('test time', f'{type(model).__name__} over the views of tta_pipeline'))
        model = model.module
    rows.append(('model', f'{type(model).__name__}, {_parameters(model)}'))
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


def _data_line(loader: DataLoader, world_size: int) -> str:
    dataset = loader.dataset
    line = f'{len(dataset)} images'
    metainfo = dataset.metainfo if isinstance(dataset, BaseDataset) else getattr(dataset, 'metainfo', {})
    classes = metainfo.get('classes') or ()
    if classes:
        shown = ', '.join(classes[:8]) + (', ...' if len(classes) > 8 else '')
        line += f', {len(classes)} classes ({shown})'
    return line


def _training_rows(runner: Runner) -> list[tuple[str, str]]:
    loop, wrapper = runner._train_loop, runner.optim_wrapper
    batch = loop.dataloader.batch_size or loop.dataloader.batch_sampler.batch_size
    accumulation = getattr(wrapper, '_accumulative_counts', 1)
    effective = batch * accumulation * runner.world_size
    devices = f'{runner.world_size} device' + 's' * (runner.world_size > 1)
    batch_line = f'{effective} = {batch} images x {devices} x {accumulation} accumulated'
    rates = sorted({group['initial_lr'] if 'initial_lr' in group else group['lr'] for group in _groups(wrapper)})
    lr_line = ' to '.join(f'{rate:g}' for rate in dict.fromkeys((rates[0], rates[-1])))
    schedulers = runner.param_schedulers if isinstance(runner.param_schedulers, list) else []
    names = ', '.join(type(scheduler).__name__ for scheduler in schedulers) or 'constant'
    epochs = loop.max_iters * batch * runner.world_size / max(len(loop.dataloader.dataset), 1)
    return [
        ('batch', batch_line),
        ('learning rate', f'{lr_line} ({type(wrapper).__name__}, {type(wrapper.optimizer).__name__}), {names}'),
        ('schedule', f'{loop.max_iters} iterations ({epochs:.1f} epochs), validation every {loop.val_interval}'),
    ]


def _groups(wrapper) -> list[dict]:
    return wrapper.optimizer.param_groups


def _device_line(world_size: int) -> str:
    cpu = f'CPU, {torch.get_num_threads()} threads'
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else cpu
    return f'{world_size} x {name}' if world_size > 1 else name
