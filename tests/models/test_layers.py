"""ASPP against a plain forward pass that follows the paper step by step."""

import pytest
import torch
import torch.nn.functional as F
from model_helpers import randomize, segmentor
from torch import nn

from mmseg_deeplab.models.layers import ASPP, conv_bn_relu, separable_conv_bn_relu


def _plain_aspp(aspp: ASPP, x: torch.Tensor) -> torch.Tensor:
    """v3, section 3.3: every branch at full size, one concatenation, one projection."""
    maps = []
    for bins, conv in zip(aspp.pool_bins, aspp.pooled, strict=True):
        pooled = conv(F.adaptive_avg_pool2d(x, bins))
        maps.append(F.interpolate(pooled, x.shape[2:], mode='bilinear', align_corners=True))
    maps += [branch(x) for branch in aspp.branches]
    return aspp.project(torch.cat(maps, dim=1))


@pytest.mark.parametrize('pool_bins', [(), (1,), (1, 2, 4)])
@pytest.mark.parametrize('separable', [False, True])
@pytest.mark.parametrize('rates', [(), (2, 4)])
def test_aspp_is_the_concatenation_of_its_branches(pool_bins, separable, rates):
    aspp = randomize(ASPP(12, 8, rates, pool_bins, separable)).eval()
    x = torch.randn(2, 12, 9, 11)
    out = aspp(x)
    assert out.shape == (2, 8, 9, 11)
    torch.testing.assert_close(out, _plain_aspp(aspp, x), atol=1e-5, rtol=1e-4)


def test_aspp_has_the_branches_of_the_paper():
    aspp = ASPP(2048, 256, (6, 12, 18))
    convs = [branch.conv for branch in aspp.branches]
    assert [conv.kernel_size for conv in convs] == [(1, 1), (3, 3), (3, 3), (3, 3)]
    assert [conv.dilation[0] for conv in convs] == [1, 6, 12, 18]
    assert aspp.project.conv.weight.shape == (256, 1280, 1, 1)
    assert not any(conv.bias is not None for conv in convs)


def test_a_separable_convolution_has_batch_norm_and_relu_after_both_parts():
    block = separable_conv_bn_relu(4, 6, 3, rate=2)
    assert (block.depthwise_conv.conv.groups, block.depthwise_conv.conv.dilation) == (4, (2, 2))
    kinds = [type(m).__name__ for m in block.modules() if not list(m.children())]
    assert kinds == ['Conv2d', 'BatchNorm2d', 'ReLU', 'Conv2d', 'BatchNorm2d', 'ReLU']


@pytest.mark.parametrize('rate', [1, 3])
@pytest.mark.parametrize('kernel', [1, 3])
def test_convolutions_keep_the_size(kernel, rate):
    for make in (conv_bn_relu, separable_conv_bn_relu):
        assert make(3, 5, kernel, rate)(torch.randn(2, 3, 8, 9)).shape == (2, 5, 8, 9)


def test_dropout_follows_the_projection_in_training_only():
    torch.manual_seed(0)
    aspp = randomize(ASPP(4, 8, (2,), dropout_ratio=0.5))
    x = torch.randn(2, 4, 9, 9)
    assert isinstance(aspp.dropout, nn.Dropout)
    aspp.train()
    kept = aspp(x) != 0
    aspp.dropout.p = 0.0
    positive = aspp(x) != 0
    assert 0.4 < kept[positive].float().mean() < 0.6
    aspp.eval()
    aspp.dropout.p = 0.5
    torch.testing.assert_close(aspp(x), aspp(x))


def test_training_on_one_image_says_what_to_do():
    aspp = ASPP(4, 8, (2,)).train()
    with pytest.raises(
        ValueError, match=r'batch_size=2 or more; .*drop_last=True.*; or freeze batch norm .*pool_bins=\(\)'
    ):
        aspp(torch.randn(1, 4, 9, 9))
    for conv in aspp.pooled:
        conv.norm.eval()
    aspp(torch.randn(1, 4, 9, 9))  # frozen batch norm can
    ASPP(4, 8, (2,), pool_bins=()).train()(torch.randn(1, 4, 9, 9))
    ASPP(4, 8, (2,), pool_bins=(2,)).train()(torch.randn(1, 4, 9, 9))  # four values are enough
    ASPP(4, 8, (2,), norm_cfg=dict(type='GN', num_groups=2)).train()(torch.randn(1, 4, 9, 9))


def test_pool_bins_must_be_positive():
    with pytest.raises(ValueError, match='pool_bins'):
        ASPP(4, 8, (2,), pool_bins=(0,))


