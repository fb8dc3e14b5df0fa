"""Every argument that changes an answer is compared, and a config that follows the advice fits."""

import copy
import re

import mobilenet_networks as mobilenets
import paddle_networks as paddles
import pytest
import source_networks as nets
import torch
from mmengine.config import Config, ConfigDict
from plain_network import Net
from source_networks import IMAGE

from mmseg_deeplab.checkpoints import CheckpointMismatchError
from mmseg_deeplab.checkpoints.comparison import compare
from mmseg_deeplab.checkpoints.conversion import convert_file, fit_to_model
from mmseg_deeplab.checkpoints.convert import convert_state
from mmseg_deeplab.checkpoints.options import build, options_that_differ, unseen_options

SOURCES = {
    'torchvision': nets.torchvision_v3,
    'mmseg': nets.mmseg_v3plus,
    'kazuto': nets.kazuto_v2,
    'vgg': nets.caffe_vgg,
    'vainf': nets.vainf_v3plus,
    'vainf_mobilenet': mobilenets.vainf_mobilenet,
    'jfzhang95': nets.jfzhang95_v3plus,
    'jfzhang95_xception': nets.jfzhang95_xception,
    'detectron2': nets.detectron2_v3plus_separable,
    'smp': nets.smp_v3plus,
    'paddleseg': paddles.v3plus,
}


@pytest.fixture(scope='module')
def states():
    """The state dict of each source, made when it is first asked for."""
    found = {}

    def state(name):
        if name not in found:
            net = Net()
            with torch.no_grad():
                SOURCES[name](net, IMAGE)
            found[name] = net.state
        return found[name]

    return state


def follow(cfg, lines):
    """A config with the options that lines of advice name."""
    cfg = Config(dict(model=cfg))
    for line in lines:
        path, value = re.fullmatch(r'\s*([\w.]+)=(.*?)  \(the config has .*\)', line).groups()
        cfg.merge_from_dict({path: eval(value)})
    return cfg.model.to_dict()


# source, path in the model's config, another value
WRONG = [
    ('torchvision', 'output_stride', 16),
    ('torchvision', 'backbone.multi_grid', (1, 2, 4)),
    ('torchvision', 'backbone.strided_conv', '1x1'),
    ('torchvision', 'backbone.rate_of_lost_stride', 'new'),
    ('torchvision', 'backbone.ceil_mode', True),
    ('torchvision', 'backbone.strided_unit', 'last'),
    ('torchvision', 'backbone.block4_rates', (1, 2, 4)),
    ('torchvision', 'backbone.norm_cfg', dict(type='BN', eps=1e-3)),
    ('torchvision', 'decode_head.norm_cfg', dict(type='SyncBN', eps=1e-3)),
    ('torchvision', 'decode_head.rates', (12, 24, 36)),
    ('torchvision', 'decode_head.align_corners', True),
    ('torchvision', 'decode_head.in_index', 3),
    ('torchvision', 'test_padding', 'cells'),
    ('torchvision', 'test_cfg', ConfigDict(mode='slide', crop_size=(33, 33), stride=(33, 33))),
    ('torchvision', 'multi_scale_inputs', (1.0, 0.5)),
    ('torchvision', 'crf', dict(iterations=1)),
    ('torchvision', 'data_preprocessor.mean', [0, 0, 0]),
    ('torchvision', 'data_preprocessor.std', [1, 1, 1]),
    ('torchvision', 'data_preprocessor.bgr_to_rgb', False),
    ('torchvision', 'data_preprocessor.rgb_to_bgr', True),
    ('torchvision', 'data_preprocessor.test_cfg', dict(size=(513, 513))),
    ('kazuto', 'multi_scale_inputs', (1.0,)),
    ('kazuto', 'scaled_size', 'corners'),
    ('kazuto', 'backbone.ceil_mode', False),
    ('kazuto', 'backbone.strided_conv', '3x3'),
    ('vgg', 'backbone.ceil_mode', False),
    ('vgg', 'decode_head.variant', '4x4'),
    ('vainf', 'backbone.low_level', 'branch'),
    ('vainf', 'decode_head.decoder_kernels', (3, 3)),
    ('vainf', 'decode_head.separable_aspp', True),
    ('vainf', 'decode_head.separable_decoder', True),
    ('vainf_mobilenet', 'backbone.padding', 'symmetric'),
    ('vainf_mobilenet', 'backbone.row_rates', (1,) * 7),
    ('vainf_mobilenet', 'backbone.pad_stem', True),
    ('vainf_mobilenet', 'backbone.low_level', 'expansion'),
    ('vainf_mobilenet', 'backbone.last_conv', True),
    ('jfzhang95_xception', 'backbone.variant', 'release'),
    ('jfzhang95_xception', 'backbone.multi_grid', (1, 2, 4)),
    ('jfzhang95', 'test_padding', 'corners'),
    ('jfzhang95', 'decode_head.pool_bins', (1, 2)),
    ('detectron2', 'test_padding', 'none'),
    ('detectron2', 'backbone.norm_cfg', dict(type='BN', eps=1e-3)),
    ('detectron2', 'decode_head.norm_cfg', dict(type='BN', eps=1e-3)),
    ('smp', 'decode_head.extra_convs', 0),
    ('mmseg', 'decode_head.dilations', (1, 6, 12, 18)),
    ('mmseg', 'decode_head.align_corners', True),
    ('torchvision', 'backbone.avg_down', True),
    ('paddleseg', 'backbone.avg_down', False),
    ('paddleseg', 'backbone.multi_grid', (1, 1, 1)),
    ('paddleseg', 'backbone.rate_of_lost_stride', 'old'),
    ('paddleseg', 'decode_head.rates', (3, 6, 9)),
    ('paddleseg', 'decode_head.separable_aspp', True),
    ('paddleseg', 'data_preprocessor.test_cfg', dict(size=(512, 512))),
    ('paddleseg', 'data_preprocessor.std', [58.395, 57.12, 57.375]),
]


