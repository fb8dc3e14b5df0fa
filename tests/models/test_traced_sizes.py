"""Traced and exported networks take images of other sizes than the one that they were traced with."""

import io
import warnings

import pytest
import torch
from mmcv.cnn.bricks import Conv2dAdaptivePadding
from mmengine.analysis import get_model_complexity_info
from model_helpers import randomize, segmentor

from mmseg_deeplab.models.layers import SamePadConv2d

RESNET = dict(type='DeepLabResNet', depth=50, base_channels=4)
CAFFE = dict(RESNET, strided_conv='1x1', rate_of_lost_stride='new', ceil_mode=True)
MOBILENET = dict(type='DeepLabMobileNetV2', width=0.25)
VGG = dict(type='DeepLabVGG')
V3 = dict(type='DeepLabV3Head', channels=8)
V3PLUS = dict(type='DeepLabV3PlusHead', channels=8, decoder_channels=8)
SEPARABLE = dict(V3PLUS, separable_aspp=True, separable_decoder=True)
SCALES = (1.0, 0.75, 0.5)

NETWORKS = {
    'v1': (VGG, dict(type='DeepLabV1Head'), dict(output_stride=8)),
    'v1 msc': (VGG, dict(type='DeepLabV1MScHead'), dict(output_stride=8)),
    'v2': (CAFFE, dict(type='DeepLabV2Head'), dict(output_stride=8, multi_scale_inputs=SCALES)),
    'v2, one scale': (CAFFE, dict(type='DeepLabV2Head'), dict(output_stride=8)),
    'v2 on vgg': (VGG, dict(type='DeepLabV2Head', fc_channels=8), dict(output_stride=8)),
    'v3': (RESNET, V3, {}),
    'v3, pooled grids': (RESNET, dict(V3, pool_bins=(1, 2, 3)), {}),
    'v3, other corners': (RESNET, dict(V3, align_corners=False), {}),
    'v3 cascade': (dict(RESNET, num_blocks=7, multi_grid=(1, 2, 1)), dict(type='DeepLabV3CascadeHead'), {}),
    'v3+': (RESNET, V3PLUS, {}),
    'v3 on resnet-d': (dict(RESNET, stem_channels=(4, 4, 8), avg_down=True), V3, dict(output_stride=32)),
    'v3+, two steps': (RESNET, dict(V3PLUS, mid_level_index=1), {}),
    'v3+ on xception': (dict(type='AlignedXception', depth=41), SEPARABLE, {}),
    'v3+ on mobilenet': (MOBILENET, SEPARABLE, {}),
    'v3+ on mobilenet, tensorflow': (dict(MOBILENET, padding='tensorflow'), SEPARABLE, {}),
}
SIZES = [(97, 129), (64, 70), (33, 161)]


DEFAULTS = ('v1', 'v2', 'v3', 'v3+')


@pytest.fixture
def network(request):
    backbone, head, options = NETWORKS[request.param]
    torch.manual_seed(0)
    return randomize(segmentor(backbone, head, **options)).eval()


def _same(model, other) -> None:
    for size in SIZES:
        image = torch.randn(1, 3, *size)
        with torch.no_grad():
            expected, found = model(image), other(image)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item())


@pytest.mark.parametrize('network', NETWORKS, indirect=True)
def test_traced(network):
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter('error', torch.jit.TracerWarning)  # a size that became a number
        traced = torch.jit.trace(network, torch.randn(1, 3, 65, 65), check_trace=False)
    file = io.BytesIO()
    torch.jit.save(traced, file)
    file.seek(0)
    _same(network, torch.jit.load(file))


@pytest.mark.parametrize('network', DEFAULTS, indirect=True)
def test_traced_with_the_logits_at_the_size_of_the_image(network):
    class Full(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, image):
            return self.network.encode_decode(image, [])

    full = Full().eval()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter('error', torch.jit.TracerWarning)
        traced = torch.jit.trace(full, torch.randn(1, 3, 65, 65), check_trace=False)
    assert traced(torch.randn(1, 3, 64, 70)).shape == (1, 3, 64, 70)
    _same(full, traced)


@pytest.mark.parametrize(
    'network',
    [*DEFAULTS, 'v1 msc', 'v3, pooled grids', 'v3 on resnet-d', 'v3+, two steps'],
    indirect=True,
)
def test_exported(network):
    sizes = {2: torch.export.Dim('height', min=33, max=1025), 3: torch.export.Dim('width', min=33, max=2049)}
    with torch.no_grad():
        program = torch.export.export(network, (torch.randn(1, 3, 65, 81),), dynamic_shapes=((sizes,)), strict=False)
    _same(network, program.module())


@pytest.mark.parametrize(
    ('kernel', 'stride', 'rate'), [(3, 1, 1), (3, 2, 1), (3, 1, 2), (1, 1, 1), (5, 2, 1), (4, 3, 1), (3, 2, 2)]
)
def test_tensorflows_padding_exported_and_as_mmcv_pads(kernel, stride, rate):
    layer = SamePadConv2d(2, 2, kernel, stride, padding=7, dilation=rate, groups=2).eval()
    other = Conv2dAdaptivePadding(2, 2, kernel, stride, dilation=rate, groups=2).eval()
    other.load_state_dict(layer.state_dict())
    sizes = {2: torch.export.Dim('height', min=7), 3: torch.export.Dim('width', min=7)}
    exported = torch.export.export(layer, (torch.randn(1, 2, 9, 12),), dynamic_shapes=(sizes,)).module()
    for size in ((9, 12), (10, 10), (11, 13), (8, 7)):
        image = torch.randn(1, 2, *size)
        torch.testing.assert_close(layer(image), other(image))
        torch.testing.assert_close(exported(image), other(image))


@pytest.mark.parametrize('network', DEFAULTS, indirect=True)
def test_the_stacks_own_count_of_operations_runs(network):
    """As MMSegmentation's get_flops.py calls it, by tracing."""
    found = get_model_complexity_info(network, inputs=(torch.randn(1, 3, 65, 65),), show_table=False, show_arch=False)
    assert found['flops'] > 1e6
    assert found['params'] == sum(p.numel() for p in network.parameters())
