"""DeepLab: one output stride, frozen batch norm, and predictions that are MMSegmentation's with less memory."""

import copy
from functools import partial

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.structures import PixelData
from mmseg.models.segmentors import EncoderDecoder
from mmseg.structures import SegDataSample
from model_helpers import randomize, segmentor
from torch.nn.modules.batchnorm import _BatchNorm

RESNET = dict(type='DeepLabResNet', depth=50, base_channels=4)
MOBILENET = dict(type='DeepLabMobileNetV2', width=0.25)
V3 = dict(type='DeepLabV3Head', channels=8)
V3PLUS = dict(type='DeepLabV3PlusHead', channels=8, decoder_channels=8)

METAS = {
    'same size': dict(ori_shape=(33, 49), img_shape=(33, 49)),
    'padded': dict(ori_shape=(30, 41), img_shape=(30, 41), img_padding_size=(0, 8, 0, 3)),
    'padded, other key': dict(ori_shape=(30, 41), img_shape=(30, 41), padding_size=(0, 8, 0, 3)),
    'resized': dict(ori_shape=(70, 100), img_shape=(33, 49)),
    'padded and resized': dict(ori_shape=(60, 82), img_shape=(30, 41), img_padding_size=(0, 8, 0, 3)),
    'flipped': dict(ori_shape=(33, 49), img_shape=(33, 49), flip=True, flip_direction='horizontal'),
    'flipped vertically': dict(ori_shape=(33, 49), img_shape=(33, 49), flip=True, flip_direction='vertical'),
    'all': dict(
        ori_shape=(45, 60), img_shape=(30, 41), img_padding_size=(2, 6, 1, 2), flip=True, flip_direction='horizontal'
    ),
}


def _samples(*metas: dict) -> list[SegDataSample]:
    return [SegDataSample(metainfo=copy.deepcopy(meta)) for meta in metas]


@pytest.mark.parametrize('num_classes', [21, 150, 300])
@pytest.mark.parametrize('name', METAS)
def test_labels_are_those_of_mmsegmentation(name, num_classes):
    torch.manual_seed(0)
    model = segmentor(MOBILENET, dict(V3, rates=(2,)), num_classes)
    logits = torch.randn(2, num_classes, 5, 7)
    inputs = torch.zeros(2, 3, 33, 49)
    model._forward = lambda *_: logits
    meta = METAS[name]
    full = torch.nn.functional.interpolate(logits, (33, 49), mode='bilinear', align_corners=True)
    stock = EncoderDecoder.postprocess_result(model, full, _samples(meta, meta))
    for mine, theirs in zip(model.predict(inputs, _samples(meta, meta)), stock, strict=True):
        assert mine.pred_sem_seg.data.dtype == (torch.uint8 if num_classes <= 256 else torch.int16)
        assert mine.pred_sem_seg.shape == meta['ori_shape']
        assert 'seg_logits' not in mine
        agree = mine.pred_sem_seg.data.long() == theirs.pred_sem_seg.data
        assert agree.all(), f'{(~agree).sum()} of {agree.numel()} pixels differ'


@pytest.mark.parametrize(('backbone', 'head'), [(RESNET, V3PLUS), (MOBILENET, V3)])
def test_the_whole_network_predicts_what_mmsegmentation_would(backbone, head):
    torch.manual_seed(0)
    model = randomize(segmentor(backbone, head, num_classes=11)).eval()
    inputs = torch.randn(2, 3, 65, 97)
    meta = dict(ori_shape=(80, 111), img_shape=(60, 90), pad_shape=(65, 97), img_padding_size=(0, 7, 0, 5))
    with torch.no_grad():
        mine = model.predict(inputs, _samples(meta, meta))
        model.encode_decode = partial(EncoderDecoder.encode_decode, model)
        stock = EncoderDecoder.predict(model, inputs, _samples(meta, meta))
        del model.encode_decode
        model.keep_seg_logits = True
        kept = model.predict(inputs, _samples(meta, meta))
    for lean, theirs, full in zip(mine, stock, kept, strict=True):
        assert len(lean.pred_sem_seg.data.unique()) > 1
        torch.testing.assert_close(lean.pred_sem_seg.data.long(), theirs.pred_sem_seg.data)
        assert full.seg_logits.data.shape == (11, 80, 111)
        torch.testing.assert_close(full.seg_logits.data, theirs.seg_logits.data)
        torch.testing.assert_close(full.pred_sem_seg.data, theirs.pred_sem_seg.data)


