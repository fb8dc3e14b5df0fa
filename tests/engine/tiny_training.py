"""A training that takes milliseconds, for tests that resume, kill and compare."""

import random

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import ConfigDict
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import Dataset


class Points(Dataset):
    """Points whose 'augmentation' draws from all three generators."""

    metainfo = dict(classes=('a', 'b'))

    def __len__(self):
        return 10

    def __getitem__(self, index):
        noise = np.random.rand() + random.random() + float(torch.rand(()))
        return dict(inputs=np.array([index, noise], dtype=np.float32), index=index)


class Net(BaseModel):
    """A layer with dropout and batch norm."""

    def __init__(self, width=4):
        super().__init__()
        self.layer = nn.Linear(2, width)
        self.norm = nn.BatchNorm1d(width)
        self.seen = []

    def forward(self, inputs, index, mode='tensor'):
        x = F.dropout(self.norm(self.layer(torch.from_numpy(np.stack(inputs)))), 0.5, self.training)
        if mode == 'loss':
            self.seen.append([int(i) for i in index])
            return dict(loss=x.square().mean() + x.mean())
        return [x]


def tiny_runner(
    work_dir, max_iters=8, model=None, seed=1, workers=0, hook=None, sampler='ResumableSampler', batch_size=3,
    accumulate=1, kind=Runner, **kwargs,
):  # fmt: skip
    """A runner without validation; `hook` are arguments of the checkpoint hook."""
    import mmseg_deeplab.plugin  # noqa: F401

    default_hooks = dict(
        checkpoint=dict(type='CrashSafeCheckpointHook', **(hook or {})),
        strict_load=dict(type='StrictLoadHook'),
    )
    default_hooks.update(kwargs.pop('default_hooks', {}))
    loader = dict(
        batch_size=batch_size,
        num_workers=workers,
        dataset=Points(),
        sampler=dict(type=sampler, shuffle=True),
    )
    return kind(
        model=model or Net(),
        work_dir=str(work_dir),
        train_dataloader=loader,
        train_cfg=kwargs.pop('train_cfg', None) or dict(by_epoch=False, max_iters=max_iters, val_interval=4),
        optim_wrapper={
            'optimizer': dict(type='SGD', lr=0.1, momentum=0.9),
            'accumulative_counts': accumulate,
            **kwargs.pop('optim', {}),
        },
        param_scheduler=kwargs.pop(
            'schedule', dict(type='PolyLR', power=0.9, by_epoch=False, begin=0, end=max(20, max_iters))
        ),
        default_hooks=default_hooks,
        custom_hooks=kwargs.pop('custom_hooks', [dict(type='ExactResumeHook')]),
        default_scope='mmseg',
        log_level='WARNING',
        randomness=dict(seed=seed, **kwargs.pop('randomness', {})),
        experiment_name=f'tiny_{random.SystemRandom().random()}',
        cfg=ConfigDict(),
        **kwargs,
    )


class Score(BaseMetric):
    """A number that follows from the weights."""

    default_prefix = ''

    def process(self, data_batch, data_samples):
        self.results.append(float(data_samples[0].double().square().sum()))

    def compute_metrics(self, results):
        return dict(score=sum(results))


class Still(Points):
    """Points without a random part, as a validation set is."""

    def __getitem__(self, index):
        return dict(inputs=np.array([index, index % 3], dtype=np.float32), index=index)


def validation():
    """The arguments of `tiny_runner` for one with a score that is named 'score'."""
    loader = dict(batch_size=1, num_workers=0, dataset=Still(), sampler=dict(type='DefaultSampler', shuffle=False))
    return dict(val_cfg={}, val_dataloader=loader, val_evaluator=[Score()])
