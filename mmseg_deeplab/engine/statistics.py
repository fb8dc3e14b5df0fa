"""The statistics of batch norm, measured anew: for averaged weights those of their parts are not right."""

from collections.abc import Callable
from itertools import islice
from typing import Any

import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmseg.registry import MODELS
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..checkpoints import load_state_dict


@torch.no_grad()
def measure_batch_norm(cfg: Config, checkpoint: dict, batches: int, advance: Callable[[int], None]) -> int:
    """Measure mean and variance of every batch norm that the training updates, on batches of the training data.

    Each is the mean over the batches, as `torch.optim.swa_utils.update_bn` has it; batch norm that is frozen in the
    training keeps its own, and dropout is off. Weights stay as they are.

    Args:
        cfg: Config of the network, with its train_dataloader.
        checkpoint: Its `state_dict` is changed in place.
        batches: How many.
        advance: Is told how many more batches are done.

    Returns:
        The number of batch norms measured.
    """
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    model: Any = revert_sync_batchnorm(MODELS.build(cfg.model))
    load_state_dict(model, checkpoint, source='the mean')
    model.to('cuda' if torch.cuda.is_available() else 'cpu')
    norms = _norms_in_training(model)
    loader = Runner.build_dataloader(cfg.train_dataloader, seed=0)
    for batch in islice(loader, batches):
        model(**model.data_preprocessor(batch, True), mode='loss')
        advance(1)
    state = model.state_dict()
    for name in norms:
        for part in ('running_mean', 'running_var'):
            checkpoint['state_dict'][f'{name}.{part}'] = state[f'{name}.{part}'].cpu()
    return len(norms)


def _norms_in_training(model: nn.Module) -> list[str]:
    """Leave just those batch norms in training that `train()` does, ready to measure from nothing; their names."""
    model.train()
    norms = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm) and module.training and module.track_running_stats
    }
    model.eval()
    for module in norms.values():
        module.train()
        module.reset_running_stats()
        module.momentum = None  # the plain mean
    return list(norms)
