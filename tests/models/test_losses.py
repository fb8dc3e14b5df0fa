"""SegCrossEntropy against PyTorch's cross entropy and by hand."""

import math

import pytest
import torch
from torch import nn

from mmseg_deeplab.models import DeepLabV3Head, SegCrossEntropy


def _case() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 4, 5, 7, generator=generator)
    label = torch.randint(0, 4, (2, 5, 7), generator=generator)
    label[0, :3] = 255
    return logits, label


@pytest.mark.parametrize('class_weight', [None, [0.5, 2.0, 1.0, 0.0]])
@pytest.mark.parametrize('ignore_index', [255, 3])
def test_it_is_pytorchs(class_weight, ignore_index):
    logits, label = _case()
    if ignore_index != 255:
        label[label == 255] = ignore_index
    weight = None if class_weight is None else torch.tensor(class_weight)
    expected = nn.CrossEntropyLoss(weight, ignore_index=ignore_index)(logits, label)
    loss = SegCrossEntropy(class_weight, loss_weight=0.4)(logits, label, ignore_index=ignore_index)
    torch.testing.assert_close(loss, 0.4 * expected)


def test_it_is_the_mean_over_labelled_pixels_by_hand():
    # Two pixels count: logits (0, ln 3) give probabilities 1/4 and 3/4.
    logits = torch.tensor([0.0, math.log(3)]).reshape(1, 2, 1, 1).expand(1, 2, 1, 3)
    label = torch.tensor([[[0, 1, 255]]])
    torch.testing.assert_close(SegCrossEntropy()(logits, label), torch.tensor((math.log(4) + math.log(4 / 3)) / 2))
    weighted = SegCrossEntropy([3.0, 1.0])(logits, label)
    torch.testing.assert_close(weighted, torch.tensor((3 * math.log(4) + math.log(4 / 3)) / 4))


def test_pixel_weights_select_pixels():
    logits, label = _case()
    chosen = torch.zeros(2, 5, 7)
    chosen[1, 2:, 3:] = 1
    expected = nn.CrossEntropyLoss(ignore_index=255)(logits[1:, :, 2:, 3:], label[1:, 2:, 3:])
    torch.testing.assert_close(SegCrossEntropy()(logits, label, weight=chosen), expected)


@pytest.mark.parametrize('class_weight', [None, [1.0, 1.0, 1.0, 2.0]])
def test_a_batch_without_labels_gives_zero_and_zero_gradient(class_weight):
    logits = torch.randn(1, 4, 3, 3, requires_grad=True)
    loss = SegCrossEntropy(class_weight)(logits, torch.full((1, 3, 3), 255))
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()


def test_a_wrong_number_of_class_weights_is_refused():
    with pytest.raises(ValueError, match='class_weight has 3 entries, but there are 4 classes'):
        SegCrossEntropy([1.0, 1.0, 1.0])(*_case())


def test_a_head_knows_how_many_class_weights_it_needs():
    """Before the first step, not in it."""
    good, bad = (dict(type='SegCrossEntropy', class_weight=[1.0] * count) for count in (3, 2))
    DeepLabV3Head(4, 3, channels=8, rates=(), loss_decode=[good, dict(good, loss_name='loss_b')])
    for losses in (bad, [good, bad]):
        with pytest.raises(ValueError, match='class_weight has 2 entries, but there are 3 classes'):
            DeepLabV3Head(4, 3, channels=8, rates=(), loss_decode=losses)