@pytest.mark.parametrize('head', [V3PLUS, V3, dict(V3, align_corners=False)])
@pytest.mark.parametrize('padding', ['none', 'cells'])
@torch.no_grad()
def test_logits_at_full_size_by_the_rules_of_others(head, padding):
    """'none': to the size of the image. 'cells': each cell as many pixels as it is long, cut to the image."""
    torch.manual_seed(0)
    model = randomize(segmentor(MOBILENET, head, num_classes=11, test_padding=padding)).eval()
    for height, width in ((65, 90), (64, 96)):
        inputs = torch.randn(1, 3, height, width)
        coarse = model.decode_head(model.backbone(inputs))
        stride = 4 if head is V3PLUS else 16
        size = (height, width) if padding == 'none' else [cells * stride for cells in coarse.shape[2:]]
        corners = head.get('align_corners', True)
        full = torch.nn.functional.interpolate(coarse, tuple(size), mode='bilinear', align_corners=corners)
        full = full[..., :height, :width]
        torch.testing.assert_close(model.encode_decode(inputs, [{}]), full)
        (sample,) = model.predict(inputs, _samples(dict(ori_shape=(height, width), img_shape=(height, width))))
        assert torch.equal(sample.pred_sem_seg.data[0], full[0].argmax(0).to(torch.uint8))


def test_scaled_inputs_by_factor():
    """At test rounded down and at exact steps; in training those whose cells lie on labels."""
    model = segmentor(RESNET, V3, multi_scale_inputs=(1.0, 0.75, 0.5), scaled_size='factor').eval()
    seen = []
    model.extract_feat = lambda x: seen.append(x)
    ramp = torch.arange(93.0).expand(1, 3, 70, 93)
    list(model._scale_features(ramp))
    assert [tuple(x.shape[2:]) for x in seen] == [(70, 93), (52, 69), (35, 46)]
    model.decode_head.align_corners = model.align_corners = False
    seen.clear()
    list(model._scale_features(ramp))
    expected = (torch.arange(69) + 0.5) / 0.75 - 0.5  # half-pixel centres
    torch.testing.assert_close(seen[1][0, 0, 0, 1:-1], expected[1:-1])
    model.train()
    seen.clear()
    list(model._scale_features(torch.zeros(1, 3, 65, 97)))
    assert [tuple(x.shape[2:]) for x in seen] == [(65, 97), (49, 73), (33, 49)]


def test_logits_stay_on_the_pixels_that_they_were_computed_for():
    """A network that copies every 16th pixel gives a ramp back as it was, on sizes that are not 16 k + 1, too."""
    model = segmentor(MOBILENET, V3)
    model._forward = lambda inputs, *_: inputs[..., ::16, ::16]
    y, x = torch.meshgrid(torch.arange(60.0), torch.arange(90.0), indexing='ij')
    ramps = torch.stack([x, y, torch.full_like(x, 40.5)])[None]
    logits = model.encode_decode(ramps, [])
    assert logits.shape == ramps.shape
    torch.testing.assert_close(logits[..., :49, :81], ramps[..., :49, :81])  # the next copied pixels are padding
    (sample,) = model.predict(ramps, _samples(dict(ori_shape=(60, 90), img_shape=(60, 90))))
    assert torch.equal(sample.pred_sem_seg.data[0, :49, :81], ramps[0, :, :49, :81].argmax(0).to(torch.uint8))


