"""DeepLabTTA: the average of the views' probabilities."""

import math

import pytest
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from model_helpers import randomize, segmentor

from mmseg_deeplab.models import DeepLabTTA

BACKBONE = dict(type='DeepLabMobileNetV2', width=0.25)


def _tta(num_classes: int = 3, **head) -> DeepLabTTA:
    return DeepLabTTA(segmentor(BACKBONE, dict(type='DeepLabV3Head', channels=8, **head), num_classes))


def _view(probabilities: list[float], name: str) -> SegDataSample:
    """A sample of 1 x 2 pixels with the same probabilities in both."""
    logits = torch.tensor([math.log(p) for p in probabilities]).reshape(-1, 1, 1).expand(-1, 1, 2) + 5
    return SegDataSample(metainfo=dict(img_path=name), seg_logits=PixelData(data=logits))


def test_probabilities_are_averaged_not_logits():
    tta = _tta()
    # By hand: (0.98 + 0.3 + 0.3) / 3 = 0.527 beats class 1, although two views of three prefer it.
    views = [_view([0.98, 0.01, 0.01], 'a'), _view([0.3, 0.6, 0.1], 'a'), _view([0.3, 0.6, 0.1], 'a')]
    (merged,) = tta.merge_preds([views])
    assert merged.img_path == 'a'
    assert merged.pred_sem_seg.data.tolist() == [[[0, 0]]]
    probabilities = merged.seg_logits.data.softmax(dim=0)[:, 0, 0]
    torch.testing.assert_close(probabilities, torch.tensor([1.58, 1.21, 0.21]) / 3)


def test_a_probability_of_zero_stays_finite():
    tta = _tta()
    logits = torch.tensor([200.0, 0.0]).reshape(2, 1, 1)
    (merged,) = tta.merge_preds([[SegDataSample(seg_logits=PixelData(data=logits))]])
    assert merged.seg_logits.data.isfinite().all()


def test_a_single_channel_is_averaged_and_thresholded():
    tta = _tta(num_classes=2, out_channels=1, threshold=0.6)
    views = [SegDataSample(seg_logits=PixelData(data=torch.tensor([[[p, q]]]))) for p, q in ((0.9, 0.5), (0.5, 0.5))]
    (merged,) = tta.merge_preds([views])
    torch.testing.assert_close(merged.seg_logits.data, torch.tensor([[[0.7, 0.5]]]))
    assert merged.pred_sem_seg.data.tolist() == [[[1, 0]]]


def test_views_of_a_network_are_flipped_back_scaled_and_averaged():
    torch.manual_seed(0)
    tta = randomize(_tta()).eval()
    image = torch.randn(3, 65, 97)
    views = [
        (image, dict(ori_shape=(65, 97), img_shape=(65, 97))),
        (image.flip(2), dict(ori_shape=(65, 97), img_shape=(65, 97), flip=True, flip_direction='horizontal')),
        (image[:, ::2, ::2], dict(ori_shape=(65, 97), img_shape=(33, 49))),
    ]
    data = dict(
        inputs=[view[None] for view, _ in views],
        data_samples=[[SegDataSample(metainfo=dict(meta))] for _, meta in views],
    )
    with torch.no_grad():
        (merged,) = tta.test_step(data)
        total = 0
        for view, meta in views:
            logits = tta.module(view[None])
            logits = torch.nn.functional.interpolate(logits, view.shape[1:], mode='bilinear', align_corners=True)
            logits = logits.flip(3) if meta.get('flip') else logits
            if view.shape[1:] != (65, 97):
                logits = torch.nn.functional.interpolate(logits, (65, 97), mode='bilinear', align_corners=True)
            total = total + logits.softmax(dim=1)[0]
    torch.testing.assert_close(merged.seg_logits.data.softmax(dim=0), total / 3)
    torch.testing.assert_close(merged.pred_sem_seg.data[0], total.argmax(dim=0))


def test_the_wrapped_model_gives_its_logits_to_the_merge_and_stays_as_it_is():
    preprocessor = dict(type='SegDataPreProcessor', mean=[127.5] * 3, std=[127.5] * 3)
    head = dict(type='DeepLabV3Head', channels=8)
    model = segmentor(BACKBONE, head, data_preprocessor=preprocessor).eval()
    image = torch.zeros(3, 33, 33, dtype=torch.uint8)
    sample = SegDataSample(metainfo=dict(ori_shape=(33, 33), img_shape=(33, 33)))
    with torch.no_grad():
        (merged,) = DeepLabTTA(model).test_step(dict(inputs=[[image]], data_samples=[[sample]]))
        (plain,) = model.test_step(dict(inputs=[image], data_samples=[sample.clone()]))
    assert merged.seg_logits.data.shape[1:] == (33, 33)
    assert not model.keep_seg_logits and 'seg_logits' not in plain


@pytest.mark.parametrize('views', [1, 4])
def test_equal_views_change_nothing(views):
    tta = _tta()
    (merged,) = tta.merge_preds([[_view([0.2, 0.7, 0.1], 'a') for _ in range(views)]])
    torch.testing.assert_close(merged.seg_logits.data.exp()[:, 0, 0], torch.tensor([0.2, 0.7, 0.1]))
