"""Weights for images of three bands, for images of another number of them."""

import copy

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from ..errors import UserError


def inflate_weight(weight: Tensor, bands: int) -> Tensor:
    """A first convolution (C, 3, k, k) for images of `bands` bands.

    One band takes the sum of the three: a grey image gives what it gave as three equal bands. Two take the first two,
    times 3/2. From three on, band i takes the weight of band i mod 3, divided by the number of bands that take it
    (n/3 where that is whole): an image that repeats its three bands gives what the three gave.
    """
    if bands == 1:
        return weight.sum(dim=1, keepdim=True)
    if bands == 2:
        return weight[:, :2] * 1.5
    source = torch.arange(bands, device=weight.device) % 3
    return weight[:, source] / source.bincount()[source].to(weight.dtype).view(1, -1, 1, 1)


def inflate_network(model: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Fit a whole network's state, in place, to a model whose images have other bands than three; said in the log.

    Args:
        model: One whose backbone tells its bands (`in_channels`); others are left alone.
        state: The file's, of a network for three bands.
        source: The file.
    """
    inflate_bands(model, state, getattr(getattr(model, 'backbone', None), 'in_channels', 3), source)


def inflate_bands(model: nn.Module, state: dict[str, Tensor], bands: int, what: str) -> None:
    """Fit the convolutions of the image in a file's state, in place, to a network's bands; said in the log.

    They are those with as many channels as the network has bands, and three in the file: one, or several side by side.

    Args:
        model: The network.
        state: The file's, with its names.
        bands: Of the network's images.
        what: Network and file, for the log.

    Raises:
        UserError: If one of them standardises its weights, so that inflated ones would give something else.
    """
    for name, target in model.named_parameters() if bands != 3 else ():
        weight = state.get(name)
        if not isinstance(weight, Tensor) or weight.dim() != 4 or not weight.is_floating_point():
            continue
        if weight.shape[1] == 3 and target.shape == (len(weight), bands, *weight.shape[2:]):
            convolution = model.get_submodule(name.rpartition('.')[0])
            if isinstance(convolution, nn.Conv2d) and not _is_linear(convolution):
                raise UserError(
                    f'{what}: {name} is made for 3 bands, and {type(convolution).__name__} standardises its weights, '
                    f'so that they can not be inflated to {bands}: start without that file, or take another encoder'
                )
            state[name] = _inflated(weight, bands, f'{what}: {name}')


def _inflated(weight: Tensor, bands: int, what: str) -> Tensor:
    how = {1: 'their sum', 2: 'the first two, times 3/2'}.get(bands, 'repeated, each divided by its repeats')
    print_log(f'{what} is made for 3 bands and loaded for {bands}: {how}', logger='current')
    return inflate_weight(weight, bands)


@torch.no_grad()
def _is_linear(convolution: nn.Conv2d) -> bool:
    """Whether what a convolution gives, but for its bias, is in proportion to its weights."""
    probe = copy.deepcopy(convolution).float().cpu()
    probe.bias = None
    generator = torch.Generator().manual_seed(0)  # a training draws what it draws without this
    probe.weight.normal_(generator=generator)
    image = torch.randn(1, probe.in_channels, *(2 * side for side in probe.kernel_size), generator=generator)
    once = probe(image)
    probe.weight.mul_(2)
    return torch.allclose(probe(image), 2 * once, rtol=1e-3, atol=1e-4)
