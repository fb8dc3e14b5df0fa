"""Pixels without a label take no part in any loss, whatever its name: against MMSegmentation's on the pixels alone."""

import warnings
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from mmengine.structures import PixelData
from mmseg.models.losses import CrossEntropyLoss, DiceLoss, HuasdorffDisstanceLoss, OhemCrossEntropy, TverskyLoss
from mmseg.models.losses.focal_loss import py_sigmoid_focal_loss
from mmseg.models.losses.kldiv_loss import KLDivLoss
from mmseg.models.losses.lovasz_loss import lovasz_hinge, lovasz_softmax
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from model_helpers import segmentor
from torch import nn

from mmseg_deeplab.models import DeepLabV3Head, SegCrossEntropy
from mmseg_deeplab.models.losses import check_loss, own_form

MOBILENET = dict(type='DeepLabMobileNetV2', width=0.25)
V3 = dict(type='DeepLabV3Head', channels=8)


def _focal(logits, label, **kwargs):
    """The function behind FocalLoss, whose own targets are wrong on a CPU."""
    flat = logits.permute(0, 2, 3, 1).flatten(0, 2)
    target = F.one_hot(label.flatten(), max(flat.shape[1], 2))
    return py_sigmoid_focal_loss(flat, target[:, 1:] if flat.shape[1] == 1 else target, **kwargs)


def _ce(**kwargs):
    return CrossEntropyLoss(avg_non_ignore=True, **kwargs)


WEIGHTS = [0.5, 2.0, 1.0]
# Config of the loss, channels, what MMSegmentation's own computes where every pixel has a label.
CASES = {
    'cross entropy': (dict(type='CrossEntropyLoss'), 3, _ce()),
    'cross entropy, weights': (
        dict(type='CrossEntropyLoss', class_weight=WEIGHTS),
        3,
        nn.CrossEntropyLoss(torch.tensor(WEIGHTS)),
    ),
    'cross entropy of one channel': (dict(type='CrossEntropyLoss', use_sigmoid=True), 1, _ce(use_sigmoid=True)),
    'cross entropy of each class': (dict(type='CrossEntropyLoss', use_sigmoid=True), 3, _ce(use_sigmoid=True)),
    'own cross entropy': (dict(type='SegCrossEntropy'), 2, _ce()),
    'dice': (dict(type='DiceLoss'), 3, DiceLoss()),
    'dice, softmax': (dict(type='DiceLoss', use_sigmoid=False, eps=1.0), 3, DiceLoss(use_sigmoid=False, eps=1.0)),
    'dice, naive': (dict(type='DiceLoss', naive_dice=True), 2, DiceLoss(naive_dice=True)),
    'dice of one channel': (dict(type='DiceLoss'), 1, lambda x, y: DiceLoss()(x, y[:, None])),
    'tversky': (dict(type='TverskyLoss'), 3, TverskyLoss()),
    'tversky, weights': (
        dict(type='TverskyLoss', class_weight=WEIGHTS, alpha=0.6, beta=0.4),
        3,
        TverskyLoss(class_weight=WEIGHTS, alpha=0.6, beta=0.4),
    ),
    'focal': (dict(type='FocalLoss'), 3, _focal),
    'focal, alphas and weights': (
        dict(type='FocalLoss', alpha=[0.2, 0.7, 0.5], gamma=1.5, class_weight=WEIGHTS),
        3,
        partial(_focal, alpha=[0.2, 0.7, 0.5], gamma=1.5, class_weight=WEIGHTS),
    ),
    'focal of one channel': (dict(type='FocalLoss', alpha=0.25), 1, partial(_focal, alpha=0.25)),
    'lovasz': (dict(type='LovaszLoss', reduction='none'), 3, lambda x, y: lovasz_softmax(x.softmax(1), y)),
    'lovasz of pictures': (
        dict(type='LovaszLoss', per_image=True, class_weight=WEIGHTS),
        3,
        lambda x, y: lovasz_softmax(x.softmax(1), y, per_image=True, class_weight=torch.tensor(WEIGHTS)),
    ),
    'lovasz, all classes': (
        dict(type='LovaszLoss', per_image=True, classes='all'),
        4,
        lambda x, y: lovasz_softmax(x.softmax(1), y, classes='all', per_image=True),
    ),
    'lovasz of one channel': (dict(type='LovaszLoss', loss_type='binary', reduction='none'), 1, lovasz_hinge),
    'ohem': (dict(type='OhemCrossEntropy', min_kept=5, thres=0.4), 3, OhemCrossEntropy(min_kept=5, thres=0.4)),
    'ohem, weights': (
        dict(type='OhemCrossEntropy', min_kept=40, thres=0.1, class_weight=WEIGHTS),
        3,
        OhemCrossEntropy(min_kept=40, thres=0.1, class_weight=WEIGHTS),
    ),
    'hausdorff': (dict(type='HuasdorffDisstanceLoss'), 2, HuasdorffDisstanceLoss()),
}


