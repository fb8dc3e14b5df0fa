"""A small dataset and a runner that tests a model which errs on purpose, in seconds."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.model import BaseModel
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmengine.structures import PixelData
from mmseg.datasets import BaseSegDataset
from PIL import Image

CLASSES = ('background', 'disc', 'box')
PALETTE = [[0, 0, 0], [200, 40, 40], [40, 40, 200]]


class ShiftedTruth(BaseModel):
    """Predicts the truth moved to the right, void as background; image k by k pixels, so image 0 is the best.

    With `crf`, the map before the CRF is moved by 4 pixels more.
    """

    def __init__(self, crf: bool = False) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.crf = crf

    def forward(self, inputs, data_samples, mode='predict'):
        for sample in data_samples:
            truth = sample.gt_sem_seg.data.clone()
            truth[truth == 255] = 0
            shift = int(sample.img_path[-5])
            sample.pred_sem_seg = PixelData(data=truth.roll(shift, -1).to(torch.uint8))
            if self.crf:
                before = PixelData(data=truth.roll(shift + 4, -1).to(torch.uint8))
                sample.set_data({'pred_sem_seg_before_crf': before})
        return data_samples


@pytest.fixture(scope='session')
def shapes(tmp_path_factory):
    """Six images of a disc and a box with a void border; sizes differ, the last is 60 pixels wide."""
    root = tmp_path_factory.mktemp('shapes')
    (root / 'images').mkdir()
    (root / 'masks').mkdir()
    rng = np.random.default_rng(0)
    for number in range(6):
        height, width = 90 + number, 60 if number == 5 else 200 + 10 * number
        mask = np.zeros((height, width), np.uint8)
        cv2.circle(mask, (width // 3, height // 2), 18, 1, -1)
        cv2.rectangle(mask, (width // 2, 20), (width - 15, 60), 2, -1)
        image = np.array([[90, 140, 90], [210, 80, 60], [60, 90, 200]], np.uint8)[mask]
        image = np.clip(image + rng.normal(0, 20, image.shape), 0, 255).astype(np.uint8)
        edge = cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
        mask[edge] = 255
        Image.fromarray(image).save(root / 'images' / f'shape_{number}.png')
        Image.fromarray(mask).save(root / 'masks' / f'shape_{number}.png')
    return root


@pytest.fixture
def run_test(shapes, tmp_path):
    """run_test(hooks, crf=..., evaluator=..., num_images=..., mode=...) -> (metrics, runner): a loop over shapes."""

    def run(hooks: list, crf: bool = False, evaluator=None, num_images: int = 6, mode: str = 'test'):
        init_default_scope('mmseg')
        pipeline = [{'type': 'LoadImageFromFile'}, {'type': 'LoadAnnotations'}, {'type': 'PackSegInputs'}]
        dataset = BaseSegDataset(
            data_root=str(shapes),
            data_prefix={'img_path': 'images', 'seg_map_path': 'masks'},
            img_suffix='.png',
            seg_map_suffix='.png',
            metainfo={'classes': CLASSES, 'palette': PALETTE},
            pipeline=pipeline,
            indices=num_images,
        )
        loader = {
            'batch_size': 2,
            'num_workers': 0,
            'dataset': dataset,
            'sampler': {'type': 'DefaultSampler', 'shuffle': False},
            'collate_fn': {'type': 'pseudo_collate'},
        }
        runner = Runner(
            model=ShiftedTruth(crf),
            work_dir=str(tmp_path / 'work'),
            **{
                f'{mode}_dataloader': loader,
                f'{mode}_cfg': {},
                f'{mode}_evaluator': evaluator or {'type': 'SegmentationMetric'},
            },
            custom_hooks=hooks,
            default_scope='mmseg',
            log_level='WARNING',
            experiment_name=f'shapes_{tmp_path.name}',
        )
        return getattr(runner, mode)(), runner

    return run
