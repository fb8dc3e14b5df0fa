"""Checkpoints of networks that were not trained, but whose answers depend on the picture and the place in it."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmseg.registry import MODELS
from torch.nn.modules.batchnorm import _BatchNorm

from mmseg_deeplab.datasets.demo import draw_picture


def save_lively_checkpoint(config: str | Path, path: str | Path, **meta: Any) -> None:
    """Save random weights, with the statistics of batch norm measured on demo pictures, without which all fades."""
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(config).model).train()
    torch.nn.init.normal_(model.decode_head.conv_seg.weight, std=1)
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.momentum = None  # the plain average
    pictures = np.stack([draw_picture(np.random.default_rng(1000 + seed))[0][:96, :96] for seed in range(8)])
    with torch.no_grad():
        model.decode_head(model.backbone(torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 64 - 2))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), path)
