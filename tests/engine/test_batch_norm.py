"""Running statistics of batch norm at any length of training, against sums over recorded batches."""

import itertools
import shutil

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmseg.registry import MODELS
from tiny_training import Net, tiny_runner
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmseg_deeplab.engine.hooks import BatchNormHook
from mmseg_deeplab.engine.hooks.batch_norm import momentum_of

PUBLISHED = 3e-4


class Published(Net):
    """The tiny network with the papers' decay, which notes what its batch norm takes."""

    def __init__(self, momentum=PUBLISHED):
        super().__init__()
        self.norm.momentum = momentum
        self.batches = []
        self.layer.register_forward_hook(lambda module, inputs, output: self.batches.append(output.detach().clone()))


def train(work_dir, model, **kwargs):
    hooks = kwargs.pop('hooks', [dict(type='BatchNormHook')])
    tiny_runner(work_dir, model=model, custom_hooks=[dict(type='ExactResumeHook'), *hooks], **kwargs).train()
    return model


def weights_of(batches: int, published: float, start: int = 0) -> np.ndarray:
    """Weight of each batch in the running average, and of what was there before, by the recurrence itself."""
    weights = np.zeros(batches + 1)
    weights[0] = 1
    for i in range(1, batches + 1):
        momentum = max(published, min(1, 4 / (start + i + 3)))
        weights *= 1 - momentum
        weights[i] = momentum
    return weights


@pytest.mark.parametrize(('momentum', 'iterations'), [(PUBLISHED, 12), (0.5, 12), (PUBLISHED, 1)])
def test_the_average_is_over_the_batches(momentum, iterations, tmp_path):
    torch.manual_seed(0)
    model = train(tmp_path, Published(momentum), max_iters=iterations)
    weights = weights_of(iterations, momentum)
    assert weights[0] == 0  # nothing of the initial statistics is left
    means, variances = ([getattr(b, name)(dim=0) for b in model.batches] for name in ('mean', 'var'))
    for found, values in ((model.norm.running_mean, means), (model.norm.running_var, variances)):
        expected = sum(w * value.double() for w, value in zip(weights[1:], values, strict=True))
        torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)
    assert model.norm.num_batches_tracked == iterations
    assert model.norm.momentum == momentum
    assert not (model.norm._forward_pre_hooks or model.norm._forward_hooks)


def test_the_published_average_is_the_limit():
    """Total variation between the weights of both averages; what is left of the initial values counts as weight."""
    distances = {}
    for iterations in (120, 1000, 30000, 90000):
        published = np.array([1, *itertools.repeat(0, iterations)], dtype=float)
        published[1:] = PUBLISHED * (1 - PUBLISHED) ** np.arange(iterations - 1, -1, -1)
        published[0] = (1 - PUBLISHED) ** iterations
        momenta = np.array([momentum_of(i, PUBLISHED) for i in range(1, iterations + 1)])
        kept = np.cumprod((1 - momenta)[::-1])[::-1]
        ours = np.array([kept[0], *(momenta * np.append(kept[1:], 1))])
        assert ours.sum() == pytest.approx(1)
        distances[iterations] = abs(ours - published).sum() / 2
    assert distances[120] > 0.95 and distances[1000] > 0.7
    assert distances[30000] == pytest.approx(5.0e-4, abs=1e-5)
    assert distances[90000] < 1e-10
    assert momentum_of(13331, PUBLISHED) == PUBLISHED < momentum_of(13330, PUBLISHED)
    assert momentum_of(37, 0.1) == 0.1 < momentum_of(36, 0.1)


def test_resumed_equals_straight(tmp_path):
    torch.manual_seed(0)
    straight = train(tmp_path / 'straight', Published(), hook=dict(interval=3), max_iters=8)
    (tmp_path / 'resumed').mkdir()
    shutil.copy(tmp_path / 'straight/iter_3.pth', tmp_path / 'resumed')
    resumed = train(tmp_path / 'resumed', Published(), resume=True, max_iters=8)
    for name, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_a_start_from_other_weights_counts_from_0(tmp_path):
    """As a pretrained file's or `load_from`'s: its statistics are those of other images and of other weights."""
    torch.manual_seed(0)
    model = Published()
    model.norm.num_batches_tracked.fill_(10**6)
    model.norm.running_mean.fill_(50.0)
    train(tmp_path, model, max_iters=4)
    assert model.norm.num_batches_tracked == 4
    weights = weights_of(4, PUBLISHED)[1:]
    expected = sum(w * batch.mean(dim=0).double() for w, batch in zip(weights, model.batches, strict=True))
    torch.testing.assert_close(model.norm.running_mean.double(), expected, rtol=1e-5, atol=1e-6)


class Freeze(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        runner.model.norm.eval()


def test_frozen_layers_are_not_touched(tmp_path):
    model = Published()
    model.norm.num_batches_tracked.fill_(7)
    before = {name: value.clone() for name, value in model.norm.named_buffers()}
    train(tmp_path, model, max_iters=4, hooks=[dict(type='BatchNormHook'), Freeze()])
    assert all(torch.equal(value, before[name]) for name, value in model.norm.named_buffers())


class Stop(Hook):
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        raise KeyboardInterrupt


def test_an_interrupted_training_leaves_the_momentum_as_it_was(tmp_path):
    model = Published()
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / 'first', model, hooks=[dict(type='BatchNormHook'), Stop()])
    assert model.norm.momentum == PUBLISHED
    train(tmp_path / 'second', model, max_iters=5)
    assert model.norm.num_batches_tracked == 5
    assert model.norm.running_mean.abs().max() < 20


def test_a_short_training_evaluates_as_it_trained(tmp_path):
    """A DeepLab with the papers' decay after 60 iterations: labels on running and on batch statistics agree."""
    agreement = {}
    for hooks in ((), (BatchNormHook(),)):
        torch.manual_seed(0)
        model = MODELS.build(
            dict(
                type='DeepLab',
                norm_cfg=dict(type='BN', momentum=PUBLISHED),
                backbone=dict(type='DeepLabMobileNetV2', width=0.25),
                decode_head=dict(type='DeepLabV3PlusHead', channels=16, num_classes=3),
            )
        ).train()
        model.init_weights()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        runner = type('Runner', (), dict(model=model, iter=0))()
        for hook in hooks:
            hook.before_train(runner)
        for _ in range(60):
            images, labels = pictures()
            loss = nn.functional.cross_entropy(model.encode_decode(images, []), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        for hook in hooks:
            hook.after_train(runner)
        images, labels = pictures()
        with torch.no_grad():
            model.eval()
            on_running = model.encode_decode(images, []).argmax(1)
            for layer in model.modules():
                layer.train(isinstance(layer, _BatchNorm))
            on_batch = model.encode_decode(images, []).argmax(1)
        assert (on_batch == labels).float().mean() > 0.9  # it has learned
        agreement[len(hooks)] = (on_running == on_batch).float().mean().item()
    assert agreement[0] < 0.85 and agreement[1] > 0.95, agreement


def pictures(number: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    """Dark, noisy pictures with a bright square, whose place is random and whose colour names its class."""
    images, labels = torch.randn(number, 3, 33, 33) * 0.3 - 1, torch.zeros(number, 33, 33, dtype=torch.long)
    for image, label in zip(images, labels, strict=True):
        top, left, kind = (int(torch.randint(high, ())) for high in (16, 16, 2))
        image[kind, top : top + 17, left : left + 17] += 3
        label[top : top + 17, left : left + 17] = 1 + kind
    return images, labels
