"""Several labels a pixel: each class learnt and decided for itself, by a sigmoid."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.config import ConfigDict
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from model_helpers import randomize

from mmseg_deeplab.errors import UserError

BACKBONE = dict(type='DeepLabMobileNetV2', width=0.25)
HEAD = dict(type='DeepLabV3PlusHead', channels=8, num_classes=3, multi_label=True)


def network(head=None, **options):
    torch.manual_seed(0)
    options = {'type': 'DeepLab', 'data_preprocessor': dict(type='SegDataPreProcessor'), **options}
    return randomize(MODELS.build(dict(backbone=BACKBONE, decode_head={**HEAD, **(head or {})}, **options)))


def samples(labels):
    """Samples with labels (N, K, H, W)."""
    found = []
    for each in labels:
        sample = SegDataSample(gt_sem_seg=PixelData(data=each))
        size = tuple(each.shape[1:])
        sample.set_metainfo(dict(ori_shape=size, img_shape=size, padding_size=(0, 0, 0, 0)))
        found.append(sample)
    return found


def random_labels(*shape):
    labels = torch.randint(2, shape, generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    labels[:, :, :4] = 255  # void for all classes
    labels[:, 1, :, -5:] = 255  # for one
    return labels


def test_the_loss_is_pytorchs_over_what_is_known():
    model = network()
    logits = torch.randn(2, 3, 33, 41, generator=torch.Generator().manual_seed(2), requires_grad=True)
    labels = random_labels(2, 3, 33, 41)
    losses = model.decode_head.loss_by_feat(logits, samples(labels))
    known = labels != 255
    expected = F.binary_cross_entropy_with_logits(logits[known], labels[known].float())
    torch.testing.assert_close(losses['loss_ce'], expected)
    (gradient,) = torch.autograd.grad(losses['loss_ce'], logits)
    assert not gradient[~known].any() and gradient[known].all()
    right = (logits[known] > 0) == labels[known].bool()
    torch.testing.assert_close(losses['acc_seg'], 100 * right.float().mean())


@pytest.mark.parametrize(
    'loss',
    [
        dict(type='DiceLoss', use_sigmoid=True),
        dict(type='FocalLoss'),
        dict(type='TverskyLoss'),
        dict(type='LovaszLoss', loss_type='binary', per_image=True),
        dict(type='OhemCrossEntropy', min_kept=10),
        dict(type='SegCrossEntropy', use_sigmoid=True, class_weight=[1.0, 4.0]),
    ],
)
def test_other_losses_of_two_classes_are_those_of_each_class(loss):
    several = network(dict(loss_decode=loss)).decode_head
    single = network(
        dict(loss_decode=loss, multi_label=False, num_classes=2, out_channels=1, threshold=0.5)
    ).decode_head
    logits, labels = torch.randn(1, 3, 17, 17), random_labels(1, 3, 17, 17)
    found = several.loss_by_feat(logits, samples(labels))
    as_pictures = samples(labels[0][:, None].long())
    expected = single.loss_by_feat(logits[0][:, None], as_pictures)
    assert found.keys() == expected.keys()
    for name in found:
        torch.testing.assert_close(found[name], expected[name])


@pytest.mark.parametrize('keep', [True, False])
@pytest.mark.parametrize('mode', ['whole', 'slide'])
def test_predicted_is_what_is_above_the_threshold(keep, mode):
    test_cfg = ConfigDict(mode=mode, **(dict(crop_size=(65, 65), stride=(32, 32)) if mode == 'slide' else {}))
    model = network(dict(threshold=0.3), keep_seg_logits=keep, test_cfg=test_cfg).eval()
    images = torch.randn(1, 3, 70, 90)
    found = samples(random_labels(1, 3, 70, 90))
    with torch.no_grad():
        logits = model.inference(images, [found[0].metainfo])
        (sample,) = model.predict(images, found)
    expected = logits[0].sigmoid() > 0.3
    labels = sample.pred_sem_seg.data
    assert labels.dtype == torch.uint8 and labels.shape == (3, 70, 90)
    assert expected.any() and not expected.all()
    assert ((labels == 1) != expected).float().mean() < 1e-3  # rounding at the threshold
    assert keep == ('seg_logits' in sample)


def test_views_are_averaged_as_probabilities():
    model = network().eval()
    tta = MODELS.build(dict(type='DeepLabTTA', module=model))
    views = []
    for _ in range(3):
        sample = SegDataSample(seg_logits=PixelData(data=torch.randn(3, 8, 9)))
        views.append(sample)
    expected = torch.stack([view.seg_logits.data.sigmoid() for view in views]).mean(0)
    (merged,) = tta.merge_preds([views])
    torch.testing.assert_close(merged.seg_logits.data.sigmoid(), expected)
    assert torch.equal(merged.pred_sem_seg.data, (expected > 0.5).to(torch.uint8))


@pytest.mark.parametrize(
    ('head', 'options', 'told'),
    [
        (
            dict(loss_decode=dict(type='SegCrossEntropy')),
            {},
            'multi_label=True computes the loss of each class.*softmax',
        ),
        (dict(loss_decode=dict(type='DiceLoss', use_sigmoid=False)), {}, 'softmax over the classes'),
        (dict(loss_decode=dict(type='LovaszLoss')), {}, 'softmax'),
        (dict(loss_decode=dict(type='SegCrossEntropy', use_sigmoid=True, class_weight=[1, 1, 1])), {}, '3 entries'),
        (dict(out_channels=1), {}, 'multi_label=True has a channel for each'),
        (dict(num_classes=1), {}, 'one class alone is two classes'),
        (dict(threshold=1.5), {}, 'is a probability'),
        (dict(sampler=dict(type='OHEMPixelSampler')), {}, 'sampler compares the classes'),
        ({}, dict(crf=dict(iterations=1)), 'model.crf gives each pixel one label'),
        (
            {},
            dict(auxiliary_head=dict(type='FCNHead', in_channels=24, channels=8, num_classes=3, in_index=1)),
            'must both have multi_label=True',
        ),
    ],
)
def test_what_does_not_go_with_it_is_refused(head, options, told):
    with pytest.raises(UserError, match=told):
        network(head, **options)


def test_masks_and_head_must_agree():
    image = samples(random_labels(1, 3, 33, 33)[:, :1])
    with pytest.raises(UserError, match='1 labels a pixel, but decode_head.multi_label=True with 3 classes takes 3'):
        network().decode_head.loss_by_feat(torch.randn(1, 3, 33, 33), image)
    with pytest.raises(UserError, match='3 labels a pixel, but decode_head.multi_label=False'):
        one = network(dict(multi_label=False)).decode_head
        one.loss_by_feat(torch.randn(1, 3, 33, 33), samples(random_labels(1, 3, 33, 33)))


def test_another_segmentor_would_keep_the_best_class_alone():
    own = network()
    head = {**HEAD, 'in_channels': own.decode_head.in_channels, 'output_stride': 16}
    head.update(low_level_channels=own.backbone.feature_channels[own.backbone.low_level_index], low_level_index=0)
    settings = dict(type='EncoderDecoder', backbone={**BACKBONE, 'output_stride': 16}, decode_head=head)
    model = MODELS.build({**settings, 'test_cfg': ConfigDict(mode='whole')}).eval()
    with pytest.raises(UserError, match="needs model.type='DeepLab'"), torch.no_grad():
        model.predict(torch.randn(1, 3, 65, 65))


def test_it_learns_labels_that_overlap():
    """A pixel is bright, and at the left: two labels, of which any pair occurs."""
    model = network(dict(num_classes=2), norm_cfg=dict(type='BN')).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    rng = np.random.default_rng(0)
    for _ in range(40):
        bright = torch.from_numpy(rng.integers(0, 2, (4, 1, 3, 3))).float()
        bright = F.interpolate(bright, (65, 65), mode='nearest')
        green = torch.from_numpy(rng.integers(0, 2, (4, 1, 3, 3))).float()
        green = F.interpolate(green, (65, 65), mode='nearest')
        images = torch.cat([bright, green, 0 * green], 1) * 2 - 1
        labels = torch.cat([bright, green], 1).to(torch.uint8)
        losses = model.loss(images, samples(labels))
        optimizer.zero_grad()
        losses['decode.loss_ce'].backward()
        optimizer.step()
    assert losses['decode.acc_seg'] > 85, losses