def changed(model, path, value):
    """A model's config with another value at a path; with rates of their own without a multi-grid."""
    model = copy.deepcopy(model)
    *parts, key = path.split('.')
    part = model
    for name in parts:
        part = part[name]
    part[key] = value
    if key == 'block4_rates':
        del part['multi_grid']
    return model


@pytest.mark.parametrize('source, path, value', WRONG, ids=[f'{source}-{path}' for source, path, _ in WRONG])
def test_each_argument_alone_is_named(source, path, value, states):
    """Wherever it is stated: the converter says nothing of many of these."""
    conversion = convert_state(states(source))
    wanted = Config(dict(model=conversion.model)).model.to_dict()
    cfg = changed(wanted, path, value)
    lines = options_that_differ(wanted, cfg, conversion.identity_norms)
    expected = f'{path}.eps' if path.endswith('norm_cfg') else path
    named = [line.split('=')[0] for line in lines]
    assert named[0] == f'model.{expected}' or f'model.{expected}' in named
    # Nothing else, but for what follows from it.
    assert set(named) <= {f'model.{expected}', 'model.scaled_size', 'model.test_padding'}, lines
    assert options_that_differ(wanted, follow(cfg, lines), conversion.identity_norms) == []


@torch.no_grad()
def test_they_do_change_the_answer(states):
    """Of the arguments above, those under which the weights still fit; in full-size logits of an odd size."""
    image = torch.randn(1, 3, 160, 170, generator=torch.Generator().manual_seed(2))
    checked = 0
    for source, path, value in WRONG:
        if 'data_preprocessor' in path or source not in ('torchvision', 'jfzhang95', 'detectron2', 'paddleseg'):
            continue
        conversion = convert_state(states(source))
        wanted = Config(dict(model=conversion.model)).model.to_dict()
        cfg = changed(wanted, path, value)
        models = build(wanted).eval(), build(cfg).eval()
        if path in ('crf', 'decode_head.in_index') or compare(models[1].state_dict(), models[0].state_dict()):
            continue
        fit_to_model(conversion, models[0], 'test', [])
        models[1].load_state_dict(models[0].state_dict())
        one, other = (model.inference(image, [dict(ori_shape=(160, 170), img_shape=(160, 170))]) for model in models)
        assert (one - other).abs().max() > 1e-4 * one.std(), path
        checked += 1
    assert checked >= 15


CONFIGS = (
    'deeplabv3plus_mobilenetv2_voc',
    'deeplabv3_mobilenetv2_voc',
    'deeplabv3plus_xception65_cityscapes',
    'deeplabv3plus_r101_voc',
    'deeplabv3_r101_cascade_voc',
    'deeplabv2_r101_crf_voc',
    'deeplabv2_vgg16_voc',
    'deeplabv1_vgg16_msc_voc',
    'deeplabv1_vgg16_demo',
    'baselines/pspnet_r50_voc',
)


