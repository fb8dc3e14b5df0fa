"""Encoders of timm and MMSegmentation at any output stride: their dense features, subsampled, are their own."""

import sys

import pytest
import torch
import torch.nn.functional as F
from mmseg.registry import MODELS
from model_helpers import gradients_missing, segmentor
from safetensors.torch import save_file
from torch import nn

from mmseg_deeplab.errors import UserError, UserImportError
from mmseg_deeplab.models import atrous_plan
from mmseg_deeplab.models.atrous import atrous_layer
from mmseg_deeplab.models.dense import DensePool2d, make_dense

FAMILIES = (
    'resnet18', 'resnet18d', 'resnext50_32x4d', 'regnetx_002', 'regnety_002', 'efficientnet_b0', 'mobilenetv2_050',
    'mobilenetv3_small_050', 'mobilenetv4_conv_small', 'convnext_atto', 'convnextv2_atto', 'res2net50_14w_8s',
    'densenet121', 'ese_vovnet19b_slim', 'ghostnet_050', 'mnasnet_small', 'repvgg_a0', 'dpn48b', 'resnetv2_50',
    'repghostnet_050', 'gernet_s', 'lcnet_050', 'hgnetv2_b0', 'starnet_s1', 'ecaresnet26t',
)  # fmt: skip
TRANSFORMERS = {'swin_tiny_patch4_window7_224': 32, 'vit_tiny_patch16_224': 16, 'pvt_v2_b0': 32}
POOLS = [(2, 0, True), (3, 1, False), (3, 1, True), (3, 0, True), (2, 0, False)]
HEADS = {
    'DeepLabV2Head': dict(rates=(2,)),
    'DeepLabV3Head': dict(channels=8, rates=(6,)),
    'DeepLabV3PlusHead': dict(channels=8, decoder_channels=8),
}


def timm_encoder(name, **kwargs):
    pytest.importorskip('timm', reason="pip install 'mmseg_deeplab[timm]'", exc_type=ImportError)
    torch.manual_seed(0)
    return MODELS.build(dict(type='TimmEncoder', name=name, **kwargs)).eval()


class Dropped(nn.Module):
    """In place of a gate that depends on the mean over a whole map, which differs for dense features."""

    def forward(self, x):
        return x


def without_gates(net):
    for module in list(net.modules()):
        for name, child in module.named_children():
            if any(word in type(child).__name__ for word in ('Squeeze', 'SEModule', 'Effective', 'Eca', 'GlobalResp')):
                setattr(module, name, Dropped())
    return net


def alive(net):
    """Batch norm and scales of layers under which every branch counts."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if parameter.dim() == 1 and not name.endswith('bias'):
                parameter.uniform_(0.5, 1.5, generator=generator)
    return net


@pytest.mark.parametrize('name', FAMILIES)
@torch.no_grad()
def test_dense_features_of_every_family_are_its_own(name):
    coarse = alive(without_gates(timm_encoder(name, output_stride=32)))
    image = torch.randn(1, 3, 129, 129)
    expected = coarse.net(image)
    for output_stride in (8, 16):
        dense = without_gates(timm_encoder(name, output_stride=output_stride))
        dense.load_state_dict(coarse.state_dict())
        features = dense.net(image)
        assert dense.feature_channels == coarse.feature_channels == tuple(maps.shape[1] for maps in features)
        for ours, theirs, stride in zip(features, expected, coarse.strides, strict=True):
            step = max(stride // output_stride, 1)
            torch.testing.assert_close(
                ours[:, :, ::step, ::step] / theirs.std(), theirs / theirs.std(), atol=1e-3, rtol=1e-3
            )
        sizes = [maps.shape[2] for maps in dense(image)]
        assert sizes[-1] == next(s for s, stride in zip(sizes, dense.strides, strict=True) if stride == output_stride)
        assert abs(sizes[-1] - 128 / output_stride) <= 1


@pytest.mark.parametrize('head', HEADS)
@pytest.mark.parametrize('name', ['resnet18d', 'mobilenetv3_small_050', 'convnext_atto'])
def test_it_learns_under_every_head(name, head):
    stride = 8 if head == 'DeepLabV2Head' else 16
    timm_encoder(name)
    model = segmentor(dict(type='TimmEncoder', name=name), dict(type=head, **HEADS[head]), output_stride=stride)
    logits = model(torch.randn(2, 3, 64, 64))
    assert logits.shape[2] in ((16, 17) if head == 'DeepLabV3PlusHead' else (64 // stride,))
    logits.square().mean().backward()
    assert not [n for n in gradients_missing(model) if n.endswith('conv_seg.weight') or n == 'backbone.net.model.conv1']
    assert model.backbone.strides[model.backbone.low_level_index] == 4


@pytest.mark.parametrize('name', TRANSFORMERS)
def test_transformers_go_at_their_own_stride_and_no_other(name):
    encoder = timm_encoder(name, output_stride=TRANSFORMERS[name])
    features = encoder(torch.randn(1, 3, 97, 129))
    assert tuple(maps.shape[1] for maps in features) == encoder.feature_channels
    with pytest.raises(UserError, match=rf'output_stride=8.*own, output_stride={TRANSFORMERS[name]}'):
        timm_encoder(name, output_stride=8)


def test_what_has_no_atrous_form_is_refused_with_the_part():
    timm_encoder('hrnet_w18_small', output_stride=32)
    with pytest.raises(UserError, match=r'hrnet_w18_small can not .*stage\d.*\(Upsample\).*output_stride=32'):
        timm_encoder('hrnet_w18_small', output_stride=8)
    with pytest.raises(UserError, match="no encoder 'resnet_18'; near are"):
        timm_encoder('resnet_18')
    with pytest.raises(UserError, match='norm_cfg'):
        timm_encoder('resnet18', norm_cfg=dict(type='GN', num_groups=2))


def test_weights_come_from_local_files_of_the_classification_network(tmp_path):
    fresh = timm_encoder('convnext_atto')
    whole = sys.modules['timm'].create_model('convnext_atto')
    save_file(whole.state_dict(), tmp_path / 'model.safetensors')
    for bands in (3, 6):
        init = dict(type='Pretrained', checkpoint=str(tmp_path / 'model.safetensors'))
        encoder = timm_encoder('convnext_atto', in_channels=bands, init_cfg=init)
        encoder.init_weights()
        image = torch.randn(1, 3, 64, 64)
        ours = encoder.net(torch.cat([image] * (bands // 3), dim=1))
        encoder3 = timm_encoder('convnext_atto')
        encoder3.net.model.load_state_dict(whole.state_dict(), strict=False)
        torch.testing.assert_close(ours[-1], encoder3.net(image)[-1], atol=1e-4, rtol=1e-4)
        first = 'net.model.stem.0.weight'
        assert not torch.equal(encoder.state_dict()[first][:, :3], fresh.state_dict()[first])


@pytest.mark.parametrize('bands', [1, 4])
def test_every_convolution_of_the_image_is_inflated(tmp_path, bands):
    """RepVGG's stem is two convolutions side by side."""
    three = timm_encoder('repvgg_a0', output_stride=32).eval()
    torch.save(three.named_as_in_files().state_dict(), tmp_path / 'three.pth')
    init = dict(type='Pretrained', checkpoint=str(tmp_path / 'three.pth'))
    encoder = timm_encoder('repvgg_a0', output_stride=32, in_channels=bands, init_cfg=init).eval()
    encoder.init_weights()
    image = torch.randn(1, 1 if bands == 1 else 3, 64, 64)
    given = image if bands == 1 else torch.cat([image, image], 1)[:, :bands]
    for ours, theirs in zip(encoder(given), three(image.expand(-1, 3, -1, -1)), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-3)


