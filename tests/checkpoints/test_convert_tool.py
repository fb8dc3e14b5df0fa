"""What a converter refuses, what it tells about configs, and its tool."""

import runpy

import numpy as np
import pytest
import torch
from mmengine.config import Config
from plain_network import Net
from source_networks import CLASSES, IMAGE, caffe_vgg, kazuto_v2, torchvision_v3, vainf_v3plus

from mmseg_deeplab.checkpoints import CheckpointMismatchError, load_file
from mmseg_deeplab.checkpoints.comparison import parameters
from mmseg_deeplab.checkpoints.conversion import convert_file
from mmseg_deeplab.checkpoints.convert import convert_state
from mmseg_deeplab.checkpoints.convert.rules import IMAGENET
from mmseg_deeplab.checkpoints.options import options_that_differ


def test_refusals():
    with pytest.raises(ValueError, match='layout is not recognised.*Known'):
        convert_state({'a.weight': torch.zeros(1)})
    with pytest.raises(ValueError, match='unknown format .theano.; choose auto or one of'):
        convert_state({'a.weight': torch.zeros(1)}, 'theano')
    with pytest.raises(ValueError, match='MobileNetV3 is no backbone of the DeepLab papers'):
        convert_state({'classifier.0.convs.0.0.weight': torch.zeros(1), 'backbone.0.0.weight': torch.zeros(1)})
    net = Net()
    torchvision_v3(net, IMAGE)
    with pytest.raises(ValueError, match=r'1 of \d+ parameters are unknown.*extra\.weight'):
        convert_state({**net.state, 'extra.weight': torch.zeros(1)})
    shallow = {name: value for name, value in net.state.items() if not name.startswith('backbone.layer3.5')}
    with pytest.raises(ValueError, match='block3 of this ResNet has 5 bottleneck units.*ResNet-18'):
        convert_state(shallow)


SIZES = {'model.backbone.depth', 'model.backbone.base_channels', 'model.num_classes'}


@pytest.mark.parametrize(
    'network, config, others',
    [
        (torchvision_v3, 'deeplabv3_r101_voc_torchvision', {'model.decode_head.channels'}),
        # Caffe's resizes and padding are those of the paper
        (
            kazuto_v2,
            'deeplabv2_r101_voc',
            {'model.decode_head.align_corners', 'model.scaled_size', 'model.data_preprocessor.test_cfg'},
        ),
        (caffe_vgg, 'deeplabv1_vgg16_voc', set()),
    ],
)
@torch.no_grad()
def test_configs_for_public_weights(network, config, others, repo):
    """These configs differ from what their public weights need in the sizes of this test's small network only."""
    net = Net()
    network(net, IMAGE)
    model = Config.fromfile(repo / f'configs/{config}.py').model
    lines = options_that_differ(convert_state(net.state).model, model)
    assert {line.split('=')[0] for line in lines} - SIZES == others, lines


def test_another_config_is_told_the_options(tmp_path):
    """A file that does not fit --config names each option to change; a report without one prints the whole config."""
    net = Net()
    vainf_v3plus(net, IMAGE)
    torch.save(dict(model_state=net.state, best_score=0.7), tmp_path / 'vainf.pth')
    text = convert_file(tmp_path / 'vainf.pth', tmp_path / 'out.pth')
    assert 'decoder_kernels=(' in text and 'The config that fits it' in text
    assert load_file(tmp_path / 'out.pth')['meta']['converted_from'] == 'vainf.pth'
    config = """model = dict(
        type='DeepLab', norm_cfg=dict(type='SyncBN'), data_preprocessor={preprocessor},
        backbone=dict(type='DeepLabResNet', depth=50, base_channels=4, multi_grid=(1, 2, 4)),
        decode_head=dict(type='DeepLabV3PlusHead', num_classes={classes}, channels=8, decoder_channels=8,
                         decoder_kernels={kernels}, align_corners=False))"""
    values = dict(preprocessor=dict(IMAGENET, type='SegDataPreProcessor'), classes=CLASSES, kernels=(3, 3))
    (tmp_path / 'config.py').write_text(config.format(**values))
    message = r'(?s)decode_head\.decoder.*What to do.*decoder_kernels=\(3,\)  \(the config has \(3, 3\)\)'
    with pytest.raises(CheckpointMismatchError, match=message):
        convert_file(tmp_path / 'vainf.pth', tmp_path / 'no.pth', 'vainf', tmp_path / 'config.py')
    assert not (tmp_path / 'no.pth').exists()
    (tmp_path / 'config.py').write_text(config.format(**dict(values, kernels=(3,))))
    text = convert_file(tmp_path / 'vainf.pth', tmp_path / 'yes.safetensors', 'auto', tmp_path / 'config.py')
    assert 'made with other options' in text
    assert 'model.backbone.multi_grid=None  (the config has (1, 2, 4))' in text
    assert text.count('(the config has') == 1
    assert len(load_file(tmp_path / 'yes.safetensors')['state_dict']) == len(net.state)


