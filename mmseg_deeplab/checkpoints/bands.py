"""Weights for images of three bands, for images of another number of them."""

from collections.abc import Mapping

import torch
from mmengine.logging import print_log
from torch import Tensor, nn


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
    bands, own = getattr(getattr(model, 'backbone', None), 'in_channels', 3), model.state_dict()
    for name, target in own.items() if bands != 3 else ():
        if name in state and target.dim() == 4 and target.shape[1] == bands:
            state.update(inflate_bands(own, state, name, source))


def inflate_bands(own: Mapping[str, Tensor], state: dict[str, Tensor], name: str, what: str) -> dict[str, Tensor]:
    """A file's state with its first convolution fit to a network's bands, if it was made for three; said in the log.

    Args:
        own: The network's state.
        state: The file's.
        name: Of the first convolution's weight in both.
        what: Network and file, for the log.
    """
    weight, target = state.get(name), own[name]
    if not isinstance(weight, Tensor) or weight.dim() != 4 or not weight.is_floating_point() or weight.shape[1] != 3:
        return state
    bands = target.shape[1]
    if bands == 3 or (len(weight), *weight.shape[2:]) != (len(target), *target.shape[2:]):
        return state
    how = {1: 'their sum', 2: 'the first two, times 3/2'}.get(bands, 'repeated, each divided by its repeats')
    print_log(f'{what}: {name} is made for 3 bands and loaded for {bands}: {how}', logger='current')
    return {**state, name: inflate_weight(weight, bands)}