def test_weights_that_are_standardised_are_not_inflated(tmp_path):
    three = timm_encoder('nf_regnet_b0', output_stride=32)
    torch.save(three.named_as_in_files().state_dict(), tmp_path / 'three.pth')
    init = dict(type='Pretrained', checkpoint=str(tmp_path / 'three.pth'))
    with pytest.raises(UserError, match='ScaledStdConv2d.* standardises its weights'):
        timm_encoder('nf_regnet_b0', output_stride=32, in_channels=4, init_cfg=init).init_weights()


def test_without_timm_one_sentence_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, 'timm', None)
    with pytest.raises(UserImportError, match=r"pip install 'mmseg_deeplab\[timm\]'"):
        MODELS.build(dict(type='TimmEncoder', name='resnet18'))


@pytest.mark.parametrize(
    'encoder',
    [
        dict(type='ResNetV1c', depth=18, norm_cfg=dict(type='BN')),
        dict(type='MobileNetV2', out_indices=(1, 2, 4, 6), norm_cfg=dict(type='BN')),
    ],
)
def test_backbones_of_mmsegmentation_need_no_channels(encoder):
    model = segmentor(
        dict(type='MMSegEncoder', encoder=encoder), dict(type='DeepLabV3PlusHead', channels=8), output_stride=8
    ).eval()
    assert model(torch.randn(1, 3, 65, 65)).shape == (1, 3, 17, 17)
    assert model.backbone.strides[-1] == 8


def test_a_network_that_cuts_its_maps_is_refused():
    class Cut(nn.Module):
        def __init__(self):
            super().__init__()
            self.convs = nn.ModuleList(nn.Conv2d(3, 3, 3, stride=2, padding=1) for _ in range(5))

        def forward(self, x):
            for conv in self.convs:
                x = conv(x).roll(1, dims=3)
            return [x]

    with pytest.raises(UserError, match='can not have output_stride=8'):
        make_dense(Cut(), lambda net, x: net(x), 3, 8, 'Cut')


@pytest.mark.parametrize('output_stride', [4, 8, 16, 32])
def test_the_rule_of_a_layer_is_that_of_a_chain(output_stride):
    strides, stride, layers = [1, 2, 1, 2, 1, 1, 2, 1, 2, 1], 2, []
    for nominal in strides:
        layers.append(atrous_layer(stride, nominal, output_stride))
        stride *= nominal
    assert layers == atrous_plan(strides, output_stride, stem_stride=2)


@pytest.mark.parametrize('include', [True, False])
@pytest.mark.parametrize('kernel, padding, ceil', POOLS)
def test_dense_pools_are_the_pools_of_every_second_cell(kernel, padding, ceil, include):
    x = torch.randn(1, 2, 17, 17)
    average = nn.AvgPool2d(kernel, 2, padding, ceil, include)
    largest = nn.MaxPool2d(kernel, 2, padding, ceil_mode=ceil)
    for pool in (average, largest):
        if isinstance(pool, nn.AvgPool2d) and include and ceil:
            continue  # torch counts the padding of such windows in a way of its own
        torch.testing.assert_close(DensePool2d(pool, 1)(x)[:, :, ::2, ::2], pool(x))
        spread = F.interpolate(x, scale_factor=2)
        coarse = pool(spread[:, :, ::2, ::2])
        torch.testing.assert_close(DensePool2d(pool, 2)(spread)[:, :, ::4, ::4], coarse)
