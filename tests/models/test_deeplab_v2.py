"""DeepLab v2: its ResNet, the sum of ASPP, and multi-scale inputs with their four losses."""

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config, ConfigDict
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from model_helpers import gradients_missing, rates_of, segmentor

from mmseg_deeplab.models import DeepLabTTA, DeepLabV2Head
from mmseg_deeplab.models.segmentor import keeping_logits

SCALES = (1.0, 0.75, 0.5)
RESNET = dict(
    type='DeepLabResNet', depth=50, base_channels=4, strided_conv='1x1', rate_of_lost_stride='new', ceil_mode=True
)


def sample(height, width, **meta):
    data = SegDataSample(gt_sem_seg=PixelData(data=torch.randint(0, 3, (1, height, width))))
    shape = (height, width)
    data.set_metainfo(dict(ori_shape=shape, img_shape=shape, pad_shape=shape, **meta))
    return data


def model(**kwargs):
    torch.manual_seed(0)
    kwargs = {'output_stride': 8, 'multi_scale_inputs': SCALES, **kwargs}
    return segmentor(RESNET, dict(type='DeepLabV2Head'), **kwargs)


def resize(maps, size):
    return F.interpolate(maps, size, mode='bilinear', align_corners=True)


@pytest.fixture(scope='module')
def caffe(repo):
    """The ResNet-101 model of the config, without memory."""
    cfg = Config.fromfile(repo / 'configs/_base_/models/deeplabv2_r101.py').model
    del cfg.type, cfg.data_preprocessor
    with torch.device('meta'):
        return segmentor(cfg.pop('backbone'), cfg.pop('decode_head'), num_classes=21, **cfg)


def test_resnet_is_that_of_caffe(caffe):
    backbone = caffe.backbone
    # All units of res4 have rate 2 and all of res5 rate 4; res2 and res3 have 1.
    assert [rates_of(block) for block in (backbone.layer1, backbone.layer2, backbone.layer3, backbone.layer4)] == [
        [1] * 3,
        [1] * 4,
        [2] * 23,
        [4] * 3,
    ]
    assert backbone.layer2[0].conv1.stride == (2, 2)
    assert backbone.layer2[0].conv2.stride == (1, 1)
    assert backbone.maxpool.ceil_mode


def test_logits_of_the_three_scales_have_the_sizes_of_caffe(caffe):
    seen = []
    handle = caffe.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape[2:])))
    with torch.device('meta'):
        logits = caffe._scale_logits(torch.empty(1, 3, 321, 321))
    handle.remove()
    assert seen == [(321, 321), (241, 241), (161, 161)]
    assert [tuple(part.shape) for part in logits] == [(1, 21, side, side) for side in (41, 31, 21)]


def test_batch_norm_is_frozen_with_scale_and_shift(caffe):
    trainable = {n for n, p in caffe.backbone.named_parameters() if p.requires_grad}
    assert len(trainable) == 104  # the convolutions: the stem, 33 units of 3, 4 shortcuts
    assert all('bn' not in name and 'downsample.1' not in name for name in trainable)
    caffe.train()
    assert not caffe.backbone.bn1.training


def test_aspp_sums_plain_convolutions_with_their_rates():
    head = DeepLabV2Head(1, 3)
    for i, conv in enumerate(head.classifiers):
        torch.nn.init.constant_(conv.weight, 10**i)
        torch.nn.init.constant_(conv.bias, 0.25)
    impulse = torch.zeros(1, 1, 65, 65)
    impulse[..., 32, 32] = 1
    with torch.no_grad():
        out = head((impulse,))[0, 0] - 1  # four biases
    assert out[32, 32] == 1111
    assert [out[32 + rate, 32 - rate].item() for rate in (6, 12, 18, 24)] == [1, 10, 100, 1000]
    assert out.count_nonzero() == 4 * 8 + 1


