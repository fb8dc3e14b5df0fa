"""A part's pretrained file fills the part or is refused; a stock part keeps MMEngine's own initialiser."""

import pytest
import torch
from mmengine.registry import WEIGHT_INITIALIZERS as ROOT
from mmseg.registry import WEIGHT_INITIALIZERS
from torch import nn

from mmseg_deeplab.checkpoints import CheckpointMismatchError, StrictPretrained
from mmseg_deeplab.models import DeepLabResNet

SMALL = dict(depth=50, base_channels=4)


@pytest.fixture(scope='module')
def state():
    return DeepLabResNet(**SMALL).state_dict()


def start(tmp_path, state, **cfg):
    torch.save(state, tmp_path / 'file.pth')
    backbone = DeepLabResNet(**SMALL, init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'file.pth'), **cfg))
    backbone.init_weights()
    return backbone


@pytest.mark.parametrize('prefix', [None, '', 'backbone', 'backbone.'])
@pytest.mark.parametrize('wrapped', [False, True])
def test_all_is_taken(prefix, wrapped, state, tmp_path):
    begin = 'backbone.' if prefix else ''
    file = {f'{begin}{name}': value for name, value in state.items()}
    if prefix:
        file['decode_head.conv_seg.weight'] = torch.zeros(1)
    else:
        file['fc.weight'] = torch.zeros(1)  # a classifier of ImageNet is expected there
    file = dict(state_dict={f'module.{name}': value for name, value in file.items()}) if wrapped else file
    backbone = start(tmp_path, file, **({} if prefix is None else dict(prefix=prefix)))
    for name, value in backbone.state_dict().items():
        assert torch.equal(value, state[name]), name
    assert backbone.is_init


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(missing='layer1.0.conv1.weight'), r'1 parameters are missing.*layer1.0.conv1.weight should be .* absent'),
        (dict(extra=torch.zeros(1)), '1 unexpected.*there is no place for extra'),
        ({'conv1.weight': torch.zeros(3)}, r'1 of another shape.*conv1.weight should be .* and is \(3,\)'),
        ({'bn1.bias': 3}, r'1 of another shape.*bn1.bias should be .64,. and is no tensor'),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(change, message, state, tmp_path):
    file = {**state, **change}
    file.pop(file.pop('missing', None), None)
    with pytest.raises(CheckpointMismatchError, match=f'(?s)file.pth does not fit DeepLabResNet.*{message}'):
        start(tmp_path, file)


def test_causes(state, tmp_path):
    with pytest.raises(CheckpointMismatchError, match="begins with 'encoder.', but some with ''.\n.*set prefix=''"):
        start(tmp_path, state, prefix='encoder')
    with pytest.raises(CheckpointMismatchError, match="begins with 'encoder.'; its names are like .'a'"):
        start(tmp_path, dict(a=torch.zeros(1)), prefix='encoder')
    kazuto = {'base.layer2.block1.reduce.conv.weight': torch.zeros(1)}
    with pytest.raises(CheckpointMismatchError, match=r'another codebase \(kazuto\).*\n.*--from kazuto'):
        start(tmp_path, kazuto)


def test_several_modules_read_the_file_once_and_take_only_the_layers_named(tmp_path, monkeypatch):
    def owner():
        return nn.ModuleDict(dict(fc6=nn.Linear(2, 2), fc7=nn.Linear(2, 2), other=nn.Linear(2, 2)))

    file = {f'head.{name}': value for name, value in owner().state_dict().items()}
    del file['head.other.weight']
    torch.save(file, tmp_path / 'file.pth')
    cfg = dict(type='StrictPretrained', checkpoint=str(tmp_path / 'file.pth'), prefix='head', layers=('fc6', 'fc7'))
    load = WEIGHT_INITIALIZERS.build(cfg)
    owners = [owner(), owner()]
    kept = [module['other'].weight.clone() for module in owners]
    load(owners[0])
    (tmp_path / 'file.pth').unlink()
    load(owners[1])
    for module, other in zip(owners, kept, strict=True):
        assert torch.equal(module['fc6'].weight, file['head.fc6.weight'])
        assert torch.equal(module['fc7'].bias, file['head.fc7.bias'])
        assert torch.equal(module['other'].weight, other)


def test_stock_parts_keep_their_initialiser():
    assert WEIGHT_INITIALIZERS.get('StrictPretrained') is StrictPretrained
    assert WEIGHT_INITIALIZERS.get('Pretrained') is ROOT.get('Pretrained')