def test_test_images_are_padded_where_corners_are_put_on_corners():
    image = torch.ones(1, 3, 60, 90)
    assert segmentor(MOBILENET, V3)._pad_to_grid(image).shape == (1, 3, 65, 97)
    assert segmentor(MOBILENET, V3, output_stride=8)._pad_to_grid(image).shape == (1, 3, 65, 97)
    assert segmentor(MOBILENET, V3, output_stride=32)._pad_to_grid(image[..., :66, :65]).shape == (1, 3, 65, 65)
    assert segmentor(MOBILENET, dict(V3, align_corners=False))._pad_to_grid(image) is image
    assert segmentor(MOBILENET, V3, test_padding='none')._pad_to_grid(image) is image
    three_scales = segmentor(MOBILENET, V3, output_stride=8, multi_scale_inputs=(1.0, 0.75, 0.5))
    assert three_scales._pad_to_grid(torch.ones(1, 3, 66, 97)).shape == (1, 3, 97, 97)  # 73 and 49 at the others


def test_ties_go_to_the_first_class_as_in_argmax():
    model = segmentor(MOBILENET, dict(V3, rates=(2,)), 21)
    model._forward = lambda *_: torch.zeros(1, 21, 3, 3)
    (sample,) = model.predict(torch.zeros(1, 3, 33, 33), _samples(dict(ori_shape=(33, 33))))
    assert not sample.pred_sem_seg.data.any()


def test_a_single_channel_takes_mmsegmentations_way():
    model = segmentor(MOBILENET, dict(V3, out_channels=1, threshold=0.3), num_classes=2).eval()
    with torch.no_grad():
        (sample,) = model.predict(torch.randn(1, 3, 33, 33), _samples(dict(ori_shape=(33, 33), img_shape=(33, 33))))
    assert sample.seg_logits.shape == (33, 33)


@pytest.mark.parametrize('window, stride', [((33, 33), (20, 20)), ((33, 49), (12, 40)), ((65, 33), (65, 33))])
@pytest.mark.parametrize(
    'meta',
    [
        dict(ori_shape=(49, 97)),
        dict(ori_shape=(44, 90), img_padding_size=(0, 7, 0, 5), flip=True, flip_direction='horizontal'),
        dict(ori_shape=(80, 111), img_padding_size=(0, 7, 0, 5)),
    ],
)
def test_sliding_windows_give_mmsegmentations_labels_without_logits(window, stride, meta):
    slide = ConfigDict(mode='slide', crop_size=window, stride=stride)
    model = randomize(segmentor(MOBILENET, V3, num_classes=11, test_cfg=slide)).eval()
    inputs = torch.randn(2, 3, 49, 97)
    with torch.no_grad():
        model.decode_head.conv_seg.bias -= model.encode_decode(inputs, []).mean((0, 2, 3))  # else one class wins
        mine = model.predict(inputs, _samples(meta, meta))
        model.keep_seg_logits = True
        kept = model.predict(inputs, _samples(meta, meta))
        model.slide_inference = partial(EncoderDecoder.slide_inference, model)
        stock = EncoderDecoder.predict(model, inputs, _samples(meta, meta))
    for lean, full, theirs in zip(mine, kept, stock, strict=True):
        assert len(theirs.pred_sem_seg.data.unique()) > 1
        assert (lean.pred_sem_seg.data == theirs.pred_sem_seg.data).float().mean() > 0.999  # but for ties in rounding
        assert ('seg_logits' in lean) == (meta['ori_shape'] == (80, 111))  # logits are resized, labels can't be
        torch.testing.assert_close(full.seg_logits.data, theirs.seg_logits.data, rtol=1e-4, atol=1e-5)


def test_windows_that_leave_pixels_out_are_refused():
    model = segmentor(MOBILENET, V3, test_cfg=ConfigDict(mode='slide', crop_size=(33, 33), stride=(33, 40))).eval()
    with pytest.raises(ValueError, match=r'stride=\(33, 40\).*crop_size=\(33, 33\)'):
        model.predict(torch.zeros(1, 3, 33, 97), _samples(dict(ori_shape=(33, 97))))


def _norms(part) -> list[_BatchNorm]:
    return [m for m in part.modules() if isinstance(m, _BatchNorm)]


