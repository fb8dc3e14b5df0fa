"""Batch norm that was folded into convolutions, taken out again by measuring its statistics on images."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from ..errors import UserError

SUFFIXES = {'.jpg', '.jpeg', '.png'}
IMAGES = 64
SIZE = 321  # pixels a side, a usual crop


@torch.no_grad()
def unfold_batch_norm(
    model: nn.Module, norms: list[str], folder: str | Path, mean: list[float], std: list[float]
) -> int:
    """Give batch norms that do nothing the statistics of what they get on images; the model computes the same.

    A converted network with folded batch norm is exact at test, but its batch norms (mean 0, variance 1) know nothing
    of its features, so training would normalise what is normalised already. Here mean and variance of each channel
    are measured, filters are brought to length one, as weight decay and batch norm keep them about, and scale and
    shift are set so that the output stays the same.

    Args:
        model: Holds `model.backbone` or is a segmentor; changed in place.
        norms: Names of the batch norms, each beside its convolution `conv` in a `ConvModule`.
        folder: Images like those to train on; `IMAGES` of them, spread over the folder, are used.
        mean, std: Of the network's input, RGB.

    Returns:
        The number of images.

    Raises:
        ValueError: If the folder has no image.
    """
    files = sorted(path for path in Path(folder).rglob('*') if path.suffix.lower() in SUFFIXES)
    if not files:
        raise UserError(f'{folder} holds no .jpg or .png images to measure batch norm on')
    files = files[:: -(-len(files) // IMAGES)]
    modules = dict(model.named_modules())
    moments = {name: _Moments(modules[name]) for name in norms}
    model.eval()
    for number, path in enumerate(files):
        if number % 16 == 0:
            print_log(f'measuring batch norm: image {number} of {len(files)}', logger='current')
        _run(model, _read(path, mean, std))
    for name, measured in moments.items():
        measured.handle.remove()
        _set(modules[name.removesuffix('.bn')], measured)
    return len(files)


class _Moments:
    """Sums over a batch norm's input, by channel."""

    def __init__(self, norm: nn.Module):
        self.count = 0
        self.total, self.squares = torch.zeros(()), torch.zeros(())
        self.handle = norm.register_forward_pre_hook(self._add)

    def _add(self, _: nn.Module, inputs: tuple[Tensor]) -> None:
        values = inputs[0].double()
        self.count += values.numel() // values.shape[1]
        self.total = self.total + values.sum((0, 2, 3))
        self.squares = self.squares + values.square().sum((0, 2, 3))


def _set(block: Any, measured: _Moments) -> None:
    """Set a conv-norm block's filters, statistics, scale and shift."""
    mean = measured.total / measured.count
    variance = (measured.squares / measured.count - mean.square()).clamp(min=0)
    length = block.conv.weight.flatten(1).norm(dim=1).double().clamp(min=1e-12)
    block.conv.weight.div_(length[:, None, None, None])
    block.bn.running_mean.copy_(mean / length)
    block.bn.running_var.copy_(variance / length.square())
    block.bn.weight.copy_(length * (variance / length.square() + block.bn.eps).sqrt())
    block.bn.bias.add_(mean)


def _run(model: nn.Module, image: Tensor) -> None:
    if isinstance(model, nn.ModuleDict):
        model['backbone'](image)
    else:
        model(image, mode='tensor')


def _read(path: Path, mean: Any, std: Any) -> Tensor:
    image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise UserError(f'image {path} cannot be read: the file is damaged or not an image')
    image = cv2.resize(image, (SIZE, SIZE))[..., ::-1].astype(np.float32)
    return torch.from_numpy((image - np.float32(mean)) / np.float32(std)).permute(2, 0, 1)[None]