def test_vgg_branches_have_fc6_and_fc7_of_their_own():
    head = DeepLabV2Head(2, 3, rates=(2, 4, 8, 12), fc_channels=8).eval()
    assert [branch.fc6.dilation for branch in head.branches] == [(2, 2), (4, 4), (8, 8), (12, 12)]
    x = torch.randn(1, 2, 9, 9)
    with torch.no_grad():
        expected = torch.zeros(1, 3, 9, 9)
        for branch, fc8, rate in zip(head.branches, head.classifiers, (2, 4, 8, 12), strict=True):
            fc6 = F.conv2d(x, branch.fc6.weight, branch.fc6.bias, padding=rate, dilation=rate).relu()
            fc7 = F.conv2d(fc6, branch.fc7.weight, branch.fc7.bias).relu()
            expected += F.conv2d(fc7, fc8.weight, fc8.bias)
        torch.testing.assert_close(head((x,)), expected)
    head.train()
    assert sum(isinstance(m, torch.nn.Dropout) and m.p == 0.5 for m in head.modules()) == 8


def test_vgg_branches_start_from_one_fc6_and_fc7(tmp_path):
    state = {
        'decode_head.fc6.weight': torch.randn(8, 2, 3, 3),
        'decode_head.fc6.bias': torch.randn(8),
        'decode_head.fc7.weight': torch.randn(8, 8, 1, 1),
        'decode_head.fc7.bias': torch.randn(8),
    }
    torch.save(state, tmp_path / 'vgg16.pth')
    cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'vgg16.pth'), prefix='decode_head')
    head = DeepLabV2Head(2, 3, fc_channels=8, init_cfg=cfg)
    head.init_weights()
    for branch in head.branches:
        assert branch.fc6.weight.equal(state['decode_head.fc6.weight'])
        assert branch.fc7.bias.equal(state['decode_head.fc7.bias'])
    with pytest.raises(ValueError, match='without fc_channels has no pretrained layer'):
        DeepLabV2Head(2, 3, init_cfg=cfg)


@pytest.mark.parametrize(
    ('rates', 'kernels'), [((), [(1, 1)]), ((12,), [(3, 3)]), ((6, 12, 18, 24), [(3, 3)] * 4), ((2, 4), [(3, 3)] * 2)]
)
def test_rates_choose_the_classifier(rates, kernels):
    head = DeepLabV2Head(2, 3, rates=rates)
    assert [conv.kernel_size for conv in head.classifiers] == kernels
    assert [conv.dilation[0] for conv in head.classifiers] == list(rates or (1,))
    assert head((torch.zeros(1, 2, 5, 5),)).shape == (1, 3, 5, 5)
    head.init_weights()
    assert all(not conv.bias.any() and conv.weight.std() < 0.03 for conv in head.classifiers)


def test_scales_are_fused_by_their_maximum():
    full = torch.tensor([[0.0, 5.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 9.0]])[None, None]
    half = torch.tensor([[2.0, 4.0], [6.0, 8.0]])[None, None]  # resized: [2 3 4], [4 5 6], [6 7 8]
    third = torch.tensor([[4.5, -9.0], [-9.0, -9.0]])[None, None]
    expected = torch.tensor([[4.5, 5.0, 4.0], [4.0, 5.0, 6.0], [6.0, 7.0, 9.0]])[None, None]
    torch.testing.assert_close(model()._fuse([full, half, third]), expected)


