"""SegmentationMetric gives MMSegmentation's and an independent confusion matrix's numbers, and says what is wrong."""

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmengine.structures import PixelData
from mmseg.evaluation import IoUMetric
from mmseg.structures import SegDataSample
from PIL import Image

from mmseg_deeplab.errors import UserError
from mmseg_deeplab.evaluation import Scores, SegmentationMetric, TrimapMetric
from mmseg_deeplab.evaluation.metric import class_table


def random_samples(make_sample, count=7, dtype=torch.uint8, seed=0) -> list[SegDataSample]:
    """Maps of several sizes with void pixels; class 4 occurs nowhere, class 3 only in predictions."""
    rng = np.random.default_rng(seed)
    samples = []
    for number in range(count):
        size = (20 + number, 31)
        truth = rng.choice([0, 1, 2, 255], size)
        prediction = np.where(rng.random(size) < 0.7, truth, rng.integers(0, 4, size))
        prediction[prediction == 255] = 1
        samples.append(make_sample(truth, prediction, f'{number}.jpg', dtype=dtype))
    return samples


@pytest.mark.parametrize('dtype', [torch.uint8, torch.int64, torch.float32])  # the last from a single channel
def test_same_numbers_as_mmsegs_metric(dtype, make_sample, evaluate):
    samples = random_samples(make_sample, dtype=dtype)
    ours = evaluate(SegmentationMetric(), samples)
    stock = evaluate(IoUMetric(iou_metrics=['mIoU', 'mDice']), random_samples(make_sample, dtype=torch.int64))
    for name in ('aAcc', 'mIoU', 'mAcc', 'mDice'):
        assert ours[name] == pytest.approx(float(stock[name]), abs=0.0101), name


def test_same_numbers_as_counting_pixel_by_pixel(make_sample, evaluate):
    samples = random_samples(make_sample, 3)
    matrix = np.zeros((5, 5), int)
    for sample in samples:
        pairs = zip(sample.gt_sem_seg.data.flatten().tolist(), sample.pred_sem_seg.data.flatten().tolist(), strict=True)
        for truth, predicted in pairs:
            if truth != 255:
                matrix[truth, predicted] += 1
    iou, acc, dice = [], [], []
    for k in range(5):
        hit, truth, predicted = matrix[k, k], sum(matrix[k]), sum(matrix[:, k])
        if truth + predicted:
            iou.append(hit / (truth + predicted - hit))
            dice.append(2 * hit / (truth + predicted))
        if truth:
            acc.append(hit / truth)
    metric = SegmentationMetric()
    result = evaluate(metric, samples)
    np.testing.assert_array_equal(metric.confusion, matrix)
    assert metric.confusion.dtype == np.int64
    total = matrix.sum()
    weighted = sum(matrix[k].sum() / total * iou[k] for k in range(3))
    expected = {
        'aAcc': np.trace(matrix) / total,
        'mIoU': np.mean(iou),
        'mAcc': np.mean(acc),
        'mDice': np.mean(dice),
        'FWIoU': weighted,
    }
    assert result == {name: pytest.approx(100 * value, abs=0.0051) for name, value in expected.items()}


def test_counts_beyond_float32_stay_exact(meta, make_sample, evaluate):
    """float32 cannot hold 2**24 + 1; one wrong pixel beside 2**24 right ones must stay visible."""
    metric = SegmentationMetric()
    metric.dataset_meta = meta
    truth = np.zeros((4096, 4097), np.uint8)
    prediction = truth.copy()
    prediction[0, 0] = 1
    metric.process({}, [make_sample(truth, prediction).to_dict()])
    metric.evaluate(1)
    assert metric.confusion[0].tolist() == [4096 * 4097 - 1, 1, 0, 0, 0]


def test_padded_duplicates_are_dropped(meta, make_sample, evaluate):
    """A distributed sampler pads with repeated images; `size` tells how many count."""
    samples = random_samples(make_sample, 4)
    evaluator = Evaluator(SegmentationMetric())
    evaluator.dataset_meta = meta
    evaluator.process([*samples, samples[0]])
    assert evaluator.evaluate(4) == evaluate(SegmentationMetric(), samples)