def test_pooled_grids_are_resized_as_the_head_is_told():
    """Against bilinear weights by hand: bins of 1 and 3 on four cells, corners on corners or not."""
    aspp = {corners: ASPP(1, 1, (), pool_bins=(2,), align_corners=corners).eval() for corners in (True, False)}
    x = torch.tensor([1.0, 1, 3, 3]).expand(1, 1, 4, 4)
    for corners, expected in ((True, [1, 5 / 3, 7 / 3, 3]), (False, [1, 1.5, 2.5, 3])):
        for conv in (*aspp[corners].pooled, aspp[corners].project):
            torch.nn.init.constant_(conv.conv.weight, 1)
        torch.nn.init.zeros_(aspp[corners].branches[0].conv.weight)
        torch.testing.assert_close(aspp[corners](x)[0, 0, 0], torch.tensor(expected), atol=1e-4, rtol=1e-4)


def test_what_is_put_on_the_projection_acts():
    """Hooks, adapters and quantised layers in its place: each needs the module to be called."""
    aspp = randomize(ASPP(4, 8, (2,), pool_bins=(1, 2))).eval()
    x = torch.randn(1, 4, 9, 9)
    aspp.project.conv.register_forward_hook(lambda module, inputs, output: output * 0)
    assert (aspp(x) == aspp(x)[..., :1, :1]).all()  # only the shift of batch norm is left


def test_what_is_put_on_a_head_acts():
    model = segmentor(dict(type='DeepLabMobileNetV2', width=0.25), dict(type='DeepLabV3Head', channels=8)).eval()
    model.decode_head.register_forward_hook(lambda module, inputs, logits: logits + 7)
    image = torch.randn(1, 3, 65, 65)
    with torch.no_grad():
        torch.testing.assert_close(model(image), model.decode_head.forward(model.extract_feat(image)) + 7)


def _drawn(**head) -> nn.Module:
    torch.manual_seed(0)
    model = segmentor(
        dict(type='DeepLabMobileNetV2', width=0.25), dict(type='DeepLabV3PlusHead', channels=64, **head), num_classes=64
    )
    model.init_weights()
    return model.decode_head


# A normal distribution that is cut off at two of its standard deviations has 0.8796 of it left.
CUT_OFF = 0.8796


def test_initial_weights_are_those_of_the_release():
    """slim: Xavier, uniform up to sqrt(6 / (fan in + fan out)); separable 0.33 and 0.06, classifier 0.01, cut off."""
    head = _drawn(rates=(2,), separable_aspp=True)
    separable, plain = head.aspp.branches[1], (head.aspp.branches[0], head.aspp.project, head.low_level, *head.decoder)
    for layer in plain:
        outputs, inputs, *kernel = layer.conv.weight.shape
        limit = (6 / (kernel[0] * kernel[1] * (inputs + outputs))) ** 0.5
        assert 0.97 * limit < layer.conv.weight.abs().max() <= limit
        assert layer.conv.weight.std().item() == pytest.approx(limit / 3**0.5, rel=0.05)
    parts = (separable.depthwise_conv.conv, 0.33), (separable.pointwise_conv.conv, 0.06), (head.conv_seg, 0.01)
    for conv, std in parts:
        assert 1.9 * std < conv.weight.abs().max() <= 2 * std
        assert conv.weight.std().item() == pytest.approx(CUT_OFF * std, rel=0.05)
    assert not head.conv_seg.bias.any()


def test_initial_weights_for_short_trainings_are_by_name_and_a_config_of_ones_own_counts():
    head = _drawn(rates=(2,), separable_aspp=True, initial_weights='kaiming')
    assert head.decoder[1].conv.weight.std().item() == pytest.approx((2 / (9 * 256)) ** 0.5, rel=0.05)  # fan out, ReLU
    assert head.conv_seg.weight.std().item() == pytest.approx(0.01, rel=0.05)
    own = _drawn(init_cfg=dict(type='Constant', val=3, layer='Conv2d'))
    assert (own.aspp.project.conv.weight == 3).all() and (own.conv_seg.weight == 3).all()
    with pytest.raises(ValueError, match=r"initial_weights='he' is unknown; choose one of \('release', 'kaiming'\)"):
        _drawn(initial_weights='he')


def test_weights_are_drawn_once():
    head = _drawn()
    before = {name: value.clone() for name, value in head.state_dict().items()}
    head.init_weights()
    assert all(torch.equal(value, before[name]) for name, value in head.state_dict().items())
