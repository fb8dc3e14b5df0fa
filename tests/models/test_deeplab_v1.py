"""DeepLab v1: parameters, fields of view, subsampled labels and MSc, against the paper's tables and hand counts."""

import pytest
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from model_helpers import gradients_missing, segmentor
from torch import nn

from mmseg_deeplab.models import DeepLabV1Head, DeepLabV1MScHead
from mmseg_deeplab.models.heads.base import subsample_labels

VGG = dict(type='DeepLabVGG')
TAPS = (3, 2, 2, 2, 2)


def samples(labels):
    return [SegDataSample(gt_sem_seg=PixelData(data=label[None])) for label in labels]


def taps(size, channels=(*TAPS, 2)):
    """Features as VGG gives them of images of 8k + 1 pixels."""
    sides = [(size - 1) // stride + 1 for stride in (1, 2, 4, 8, 8, 8)]
    return tuple(torch.randn(2, c, side, side) for c, side in zip(channels, sides, strict=True))


@pytest.mark.parametrize(
    ('variant', 'millions'), [('4x4', 65.1), ('4x4-rate8', 65.1), ('7x7', 134.3), ('LargeFOV', 20.5)]
)
def test_parameters_are_those_of_table_2(variant, millions):
    with torch.device('meta'):
        model = segmentor(VGG, dict(type='DeepLabV1Head', variant=variant), num_classes=21, output_stride=8)
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 1) == millions


@pytest.mark.parametrize(
    ('variant', 'pixels', 'columns'),
    [
        ('4x4', 128, [-6, -2, 2, 6]),
        ('4x4-rate8', 224, [-12, -4, 4, 12]),
        ('7x7', 224, [-12, -8, -4, 0, 4, 8, 12]),
        ('LargeFOV', 224, [-12, 0, 12]),
    ],
)
def test_field_of_view_is_that_of_table_2(variant, pixels, columns):
    head = DeepLabV1Head(1, 3, variant=variant)
    nn.init.ones_(head.fc6.weight)
    x = torch.zeros(1, 1, 33, 33, requires_grad=True)
    out = head.fc6(x)
    assert out.shape[2:] == x.shape[2:]  # also with kernels of 4
    out[0, 0, 16, 16].backward()
    seen = (x.grad[0, 0].sum(0).nonzero().flatten() - 16).tolist()
    assert seen == columns
    assert (seen[-1] - seen[0]) * 8 + 32 == pixels


def test_only_largefov_averages_and_zeros_count_at_the_border():
    head = DeepLabV1Head(1, 3)
    # Caffe's AVE pool divides by 9 everywhere.
    expected = torch.tensor([[4, 6, 4], [6, 9, 6], [4, 6, 4]]) / 9
    torch.testing.assert_close(head.pool5a(torch.ones(1, 1, 3, 3))[0, 0], expected)
    assert isinstance(DeepLabV1Head(1, 3, variant='4x4').pool5a, nn.Identity)


def test_fc_layers_are_followed_by_relu_and_elementwise_dropout_of_a_half():
    head = DeepLabV1Head(1, 3)
    for fc, bias in ((head.fc6, 1.0), (head.fc7, 3.0)):
        nn.init.zeros_(fc.weight)
        nn.init.constant_(fc.bias, bias)
    nn.init.constant_(head.conv_seg.weight, 1 / 1024)
    nn.init.zeros_(head.conv_seg.bias)
    features = (torch.zeros(1, 1, 9, 9),)
    torch.manual_seed(0)
    trained = head(features)  # 1024 values, each 0 or 6
    assert trained.mean().item() == pytest.approx(3, abs=0.05)
    assert trained[0, 0].unique().numel() > 10  # differs from cell to cell: not whole channels are dropped
    head.eval()
    torch.testing.assert_close(head(features), torch.full((1, 3, 9, 9), 3.0))
    nn.init.constant_(head.fc7.bias, -3)
    assert not head(features).any()  # ReLU