def test_before_crf_in_the_same_table(meta, make_sample, evaluate):
    truth = np.zeros((8, 8), int)
    truth[:, 4:] = 1
    before = truth.copy()
    before[:, :2] = 1
    metric = SegmentationMetric(class_subset=['road'])
    result = evaluate(metric, [make_sample(truth, truth, before=before)])
    assert result['mIoU'] == 100 and result['aAcc'] == 100
    assert result['before_crf/aAcc'] == 75
    assert result['before_crf/mIoU'] == round(100 * (16 / 32 + 32 / 48) / 2, 2)
    assert result['before_crf/mIoU_subset'] == round(100 * 32 / 48, 2)
    assert metric.confusion_before_crf[0, 1] == 16
    names = metric.score_names
    assert list(result) == [*names, *(f'before_crf/{name}' for name in names)]
    table = class_table(
        meta['classes'], Scores.of(metric.confusion), Scores.of(metric.confusion_before_crf)
    ).splitlines()
    assert table[1].replace(' ', '') == (
        '|Class|IoU|Acc|Dice|Precision|IoUbeforeCRF|AccbeforeCRF|DicebeforeCRF|PrecisionbeforeCRF|'
    )
    assert table[4].replace(' ', '') == '|road|100.00|100.00|100.00|100.00|66.67|100.00|80.00|66.67|'
    assert table[5].replace(' ', '') == '|car|-|-|-|-|-|-|-|-|'
    assert table[-2].replace(' ', '') == '|mean|100.00|100.00|100.00|100.00|58.33|75.00|73.33|83.33|'


def test_scores_of_each_class_as_scalars(meta, make_sample, evaluate):
    """By definition: of 64 pixels 32 are road, 48 are predicted so, 32 of these are right."""
    truth, prediction = np.zeros((8, 8), int), np.zeros((8, 8), int)
    truth[:, 4:] = 1
    prediction[:, 2:] = 1
    metric = SegmentationMetric(per_class=True)
    result = evaluate(metric, [make_sample(truth, prediction, before=truth)])
    assert [result[f'{name}/road'] for name in ('IoU', 'Acc', 'Dice', 'Precision')] == [66.67, 100, 80, 66.67]
    assert result[f'IoU/{meta["classes"][0]}'] == 50 and result['before_crf/Precision/road'] == 100
    assert np.isnan(result['Precision/car'])
    assert list(result) == [f'{before}{name}' for before in ('', 'before_crf/') for name in metric.score_names]


def test_class_subset_by_name_and_index(make_sample, evaluate):
    samples = random_samples(make_sample)
    metric = SegmentationMetric(class_subset=['sky', np.int64(2)])
    result = evaluate(metric, samples)
    matrix = metric.confusion
    iou = [matrix[k, k] / (matrix[k].sum() + matrix[:, k].sum() - matrix[k, k]) for k in (0, 2)]
    assert result['mIoU_subset'] == pytest.approx(100 * np.mean(iou), abs=0.0051)
    with pytest.raises(ValueError, match="class_subset='boat': neither"):
        evaluate(SegmentationMetric(class_subset=['boat']), samples)


def test_worst_images_are_remembered(make_sample, evaluate):
    metric = SegmentationMetric()
    truth = np.zeros((4, 4), int)
    wrong = truth.copy()
    wrong[0] = 1
    evaluate(metric, [make_sample(truth, truth, 'good.jpg'), make_sample(truth, wrong, 'bad.jpg')])
    assert [(i.img_path, i.miou, i.pixel_acc) for i in metric.images] == [
        ('/data/good.jpg', 1.0, 1.0),
        ('/data/bad.jpg', 0.375, 0.75),
    ]


@pytest.mark.parametrize('bad, message', [(30, r'\[30\] are neither'), (-1, r'\[-1\] are neither'), (5, r'\[5\]')])
def test_label_ids_out_of_range_name_the_file(bad, message, make_sample, evaluate):
    truth = np.zeros((4, 4), int)
    truth[1, 1] = bad
    with pytest.raises(ValueError, match=r'/data/a\.png: label ids ' + message):
        evaluate(SegmentationMetric(), [make_sample(truth, np.zeros((4, 4)))])


