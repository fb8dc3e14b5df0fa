"""What the run builds beside the network and its data."""

import pytest
from preflight_helpers import problem


@pytest.mark.parametrize('mode', ['train', 'test'])
def test_a_run_without_data(cfg, mode):
    cfg[f'{mode}_dataloader'] = None
    assert problem(cfg, mode) == f'{mode}ing needs a {mode}_dataloader'


@pytest.mark.parametrize(
    'step, told',
    [
        (dict(type='RandomCrop', crop_size=(0, 0)), '(RandomCrop): AssertionError: assert crop_size[0] > 0'),
        (dict(type='RandomScale', scales=[]), '(RandomScale): scales=[]: give one or more positive factors'),
        (dict(type='Resize'), '(Resize): '),
        (dict(type='TestTimeAug', transforms=[[dict(type='RandomFlip', prob=2.0)]]), '(TestTimeAug): '),
    ],
)
def test_a_transform_that_can_not_be_built(cfg, step, told):
    cfg.train_dataloader.dataset.pipeline[2] = step
    assert f'train_dataloader.dataset.pipeline.2 {told}' in problem(cfg)


def test_a_transform_of_a_wrapped_dataset(cfg):
    inner = cfg.train_dataloader.dataset
    inner.pipeline[2] = dict(type='RandomScale', scales=[-1])
    cfg.train_dataloader.dataset = dict(type='ConcatDataset', datasets=[inner])
    assert 'train_dataloader.dataset.datasets.0.pipeline.2 (RandomScale): scales=[-1]' in problem(cfg)
