"""Receptive fields by formula against published ones, against gradients, and the gridding that they show."""

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from mmseg.models.backbones import ResNet
from mmseg.registry import MODELS
from torch import nn

from mmseg_deeplab.visualization.receptive_field import (
    Field,
    atrous_stage,
    connections,
    coverage,
    draw_fields,
    format_layers,
    inspect_fields,
    measure_field,
    trace_fields,
)


def _segmentor(backbone: dict, output_stride: int = 16, **head) -> nn.Module:
    head = {'type': 'DeepLabV3Head', 'rates': (2, 4), 'channels': 8, **head}
    return MODELS.build(
        dict(type='DeepLab', output_stride=output_stride, backbone=backbone, decode_head=dict(num_classes=3, **head))
    )


def _measured(model: nn.Module, of: str, width: int, field: Field) -> tuple[int, int]:
    """First and last pixel that the central cell sees, relative to its position, along one row of pixels."""
    gradient = measure_field(connections(model), torch.zeros(1, 3, 1, width, dtype=torch.float64), of)
    (seen,) = np.nonzero(gradient[0])
    cells = -(-width // int(field.stride))
    centre = cells // 2 * int(field.stride)
    return seen[0] - centre, seen[-1] - centre


@pytest.mark.parametrize(('depth', 'size'), [(50, 483), (101, 1027)])
def test_resnets_of_the_release_have_the_published_fields(depth, size):
    # Araujo, Norris and Sim, Computing Receptive Fields of Convolutional Neural Networks, Distill 2019: 483 pixels of
    # resnet_v1_50 and 1027 of resnet_v1_101, the TensorFlow models, which stride in the last unit.
    with torch.device('meta'):
        model = MODELS.build(dict(type='DeepLabResNet', depth=depth, output_stride=32, strided_unit='last'))
    field = trace_fields(model)[1]['']
    assert (field.size, field.stride) == (size, 32)


def test_small_networks_by_hand():
    layers = nn.Sequential(
        nn.Conv2d(3, 2, 3, stride=2, padding=1),  # 3 pixels, one cell every 2
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2, padding=1),  # + 2 x 2 = 7, one every 4
        nn.Conv2d(2, 2, 3, padding=2, dilation=2),  # + 4 x 4 = 23
        nn.Conv2d(2, 2, 4, padding=0),  # + 3 x 4 = 35, beginning at the cell's own left edge
    )
    rows, fields = trace_fields(layers, (65, 65))
    assert [row.field.size for row in rows] == [3, 7, 23, 35]
    assert [(row.kernel, row.stride, row.rate) for row in rows] == [(3, 2, 1), (3, 2, 1), (3, 1, 2), (4, 1, 1)]
    assert fields['4'] == Field(stride=4, before=11, after=23)


NETWORKS = {
    'resnet101': dict(type='DeepLabResNet', depth=101, base_channels=2),
    'multi-grid': dict(type='DeepLabResNet', depth=50, base_channels=2, multi_grid=(1, 2, 4), strided_unit='last'),
    'cascade': dict(type='DeepLabResNet', depth=50, base_channels=2, num_blocks=6, stem_channels=(4, 4, 8)),
    'mobilenet': dict(type='DeepLabMobileNetV2', width=0.25),
    'xception41': dict(type='AlignedXception', depth=41),
    'xception41, ReLUs before blocks': dict(type='AlignedXception', depth=41, variant='jfzhang95'),
    'vgg': dict(type='DeepLabVGG', ceil_mode=False),
}
ONLY = {'xception41': (16,), 'xception41, ReLUs before blocks': (16,), 'vgg': (8,)}  # strides that fit or are quick