def _build(name: str):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return MODELS.build(own_form(CASES[name][0], 255))


def _case(channels: int, number: int = 2):
    generator = torch.Generator().manual_seed(channels)
    logits = 2 * torch.randn(number, channels, 10, 9, generator=generator)
    return logits, torch.randint(0, max(channels, 2), (number, 10, 9), generator=generator)


@pytest.mark.parametrize('name', CASES)
def test_void_takes_no_part(name):
    loss, (_, channels, theirs) = _build(name), CASES[name]
    logits, label = _case(channels)
    expected = theirs(logits, label)
    torch.testing.assert_close(loss(logits, label), expected, msg=lambda m: f'where all is labelled: {m}')
    # The same pixels with void and padding around them.
    wide, void = F.pad(logits, (0, 7, 3, 0), value=5.0).requires_grad_(), F.pad(label, (0, 7, 3, 0), value=255)
    value = loss(wide, void, weight=None, ignore_index=255)
    torch.testing.assert_close(value, expected)
    value.backward()
    outside = void == 255
    assert not wide.grad.movedim(1, 0)[:, outside].any()
    assert wide.grad.movedim(1, 0)[:, ~outside].any()


@pytest.mark.parametrize('name', CASES)
def test_a_batch_of_void_gives_0_with_a_gradient(name):
    logits, label = _case(CASES[name][1])
    logits.requires_grad_()
    value = _build(name)(logits, torch.full_like(label, 255))
    value.backward()
    assert value.item() == 0
    assert not logits.grad.any()


@pytest.mark.parametrize('name', CASES)
def test_a_picture_of_void_changes_nothing(name):
    loss = _build(name)
    logits, label = _case(CASES[name][1], number=3)
    expected = loss(logits[:2], label[:2])
    label[2] = 255
    torch.testing.assert_close(loss(logits, label), expected)


@pytest.mark.parametrize('name', CASES)
def test_half_precision_is_summed_in_single(name):
    loss = _build(name)
    logits, label = _case(CASES[name][1])
    logits = logits.half()
    torch.testing.assert_close(loss(logits, label), loss(logits.float(), label))


def test_dice_of_the_labelled_half():
    """Void in the right half: what the left half alone gives, by the definition of the coefficient."""
    torch.manual_seed(0)
    logits, label = torch.randn(1, 3, 16, 32), torch.randint(3, (1, 16, 32))
    label[..., 16:] = 255
    predicted = logits[..., :16].sigmoid()
    target = F.one_hot(label[..., :16], 3).movedim(-1, 1)
    dice = 2 * (predicted * target).sum() / (predicted.square().sum() + target.sum() + 2e-3)
    loss = DeepLabV3Head(4, 3, channels=8, rates=(), loss_decode=dict(type='DiceLoss')).loss_decode
    torch.testing.assert_close(loss(logits, label), 1 - dice)