def test_other_user_errors(make_sample, evaluate):
    zeros = np.zeros((4, 4), int)
    with pytest.raises(ValueError, match='predicts class 18 but the dataset has 5 classes'):
        evaluate(SegmentationMetric(), [make_sample(zeros, zeros + 18)])
    sample = make_sample(zeros, zeros)
    sample.pred_sem_seg = PixelData(data=torch.zeros(1, 4, 5, dtype=torch.uint8))
    with pytest.raises(ValueError, match='label map is 4 x 4 but the prediction is 5 x 4'):
        evaluate(SegmentationMetric(), [sample])
    sample = make_sample(zeros, zeros)
    del sample.gt_sem_seg
    with pytest.raises(ValueError, match='no gt_sem_seg'):
        evaluate(SegmentationMetric(), [sample])
    with pytest.raises(ValueError, match='needs output_dir'):
        SegmentationMetric(format_only=True)


def test_saved_predictions_of_equal_names_stay_apart(tmp_path, make_sample, evaluate):
    maps = [np.full((2, 2), label) for label in range(3)]
    names = ('images/Tile 1/a.jpg', 'images/Tile 2/a.jpg', 'elsewhere/b.jpg')
    samples = [make_sample(labels, labels, name) for labels, name in zip(maps, names, strict=True)]
    evaluate(SegmentationMetric(output_dir=str(tmp_path), image_root='/data/images'), samples)
    for labels, name in zip(maps, ('Tile 1/a.png', 'Tile 2/a.png', 'b.png'), strict=True):
        with Image.open(tmp_path / name) as picture:
            np.testing.assert_array_equal(np.array(picture), labels)
    assert not (tmp_path / 'a.png').exists()


def test_more_classes_than_a_png_holds_are_not_saved(tmp_path):
    names = [str(number) for number in range(256)]
    SegmentationMetric(output_dir=str(tmp_path)).dataset_meta = dict(classes=names[:255])
    SegmentationMetric().dataset_meta = dict(classes=names)
    with pytest.raises(ValueError, match='8 bits, which hold at most 255 classes, but the dataset has 256'):
        SegmentationMetric(output_dir=str(tmp_path)).dataset_meta = dict(classes=names)


def test_saved_predictions_are_palette_pngs(tmp_path, meta, make_sample, evaluate):
    prediction = np.arange(16).reshape(4, 4) % 5
    sample = make_sample(prediction, prediction)
    del sample.gt_sem_seg
    assert evaluate(SegmentationMetric(output_dir=str(tmp_path), format_only=True), [sample]) == {}
    with Image.open(tmp_path / 'a.png') as picture:
        assert picture.mode == 'P'
        np.testing.assert_array_equal(np.array(picture), prediction)
        np.testing.assert_array_equal(np.array(picture.convert('RGB'))[0, 1], meta['palette'][1])
    sample.set_metainfo({'reduce_zero_label': True})
    evaluate(SegmentationMetric(output_dir=str(tmp_path), format_only=True), [sample])
    with Image.open(tmp_path / 'a.png') as picture:
        np.testing.assert_array_equal(np.array(picture), prediction + 1)
        np.testing.assert_array_equal(np.array(picture.convert('RGB'))[0, 1], meta['palette'][1])


def test_what_the_crf_removes_is_no_gain(make_sample, evaluate):
    """Truth of sky and road; before the CRF the tree, after it the car is predicted where neither is."""
    truth = np.zeros((10, 10), int)
    truth[:, 5:] = 1
    before, after = truth.copy(), truth.copy()
    before[0, 0], after[0, 0] = 3, 2
    metric = SegmentationMetric()
    result = evaluate(metric, [make_sample(truth, after, before=before)])
    assert result['mIoU'] == result['before_crf/mIoU'] == round(100 * (49 / 50 + 1 + 0) / 3, 2)
    assert result['mDice'] == result['before_crf/mDice']
    assert metric.only_before_crf == ['tree']
    assert metric.images[0].miou == metric.images_before_crf[0].miou
    alone = evaluate(SegmentationMetric(), [make_sample(truth, after)])
    assert {name: result[name] for name in alone} == alone, 'the refined scores are those of any other test'


