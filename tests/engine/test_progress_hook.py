"""The console is never silent for long: training up to its first line, validation and test show how far they are."""

import pytest
import torch
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement

from mmseg_deeplab.engine import DeepLabRunner
from mmseg_deeplab.engine.hooks import progress


class Model(BaseModel):
    def __init__(self, fail: bool = False):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.fail = fail

    def forward(self, inputs, data_samples=None, mode='loss'):
        if mode == 'loss':
            return dict(loss=self.weight.sum())
        if self.fail:
            raise RuntimeError('in the middle')
        return [BaseDataElement() for _ in inputs]


class Nothing(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results += data_samples

    def compute_metrics(self, results):
        return {}


class Data(torch.utils.data.Dataset):
    metainfo: dict = {}

    def __len__(self):
        return 5

    def __getitem__(self, index):
        return dict(inputs=torch.zeros(1))


@pytest.fixture
def shown(monkeypatch) -> list:
    """What is shown: (title, total), then the numbers of steps, then 'gone'."""
    events: list = []

    class Recorder:
        def __init__(self, title, total):
            events.append((title, total))

        def __enter__(self):
            return events.append

        def __exit__(self, *error):
            events.append('gone')

    monkeypatch.setattr(progress, 'progress', Recorder)
    return events


def runner(folder, mode: str, interval: int = 3, fail: bool = False) -> DeepLabRunner:
    loader = dict(batch_size=2, num_workers=0, dataset=Data(), sampler=dict(type='DefaultSampler', shuffle=False))
    settings: dict = {f'{mode}_dataloader': loader}
    if mode == 'train':
        settings |= dict(train_cfg=dict(by_epoch=False, max_iters=5, val_interval=100))
        settings |= dict(optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)))
    else:
        settings |= {f'{mode}_cfg': {}, f'{mode}_evaluator': [Nothing()]}
    hooks = dict(logger=dict(type='LoggerHook', interval=interval), checkpoint=None, strict_load=None)
    return DeepLabRunner(
        Model(fail), str(folder), default_hooks=hooks, experiment_name=f'{mode}_{folder.name}', **settings
    )


@pytest.mark.parametrize('mode, title', [('val', 'validating'), ('test', 'testing')])
def test_images_are_counted_until_the_end(tmp_path, shown, mode, title):
    getattr(runner(tmp_path, mode), mode)()
    assert shown == [(title, 5), 2, 2, 1, 'gone']


@pytest.mark.parametrize('interval, until', [(2, 2), (50, 3)])  # an epoch has 3 iterations
def test_a_training_counts_to_its_first_line(tmp_path, shown, interval, until):
    runner(tmp_path, 'train', interval).train()
    assert shown == [('training until the first line', until), *[1] * until, 'gone']


def test_an_error_takes_it_away(tmp_path, shown):
    with pytest.raises(RuntimeError, match='in the middle'):
        runner(tmp_path, 'test', fail=True).test()
    assert shown == [('testing', 5), 'gone']