def test_sources_with_code_are_refused(tmp_path):
    torch.save(dict(state_dict=torch.nn.Linear(1, 1)), tmp_path / 'code.pth')
    with pytest.raises(ValueError, match='refused'):
        convert_file(tmp_path / 'code.pth', tmp_path / 'out.pth')
    np.savez(tmp_path / 'code.npz', a=np.array([print], dtype=object))
    with pytest.raises(ValueError, match=r'code\.npz is damaged or no archive of plain arrays.*allow_pickle'):
        convert_file(tmp_path / 'code.npz', tmp_path / 'out.pth')
    np.savez(tmp_path / 'text.npz', a=np.array(['x']))
    with (tmp_path / 'array.npz').open('wb') as file:
        np.save(file, np.zeros(3))
    for name in ('text', 'array'):
        with pytest.raises(ValueError, match=rf'{name}\.npz is damaged or no archive of plain arrays'):
            convert_file(tmp_path / f'{name}.npz', tmp_path / 'out.pth')
    with pytest.raises(FileNotFoundError, match=r'there is no checkpoint .*none\.npz'):
        convert_file(tmp_path / 'none.npz', tmp_path / 'out.pth')


@pytest.mark.parametrize(
    'wrap',
    [
        lambda state: dict(net=state, acc=0.7, epoch=3),
        lambda state: dict(model_ema={'n_averaged': torch.tensor(9), **{f'module.{k}': v for k, v in state.items()}}),
        lambda state: dict(state_dict=dict(model=state)),
        lambda state: dict(state_dict={f'model.{k}': v for k, v in state.items()}),
        lambda state: {f'module._orig_mod.{k}': v for k, v in state.items()},
    ],
    ids=['net', 'model_ema', 'nested', 'lightning', 'compiled'],
)
def test_state_dicts_are_found_in_their_wrapping(wrap):
    state = {'model.a': torch.ones(1), 'b': torch.zeros(2)}  # 'model.' is of one name only, so it stays
    found = parameters(wrap(state))
    assert found.keys() == state.keys() and all(torch.equal(found[name], state[name]) for name in state)


def test_the_tool(tmp_path, repo, monkeypatch, capsys):
    def tool(*args):
        monkeypatch.setattr('sys.argv', ['convert_checkpoint.py', *map(str, args)])
        runpy.run_path(str(repo / 'tools/convert_checkpoint.py'), run_name='__main__')

    net = Net()
    kazuto_v2(net, IMAGE)
    torch.save(net.state, tmp_path / 'kazuto.pth')
    tool(tmp_path / 'kazuto.pth', tmp_path / 'out.pth')
    assert "type='DeepLabV2Head'" in capsys.readouterr().out
    assert 'decode_head.classifiers.3.bias' in load_file(tmp_path / 'out.pth')['state_dict']
    with pytest.raises(SystemExit, match='error: .*unknown in the layout of torchvision'):
        tool(tmp_path / 'kazuto.pth', tmp_path / 'no.pth', '--from', 'torchvision')
    with pytest.raises(SystemExit, match='error: .*--variant is for fc6 and fc7 of VGG-16.*layout is kazuto'):
        tool(tmp_path / 'kazuto.pth', tmp_path / 'no.pth', '--variant', '4x4')
    assert not (tmp_path / 'no.pth').exists()