def test_labels_are_taken_at_every_8th_pixel():
    labels = torch.arange(17 * 25).view(1, 1, 17, 25)
    expected = [[0, 8, 16, 24], [200, 208, 216, 224], [400, 408, 416, 424]]
    assert subsample_labels(labels, (3, 4))[0, 0].tolist() == expected
    assert subsample_labels(torch.zeros(1, 321, 321), (41, 41)).shape == (1, 41, 41)
    # Half-size input of v2: every 16th.
    assert subsample_labels(torch.arange(33).repeat(33, 1)[None], (3, 3))[0, 0].tolist() == [0, 16, 32]
    with pytest.raises(ValueError, match=r'41 x 41 cells .* labels of 320 x 320.* 8k \+ 1 pixels'):
        subsample_labels(torch.zeros(1, 320, 320), (41, 41))


def test_the_loss_is_on_coarse_logits_and_sees_those_labels_only():
    head = DeepLabV1Head(1, 3)
    labels = torch.zeros(1, 17, 17, dtype=torch.long)
    labels[:, ::8, ::8] = 1
    labels[0, 16, 16] = 255
    labels[0, 0, 0] = 2
    logits = torch.zeros(1, 3, 3, 3)
    logits[:, 1] = 2.0
    losses = head.loss_by_feat(logits, samples(labels))
    # Of 9 cells one is ignored, 7 are right: -log(e^2 / (e^2 + 2)); one is wrong: -log(1 / (e^2 + 2)).
    assert losses['loss_ce'].item() == pytest.approx((7 * 0.2395447662 + 2.2395447662) / 8)
    assert losses['acc_seg'].item() == pytest.approx(100 * 7 / 8)


def test_test_logits_are_resized_corners_on_corners():
    head = DeepLabV1Head(1, 3)
    logits = torch.tensor([0.0, 8.0]).expand(1, 3, 2, 2)
    full = head.predict_by_feat(logits, [dict(img_shape=(9, 9))])
    torch.testing.assert_close(full, torch.arange(9.0).expand(1, 3, 9, 9))


def test_every_parameter_learns():
    torch.manual_seed(0)
    model = segmentor(VGG, dict(type='DeepLabV1Head'), output_stride=8)
    model.init_weights()
    assert model.decode_head.conv_seg.weight.std().item() == pytest.approx(0.01, rel=0.1)
    labels = torch.randint(0, 3, (2, 33, 33))
    model.loss(torch.randn(2, 3, 33, 33), samples(labels))['decode.loss_ce'].backward()
    assert gradients_missing(model) == []


def msc_head(**kwargs):
    torch.manual_seed(0)
    return DeepLabV1MScHead(2, 3, tap_channels=TAPS, **kwargs)


def test_msc_sums_the_scores_of_its_branches_and_fc8():
    head = msc_head().eval()
    for parameter in head.parameters():
        nn.init.zeros_(parameter)
    nn.init.constant_(head.conv_seg.bias, 100)
    for i, branch in enumerate(head.taps):
        nn.init.constant_(branch.score.bias, 2**i)
    assert head(taps(17)).unique().tolist() == [131]  # 100 + 1 + 2 + 4 + 8 + 16
    # One branch by hand: image, 3x3 of ones on ones, mean of the 128 channels twice.
    branch = head.taps[0]
    nn.init.ones_(branch.conv.weight)
    nn.init.constant_(branch.fc.weight, 1 / 128)
    nn.init.constant_(branch.score.weight, 1 / 128)
    features = (torch.ones(1, 3, 17, 17), *taps(17)[1:])
    expected = torch.full((17, 17), 131 + 27.0)
    expected[[0, -1]] = expected[:, [0, -1]] = 131 + 18
    expected[[0, 0, -1, -1], [0, -1, 0, -1]] = 131 + 12
    torch.testing.assert_close(head(features)[0, 0], expected)