@pytest.mark.parametrize(
    ('name', 'output_stride'), [(name, stride) for name in NETWORKS for stride in ONLY.get(name, (8, 16))]
)
def test_formula_and_gradient_agree_for_whole_backbones(name, output_stride):
    backbone = NETWORKS[name]
    model = MODELS.build(dict(backbone, output_stride=output_stride))
    field = trace_fields(model)[1]['']
    width = 64 * int(field.size // 64 + 2) + 1
    assert _measured(model, '', width, field) == (-field.before, field.after)


@pytest.mark.parametrize('branch', [1, 2])
def test_formula_and_gradient_agree_for_aspp_branches(branch):
    model = _segmentor(dict(type='DeepLabMobileNetV2', width=0.25))
    of = f'decode_head.aspp.branches.{branch}'
    field = trace_fields(model)[1][of]
    width = 64 * int(field.size // 64 + 2) + 1
    assert _measured(model, of, width, field) == (-field.before, field.after)


def test_image_pooling_sees_the_whole_image():
    model = _segmentor(dict(type='DeepLabMobileNetV2', width=0.25))
    assert trace_fields(model)[1]['decode_head.aspp'].size == float('inf')
    without = _segmentor(dict(type='DeepLabMobileNetV2', width=0.25), pool_bins=())
    fields = trace_fields(without)[1]
    assert fields['decode_head.aspp'] == fields['decode_head.aspp.branches.2']


def _block4(**arguments) -> np.ndarray:
    model = MODELS.build(dict(type='DeepLabResNet', depth=50, base_channels=2, **arguments))
    images = torch.zeros(1, 3, 513, 513, dtype=torch.float64)
    return measure_field(connections(model), images, '', 'layer4')


def test_equal_rates_leave_holes_that_multi_grid_fills():
    # Three 3x3 convolutions of rate 2 reach every other cell of 13 x 13: 7 x 7 of them. Rates 1, 2, 3 reach all.
    equal = _block4(output_stride=16, rate_of_lost_stride='new')
    assert np.count_nonzero(equal) == 7 * 7
    assert coverage(equal) == 49 / 169
    # The rates 1, 2, 2 of the release, whose first unit keeps the old one, have no hole either.
    assert coverage(_block4(output_stride=16)) == 1
    assert coverage(_block4(output_stride=8, multi_grid=(1, 2, 3))) < coverage(_block4(output_stride=16))


def test_the_picture_has_a_column_for_the_image_and_one_for_the_atrous_units():
    model = _segmentor(dict(type='DeepLabResNet', depth=50, base_channels=4))
    layers, figure = inspect_fields(model, size=129)
    assert atrous_stage(layers) == 'backbone.layer4.1'
    assert [len(axis.images) for axis in figure.axes] == [1] * 4
    text = format_layers(layers)
    assert 'backbone.layer4.2.conv2' in text
    assert 'decode_head.aspp.branches.1.conv' in text
    FigureCanvasAgg(figure).draw()


def test_of_several_scales_of_the_input_the_first_is_looked_at():
    model = _segmentor(dict(type='DeepLabMobileNetV2', width=0.25))
    layers, _ = inspect_fields(model, size=65)
    model.multi_scale_inputs = (1.0, 0.75, 0.5)
    assert inspect_fields(model, size=65)[0] == layers
    assert model.multi_scale_inputs == (1.0, 0.75, 0.5)


def test_the_model_stays_as_it_is():
    """Weights, statistics, modes, hooks and settings; also where it stops in the middle."""
    model = _segmentor(dict(type='DeepLabMobileNetV2', width=0.25)).train()
    model.backbone.layer1.eval()
    state = {key: value.clone() for key, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    inspect_fields(model, size=65)
    measure_field(model, torch.zeros(2, 3, 65, 65), 'backbone')
    with pytest.raises(AttributeError):
        trace_fields(model, (65, 65), 'backbone.nothing')
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_an_output_stride_without_rates_has_one_column():
    model = _segmentor(dict(type='DeepLabMobileNetV2', width=0.25), output_stride=32)
    _, figure = inspect_fields(model, size=65)
    assert len(figure.axes) == 2


def test_the_drawn_rectangle_is_the_field():
    connected = np.zeros((33, 33))
    connected[10:23, 10:23] = 1
    figure = draw_fields([('a', Field(1, 6, 6), connected, connected)])
    (box,) = figure.axes[0].patches
    assert (box.get_x(), box.get_y(), box.get_width()) == (9.5, 9.5, 13)


def test_networks_that_mix_all_positions_are_refused():
    attention = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(2), nn.MultiheadAttention(4, 1))
    attention.forward = lambda x: attention[2](*[attention[1](attention[0](x)).transpose(1, 2)] * 3)[0]
    with pytest.raises(ValueError, match='networks of convolutions only'):
        trace_fields(attention, (8, 8))


def test_mmsegmentations_networks_are_traced_too():
    with torch.device('meta'):
        model = ResNet(50, norm_cfg=dict(type='BN'))
    assert trace_fields(model)[1][''].size == 427
