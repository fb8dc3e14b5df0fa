"""A class that is never predicted is named, with causes that fit what the training has shown."""

import logging
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from mmseg_deeplab.engine.hooks import ClassesHook, CrashSafeCheckpointHook
from mmseg_deeplab.evaluation import SegmentationMetric
from mmseg_deeplab.evaluation.scores import wrong_best


def validated(confusion, iteration, logger):
    metric = SegmentationMetric()
    metric.dataset_meta = dict(classes=['sky', 'road', 'pole'])
    metric.confusion = np.array(confusion)
    loop = SimpleNamespace(evaluator=SimpleNamespace(metrics=[metric]))
    return SimpleNamespace(val_loop=loop, iter=iteration, logger=logger)


def batch(labels):
    mask = torch.tensor(labels).view(1, -1, 1).repeat_interleave(4, 1)  # every 4th row is counted
    return dict(data_samples=[SegDataSample(gt_sem_seg=PixelData(data=mask))])


MISSING = [[90, 10, 0], [0, 50, 0], [20, 30, 0]]


@pytest.mark.parametrize(
    ('labels', 'told'),
    [
        ([0] * 50 + [1] * 50, r'0\.00% of the pixels\. Likely causes: no mask of the training holds it'),
        ([0] * 500 + [1] * 499 + [2], r'0\.10% of the pixels\. Likely causes: it is rare.*RepeatClasses.*class_weight'),
        ([0] * 50 + [1] * 25 + [2] * 25 + [255] * 100, r'25\.00% of the pixels, which is enough.*classes\.txt'),
        ([], 'too few iterations'),
    ],
)
def test_a_class_that_is_never_predicted(caplog, labels, told):
    hook, logger = ClassesHook(after=100), logging.getLogger('classes')
    hook.before_train(None)
    if labels:
        hook.after_train_iter(None, 0, batch(labels))
    hook.after_val_epoch(validated(MISSING, 99, logger))
    assert not caplog.records  # it has time until then
    hook.after_val_epoch(validated(MISSING, 100, logger))
    (record,) = caplog.records
    text = record.getMessage()
    assert text.startswith("class 'pole' is predicted nowhere after 100 iterations, though 25.00% of the pixels")
    assert re.search(told, text)
    hook.after_val_epoch(validated(MISSING, 200, logger))
    assert len(caplog.records) == 1  # said once


def test_what_is_no_fault(caplog):
    """A class that the validation lacks can't be missed; another metric says nothing."""
    hook, logger = ClassesHook(after=0), logging.getLogger('classes')
    hook.after_val_epoch(validated([[9, 1, 0], [1, 9, 0], [0, 0, 0]], 5, logger))
    hook.after_val_epoch(SimpleNamespace(val_loop=None, iter=5, logger=logger))
    assert not caplog.records


@pytest.mark.parametrize('name', ['IoU/pole', 'Dice/pole', 'Precision/pole', 'Acc/pole', 'before_crf/IoU/pole'])
def test_the_best_checkpoint_by_a_class(name):
    assert CrashSafeCheckpointHook(save_best=name).rules == ['greater']
    metric = SegmentationMetric(per_class=True)
    assert wrong_best([name], [metric], crf=True) is None  # the classes come later
    metric.dataset_meta = dict(classes=['sky', 'pole'])
    assert wrong_best([name], [metric], crf=True) is None
    assert 'choose one of aAcc, mIoU' in wrong_best([name.replace('pole', 'fjeld')], [metric], crf=True)
    assert 'set val_evaluator.per_class=True' in wrong_best([name], [SegmentationMetric()], crf=True)
