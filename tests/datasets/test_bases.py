"""Each dataset base defines what the leaf configs read, states class counts that its dataset class has, and runs."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmseg.registry import DATASETS
from PIL import Image

from mmseg_deeplab.datasets import make_demo_dataset, set_data_root

FOLDER = Path(__file__).parents[2] / 'configs/_base_/datasets'
NAMES = sorted(path.stem for path in FOLDER.glob('*.py') if path.stem != 'shared')
KEYS = [
    *('dataset_type', 'data_root', 'num_classes', 'crop_size', 'train_pipeline', 'test_pipeline', 'tta_pipeline'),
    *('train_dataloader', 'val_dataloader', 'test_dataloader', 'val_evaluator', 'test_evaluator'),
]


def load(name):
    return Config.fromfile(FOLDER / f'{name}.py')


def inner(dataset):
    return inner(dataset.dataset) if 'dataset' in dataset else dataset


def test_all_are_found():
    assert len(NAMES) >= 16


@pytest.mark.parametrize('name', NAMES)
def test_keys_classes_and_pipelines_agree(name):
    cfg = load(name)
    assert [key for key in KEYS if key not in cfg] == []
    dataset_class = DATASETS.get(cfg.dataset_type)
    if dataset_class.METAINFO:
        assert len(dataset_class.METAINFO['classes']) == cfg.num_classes
    for split in ('train', 'val', 'test'):
        dataset = inner(cfg[f'{split}_dataloader'].dataset)
        assert dataset.type == cfg.dataset_type
        assert dataset.data_root == cfg.data_root
        assert dataset.pipeline == (cfg.train_pipeline if split == 'train' else cfg.test_pipeline)
        assert dataset.get('test_mode', False) == (split != 'train')
    views = [step for group in cfg.tta_pipeline[1].transforms for step in group]
    for pipeline in (cfg.train_pipeline, cfg.test_pipeline, views):
        # Without a number of classes of their own: it comes with each sample from the dataset.
        assert [step for step in pipeline if step.type == 'LoadLabels'] == [dict(type='LoadLabels')]
        assert pipeline[-1] == dict(type='PackSegInputs')
    assert [step.crop_size for step in cfg.train_pipeline if step.type == 'RandomCrop'] == [cfg.crop_size]
    assert all(side % 32 == 1 for side in cfg.crop_size)


# scales, crop, batch: 1412.7062 section 4.1, 1606.00915 section 4, 1706.05587 section 4, and the released files
V2, V3 = (0.5, 0.75, 1.0, 1.25, 1.5), (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)


@pytest.mark.parametrize(
    ('name', 'scales', 'crop', 'batch'),
    [
        ('voc12_aug', V3, 513, 16),
        ('voc12_aug_v1', None, 321, 30),
        ('voc12_aug_v2', V2, 321, 10),
        ('voc12_trainval', V3, 513, 16),
        ('cityscapes', V3, 769, 16),
        ('pascal_context', V2, 321, 10),
        ('person_part', V2, 321, 10),
        ('coco_stuff164k', V2, 321, 10),
        ('ade20k', V3, 513, 16),
    ],
)
def test_recipes_of_the_papers(name, scales, crop, batch):
    cfg = load(name)
    assert cfg.train_dataloader.batch_size == batch
    steps = {step.type: step for step in inner(cfg.train_dataloader.dataset).pipeline}
    assert steps['RandomCrop'].crop_size == (crop, crop)
    assert steps['RandomFlip'].prob == 0.5
    assert (tuple(steps['RandomScale'].scales) if scales else 'RandomScale' not in steps) == (scales or True)


def test_multi_scale_test_of_the_papers():
    def scales(name):
        return [step.scale_factor for step in load(name).tta_pipeline[1].transforms[0]]

    assert scales('voc12_aug') == [0.5, 0.75, 1.0, 1.25, 1.5, 1.75]  # 1706.05587, section 4.1
    assert scales('cityscapes') == [0.75, 1.0, 1.25]  # its section 4.3


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """One generated folder in the layouts of the demo, VOC, CamVid and ImageMaskFolder at once."""
    path = tmp_path_factory.mktemp('sets') / 'root'
    make_demo_dataset(path, train=4, val=2)
    lists = path / 'ImageSets/Segmentation'
    shutil.copy(lists / 'train.txt', lists / 'trainaug.txt')
    shutil.copy(lists / 'train.txt', lists / 'trainval.txt')
    shutil.copytree(path / 'SegmentationClass', path / 'SegmentationClassAug')
    for split in ('train', 'val'):
        shutil.copytree(path / 'JPEGImages', path / f'img_dir/{split}')
        shutil.copytree(path / 'SegmentationClass', path / f'ann_dir/{split}')
    return path


@pytest.mark.parametrize(
    'name', ['demo', 'voc12', 'voc12_aug', 'voc12_aug_v1', 'voc12_aug_v2', 'voc12_trainval', 'camvid']
)
def test_loaders_give_crops_for_training_and_whole_images_for_test(name, root, monkeypatch, tmp_path):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    cfg = load(name)
    set_data_root(cfg, root)
    train = DATASETS.build(cfg.train_dataloader.dataset)
    assert len(train) >= 4
    for sample in (train[i] for i in range(4)):
        label = sample['data_samples'].gt_sem_seg.data
        assert sample['inputs'].shape[1:] == label.shape[1:]
        assert all(side <= crop for side, crop in zip(label.shape[1:], cfg.crop_size, strict=True))
        assert set(np.unique(label)) <= {*range(cfg.num_classes), 255}
    test = DATASETS.build(cfg.test_dataloader.dataset)
    sample = test[0]
    size = Image.open(sample['data_samples'].img_path).size
    assert tuple(sample['inputs'].shape[:0:-1]) == size, 'test images are not resized'
    test.pipeline = type(test.pipeline)(cfg.tta_pipeline)
    views = test[0]['inputs']
    assert len(views) == 2 * len(cfg.tta_pipeline[1].transforms[0])


def test_ade20k_test_images_fit_the_crop_and_their_labels_keep_the_original_size(tmp_path):
    for split, value in (('training', 0), ('validation', 150)):
        (tmp_path / f'images/{split}').mkdir(parents=True)
        (tmp_path / f'annotations/{split}').mkdir(parents=True)
        Image.fromarray(np.zeros((300, 1000, 3), np.uint8)).save(tmp_path / f'images/{split}/a.jpg')
        Image.fromarray(np.full((300, 1000), value, np.uint8)).save(tmp_path / f'annotations/{split}/a.png')
    cfg = load('ade20k')
    set_data_root(cfg, tmp_path)
    sample = DATASETS.build(cfg.test_dataloader.dataset)[0]
    assert tuple(sample['inputs'].shape[1:]) == (154, 513)  # 300 x 1000 fitted into 513 x 513
    label = sample['data_samples'].gt_sem_seg.data
    assert label.shape == (1, 300, 1000) and label.unique().tolist() == [149]
    steps = DATASETS.build(cfg.train_dataloader.dataset).pipeline.transforms
    results = dict(img=np.zeros((300, 1000, 3), np.uint8), gt=np.zeros((300, 1000), np.uint8), seg_fields=['gt'])
    fitted = next(step for step in steps if type(step).__name__ == 'FitIntoSquare')(results)
    assert fitted['img'].shape[:2] == fitted['gt'].shape == (161, 513)  # in training with the release's 16 k + 1
    train = DATASETS.build(cfg.train_dataloader.dataset)[0]
    assert train['data_samples'].gt_sem_seg.data.unique().tolist() == [255], 'class 0 of ADE20K is void'
