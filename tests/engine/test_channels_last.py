"""A training in channels-last computes what it does without."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmseg.registry import HOOKS, MODELS, OPTIM_WRAPPERS
from torch import nn

REPO = Path(__file__).resolve().parents[2]


def test_weights_are_laid_out_and_keep_their_values():
    runner = type('Runner', (), dict(model=torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Conv2d(4, 4, 3))))
    before = [weight.clone() for weight in runner.model.parameters()]
    answer = runner.model(torch.ones(1, 3, 9, 9))
    HOOKS.build(dict(type='ChannelsLastHook')).before_train(runner)
    assert all(c.weight.is_contiguous(memory_format=torch.channels_last) for c in runner.model)
    assert all(torch.equal(old, new) for old, new in zip(before, runner.model.parameters(), strict=True))
    after = runner.model(torch.ones(1, 3, 9, 9))
    assert after.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(answer, after, atol=1e-6)


@pytest.mark.parametrize('base', ['fast_cpu', 'fast_gpu'])
def test_the_fast_bases_fit_a_config(base):
    config = Config.fromstring(
        f"_base_ = ['{REPO}/configs/deeplabv3plus_mobilenetv2_voc.py', '{REPO}/configs/_base_/{base}.py']\n"
        'optim_wrapper = _base_.fast\n',
        '.py',
    )
    assert OPTIM_WRAPPERS.get(config.optim_wrapper.type) is not None
    optimizer = dict(config.optim_wrapper.optimizer)
    parameters = MODELS.build(dict(config.model, backbone=dict(config.model.backbone, init_cfg=None))).parameters()
    built = getattr(torch.optim, optimizer.pop('type'))(parameters, **optimizer)
    assert built.defaults['lr'] == 0.007 and built.defaults['weight_decay'] == 4e-5
    assert [HOOKS.get(hook.type) is not None for hook in config.custom_hooks] == [True]


@pytest.mark.parametrize(('size', 'rate'), [(33, 1), (33, 2), (33, 12), (65, 24), (17, 6), (17, 18), (33, 36)])
def test_gradients_in_bfloat16_are_those_of_float32(size, rate):
    """In that layout the layer by itself is wrong by more than the largest gradient at (33, 2), (33, 12), (65, 24)."""
    torch.manual_seed(0)
    layer = nn.Conv2d(64, 64, 3, padding=rate, dilation=rate, groups=64, bias=False)
    image, target = torch.randn(8, 64, size, size), torch.randn(8, 64, size, size)

    def gradient(image):
        layer.zero_grad()
        (layer(image).float() * target).sum().backward()
        return layer.weight.grad.clone()

    expected = gradient(image)
    hook, runner = HOOKS.build(dict(type='ChannelsLastHook')), SimpleNamespace(model=nn.Sequential(layer))
    hook.before_train(runner)
    image = image.to(memory_format=torch.channels_last)
    with torch.autocast('cpu', torch.bfloat16):
        found = [gradient(image) for _ in range(3)]
    for each in found:
        torch.testing.assert_close(each, expected, rtol=0, atol=0.02 * expected.abs().max().item())
        assert torch.equal(each, found[0])
    hook.after_train(runner)
    assert not layer._forward_pre_hooks
