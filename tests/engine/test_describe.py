"""The facts of a run are the same wherever they are shown: in the first lines and in the report."""

import html
import re

import numpy as np
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.runner import Runner

from mmseg_deeplab.engine.describe import _crf_line, describe, summarize
from mmseg_deeplab.engine.hooks import DenseCRFHook
from mmseg_deeplab.engine.loops import RefiningTestLoop
from mmseg_deeplab.evaluation import Scores, SegmentationMetric
from mmseg_deeplab.visualization.report_page import render


class Data(torch.utils.data.Dataset):
    metainfo = dict(classes=('sky', '<b>road'))

    def __len__(self):
        return 5


class Model(BaseModel):
    def forward(self, *args, **kwargs): ...


def test_the_summary_has_every_fact_on_a_line(tmp_path):
    runner = tiny_test(tmp_path)
    facts = describe(runner)
    name, *lines = summarize(runner).splitlines()
    assert name == runner.experiment_name
    assert dict(re.split(r'  +', line.strip(), maxsplit=1) for line in lines) == facts
    assert facts['checkpoint'] == 'weights.pth' and facts['dense CRF'] == 'preset v2_r101, workers 2'
    assert facts['test-time augmentation'] == 'none' and 'learning rate' not in facts
    assert facts['test data'] == 'Data, 5 images, 2 classes (sky, <b>road)'


def test_the_crf_is_found_wherever_a_config_asks_for_it():
    for kind in ('DenseCRFHook', DenseCRFHook):
        assert _crf_line(Config(dict(custom_hooks=[dict(type='EMAHook'), dict(type=kind)]))) == 'defaults'
    loop = Config(dict(test_cfg=dict(type=RefiningTestLoop, crf=dict(preset='v1', bi_w=5))))
    assert _crf_line(loop) == 'preset v1, bi_w 5'
    assert _crf_line(Config(dict(custom_hooks=None, test_cfg=None))) == _crf_line(Config({})) == 'none'


def tiny_test(folder) -> Runner:
    """A runner that has been built for a test, with a CRF in its config."""
    loader = dict(batch_size=1, num_workers=0, dataset=Data(), sampler=dict(type='DefaultSampler', shuffle=False))
    cfg = Config(dict(custom_hooks=[dict(type='DenseCRFHook', preset='v2_r101', workers=2)]))
    runner = Runner(
        Model(), str(folder), test_dataloader=loader, test_cfg={}, test_evaluator=[SegmentationMetric()],
        load_from='weights.pth', experiment_name=f'facts_{folder.name}', cfg=cfg,
    )  # fmt: skip
    assert len(runner.test_loop.dataloader) == 5
    return runner


def test_the_page_shows_them_escaped(tmp_path):
    facts = describe(tiny_test(tmp_path))
    plots = dict.fromkeys(('class_iou', 'trimap', 'confusion'), b'')
    page = render('run', facts, {}, ['a'], [(0, 0, 0)], Scores.of(np.ones((1, 1), int)), None, plots, [], [], [], '')
    shown = re.findall(r'<tr><td>(.*?)</td><td>(.*?)</td></tr>', page)
    assert {html.unescape(name): html.unescape(value) for name, value in shown} == facts
