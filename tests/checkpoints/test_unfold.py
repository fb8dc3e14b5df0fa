"""Batch norm that was folded is taken out again: the same network at test, and one that can be trained."""

import copy

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from mmseg_deeplab.checkpoints.unfold import unfold_batch_norm
from mmseg_deeplab.models import DeepLabMobileNetV2

MEAN = STD = [127.5] * 3


@pytest.fixture
def folded() -> nn.ModuleDict:
    """A small MobileNetV2 whose batch norms only add a bias, and whose filters have lengths of many magnitudes."""
    torch.manual_seed(0)
    backbone = DeepLabMobileNetV2(width=0.25, norm_cfg=dict(type='BN', eps=1e-3)).eval()
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
            module.weight.data *= torch.rand(len(module.weight), 1, 1, 1) * 3 + 0.1
        if isinstance(module, nn.BatchNorm2d):
            module.running_var.fill_(1 - 1e-3)
            nn.init.normal_(module.bias)
    return nn.ModuleDict(dict(backbone=backbone))


@pytest.fixture
def images(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(4):
        coarse = rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((160, 120)).save(tmp_path / f'{number}.png')
    return tmp_path


def norms(model: nn.Module) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)]


def test_the_same_network_with_statistics_of_its_own(folded, images):
    """At test nothing changes; in training batch norm now sees what it expects, and did not before.

    Compared at stride 8: beyond, a random network multiplies the rounding of its parameters with each layer.
    """
    before = copy.deepcopy(folded)
    assert unfold_batch_norm(folded, norms(folded), images, MEAN, STD) == 4
    x = torch.stack([torch.from_numpy(np.array(Image.open(p))) for p in sorted(images.iterdir())])
    x = (x.permute(0, 3, 1, 2).float() - 127.5) / 127.5
    x = nn.functional.interpolate(x, (321, 321), mode='bilinear')
    with torch.no_grad():
        expected, got = before['backbone'].eval()(x)[1], folded['backbone'].eval()(x)[1]
        torch.testing.assert_close(got, expected, atol=1e-3 * float(expected.std()), rtol=1e-3)
        trained = folded['backbone'].train()(x)[1]
        untaught = before['backbone'].train()(x)[1]
    spread = expected.std()
    assert (trained - expected).std() < 0.2 * spread
    assert (untaught - expected).std() > 0.5 * spread
    lengths = folded['backbone'].conv1.conv.weight.flatten(1).norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones_like(lengths))


def test_a_folder_without_images_is_refused(folded, tmp_path):
    with pytest.raises(ValueError, match='holds no .jpg or .png images'):
        unfold_batch_norm(folded, norms(folded), tmp_path, MEAN, STD)