def test_the_log_names_the_classes_that_leave_the_means(make_sample, evaluate, caplog):
    truth = np.zeros((4, 4), int)
    logger = MMLogger.get_instance('leaving')
    logger.addHandler(caplog.handler)
    evaluate(SegmentationMetric(), [make_sample(truth, truth, before=np.where(np.eye(4), 2, truth))])
    assert 'predicted before the CRF only, and no part of the means: car' in caplog.text


@pytest.mark.parametrize('key', ['gt_sem_seg', 'pred_sem_seg', 'pred_sem_seg_before_crf'])
@pytest.mark.parametrize('value', [0.5, -0.25, np.nan, np.inf])
@pytest.mark.parametrize('kind', [SegmentationMetric, TrimapMetric])
def test_labels_with_fractions_are_refused(make_sample, evaluate, kind, key, value):
    labels = np.zeros((4, 4), np.float32)
    sample = make_sample(labels.copy(), labels.copy(), before=labels.copy(), dtype=torch.float32)
    sample.get(key).data[0, 1, 1] = value
    with pytest.raises(ValueError, match=rf'/data/a\.png: {key} holds \[{value}\]; labels are whole numbers'):
        evaluate(kind(), [sample])


@pytest.mark.parametrize('size', [(4, 5), (5, 4), (2, 4, 4)])
@pytest.mark.parametrize('key', ['gt_sem_seg', 'pred_sem_seg', 'pred_sem_seg_before_crf'])
@pytest.mark.parametrize('kind', [SegmentationMetric, TrimapMetric])
def test_maps_of_different_sizes_name_the_file(make_sample, evaluate, kind, key, size):
    labels = np.zeros((4, 4), np.uint8)
    sample = make_sample(labels, labels, before=labels)
    shape = size if len(size) == 3 else (1, *size)
    delattr(sample, key)
    sample.set_data({key: PixelData(data=torch.zeros(shape, dtype=torch.uint8))})
    with pytest.raises(ValueError, match=r'/data/a\.png: the label map is .* but the prediction is'):
        evaluate(kind(), [sample])


def test_predictions_that_would_overwrite_each_other_are_refused(tmp_path, make_sample, evaluate):
    maps = np.zeros((2, 2), int)
    samples = [make_sample(maps, maps, name) for name in ('a/1.jpg', 'b/1.jpg')]
    with pytest.raises(ValueError, match=r'/data/a/1\.jpg and /data/b/1\.jpg .* image_root .* to /data,'):
        evaluate(SegmentationMetric(output_dir=str(tmp_path)), samples)
    evaluate(SegmentationMetric(output_dir=str(tmp_path), image_root='/data'), samples)
    metric = SegmentationMetric(output_dir=str(tmp_path))
    for _ in range(2):  # the same images once more, as at the next validation
        evaluate(metric, samples[:1])


@pytest.mark.parametrize('label', [5, 256, -1])
def test_only_classes_are_saved(tmp_path, make_sample, evaluate, label):
    """Beyond 8 bits they would be written as others, without truth nothing else looks at them."""
    sample = make_sample(np.zeros((2, 2), int), np.full((2, 2), label), dtype=torch.int64)
    with pytest.raises(ValueError, match=f'the model predicts class {label} but the dataset has 5 classes'):
        evaluate(SegmentationMetric(output_dir=str(tmp_path), format_only=True), [sample])
    assert not list(tmp_path.iterdir())


def test_saving_only_warns_of_nothing(tmp_path, make_sample, evaluate, caplog):
    maps = np.zeros((2, 2), int)
    logger = MMLogger.get_instance('saving')
    logger.addHandler(caplog.handler)
    evaluate(SegmentationMetric(output_dir=str(tmp_path), format_only=True), [make_sample(maps, maps)])
    assert [record.levelname for record in caplog.records] == ['INFO']
    assert f'1 predictions saved to {tmp_path}' in caplog.text


def test_trimaps_are_of_one_label_a_pixel(make_sample, evaluate):
    sample = make_sample(np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8))
    for key in ('gt_sem_seg', 'pred_sem_seg'):
        delattr(sample, key)
        sample.set_data({key: PixelData(data=torch.zeros((5, 4, 4), dtype=torch.uint8))})
    with pytest.raises(UserError, match='TrimapMetric scores the boundaries of one label a pixel'):
        evaluate(TrimapMetric(), [sample])
