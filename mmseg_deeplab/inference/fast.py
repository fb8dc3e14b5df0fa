"""The same network, faster: batch norm folded into the convolution before it, in a copy."""

import copy
from typing import Any

import torch
from mmcv.cnn import ConvModule
from mmengine.model import is_model_wrapper
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights

from ..checkpoints.strict import unwrap
from ..models import DeepLab


def fold_batch_norm(model: nn.Module) -> int:
    """Fold every batch norm that directly follows a convolution into it, in place; return how many were folded.

    In eval mode batch norm is a fixed scale and shift of each channel, so w * s and (b - mean) * s + beta give the
    same answer up to rounding with one pass over the features less. The model can not be trained any further.

    A block's children are taken to run in the order they were registered in, as in all DeepLab blocks; mmcv's
    `fuse_conv_bn` assumes the same but also folds where a `ConvModule` normalises before it convolves.
    """
    folded = 0
    before: Any = None  # the child before
    child: Any
    for name, child in model.named_children():
        if isinstance(child, _BatchNorm) and _folds(model, before, child):
            assert child.running_mean is not None and child.running_var is not None
            weight: Any = before.weight
            bias: Any = before.bias
            before.weight, before.bias = fuse_conv_bn_weights(
                weight, bias, child.running_mean, child.running_var, child.eps, child.weight, child.bias
            )
            setattr(model, name, nn.Identity())
            folded += 1
        else:
            folded += fold_batch_norm(child)
        before = child
    return folded


def _folds(parent: nn.Module, conv: nn.Module | None, norm: _BatchNorm) -> bool:
    if not isinstance(conv, nn.Conv2d) or conv.out_channels != norm.num_features or norm.running_mean is None:
        return False
    return not (isinstance(parent, ConvModule) and parent.order.index('conv') > parent.order.index('norm'))


def prepare_for_inference(model: nn.Module) -> int:
    """Set eval mode, fold batch norm and, on the CPU, lay the weights out channels-last; return the layers folded.

    The answers stay the same up to rounding; channels-last is how the CPU's convolution kernels read fastest. Only a
    `DeepLab` is changed: layers of another segmentor may run in another order than they are registered in.
    """
    model.eval()
    if not isinstance(model, DeepLab):
        return 0
    folded = fold_batch_norm(model)
    if next(model.parameters()).device.type == 'cpu':
        model.to(memory_format=torch.channels_last)
    return folded


def fast_copy(model: nn.Module) -> nn.Module:
    """Return a copy of a model, without the wrapper of distributed runs, that is prepared for inference.

    The model stays as it is. One whose segmentor is no `DeepLab` is returned itself, as nothing can be prepared.
    """
    segmentor = unwrap(model)
    if not isinstance(segmentor, DeepLab):
        return model
    outer: Any = copy.deepcopy(model.module if is_model_wrapper(model) else model)
    prepare_for_inference(unwrap(outer))
    return outer


def bf16_pays() -> bool:
    """Whether this CPU computes bfloat16 in units of its own; without, a convolution takes 9 to 40 times as long."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