@pytest.mark.parametrize('weights', [None, [3.0, 0.5]])
@pytest.mark.parametrize('kind', ['SegCrossEntropy', 'SegOhemCrossEntropy'])
def test_one_channel_is_the_difference_of_two(kind, weights):
    logits, label = _case(1)
    label[0, :3] = 255
    both = torch.cat([torch.zeros_like(logits), logits], dim=1)
    sigmoid = dict(use_sigmoid=True) if kind == 'SegCrossEntropy' else {}
    one = MODELS.build(dict(type=kind, class_weight=weights, **sigmoid))
    torch.testing.assert_close(one(logits, label), MODELS.build(dict(type=kind, class_weight=weights))(both, label))


def test_hausdorff_of_several_classes_by_brute_force():
    loss = MODELS.build(dict(type='SegHausdorff', class_weight=WEIGHTS))
    logits, label = _case(3)
    label[0, 2:5, 3:6] = 255
    predicted, guess = logits.softmax(1), logits.argmax(1)
    total = 0
    for n in range(2):
        places = [(i, j) for i in range(10) for j in range(9) if label[n, i, j] != 255]
        for i, j in places:
            for c in (1, 2):
                reach = 0
                for maps in (label, guess):
                    others = [(k - i) ** 2 + (m - j) ** 2 for k, m in places if maps[n, k, m] != c]
                    reach += min(others) if maps[n, i, j] == c else 0
                total += WEIGHTS[c] * (predicted[n, c, i, j] - (label[n, i, j] == c).float()) ** 2 * reach
    torch.testing.assert_close(loss(logits, label), total / 3 / (label != 255).sum())


def test_boundaries_weigh_more_by_hand():
    label = torch.tensor([[[0, 0, 0, 0, 1, 1, 1, 255, 0, 0]]])
    logits = torch.zeros(1, 2, 1, 10)
    logits[0, 0] = torch.arange(10.0)
    losses = F.cross_entropy(logits, label, ignore_index=255, reduction='none')
    weights = torch.tensor([1, 1, 4, 4, 4, 4, 4, 0, 4, 1])  # within two pixels of the other class, void between or not
    expected = (losses * weights).sum() / weights.sum()
    loss = SegCrossEntropy(boundary_weight=3, boundary_width=2)
    torch.testing.assert_close(loss(logits, label), expected)
    with pytest.raises(ValueError, match='boundary_weight=-1'):
        SegCrossEntropy(boundary_weight=-1)


def _samples(*labels):
    return [SegDataSample(gt_sem_seg=PixelData(data=label[None])) for label in labels]


@pytest.mark.parametrize(
    'loss',
    [
        *(case[0] for case in CASES.values() if case[1] == 3),
        [dict(type='SegCrossEntropy', class_weight=WEIGHTS, boundary_weight=2.0), dict(type='SegDice')],
    ],
)
def test_a_training_step_under_a_head(loss):
    torch.manual_seed(0)
    model = segmentor(MOBILENET, dict(V3, loss_decode=loss), num_classes=3).train()
    labels = torch.randint(3, (2, 33, 33))
    labels[0] = labels[1, :9] = 255
    found = model.loss(torch.randn(2, 3, 33, 33), _samples(*labels))
    sum(value for name, value in found.items() if 'loss' in name).backward()
    assert all(value.isfinite() and value > 0 for name, value in found.items() if 'loss' in name)
    assert model.decode_head.conv_seg.weight.grad.any()


@pytest.mark.parametrize('loss', [None, *(case[0] for case in CASES.values() if case[1] == 1)])
def test_a_training_step_with_one_channel(loss):
    torch.manual_seed(0)
    stated = {} if loss is None else dict(loss_decode=loss)
    model = segmentor(MOBILENET, dict(V3, out_channels=1, threshold=0.4, **stated), num_classes=2).train()
    labels = torch.randint(2, (2, 33, 33))
    labels[1, :9] = 255
    found = model.decode_head.loss_by_feat(torch.full((2, 1, 33, 33), 3.0, requires_grad=True), _samples(*labels))
    sum(value for name, value in found.items() if 'loss' in name).backward()
    # All pixels are predicted as label 1.
    assert found['acc_seg'].item() == pytest.approx(100 * (labels == 1).sum().item() / (labels != 255).sum().item())


