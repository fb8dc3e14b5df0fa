"""DeepLab with a CRF: its logits against those of DenseCRF on the original picture, its losses and its parameters."""

import copy

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.optim import build_optim_wrapper
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from model_helpers import gradients_missing, randomize, segmentor

import mmseg_deeplab.plugin  # noqa: F401
from mmseg_deeplab.checkpoints.strict import check_fit, load_state_dict
from mmseg_deeplab.crf import DenseCRF
from mmseg_deeplab.models.segmentor import keeping_logits

MOBILENET = dict(type='DeepLabMobileNetV2', width=0.25)
V3 = dict(type='DeepLabV3Head', channels=8, rates=(2,))
V2 = dict(type='DeepLabV2Head')
KERNELS = dict(pos_w=2, pos_xy_std=2, bi_w=3, bi_xy_std=20, bi_rgb_std=12)
CAFFE = dict(type='SegDataPreProcessor', mean=[104.008, 116.669, 122.675], std=[1, 1, 1], pad_val=0, seg_pad_val=255)
IMAGENET = dict(
    type='SegDataPreProcessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True,
    pad_val=0, seg_pad_val=255,
)  # fmt: skip


def make_model(head=V3, preprocessor=IMAGENET, size=(49, 65), num_classes=4, crf=None, **kwargs):
    torch.manual_seed(0)
    preprocessor = dict(preprocessor, size=size, test_cfg=dict(size=size))
    crf = dict(KERNELS, iterations=4, **(crf or {}))
    model = segmentor(MOBILENET, head, num_classes, data_preprocessor=preprocessor, crf=crf, **kwargs)
    return randomize(model)


def make_batch(*sizes, classes=4, **meta):
    """Pictures BGR (3, H, W), smooth with some noise, and samples with random labels."""
    rng = np.random.default_rng(0)
    pictures, samples = [], []
    for height, width in sizes:
        y, x = np.mgrid[:height, :width]
        picture = np.stack([3 * x, 2 * y, 60 * (x > width / 2)]) + rng.integers(0, 20, (3, height, width))
        pictures.append(torch.from_numpy(picture.astype(np.uint8)))
        truth = torch.from_numpy(rng.integers(0, classes, (1, height, width)))
        shape = dict(ori_shape=(height, width), img_shape=(height, width))
        samples.append(SegDataSample(gt_sem_seg=PixelData(data=truth), metainfo={**shape, **meta}))
    return dict(inputs=pictures, data_samples=samples)


def losses_of(model, batch):
    return model.loss(**model.data_preprocessor(copy.deepcopy(batch), training=True))


def plain(model):
    """The same network without its CRF."""
    model = copy.deepcopy(model)
    model.crf = None
    return model


@pytest.mark.parametrize('preprocessor', [IMAGENET, CAFFE, dict(type='SegDataPreProcessor', pad_val=0)])
@pytest.mark.parametrize('size', [(49, 65), (40, 51)], ids=['whole', 'padded'])
def test_prediction_is_that_of_the_crf_on_the_picture(preprocessor, size):
    """Whatever the normalisation, and whether the preprocessor pads or not: the picture comes back to the last bit."""
    model = make_model(preprocessor=preprocessor, keep_seg_logits=True).eval()
    batch = make_batch(size)
    with torch.no_grad():
        (refined,) = model.test_step(copy.deepcopy(batch))
        (before,) = plain(model).test_step(copy.deepcopy(batch))
    picture = batch['inputs'][0].flip(0).permute(1, 2, 0).numpy()
    expected = DenseCRF(iterations=4, input='logits', **KERNELS)(picture, before.seg_logits.data)
    torch.testing.assert_close(refined.seg_logits.data.softmax(0), expected, atol=2e-5, rtol=0)
    assert (refined.pred_sem_seg.data != before.pred_sem_seg.data).float().mean() > 0.01
    assert torch.equal(refined.pred_sem_seg.data[0], refined.seg_logits.data.argmax(0))


