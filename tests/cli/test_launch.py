"""What the command line changes in a config."""

from argparse import Namespace

import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from mmseg.registry import DATASETS, METRICS
from mmseg.structures import SegDataSample
from PIL import Image

from mmseg_deeplab.cli.configure import load_config, load_test_config, load_train_config


@pytest.fixture
def arguments(repo, tmp_path):
    """The arguments of tools/test.py for a set of tiles in which two images have the same name."""
    for tile in ('Tile 1', 'Tile 2'):
        for folder, mode in (('images', 'RGB'), ('masks', 'L')):
            path = tmp_path / 'set' / folder / tile / 'part_001.png'
            path.parent.mkdir(parents=True)
            Image.new(mode, (4, 3)).save(path)
    (tmp_path / 'set/classes.txt').write_text('land\nwater\n')
    config = tmp_path / 'config.py'
    config.write_text(f"_base_ = ['{repo}/configs/_base_/datasets/image_mask_folder.py']\n")
    unset = dict.fromkeys(
        ('cfg_options', 'work_dir', 'eval_output_stride', 'crf', 'crf_backend', 'crf_mode', 'refine', 'show_dir')
        + ('report',)
    )
    root, out = str(tmp_path / 'set'), str(tmp_path / 'out')
    return Namespace(
        config=config, checkpoint='a.pth', data_root=root, out=out, launcher='none', local_rank=0, tta=False, **unset
    )


def test_resume_without_a_file_is_of_the_work_dir(arguments):
    """The config of a second phase names weights to start from; those are not what is resumed."""
    arguments.config.write_text("load_from = 'first_phase.pth'\n")
    arguments.data_root = None
    for resume, expected in ((True, (True, None)), ('auto', ('auto', 'first_phase.pth')), ('x.pth', (True, 'x.pth'))):
        arguments.resume, arguments.amp, arguments.auto_scale_lr = resume, False, False
        arguments.deterministic = False
        cfg = load_train_config(arguments)
        assert (cfg.resume, cfg.load_from) == expected


def test_deterministic_keeps_the_seed(arguments):
    arguments.config.write_text('randomness = dict(seed=5)\n')
    arguments.data_root, arguments.resume, arguments.amp, arguments.auto_scale_lr = None, None, False, False
    for asked, expected in ((False, dict(seed=5)), (True, dict(seed=5, deterministic=True))):
        arguments.deterministic = asked
        assert load_train_config(arguments).randomness == expected


def test_out_keeps_predictions_of_equal_names_apart(arguments, tmp_path):
    arguments.cfg_options = {'test_dataloader.dataset.split': None}  # all images
    cfg = load_test_config(arguments)
    dataset = DATASETS.build({**cfg.test_dataloader.dataset, 'pipeline': []})
    metric = METRICS.build(cfg.test_evaluator)
    metric.dataset_meta = dataset.metainfo
    for label, image in enumerate(dataset.load_data_list()):
        sample = SegDataSample(metainfo=dict(img_path=image['img_path']))
        sample.gt_sem_seg = sample.pred_sem_seg = PixelData(data=torch.full((1, 3, 4), label))
        metric.process({}, [sample.to_dict()])
    for label, tile in enumerate(('Tile 1', 'Tile 2')):
        assert (np.array(Image.open(tmp_path / 'out' / tile / 'part_001.png')) == label).all()


def test_out_is_flat_for_other_datasets(arguments, repo, tmp_path):
    arguments.config = repo / 'configs/_base_/datasets/demo.py'
    cfg = load_test_config(arguments)
    assert cfg.test_evaluator.output_dir == arguments.out and 'image_root' not in cfg.test_evaluator


@pytest.mark.parametrize('kind, others', [('SegmentationMetric', {'image_root'}), ('IoUMetric', set())])
def test_out_goes_to_the_metric_that_saves(arguments, kind, others):
    arguments.config.write_text(
        arguments.config.read_text() + f"test_evaluator = [dict(type='TrimapMetric'), dict(type='{kind}')]\n"
    )
    trimap, metric = load_test_config(arguments).test_evaluator
    assert trimap == dict(type='TrimapMetric')
    assert metric['output_dir'] == arguments.out and metric.keys() == {'type', 'output_dir', *others}
    arguments.config.write_text(arguments.config.read_text() + "test_evaluator = [dict(type='TrimapMetric')]\n")
    with pytest.raises(ValueError, match='--out needs a metric that saves'):
        load_test_config(arguments)


def test_tta_reaches_wrapped_datasets(arguments):
    arguments.config.write_text(
        arguments.config.read_text()
        + "model = dict(type='DeepLab')\ntta_model = dict(type='DeepLabTTA')\n"
        + "part = dict(type='ImageMaskFolder', pipeline=[])\n"
        + "test_dataloader = dict(dataset=dict(_delete_=True, type='ConcatDataset', datasets=[part, part]))\n"
    )
    arguments.out, arguments.tta = None, True
    cfg = load_test_config(arguments)
    assert 'pipeline' not in cfg.test_dataloader.dataset
    assert [part.pipeline for part in cfg.test_dataloader.dataset.datasets] == [cfg.tta_pipeline] * 2


def test_hooks_that_are_not_there_cannot_be_changed(arguments):
    with pytest.raises(ValueError, match=r'custom_hooks\.0.*has no custom_hooks to change'):
        load_config(arguments.config, {'custom_hooks.0.type': 'EMAHook'})