@pytest.mark.parametrize('source', SOURCES)
def test_the_advice_ends_in_a_fit(source, states, repo):
    """What is named, set in any config, leaves nothing to name, and the weights fit."""
    conversion = convert_state(states(source))
    place = list(SOURCES).index(source)
    for name in (CONFIGS[place % 5], CONFIGS[5 + (place + place // 5) % 5]):
        path = repo / f'configs/{name}.py'
        cfg = Config.fromfile(path).model.to_dict()
        lines = options_that_differ(conversion.model, cfg, conversion.identity_norms)
        assert lines
        followed = follow(cfg, lines)
        assert options_that_differ(conversion.model, followed, conversion.identity_norms) == []
        state = {
            **conversion.state_dict,
            **{f'{norm}.running_var': torch.ones(8) for norm in conversion.identity_norms},
        }
        assert not compare(build(followed, 'meta').state_dict(), state)


def test_the_advice_of_the_tool_is_followed(states, tmp_path, repo):
    """The text of the refusal itself."""
    torch.save(states('vainf_mobilenet'), tmp_path / 'vainf.pth')
    config = repo / 'configs/deeplabv3plus_mobilenetv2_voc.py'
    with pytest.raises(CheckpointMismatchError) as refusal:
        convert_file(tmp_path / 'vainf.pth', tmp_path / 'out.pth', config=config)
    lines = [line for line in str(refusal.value).splitlines() if '(the config has' in line]
    assert any('separable_aspp=False' in line for line in lines)
    Config(dict(model=follow(Config.fromfile(config).model, lines))).dump(tmp_path / 'config.py')
    text = convert_file(tmp_path / 'vainf.pth', tmp_path / 'out.pth', config=tmp_path / 'config.py')
    assert '(the config has' not in text and (tmp_path / 'out.pth').exists()


def test_backbones_of_classification_networks_have_no_rates(states, repo):
    """ImageNet's weights say how a convolution strides, and what eps is, but not at which rates it is to go on."""
    backbone = {k.removeprefix('backbone.'): v for k, v in states('torchvision').items() if k.startswith('backbone.')}
    conversion = convert_state(backbone)
    assert 'decode_head' not in conversion.model
    model = Config.fromfile(repo / 'configs/deeplabv3_r101_voc_torchvision.py').model.to_dict()
    model['backbone']['multi_grid'] = (1, 2, 4)
    sizes = {'model.backbone.base_channels', 'model.backbone.depth'}
    assert {line.split('=')[0] for line in options_that_differ(conversion.model, model)} == sizes
    model['backbone']['strided_conv'] = '1x1'
    model['norm_cfg']['eps'] = 1e-3
    names = {line.split('=')[0] for line in options_that_differ(conversion.model, model)}
    assert names == sizes | {'model.backbone.strided_conv', 'model.backbone.norm_cfg.eps'}


@pytest.mark.parametrize('source', ['torchvision', 'kazuto', 'vainf_mobilenet'])
def test_what_no_file_tells_is_said_every_time(source, states, tmp_path):
    """With a config that fits as without one."""
    torch.save(states(source), tmp_path / 'source.pth')
    alone = convert_file(tmp_path / 'source.pth', tmp_path / 'out.pth')
    conversion = convert_state(states(source))
    Config(dict(model=conversion.model)).dump(tmp_path / 'config.py')
    for text in (alone, convert_file(tmp_path / 'source.pth', tmp_path / 'out.pth', config=tmp_path / 'config.py')):
        said = text[text.index('Not in the file') :]
        assert f'model.output_stride={conversion.model["output_stride"]}' in said
        assert f'model.data_preprocessor.mean={tuple(conversion.model["data_preprocessor"]["mean"])}' in said
        if conversion.model['backbone']['type'] == 'DeepLabResNet':
            assert f'model.backbone.multi_grid={conversion.model["backbone"].get("multi_grid")}' in said
        if 'rates' in conversion.model['decode_head']:
            assert f'model.decode_head.rates={conversion.model["decode_head"]["rates"]}' in said
    assert 'model.data_preprocessor.mean' in '\n'.join(unseen_options(conversion.model))