@pytest.mark.parametrize('parts', [(), ('backbone',), ('backbone', 'decode_head')])
@pytest.mark.parametrize('affine', [True, False])
def test_frozen_batch_norm(parts, affine):
    torch.manual_seed(0)
    model = segmentor(MOBILENET, V3, frozen_bn=parts, frozen_bn_affine=affine).train()
    before = {name: value.clone() for name, value in model.named_buffers() if 'running' in name}
    model(torch.randn(2, 3, 65, 65))
    for part in ('backbone', 'decode_head'):
        frozen = part in parts
        norms = _norms(getattr(model, part))
        assert norms
        assert all(m.training != frozen for m in norms)
        assert all(p.requires_grad != (frozen and affine) for m in norms for p in m.parameters())
        moved = [not torch.equal(before[n], v) for n, v in model.named_buffers() if n in before and n.startswith(part)]
        assert any(moved) != frozen
    assert model.backbone.conv1.conv.weight.requires_grad
    model.eval()
    assert not any(m.training for m in model.modules())


def test_batch_of_one_image_trains_with_frozen_batch_norm():
    model = segmentor(MOBILENET, V3, frozen_bn=('backbone', 'decode_head')).train()
    assert model(torch.randn(1, 3, 65, 65)).isfinite().all()


def test_one_output_stride_and_norm_for_backbone_and_head():
    model = segmentor(RESNET, V3PLUS, output_stride=8, norm_cfg=dict(type='BN', momentum=3e-4, eps=2e-5))
    assert model.eval()(torch.zeros(1, 3, 65, 65)).shape[2:] == (17, 17)
    assert model.backbone(torch.zeros(1, 3, 65, 65))[-1].shape[2:] == (9, 9)
    assert model.decode_head.output_stride == 8
    assert {(m.momentum, m.eps) for m in _norms(model)} == {(3e-4, 2e-5)}


def test_a_part_changes_of_the_norm_what_it_states():
    def norms(**head):
        model = segmentor(MOBILENET, dict(V3, **head), norm_cfg=dict(type='BN', eps=1e-3, momentum=0.01))
        return {(type(m).__name__, m.eps) for m in model.decode_head.modules() if 'Norm' in type(m).__name__}

    assert norms() == {('BatchNorm2d', 1e-3)}
    assert norms(norm_cfg=dict(eps=1e-5)) == {('BatchNorm2d', 1e-5)}
    assert norms(norm_cfg=dict(type='GN', num_groups=2)) == {('GroupNorm', 1e-5)}


def test_the_same_weights_fit_at_every_output_stride():
    states = [segmentor(RESNET, V3PLUS, output_stride=s).state_dict() for s in (8, 16, 32)]
    assert states[0].keys() == states[1].keys() == states[2].keys()
    assert all(states[0][k].shape == states[2][k].shape for k in states[0])


def test_a_training_step_returns_the_loss():
    torch.manual_seed(0)
    model = segmentor(MOBILENET, V3PLUS)
    label = torch.randint(0, 3, (2, 1, 65, 65))
    samples = [SegDataSample(gt_sem_seg=PixelData(data=mask)) for mask in label]
    losses = model.loss(torch.randn(2, 3, 65, 65), samples)
    assert losses['decode.loss_ce'].isfinite()


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(frozen_bn=('neck',)), "choose of 'backbone' and 'decode_head'"),
        (
            dict(test_padding='zeros'),
            r"model.test_padding='zeros' is unknown; choose one of .'corners', 'none', 'cells'.",
        ),
        (dict(scaled_size='floor'), r"model.scaled_size='floor' is unknown; choose one of .'corners', 'factor'."),
        (dict(output_stride=4), r'choose one of \(8, 16, 32\)'),
        (dict(output_stride=12), r'choose one of \(8, 16, 32\)'),
    ],
)
def test_what_cannot_be_is_refused_with_what_can(arguments, message):
    with pytest.raises(ValueError, match=message):
        segmentor(RESNET, V3, **arguments)


def test_a_backbone_without_output_stride_is_refused_with_the_way_out():
    with pytest.raises(ValueError, match="ResNetV1c has no output_stride.*use model.type='EncoderDecoder'"):
        segmentor(dict(type='ResNetV1c', depth=18), V3)
