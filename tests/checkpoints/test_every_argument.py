"""Every argument of a model's parts is changed by itself: it is named, or it changes no answer."""

import copy
import inspect

import mobilenet_networks as mobilenets
import pytest
import source_networks as nets
import torch
from mmengine.config import Config
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from plain_network import Net
from test_compared_options import follow

from mmseg_deeplab.checkpoints.comparison import compare
from mmseg_deeplab.checkpoints.conversion import fit_to_model
from mmseg_deeplab.checkpoints.convert import convert_state
from mmseg_deeplab.checkpoints.options import TRAINING, build, options_that_differ
from mmseg_deeplab.errors import UserError

SLIDE = dict(mode='slide', crop_size=(33, 33), stride=(33, 33))
NORMS = (
    *(dict(type='BN', eps=1e-2), dict(type='BN', track_running_stats=False), dict(type='BN', affine=False)),
    *(dict(type='GN', num_groups=1), dict(type='BN', momentum=0.5)),
)
OTHER = dict(
    # of the segmentor
    output_stride=(8, 16, 32),
    norm_cfg=NORMS,
    multi_scale_inputs=((1.0, 0.5), (1.0,)),
    test_padding=('none', 'cells', 'corners'),
    scaled_size=('factor', 'corners'),
    crf=(dict(iterations=1),),
    neck=(dict(type='Feature2Pyramid', embed_dim=8),),
    auxiliary_head=(dict(type='FCNHead', in_channels=64, in_index=1, channels=8, num_classes=nets.CLASSES),),
    test_cfg=(SLIDE,),
    crop_size=((97, 97),),
    frozen=(('backbone',), True),  # of the segmentor; of VGG-16
    frozen_bn=(('backbone',),),
    frozen_bn_affine=(False,),
    frozen_stages=(1,),
    keep_seg_logits=(True,),
    train_cfg=(dict(a=1),),
    init_cfg=(dict(type='Kaiming', layer='Conv2d'),),
    # of backbones
    in_channels=(4, 128),
    depth=(50, 101, 41, 71),
    multi_grid=((1, 2, 4), None),
    num_blocks=(5,),
    stem_channels=((32, 32, 64),),
    base_channels=(64,),
    strided_unit=('last',),
    strided_conv=('1x1', '3x3'),
    rate_of_lost_stride=('new', 'old'),
    avg_down=(True,),
    ceil_mode=(True, False),
    low_level=('branch', 'expansion', 'output'),
    block4_rates=((1, 2, 4),),
    width=(0.5, 1.0),
    padding=('symmetric', 'input', 'tensorflow'),
    pad_stem=(True, False),
    row_rates=((1,) * 7,),
    last_conv=(True, False),
    variant=('release', 'jfzhang95', '4x4'),
    batch_norm=(True,),
    # of heads
    num_classes=(7,),
    channels=(9,),
    rates=((1, 2, 3), (1, 2, 3, 4), ()),
    pool_bins=((1, 2), ()),
    separable_aspp=(True, False),
    aspp_dropout=(0.5,),
    extra_convs=(0, 1, 2),
    initial_weights=('kaiming',),
    serial_rates=((1, 2),),
    non_local=(True,),
    classifier_channels=(12,),
    align_corners=(True, False),
    multi_label=(True,),
    upsample_logits=(False,),
    out_channels=(1,),
    threshold=(0.4,),
    dropout_ratio=(0.7,),
    conv_cfg=(dict(type='Conv2d'),),
    act_cfg=(dict(type='GELU'),),
    in_index=(-2, 2, 1),
    input_transform=('resize_concat',),
    loss_decode=(dict(type='CrossEntropyLoss', loss_weight=2.0),),
    ignore_index=(254,),
    sampler=(dict(type='OHEMPixelSampler'),),
    low_level_channels=(17,),
    low_level_index=(1, 0),
    low_level_width=(7,),
    decoder_channels=(9,),
    decoder_kernels=((3, 3), (5,), (3,)),
    separable_decoder=(True, False),
    mid_level_index=(1,),
    mid_level_channels=(12,),
    fc_channels=(64,),
    frozen_fc8=(True,),
    c1_in_channels=(3,),
    c1_channels=(5,),
    dilations=((1, 2, 3, 4),),
    # of data preprocessors
    mean=([1, 2, 3],),
    std=([1, 2, 3],),
    size=((97, 97),),
    size_divisor=(32,),
    pad_val=(7,),
    seg_pad_val=(254,),
    bgr_to_rgb=(True, False),
    rgb_to_bgr=(True, False),
    batch_augments=([dict(type='x')],),
)
"""Argument -> values, of which each is tried where it is another one."""
PREPROCESSOR = 'data_preprocessor'
ELSEWHERE = {
    'backbone', 'decode_head', 'data_preprocessor',  # have arguments themselves
    'pretrained',  # MMSegmentation's name of the backbone's init_cfg
    'tap_channels', 'image_channels',  # filled in; of v1's MSc head, which no layout has
}  # fmt: skip
PARTS = {
    'segmentor': ('DeepLab',),
    'backbone': ('DeepLabResNet', 'DeepLabMobileNetV2', 'AlignedXception', 'DeepLabVGG'),
    'decode_head': (
        *('DeepLabV1Head', 'DeepLabV1MScHead', 'DeepLabV2Head', 'DeepLabV3Head', 'DeepLabV3PlusHead'),
        *('DeepLabV3CascadeHead', 'ASPPHead', 'DepthwiseSeparableASPPHead'),
    ),
    PREPROCESSOR: ('SegDataPreProcessor',),
}