def test_msc_branches_stride_in_training_only():
    head = msc_head()
    strides = []
    for branch in head.taps:
        branch.conv.register_forward_pre_hook(lambda _, inputs: strides.append(inputs[1]))
    head.loss(taps(17), samples(torch.zeros(2, 17, 17, dtype=torch.long)), None)
    assert strides == [8, 4, 2, 1, 1]
    strides.clear()
    assert head(taps(17)).shape == (2, 3, 17, 17)
    assert strides == [1] * 5


def test_msc_scores_at_test_time_agree_with_training_on_its_grid():
    # A convolution with stride is the one without, subsampled, and a resize by a whole factor keeps its grid points.
    head = msc_head().eval()
    features = taps(33)
    with torch.no_grad():
        torch.testing.assert_close(
            head(features)[..., ::8, ::8], head._fuse(features, dense=False), atol=1e-5, rtol=1e-4
        )


def test_msc_starts_from_the_distributions_of_the_release():
    head = msc_head()
    head.init_weights()
    for i, branch in enumerate(head.taps):
        for layer, std in ((branch.conv, 0.001), (branch.fc, 0.005 if i == 4 else 0.001), (branch.score, 0.01)):
            assert layer.weight.std().item() == pytest.approx(std, rel=0.15)
            assert not layer.bias.any()


@pytest.mark.parametrize(
    ('frozen_fc8', 'trained'),
    [(False, {'taps', 'conv_seg'}), (True, {'taps'})],  # the release's train.prototxt, the paper's other reading
)
def test_the_second_phase_starts_from_the_first_and_freezes_fc6_and_fc7(tmp_path, frozen_fc8, trained):
    first = DeepLabV1Head(2, 3)
    first.init_weights()
    file = tmp_path / 'first.pth'
    torch.save({'state_dict': {f'decode_head.{k}': v for k, v in first.state_dict().items()}}, file)
    init = dict(type='Pretrained', checkpoint=str(file), prefix='decode_head')
    second = msc_head(frozen=True, frozen_fc8=frozen_fc8, init_cfg=init)
    second.init_weights()
    for name in ('fc6', 'fc7', 'conv_seg'):
        torch.testing.assert_close(getattr(second, name).weight, getattr(first, name).weight, rtol=0, atol=0)
    assert {n.split('.')[0] for n, p in second.named_parameters() if p.requires_grad} == trained
    second.loss(taps(33), samples(torch.randint(0, 3, (2, 33, 33))), None)['loss_ce'].backward()
    assert gradients_missing(second) == []


def test_a_pretrained_file_without_fc6_is_refused(tmp_path):
    torch.save({'decode_head.fc7.weight': torch.zeros(1)}, tmp_path / 'other.pth')
    cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'other.pth'), prefix='decode_head')
    with pytest.raises(ValueError, match=r'decode_head.fc6.weight should be \(1024, 2, 3, 3\) and is absent'):
        DeepLabV1Head(2, 3, init_cfg=cfg).init_weights()


def test_msc_refuses_a_backbone_without_its_taps():
    with pytest.raises(ValueError, match='takes scores from the input image .* use DeepLabVGG'):
        segmentor(dict(type='DeepLabResNet', depth=50), dict(type='DeepLabV1MScHead'), output_stride=8)
    with torch.device('meta'):
        model = segmentor(VGG, dict(type='DeepLabV1MScHead'), output_stride=8)
        assert model(torch.empty(1, 3, 65, 65)).shape == (1, 3, 65, 65)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"variant='5x5' .* choose one of \('LargeFOV', '4x4', '4x4-rate8', '7x7'\)"):
        DeepLabV1Head(2, 3, variant='5x5')
    with pytest.raises(ValueError, match='output_stride=16 is not possible'):
        segmentor(dict(type='DeepLabResNet', depth=50, base_channels=4), dict(type='DeepLabV1Head'), output_stride=16)


def test_msc_takes_no_further_scales():
    with pytest.raises(ValueError, match=r'DeepLabV1MScHead takes several scales from its taps; .*\(1.0,\)'):
        segmentor(
            dict(type='DeepLabVGG'), dict(type='DeepLabV1MScHead'), output_stride=8, multi_scale_inputs=(1.0, 0.5)
        )
