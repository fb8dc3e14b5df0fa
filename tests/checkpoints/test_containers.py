"""The one network in a file is found by its shape, whatever the keys to it are called; averages are told apart."""

import re
from argparse import Namespace

import numpy as np
import pytest
import torch
from plain_network import Net
from source_networks import IMAGE, kazuto_v2, torchvision_v3
from torch import nn, optim

from mmseg_deeplab.checkpoints import load_file
from mmseg_deeplab.checkpoints.containers import network, parameters
from mmseg_deeplab.checkpoints.conversion import convert_file
from mmseg_deeplab.checkpoints.sources import read_source
from mmseg_deeplab.errors import UserError

STATE = {'layer.a': torch.ones(1), 'b.c': torch.zeros(2)}
AVERAGE = {name: value + 5 for name, value in STATE.items()}


def prefixed(prefix, state=None):
    return {prefix + name: value for name, value in (state or STATE).items()}


def optimizer():
    weight = nn.Parameter(torch.ones(2, 2))
    made = optim.Adam([weight])
    weight.sum().backward()
    made.step()
    return made.state_dict()


@pytest.mark.parametrize(
    'key', ['state_dict', 'model_state_dict', 'net_state', 'weights', 'params', 'checkpoint', 'generator', 'x y']
)
@pytest.mark.parametrize('prefix', ['', 'module.', 'model.', '_orig_mod.', 'module.model._orig_mod.', 'network.seg.'])
def test_any_key_and_any_prefix(key, prefix):
    content = {
        key: prefixed(prefix),
        'optimizer': optimizer(),
        'epoch': 3,
        'best': torch.tensor(0.7),
        'args': dict(a=1),
    }
    for wrapped in (content, dict(outer=content), {key: content}):
        found = parameters(wrapped)
        assert found.keys() == STATE.keys() and all(torch.equal(found[name], STATE[name]) for name in STATE)


def test_a_file_that_is_a_state_dict():
    assert parameters(STATE).keys() == STATE.keys()
    assert parameters(dict(w=torch.ones(1))).keys() == {'w'}
    assert parameters(dict(net=dict(w=torch.ones(1)), acc=torch.tensor(1.0))).keys() == {'w'}
    assert parameters(dict(optimizer=optimizer(), epoch=1)) == {}
    assert parameters({'layer.a': np.ones(2, '>f4')})['a'].tolist() == [1, 1]


def test_what_belongs_to_a_layout_is_no_prefix():
    """All names of a VGG without its classifier begin with `features.`, which is how it is recognised."""
    vgg = {f'features.{index}.{part}': torch.ones(1) for index in (0, 28) for part in ('weight', 'bias')}
    assert parameters(prefixed('module.', vgg)).keys() == vgg.keys()


def test_the_wrapper_for_several_scales_stays():
    """Its `base.` tells that kazuto's network sees its input at several scales."""
    net = Net()
    kazuto_v2(net, IMAGE)
    assert all(name.startswith('base.') for name in net.state)
    assert parameters(dict(model=prefixed('module.', net.state))).keys() == net.state.keys()


def test_several_networks_are_named():
    with pytest.raises(UserError, match='2 networks, generator, discriminator: save the one that is meant'):
        network(dict(generator=STATE, discriminator=prefixed('d.')))


def test_what_is_left_aside_is_named():
    found, notes = network(dict(model=STATE, criterion=dict(weight=torch.ones(3))))
    assert found.keys() == STATE.keys()
    assert notes == ['Left aside, as it is no part of a network: criterion']


BOTH = {
    'timm': dict(state_dict=STATE, state_dict_ema=AVERAGE),
    'two keys': dict(model=STATE, model_ema=AVERAGE),
    'in a callback': dict(state_dict=STATE, callbacks=dict(EMA=dict(weights=AVERAGE))),
    'two modules': dict(state_dict={**prefixed('model.'), **prefixed('model_ema.module.', AVERAGE)}),
    'ema-pytorch': {
        **prefixed('online_model.'), **prefixed('ema_model.', AVERAGE),
        'initted': torch.tensor(True), 'step': torch.tensor(9),
    },
    'mean teacher': dict(student=STATE, teacher=AVERAGE),
    'AveragedModel': dict(model=STATE, swa_model={'n_averaged': torch.tensor(3), **prefixed('module.', AVERAGE)}),
}  # fmt: skip


@pytest.mark.parametrize('kind', BOTH)
def test_averages_beside_plain_weights(kind):
    found, notes = network(BOTH[kind])
    assert 'also holds averaged weights' in notes[0] and notes[0].endswith('--ema takes the averaged ones')
    assert {float(value.flatten()[0]) for name, value in parameters(BOTH[kind]).items()} == {0, 1}
    averaged = parameters(BOTH[kind], ema=True)
    assert averaged.keys() == AVERAGE.keys() and all(torch.equal(averaged[name], AVERAGE[name]) for name in AVERAGE)
    assert 'also holds plain weights' in network(BOTH[kind], ema=True)[1][0]


def beside(begin, **more):
    return lambda state: prefixed(begin, state) | {name.replace('__', '.'): value for name, value in more.items()}


def within(pattern, new):
    return lambda state: {re.sub(pattern, new, name): value for name, value in state.items()}