def test_the_accuracy_of_nothing_is_0():
    head = DeepLabV3Head(4, 3, channels=8, rates=())
    found = head.loss_by_feat(torch.randn(1, 3, 5, 5), _samples(torch.full((9, 9), 255)))
    assert found['acc_seg'] == 0


@pytest.mark.parametrize('sampler', [dict(thresh=0.6, min_kept=20), dict(min_kept=20)])
def test_a_sampler_of_hard_pixels(sampler):
    """MMSegmentation's sampler selects pixels by their probability or by their loss; void is never among them."""
    torch.manual_seed(0)
    weights = [1.0, 2.0, 0.5]
    head = DeepLabV3Head(
        4,
        3,
        channels=8,
        rates=(),
        sampler=dict(type='OHEMPixelSampler', **sampler),
        loss_decode=dict(type='SegCrossEntropy', class_weight=weights),
    )
    logits, label = torch.randn(1, 3, 9, 9), torch.randint(3, (1, 9, 9))
    label[0, :4] = 255
    found = head.loss_by_feat(logits, _samples(*label))['loss_ce']
    right = logits.softmax(1).gather(1, label.where(label != 255, 0)[:, None])[:, 0][label != 255]
    losses = F.cross_entropy(logits, label, torch.tensor(weights), ignore_index=255, reduction='none')[label != 255]
    if 'thresh' in sampler:
        chosen = right < max(0.6, right.sort().values[20])
    else:
        chosen = losses >= losses.sort(descending=True).values[19]
    share = torch.tensor(weights)[label[label != 255]]
    torch.testing.assert_close(found, losses[chosen].sum() / share[chosen].sum())


def test_an_auxiliary_head_of_mmsegmentation_leaves_void_out_too():
    auxiliary = dict(
        type='FCNHead',
        in_channels=24,
        in_index=2,
        channels=8,
        num_convs=1,
        num_classes=3,
        norm_cfg=dict(type='BN'),
        loss_decode=[dict(type='DiceLoss'), dict(type='CrossEntropyLoss', class_weight=WEIGHTS)],
    )
    model = segmentor(MOBILENET, V3, num_classes=3, auxiliary_head=auxiliary)
    logits, label = _case(3)
    expected = [loss(logits, label) for loss in model.auxiliary_head.loss_decode]
    wide, void = F.pad(logits, (0, 7)), F.pad(label, (0, 7), value=255)
    found = model.auxiliary_head.loss_by_feat(wide, _samples(*void))
    torch.testing.assert_close([found['loss_dice'], found['loss_ce']], expected)


class _Counting(nn.Module):
    """A loss of a user's, that counts void as one more class's absence."""

    loss_name = 'loss_own'

    def forward(self, logits, label, weight=None, ignore_index=255):
        return logits.square().mean()


class _Careful(_Counting):
    def forward(self, logits, label, weight=None, ignore_index=255):
        return (logits.square() * (label != ignore_index)[:, None]).mean()


def test_a_loss_of_ones_own_is_tried():
    MODELS.build(dict(V3, in_channels=4, num_classes=3, loss_decode=dict(type=_Careful)))
    state = torch.get_rng_state()
    check_loss(_Careful(), 3, 255)
    assert torch.equal(state, torch.get_rng_state())
    with pytest.raises(ValueError, match=r'_Counting counts pixels without a label \(ignore_index=255\)'):
        MODELS.build(dict(V3, in_channels=4, num_classes=3, loss_decode=dict(type=_Counting)))