def test_the_four_losses_are_those_of_caffe():
    net = model()
    raw = []
    forward = net.decode_head.forward
    net.decode_head.forward = lambda inputs: raw.append(forward(inputs)) or raw[-1]
    data = [sample(65, 97) for _ in range(2)]
    losses = net.loss(torch.randn(2, 3, 65, 97), data)
    assert [tuple(r.shape[2:]) for r in raw] == [(9, 13), (7, 10), (5, 7)]
    labels = torch.stack([d.gt_sem_seg.data[0] for d in data])
    one, three_quarters, half = raw
    three_quarters = resize(three_quarters, (9, 13))
    fused = torch.stack([one, three_quarters, resize(half, (9, 13))]).amax(0)
    by_8, by_16 = labels[:, ::8, ::8], labels[:, ::16, ::16]
    expected = {
        'decode.loss_ce': F.cross_entropy(fused, by_8),
        'decode_x1.loss_ce': F.cross_entropy(one, by_8),
        'decode_x0.75.loss_ce': F.cross_entropy(three_quarters, by_8),  # Interp cannot make 3/4 labels
        'decode_x0.5.loss_ce': F.cross_entropy(half, by_16),
    }
    assert {k for k in losses if 'loss' in k} == set(expected)
    for key, value in expected.items():
        torch.testing.assert_close(losses[key], value)
    total, _ = net.parse_losses(losses)
    torch.testing.assert_close(total, sum(expected.values()))
    total.backward()
    assert gradients_missing(net) == []


def test_all_ways_of_prediction_take_the_fused_logits():
    net = model().eval()
    x = torch.randn(1, 3, 65, 97)
    with torch.no_grad():
        fused = net._fuse(net._scale_logits(x))
        assert not fused.equal(net._scale_logits(x)[0])
        expected = resize(fused, (65, 97))[0]
        torch.testing.assert_close(net(x, mode='tensor'), fused)
        lean = net.predict(x, [sample(65, 97)])[0]
        net.keep_seg_logits = True
        full = net.predict(x, [sample(65, 97)])[0]
        net.test_cfg = ConfigDict(mode='slide', crop_size=(65, 65), stride=(32, 32))
        slide = net.predict(x, [sample(65, 97)])[0].seg_logits.data
        left, right = resize(net(x[..., :65]), (65, 65)), resize(net(x[..., 32:]), (65, 65))
    assert 'seg_logits' not in lean
    assert lean.pred_sem_seg.data[0].equal(expected.argmax(0).byte())
    torch.testing.assert_close(full.seg_logits.data, expected)
    torch.testing.assert_close(slide[..., :32], left[0, ..., :32])
    torch.testing.assert_close(slide[..., 32:65], (left[0, ..., 32:] + right[0, ..., :33]) / 2)


def test_test_time_augmentation_averages_the_fused_views():
    net = model().eval()
    tta = DeepLabTTA(net)
    x = torch.randn(1, 3, 65, 65)
    views = [x, x.flip(3)]
    metas = [dict(flip=False), dict(flip=True, flip_direction='horizontal')]
    with torch.no_grad():
        expected = sum(
            resize(net(view), (65, 65)).flip([3] if meta['flip'] else []).softmax(1)
            for view, meta in zip(views, metas, strict=True)
        )
        with keeping_logits('full'):
            samples = [net.predict(view, [sample(65, 65, **meta)]) for view, meta in zip(views, metas, strict=True)]
        merged = tta.merge_preds([[s[0] for s in samples]])[0]
    torch.testing.assert_close(merged.seg_logits.data.exp(), expected[0] / 2)


def test_a_single_scale_is_an_ordinary_segmentor():
    net = model(multi_scale_inputs=(1.0,))
    losses = net.loss(torch.randn(2, 3, 33, 33), [sample(33, 33) for _ in range(2)])
    assert {k for k in losses if 'loss' in k} == {'decode.loss_ce'}


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(output_stride=16), 'output_stride=16 is not possible .* every 8th label'),
        (dict(multi_scale_inputs=(0.5, 1.0)), r'multi_scale_inputs=\(0.5, 1.0\) must be 1.0 and then'),
        (dict(multi_scale_inputs=()), 'multi_scale_inputs'),
        (dict(multi_scale_inputs=(1.0, 1.5)), 'multi_scale_inputs'),
        (dict(auxiliary_head=dict(type='FCNHead')), 'leave auxiliary_head out'),
    ],
)
def test_what_cannot_be_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        model(**arguments)
    with pytest.raises(ValueError, match=r'rates=\(0,\)'):
        DeepLabV2Head(2, 3, rates=(0,))