SOURCES = [
    (nets.torchvision_v3, ('segmentor', 'backbone', 'decode_head', PREPROCESSOR)),
    (nets.mmseg_v3plus, ('segmentor', 'decode_head')),
    (nets.vainf_v3plus, ('decode_head',)),
    (mobilenets.vainf_mobilenet, ('backbone',)),
    (nets.jfzhang95_xception, ('backbone',)),
    (nets.kazuto_v2, ('segmentor', 'decode_head')),
    (nets.caffe_vgg, ('backbone', 'decode_head', PREPROCESSOR)),
]
"""Network -> its parts that differ from those before."""


def arguments(name):
    """Names of all arguments that a class takes: its own, and those of its bases as long as they are handed on."""
    found = []
    for base in MODELS.get(name).__mro__:
        parameters = inspect.signature(base.__init__).parameters.values()
        found += [each.name for each in parameters if each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)]
        if not any(each.kind is each.VAR_KEYWORD for each in parameters):
            return set(found) - {'self'}
    return set(found) - {'self'}


@pytest.mark.parametrize('name', sum(PARTS.values(), ()))
def test_none_is_left_out_below(name):
    """A new argument gets a value here, with which the tests below prove that it is named or changes nothing."""
    assert arguments(name) <= {*OTHER, *ELSEWHERE}
    known = set().union(*(arguments(each) for each in sum(PARTS.values(), ())))
    assert TRAINING <= {*OTHER, *ELSEWHERE} <= known


def answers(cfg, state):
    """Labels and logits of a picture of an odd size, smaller than any crop; None if the weights don't fit."""
    cfg = Config(dict(model=copy.deepcopy(cfg))).model
    for part in ('backbone', 'decode_head'):
        cfg[part].pop('init_cfg', None)
    model = MODELS.build(cfg).eval()
    if compare(model.state_dict(), state):
        return None
    model.load_state_dict(state)
    picture = torch.randint(0, 256, (3, 66, 75), generator=torch.Generator().manual_seed(2)).to(torch.uint8)
    sample = SegDataSample(metainfo=dict(ori_shape=(66, 75), img_shape=(66, 75)))
    data = model.data_preprocessor(dict(inputs=[picture], data_samples=[sample]))
    size = tuple(data['inputs'].shape[2:])
    logits = model.inference(data['inputs'], [dict(ori_shape=size, img_shape=size)])
    return model.predict(**data)[0].pred_sem_seg.data, logits


@pytest.mark.parametrize('network, parts', SOURCES, ids=lambda each: getattr(each, '__name__', ''))
@torch.no_grad()
def test_each_alone(network, parts):
    net = Net()
    network(net, nets.IMAGE)
    conversion = convert_state(net.state)
    conversion.model['data_preprocessor'].setdefault('test_cfg', None)
    wanted = Config(dict(model=conversion.model)).model.to_dict()
    model = build(wanted).eval()
    fit_to_model(conversion, model, 'test', [])
    state = model.state_dict()
    expected = answers(wanted, state)
    named, idle = set(), set()
    for part in parts:
        whole = part == 'segmentor'
        for argument in sorted((arguments((wanted if whole else wanted[part])['type']) - ELSEWHERE) - {'type'}):
            for value in OTHER[argument]:
                cfg = copy.deepcopy(wanted)
                changed = cfg if whole else cfg[part]
                if changed.get(argument) == value or (whole and argument == 'num_classes'):
                    continue
                changed[argument] = dict(size=(97, 97)) if (part, argument) == (PREPROCESSOR, 'test_cfg') else value
                if argument == 'block4_rates':
                    changed.pop('multi_grid', None)
                try:
                    lines = options_that_differ(wanted, cfg, conversion.identity_norms)
                except (UserError, AssertionError, TypeError):  # it is not to be had with the others
                    continue
                where = f'{part}.{argument}={value!r}'
                if lines:
                    assert options_that_differ(wanted, follow(cfg, lines), conversion.identity_norms) == [], where
                    named.add(argument)
                elif (part, argument) != (PREPROCESSOR, 'seg_pad_val') and argument != 'ignore_index':
                    found = answers(cfg, state)  # those two go together, and are of masks alone
                    assert found is not None, where
                    assert all(map(torch.equal, found, expected)), where
                    idle.add(argument)
    wanted = dict(segmentor='test_cfg', backbone='in_channels', decode_head='align_corners', data_preprocessor='mean')
    assert {wanted[part] for part in parts} <= named
    wanted = dict(segmentor='crop_size', backbone='init_cfg', decode_head='loss_decode', data_preprocessor='size')
    assert {wanted[part] for part in parts} <= idle