def test_windows_are_refined_as_one_picture():
    model = make_model(test_cfg=ConfigDict(mode='slide', crop_size=(33, 33), stride=(16, 16))).eval()
    batch = make_batch((49, 65))
    with torch.no_grad():
        (refined,) = model.test_step(copy.deepcopy(batch))
        with keeping_logits('full'):
            (before,) = plain(model).test_step(copy.deepcopy(batch))
    picture = batch['inputs'][0].flip(0).permute(1, 2, 0).numpy()
    expected = DenseCRF(iterations=4, input='logits', **KERNELS)(picture, before.seg_logits.data)
    torch.testing.assert_close(refined.seg_logits.data.softmax(0), expected, atol=2e-5, rtol=0)


def test_one_output_channel_is_two_classes():
    head = dict(V3, out_channels=1, threshold=0.5, loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=True))
    model = make_model(head, num_classes=2).eval()
    batch = make_batch((49, 65), classes=2)
    with torch.no_grad():
        (refined,) = model.test_step(copy.deepcopy(batch))
        (before,) = plain(model).test_step(copy.deepcopy(batch))
    one = before.seg_logits.data
    picture = batch['inputs'][0].flip(0).permute(1, 2, 0).numpy()
    expected = DenseCRF(iterations=4, **KERNELS)(picture, torch.cat([1 - one, one]))
    torch.testing.assert_close(refined.seg_logits.data[0], expected[1], atol=1e-4, rtol=0)
    losses_of(model, batch)['refined.loss_ce'].backward()
    assert model.crf.layer.bi_w.grad != 0


@pytest.mark.parametrize('head', [V3, V2, dict(type='DeepLabV1Head')], ids=['v3', 'v2', 'v1'])
@pytest.mark.parametrize('sizes', [[(49, 65)] * 2, [(49, 65), (40, 51)]], ids=['whole', 'padded'])
def test_loss_is_that_of_the_refined_logits_and_the_plain_one(head, sizes):
    stride = 8 if head is not V3 else 16
    model = make_model(head, output_stride=stride, size=(49, 65), crf=dict(plain_weight=0.3)).eval()
    batch = make_batch(*sizes)
    losses = losses_of(model, batch)
    without = losses_of(plain(model), batch)
    assert losses['decode.loss_ce'].item() == pytest.approx(0.3 * without['decode.loss_ce'].item(), rel=1e-5)
    assert losses['decode.acc_seg'] == without['decode.acc_seg']
    model.keep_seg_logits = True
    total = labelled = 0
    for picture, sample, size in zip(batch['inputs'], batch['data_samples'], sizes, strict=True):
        one = model.test_step(dict(inputs=[picture], data_samples=[SegDataSample(metainfo=sample.metainfo)]))[0]
        truth = sample.gt_sem_seg.data[0]
        total += torch.nn.functional.cross_entropy(one.seg_logits.data[None], truth[None], reduction='sum').item()
        labelled += size[0] * size[1]
    assert losses['refined.loss_ce'].item() == pytest.approx(total / labelled, rel=1e-3)


@pytest.mark.parametrize('compat', ['number', 'vector', 'matrix'])
def test_network_and_crf_get_a_gradient(compat):
    model = make_model(crf=dict(compat=compat, plain_weight=0)).train()
    sum(value for name, value in losses_of(model, make_batch((49, 65), (49, 65))).items() if 'loss' in name).backward()
    assert not [name for name in gradients_missing(model) if name.startswith(('crf', 'decode_head.conv_seg'))]
    fixed = make_model(crf=dict(compat=compat, learn=False))
    assert not [p for p in fixed.crf.parameters() if p.requires_grad] and len(list(fixed.crf.parameters())) == 2


def test_multi_scale_inputs_and_auxiliary_heads_keep_their_losses():
    model = make_model(V2, output_stride=8, multi_scale_inputs=(1.0, 0.75, 0.5), crf=dict(plain_weight=0.5)).eval()
    batch = make_batch((49, 65))
    losses, without = losses_of(model, batch), losses_of(plain(model), batch)
    assert set(losses) == {*without, 'refined.loss_ce', 'refined.acc_seg'}
    for name in without:
        weight = 0.5 if 'loss' in name else 1
        assert losses[name].item() == pytest.approx(weight * without[name].item(), rel=1e-5), name
    aux = dict(type='FCNHead', in_channels=24, in_index=2, channels=4, num_classes=4, norm_cfg=dict(type='BN'))
    channels = make_model().backbone.feature_channels
    aux.update(in_channels=channels[1], in_index=1, num_convs=1, concat_input=False)
    model = make_model(auxiliary_head=aux).eval()
    losses, without = losses_of(model, batch), losses_of(plain(model), batch)
    assert losses['aux.loss_ce'].item() == pytest.approx(without['aux.loss_ce'].item(), rel=1e-5)


