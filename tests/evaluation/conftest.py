"""Samples as a segmentor returns them, and an evaluator without a runner."""

import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

CLASSES = ('sky', 'road', 'car', 'tree', 'never')
PALETTE = [[0, 0, 0], [10, 20, 30], [40, 50, 60], [70, 80, 90], [1, 2, 3]]


@pytest.fixture(scope='session')
def meta() -> dict:
    return {'classes': CLASSES, 'palette': PALETTE}


@pytest.fixture(scope='session')
def make_sample():
    """make_sample(truth, prediction, ...): (H, W) label maps as one data sample."""

    def make(truth, prediction, name='a.jpg', before=None, dtype=torch.uint8) -> SegDataSample:
        sample = SegDataSample(metainfo={'img_path': f'/data/{name}', 'seg_map_path': f'/data/{name[:-4]}.png'})
        sample.gt_sem_seg = PixelData(data=torch.as_tensor(truth)[None])
        sample.pred_sem_seg = PixelData(data=torch.as_tensor(prediction).to(dtype)[None])
        if before is not None:
            sample.set_data({'pred_sem_seg_before_crf': PixelData(data=torch.as_tensor(before).to(dtype)[None])})
        return sample

    return make


@pytest.fixture(scope='session')
def evaluate(meta):
    """evaluate(metric, samples) -> the metric's dict, as a test loop would get it."""

    def run(metric, samples) -> dict:
        evaluator = Evaluator(metric)
        evaluator.dataset_meta = meta
        for sample in samples:
            evaluator.process([sample])
        return evaluator.evaluate(len(samples))

    return run
