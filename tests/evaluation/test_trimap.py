"""Trimap scores equal a count over all pairs of pixels, and the papers' dilation of the void label."""

import math

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from mmseg_deeplab.evaluation import SegmentationMetric, TrimapMetric, trimap_width


def blobs(size, seed, void_border=False) -> np.ndarray:
    """A label map of a few smooth regions of classes 0..2; optionally with a void line along every boundary."""
    rng = np.random.default_rng(seed)
    fields = [cv2.GaussianBlur(rng.standard_normal(size), (0, 0), 4) for _ in range(3)]
    truth = np.argmax(fields, axis=0)
    if void_border:
        edge = cv2.morphologyEx(truth.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
        truth[edge] = 255
    return truth


def widths_by_all_pairs(truth) -> np.ndarray:
    points = [(y, x) for y in range(truth.shape[0]) for x in range(truth.shape[1])]
    width = np.zeros(truth.shape, int)
    for p in points:
        if truth[p] != 255:
            width[p] = math.ceil(min(math.dist(p, q) for q in points if truth[q] != truth[p]))
    return width


@pytest.mark.parametrize('void_border', [False, True])
def test_widths_equal_the_search_over_all_pairs(void_border):
    truth = blobs((26, 37), 3, void_border)
    np.testing.assert_array_equal(trimap_width(truth), widths_by_all_pairs(truth))


def test_with_void_borders_it_is_the_dilated_void_label():
    """v3+ Sec. 4.3: 'we apply the morphological dilation on void label annotations'."""
    truth = blobs((90, 120), 1, void_border=True)
    void = truth == 255
    width = trimap_width(truth)
    for w in (1, 2, 3, 5, 10, 25):
        y, x = np.ogrid[-w : w + 1, -w : w + 1]
        dilated = ndimage.binary_dilation(void, y**2 + x**2 <= w**2)
        np.testing.assert_array_equal((width > 0) & (width <= w), dilated & ~void)


def test_real_voc_masks_have_the_papers_trimap(real_data):
    """VOC draws void along (nearly) all boundaries: the widths there are the distances to void."""
    files = sorted((real_data / 'voc2012_animals' / 'SegmentationClass').glob('*.png'))[:12]
    assert files
    same = total = 0
    for file in files:
        truth = np.array(Image.open(file))
        to_void = np.ceil(ndimage.distance_transform_edt(truth != 255))
        near = (to_void <= 40) & (truth != 255)
        same += (trimap_width(truth)[near] == to_void[near]).sum()
        total += near.sum()
    assert same / total > 0.99


def make_pair(seed):
    truth = blobs((26, 37), seed, void_border=seed % 2 == 1)
    rng = np.random.default_rng(seed)
    prediction = np.where((rng.random(truth.shape) < 0.8) & (truth != 255), truth, rng.integers(0, 4, truth.shape))
    return truth, prediction


def test_scores_equal_a_count_pixel_by_pixel(make_sample, evaluate):
    pairs = [make_pair(seed) for seed in range(3)]
    metric = TrimapMetric(max_width=8)
    result = evaluate(metric, [make_sample(*pair) for pair in pairs])
    assert metric.curve_before_crf is None
    for w in (1, 3, 8):
        hits, unions = [0] * 5, [0] * 5
        right = all_pixels = 0
        for truth, prediction in pairs:
            width = widths_by_all_pairs(truth)
            for y, x in np.ndindex(*truth.shape):
                t, p = truth[y, x], prediction[y, x]
                if t == 255 or width[y, x] > w:
                    continue
                all_pixels += 1
                right += t == p
                hits[t] += t == p
                unions[t] += 1
                unions[p] += t != p
        ious = [h / u for h, u in zip(hits, unions, strict=True) if u]
        assert metric.curve.miou[w - 1] == pytest.approx(100 * sum(ious) / len(ious))
        assert metric.curve.pixel_acc[w - 1] == pytest.approx(100 * right / all_pixels)
    assert result['trimap/mIoU_1px'] == round(metric.curve.miou[0], 2)
    assert 'trimap/mIoU_10px' not in result


def test_the_widest_trimap_is_the_whole_image(make_sample, evaluate):
    pairs = [make_pair(seed) for seed in range(3)]
    metric, whole = TrimapMetric(max_width=60), SegmentationMetric()
    evaluate(metric, [make_sample(*pair) for pair in pairs])
    scores = evaluate(whole, [make_sample(*pair) for pair in pairs])
    assert metric.curve.miou[-1] == pytest.approx(scores['mIoU'], abs=0.0051)
    assert metric.curve.pixel_acc[-1] == pytest.approx(scores['aAcc'], abs=0.0051)


def test_before_crf_has_its_own_curve(make_sample, evaluate):
    truth, prediction = make_pair(1)
    clean = np.where(truth == 255, 0, truth)
    metric = TrimapMetric(max_width=5)
    result = evaluate(metric, [make_sample(truth, clean, before=prediction)])
    plain = TrimapMetric(max_width=5)
    evaluate(plain, [make_sample(truth, prediction)])
    names = [f'{before}{name}' for before in ('', 'before_crf/') for name in metric.score_names]
    assert list(result) == [f'trimap/{name}' for name in names]
    assert result['trimap/mIoU_5px'] == 100
    np.testing.assert_array_equal(metric.curve_before_crf.pixel_acc, plain.curve.pixel_acc)
    # Class 3 is never true and only predicted before the CRF: the same sum, over 3 classes instead of 4.
    np.testing.assert_allclose(metric.curve_before_crf.miou, plain.curve.miou * 4 / 3)
    assert result['trimap/before_crf/mIoU_2px'] == round(metric.curve_before_crf.miou[1], 2)


def test_one_label_has_no_boundary(make_sample, evaluate):
    metric = TrimapMetric()
    evaluate(metric, [make_sample(np.zeros((9, 9), int), np.zeros((9, 9)))])
    assert np.isnan(metric.curve.miou).all()
    with pytest.raises(ValueError, match='max_width=0'):
        TrimapMetric(max_width=0)


@pytest.mark.parametrize('label, told', [(7, r'label ids \[7\] are neither'), (-1, r'label ids \[-1\]')])
def test_labels_and_predictions_beyond_the_classes_name_the_file(make_sample, evaluate, label, told):
    truth = np.zeros((9, 9), int)
    truth[4:] = label
    with pytest.raises(ValueError, match=r'/data/a\.png: ' + told):
        evaluate(TrimapMetric(), [make_sample(truth, np.zeros((9, 9)))])
    truth[4:] = 1
    with pytest.raises(ValueError, match=r'/data/a\.png: the model predicts class 6'):
        evaluate(TrimapMetric(), [make_sample(truth, np.full((9, 9), 6))])


def test_what_the_crf_removes_is_no_gain(make_sample, evaluate):
    """Nor what it adds: at each width the same classes count."""
    truth = np.zeros((12, 12), int)
    truth[:, 6:] = 1
    before, after = truth.copy(), truth.copy()
    before[3, 2], after[3, 1] = 3, 2  # 4 and 5 pixels from the boundary
    metric = TrimapMetric(max_width=8)
    evaluate(metric, [make_sample(truth, after, before=before)])
    sky = np.array([w * 12 for w in range(1, 7)])
    np.testing.assert_allclose(metric.curve.miou[:4], 100)
    np.testing.assert_allclose(metric.curve.miou[4:6], 100 * ((sky[4:] - 1) / sky[4:] + 1 + 0) / 3)
    np.testing.assert_allclose(metric.curve_before_crf.miou[:3], 100)
    np.testing.assert_allclose(metric.curve_before_crf.miou[3], 100 * ((sky[3] - 1) / sky[3] + 1) / 2)
    np.testing.assert_allclose(metric.curve_before_crf.miou[4:6], 100 * ((sky[4:] - 1) / sky[4:] + 1 + 0) / 3)