def test_test_time_augmentation_merges_refined_views():
    from mmseg_deeplab.models import DeepLabTTA

    model = make_model().eval()
    tta = DeepLabTTA(model)
    batch = make_batch((49, 65))
    flipped = dict(copy.deepcopy(batch), inputs=[batch['inputs'][0].flip(2)])
    flipped['data_samples'][0].set_metainfo(dict(flip=True, flip_direction='horizontal'))
    views = [copy.deepcopy(batch), flipped]
    with torch.no_grad():
        alone = [model.test_step(copy.deepcopy(view))[0].seg_logits.data.softmax(0) for view in views]
        data = {key: [view[key] for view in views] for key in ('inputs', 'data_samples')}
        (merged,) = tta.test_step(data)
    torch.testing.assert_close(merged.seg_logits.data.exp(), sum(alone) / 2, atol=1e-5, rtol=0)


def test_its_parameters_are_a_group_of_their_own():
    wrapper = dict(
        constructor='DeepLabOptimWrapperConstructor',
        optimizer=dict(type='SGD', lr=0.01, weight_decay=1e-4),
        paramwise_cfg=dict(crf_lr_mult=50),
    )
    model = make_model(crf=dict(compat='vector'))
    groups = build_optim_wrapper(model, wrapper).optimizer.param_groups
    (crf,) = [group for group in groups if any(p is model.crf.layer.pos_w for p in group['params'])]
    assert [p is q for p, q in zip(crf['params'], model.crf.layer.parameters(), strict=True)] == [True, True]
    assert (crf['lr'], crf['weight_decay']) == (0.5, 0)
    assert groups[0]['lr'] == 0.01  # what the log shows


def test_checkpoints_hold_the_weights_of_the_crf():
    model, other = make_model(), make_model()
    with torch.no_grad():
        model.crf.layer.bi_w.fill_(1.5)
    assert [key for key in model.state_dict() if key.startswith('crf')] == ['crf.layer.pos_w', 'crf.layer.bi_w']
    load_state_dict(other, model.state_dict())
    assert other.crf.layer.bi_w == 1.5


def test_a_checkpoint_without_a_crf_fits_but_to_resume_and_the_other_way_round_never():
    model = make_model()
    network = {key: value for key, value in model.state_dict().items() if not key.startswith('crf')}
    load_state_dict(model, network)
    assert model.crf.layer.bi_w == 3
    with pytest.raises(ValueError, match='2 parameters are missing'):
        check_fit(model, network, 'the checkpoint', own_crf=False)
    half = dict(network, **{'crf.layer.pos_w': model.crf.layer.pos_w})
    with pytest.raises(ValueError, match='1 parameters are missing'):
        load_state_dict(model, half)
    without = segmentor(MOBILENET, V3, 4)
    with pytest.raises(ValueError, match='2 unexpected'):
        load_state_dict(without, model.state_dict())


@pytest.mark.parametrize(
    ('crf', 'message'),
    [
        (dict(iterations=-1), 'iterations=-1'),
        (dict(iteration=3), "model.crf: .*unexpected keyword argument 'iteration'"),
        (dict(plain_weight=-1), 'plain_weight=-1: expected a number >= 0'),
        (dict(num_classes=7), 'num_classes=7, but the head has 4'),
        (dict(pos_w=[1, 2]), r'pos_w has shape \(2,\), but there are 4 classes'),
    ],
)
def test_what_cannot_be_is_refused(crf, message):
    with pytest.raises(ValueError, match=message):
        segmentor(MOBILENET, V3, 4, crf=crf)
