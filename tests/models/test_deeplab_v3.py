"""Heads of v3: ASPP with image pooling, and the classifier of the cascade."""

import pytest
import torch
import torch.nn.functional as F
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from model_helpers import gradients_missing, randomize, rates_of, segmentor
from torch import nn

from mmseg_deeplab.models import DeepLabV3CascadeHead, DeepLabV3Head

RESNET = dict(type='DeepLabResNet', depth=50, base_channels=4)


@pytest.mark.parametrize(('output_stride', 'rates'), [(8, [12, 24, 36]), (16, [6, 12, 18]), (32, [3, 6, 9])])
def test_aspp_rates_follow_the_output_stride_of_the_segmentor(output_stride, rates):
    model = segmentor(RESNET, dict(type='DeepLabV3Head', channels=4), output_stride=output_stride)
    assert rates_of(model.decode_head.aspp) == rates
    assert model.decode_head.in_channels == model.backbone.feature_channels[-1] == 128


def test_the_head_has_the_layers_of_the_paper():
    head = DeepLabV3Head(2048, 21)
    assert head.conv_seg.weight.shape == (21, 256, 1, 1)  # logits directly from the 256 channels
    assert len(head.extra) == 0
    assert head.aspp.dropout.p == 0.1  # the release keeps 0.9
    assert head.dropout is None
    assert head.align_corners


def test_logits_are_classified_aspp_features():
    head = randomize(DeepLabV3Head(12, 3, channels=8, rates=(2, 4))).eval()
    x = torch.randn(2, 12, 9, 9)
    torch.testing.assert_close(head((torch.randn(2, 5, 17, 17), x)), head.conv_seg(head.aspp(x)))


def test_torchvisions_extra_convolution():
    head = DeepLabV3Head(16, 3, channels=8, rates=(2,), extra_convs=1)
    assert head.extra[0].conv.weight.shape == (8, 8, 3, 3)
    assert head((torch.randn(2, 16, 9, 9),)).shape == (2, 3, 9, 9)


def test_the_released_mobilenet_has_no_atrous_branch():
    head = DeepLabV3Head(320, 21, rates=())
    assert len(head.aspp.branches) == 1
    assert head.aspp.project.conv.weight.shape == (256, 512, 1, 1)


def test_the_loss_is_on_full_size_logits():
    torch.manual_seed(0)
    head = DeepLabV3Head(6, 3, channels=8, rates=(2,))
    logits = torch.randn(2, 3, 3, 3)
    label = torch.randint(0, 3, (2, 1, 33, 33))
    samples = [SegDataSample(gt_sem_seg=PixelData(data=mask)) for mask in label]
    full = F.interpolate(logits, (33, 33), mode='bilinear', align_corners=True)
    losses = head.loss_by_feat(logits, samples)
    torch.testing.assert_close(losses['loss_ce'], nn.functional.cross_entropy(full, label[:, 0]))


def test_the_loss_may_be_on_coarse_logits():
    """v3, Table 8, "no upsampling": at output stride 16 every 16th label counts, and no other."""
    torch.manual_seed(0)
    head = DeepLabV3Head(6, 3, channels=8, rates=(2,), upsample_logits=False)
    logits = torch.randn(2, 3, 3, 5)
    coarse = torch.randint(0, 3, (2, 3, 5))
    label = torch.full((2, 1, 33, 65), 7)
    label[:, 0, ::16, ::16] = coarse
    samples = [SegDataSample(gt_sem_seg=PixelData(data=mask)) for mask in label]
    losses = head.loss_by_feat(logits, samples)
    torch.testing.assert_close(losses['loss_ce'], nn.functional.cross_entropy(logits, coarse))


def test_the_cascade_head_is_a_1x1_classifier_on_the_last_block():
    head = DeepLabV3CascadeHead(8, 3)
    x = torch.randn(2, 8, 5, 5)
    assert head.conv_seg.weight.shape == (3, 8, 1, 1)
    torch.testing.assert_close(head((torch.randn(2, 4, 9, 9), x)), head.conv_seg(x))


@pytest.mark.parametrize('num_blocks', [4, 5, 6, 7])
def test_the_cascade_runs_on_each_of_its_blocks(num_blocks):
    torch.manual_seed(0)
    model = segmentor(dict(RESNET, num_blocks=num_blocks, multi_grid=(1, 2, 1)), dict(type='DeepLabV3CascadeHead'))
    logits = model(torch.randn(2, 3, 65, 65))
    assert logits.shape == (2, 3, 5, 5)
    logits.square().mean().backward()
    assert gradients_missing(model) == []


@pytest.mark.parametrize(
    'head', [dict(), dict(separable_aspp=True), dict(rates=()), dict(pool_bins=(1, 2, 4)), dict(extra_convs=1)]
)
def test_every_parameter_gets_a_gradient(head):
    torch.manual_seed(0)
    model = segmentor(RESNET, dict(type='DeepLabV3Head', channels=8, **head))
    model(torch.randn(2, 3, 65, 65)).square().mean().backward()
    assert gradients_missing(model) == []


def test_rates_that_do_not_scale_are_refused():
    with pytest.raises(ValueError, match='whole number of cells'):
        DeepLabV3Head(8, 3, output_stride=32, rates=(5, 10))