@pytest.mark.parametrize(
    'change',
    [
        beside('model.', criterion__weight=torch.ones(5)),
        beside('net.model.', val_iou__counts=torch.zeros(5, 5), loss__net__0__weight=torch.ones(2, 2)),
        beside('', total_ops=torch.zeros(1), backbone__total_params=torch.zeros(1)),
        within('^backbone', 'module.backbone'),
        within(r'^backbone\.', 'backbone._orig_mod.'),
        within(r'\.layer(\d)', r'._checkpoint_wrapped_module.layer\1.module'),
        within('^', '_fsdp_wrapped_module.'),
    ],
)
def test_what_is_beside_and_inside_the_names(change, tmp_path):
    """Losses and metrics of Lightning, thop's counts, PyTorch's wrappers of parts."""
    net = Net()
    torchvision_v3(net, IMAGE)
    torch.save(dict(state_dict=net.state), tmp_path / 'plain.pth')
    torch.save(dict(state_dict=change(net.state)), tmp_path / 'changed.pth')
    states = []
    for name in ('plain', 'changed'):
        text = convert_file(tmp_path / f'{name}.pth', tmp_path / 'new.pth')
        states.append(load_file(tmp_path / 'new.pth')['state_dict'])
    own = set(map(id, net.state.values()))
    extra = [name for name, value in change(net.state).items() if id(value) not in own]
    assert all(name in text for name in extra[:1])
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_several_known_networks_in_one_mapping():
    """A second whole one is refused; a backbone is left aside beside one (a loss), and no answer beside others."""
    net = Net()
    torchvision_v3(net, IMAGE)
    with pytest.raises(UserError, match='2 networks, first, other.net'):
        parameters({**prefixed('first.', net.state), **prefixed('other.net.', net.state)})
    vgg = {f'features.{index}.weight': torch.ones(1, 1, 3, 3) for index in (0, 28)}
    assert parameters({**prefixed('model.', net.state), **prefixed('loss.vgg.', vgg)}).keys() == net.state.keys()
    other = {**prefixed('backbone.', vgg), 'head.psp.0.weight': torch.ones(1)}
    assert parameters(other) == other


@pytest.mark.parametrize('key', ['ema', 'ema_state'])
def test_averages_without_names(key):
    content = dict(model=STATE, **{key: dict(decay=0.9, shadow_params=list(AVERAGE.values()))})
    found, notes = network(content)
    assert found == STATE and f'averaged weights, {key}.shadow_params, as a list without their names' in notes[0]
    with pytest.raises(UserError, match=f'{key}.shadow_params, as a list without .*: leave --ema out'):
        network(content, ema=True)


def test_averages_alone_and_none():
    found, notes = network(dict(model_ema=AVERAGE))
    assert found == AVERAGE and notes == ['The source holds averaged weights only, model_ema']
    with pytest.raises(UserError, match=r'no averaged weights \(only net\): leave --ema out'):
        network(dict(net=STATE), ema=True)


def test_the_average_of_tensorflow():
    """Shadow variables end so; what has none, as a moving mean, is the plain one."""
    shadow = 'conv/weights/ExponentialMovingAverage'
    state = {'conv/weights': np.ones(1), shadow: np.full(1, 2.0), 'conv/BatchNorm/moving_mean': np.full(1, 3.0)}
    assert {name: float(value) for name, value in parameters(state).items()} == {
        'conv/weights': 1,
        'conv/BatchNorm/moving_mean': 3,
    }
    assert {name: float(value) for name, value in parameters(state, ema=True).items()} == {
        'conv/weights': 2,
        'conv/BatchNorm/moving_mean': 3,
    }


def test_mmengine_has_exchanged_them():
    content = dict(state_dict=AVERAGE, ema_state_dict={'steps': torch.tensor(3), **prefixed('module.')})
    for ema in (False, True):
        assert network(content, ema) == (AVERAGE, [])


def test_the_command_takes_averages(tmp_path, capsys):
    from mmseg_deeplab.cli import main

    net, average = Net(), Net()
    kazuto_v2(net, IMAGE)
    kazuto_v2(average, IMAGE)
    average.state = {name: value + 1 for name, value in average.state.items()}
    content = dict(epoch=1, model=prefixed('module.', net.state), ema=dict(net=average.state), opt=optimizer())
    torch.save(content, tmp_path / 'both.pth')
    for options, wanted in (([], net.state), (['--ema'], average.state)):
        main(['convert', str(tmp_path / 'both.pth'), str(tmp_path / 'out.pth'), *options])
        assert 'Note: The source also holds' in capsys.readouterr().out
        converted = load_file(tmp_path / 'out.pth')['state_dict']['decode_head.classifiers.3.bias']
        assert torch.equal(converted, next(v for n, v in wanted.items() if n.endswith('aspp.c3.bias')))


def test_a_source_says_which_file(tmp_path):
    torch.save(dict(a=STATE, b=STATE), tmp_path / 'two.pth')
    with pytest.raises(UserError, match=r'two\.pth: it holds 2 networks'):
        read_source(tmp_path / 'two.pth')
    torch.save(dict(args=vars(Namespace(a=1))), tmp_path / 'none.pth')
    with pytest.raises(UserError, match=r"none\.pth holds no parameters; its keys are \['args'\]"):
        read_source(tmp_path / 'none.pth')


def test_a_whole_conversion_behind_an_unknown_prefix(tmp_path):
    net = Net()
    torchvision_v3(net, IMAGE)
    torch.save(dict(model_state_dict=prefixed('student_net.', net.state)), tmp_path / 'a.pth')
    assert 'all that the model has' in convert_file(tmp_path / 'a.pth', tmp_path / 'b.pth')