@pytest.mark.parametrize(
    ('head', 'message'),
    [
        (dict(loss_decode=dict(type=KLDivLoss)), 'KLDivLoss can not be a loss_decode'),
        (dict(loss_decode=dict(type='SiLogLoss')), 'SiLogLoss can not be a loss_decode'),
        (dict(loss_decode=dict(type='BoundaryLoss')), 'BoundaryLoss can not be a loss_decode'),
        (dict(loss_decode=dict(type='CrossEntropyLoss', use_mask=True)), 'use_mask=True of CrossEntropyLoss'),
        (dict(loss_decode=dict(type='DiceLoss', activate=False)), 'activate=False of DiceLoss'),
        (dict(loss_decode=dict(type='DiceLoss', reduction='sum')), "reduction='sum' of DiceLoss"),
        (dict(loss_decode=dict(type='TverskyLoss', ignore_index=1)), r'ignore_index=1 of TverskyLoss differs'),
        (
            dict(loss_decode=dict(type='OhemCrossEntropy', ignore_label=0)),
            r'ignore_label=0 of OhemCrossEntropy differs',
        ),
        (dict(loss_decode=dict(type='FocalLoss', use_sigmoid=False)), 'leave loss_decode.use_sigmoid at True'),
        (dict(loss_decode=dict(type='FocalLoss', alpha=[0.5, 0.5])), 'alpha has 2 entries, but there are 3 channels'),
        (dict(loss_decode=dict(type='LovaszLoss', loss_type='binary')), 'takes logits of one channel'),
        (dict(loss_decode=dict(type='LovaszLoss', classes=[1, 3])), r'classes=\[1, 3\]: there are 3 classes'),
        (dict(loss_decode=dict(type='TverskyLoss', alpha=0.5)), 'must add up to 1'),
        (dict(loss_decode=dict(type='TverskyLoss', class_weight=[1.0])), 'class_weight has 1 entries, but there are 3'),
        (dict(ignore_index=0), 'ignore_index=0 is one of the 3 classes'),
        (dict(ignore_index=2), 'ignore_index=2 is one of the 3 classes'),
        (dict(out_channels=1), 'out_channels=1 is the score of one class against one other, but num_classes=3'),
        (dict(out_channels=2), 'out_channels=2 with num_classes=3'),
        (dict(threshold=0.5), 'threshold=0.5 is for heads of one channel'),
    ],
)
def test_what_contradicts_itself_is_refused_when_built(head, message):
    with pytest.raises(ValueError, match=message):
        segmentor(MOBILENET, {**V3, **head}, num_classes=3)


@pytest.mark.parametrize(
    ('head', 'message'),
    [
        (dict(loss_decode=dict(type='CrossEntropyLoss')), r'set loss_decode.use_sigmoid=True, or leave out_channels'),
        (dict(loss_decode=dict(type='DiceLoss', use_sigmoid=False)), 'softmax is always 1'),
        (dict(loss_decode=dict(type='LovaszLoss', reduction='none')), "set loss_decode.loss_type='binary'"),
        (
            dict(loss_decode=dict(type='SegCrossEntropy', use_sigmoid=True, class_weight=[2.0])),
            'has 1 entries.* 2 classes',
        ),
        (dict(threshold=1.5), 'threshold=1.5 is a probability'),
        (dict(sampler=dict(type='OHEMPixelSampler', thresh=0.5)), "type='SegOhemCrossEntropy'"),
        (dict(ignore_index=1), 'ignore_index=1 is one of the 2 classes'),
    ],
)
def test_what_contradicts_one_channel_is_refused_when_built(head, message):
    with pytest.raises(ValueError, match=message):
        segmentor(MOBILENET, {**V3, 'out_channels': 1, 'threshold': 0.5, **head}, num_classes=2)


def test_padding_that_would_be_a_label_is_refused():
    preprocessor = dict(type='SegDataPreProcessor', seg_pad_val=0, size=(33, 33))
    with pytest.raises(ValueError, match='seg_pad_val=0 pads masks with a label that decode_head.ignore_index=255'):
        segmentor(MOBILENET, V3, data_preprocessor=preprocessor)


def test_more_classes_than_void_leaves_room_for_are_refused_in_training():
    head = DeepLabV3Head(4, 300, channels=8, rates=())
    with pytest.raises(ValueError, match='ignore_index=255 is one of the 300 classes'):
        head.loss_by_feat(torch.randn(1, 300, 5, 5), _samples(torch.zeros(9, 9, dtype=torch.long)))
