"""Every config loads, builds, trains a step, keeps to the rules of configs, and aims at a figure that exists."""

import copy
import json
import re
from functools import cache
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.registry import DATASETS, MODELS
from mmseg.structures import SegDataSample

from mmseg_deeplab.models.backbones import xception
from mmseg_deeplab.models.heads import deeplab_v1

REPO = Path(__file__).resolve().parents[1]
FACTS = REPO.parent / 'shared' / 'reference' / 'deeplab_facts.md'
CONFIGS = sorted(p for p in (REPO / 'configs').rglob('*.py') if '_base_' not in p.parts)
DATASETS_IN_NAMES = (
    'voc', 'cityscapes', 'camvid', 'ade20k', 'demo', 'pascal_context', 'person_part', 'coco_stuff10k', 'coco_stuff164k',
    'folder',
)  # fmt: skip

every_config = pytest.mark.parametrize('path', CONFIGS, ids=[str(p.relative_to(REPO / 'configs')) for p in CONFIGS])


@cache
def _load(path: Path) -> Config:
    return Config.fromfile(path)


def _header(path: Path) -> str:
    lines = path.read_text().splitlines()
    end = next(i for i, line in enumerate(lines) if not line.startswith('#'))
    return ' '.join(line.lstrip('# ') for line in lines[:end])


def _small(config: Config) -> dict:
    """The config's network, thinner where the backbone can be, without pretrained weights."""
    model = copy.deepcopy(config.model)
    model.backbone.init_cfg = None
    if model.backbone.type == 'DeepLabResNet':
        model.backbone.base_channels = 8
    if model.decode_head.type == 'FCNSkipHead':
        model.decode_head.channels = 64
    return model


def test_there_are_configs_of_every_version():
    names = [path.name for path in CONFIGS]
    for version in ('deeplabv1_', 'deeplabv2_', 'deeplabv3_', 'deeplabv3plus_'):
        assert sum(name.startswith(version) for name in names) >= 10, version
    assert sum(path.parent.name == 'baselines' for path in CONFIGS) == 14


@pytest.fixture
def thin(monkeypatch):
    """One block of Xception's middle flow instead of 8 or 16, and a sixteenth of fc6's and fc7's channels in v1."""
    flows = {depth: (entry, 1) for depth, (entry, _) in xception.FLOWS.items()}
    monkeypatch.setattr(xception, 'FLOWS', flows)
    variants = {
        name: (k, rate, channels // 16, pool) for name, (k, rate, channels, pool) in deeplab_v1.VARIANTS.items()
    }
    monkeypatch.setattr(deeplab_v1, 'VARIANTS', variants)


@every_config
def test_it_trains_a_step(path, thin):
    torch.manual_seed(0)
    config = _load(path)
    init_default_scope('mmseg')
    model = revert_sync_batchnorm(MODELS.build(_small(config))).train()
    # The smallest input whose coarsest features still have more than one cell; v1 and v2 want 8 k + 1, and 16 k + 1.
    side = 64 if config.model.backbone.type == 'UNet' else 2 * max(32, config.model.get('output_stride', 32)) + 1
    label = torch.randint(0, config.num_classes, (2, 1, side, side))
    label[:, :, :3] = 255
    samples = [
        SegDataSample(gt_sem_seg=PixelData(data=mask), metainfo=dict(img_shape=(side, side), pad_shape=(side, side)))
        for mask in label
    ]
    losses = model.loss(torch.randn(2, 3, side, side), samples)
    loss = sum(value for name, value in losses.items() if 'loss' in name)
    assert loss.isfinite()
    loss.backward()
    trained = [p for p in model.parameters() if p.requires_grad]
    assert trained
    assert all(p.grad is not None for p in trained)


@every_config
def test_it_keeps_to_the_rules(path):
    text = path.read_text()
    assert len([line for line in text.splitlines() if not line.startswith('#')]) <= 16
    config, header = _load(path), _header(path)
    assert f'python tools/train.py {path.relative_to(REPO)} ' in header
    batch, iterations = config.train_dataloader.batch_size, config.train_cfg.max_iters
    assert f'One device, batch {batch}, {iterations} iterations' in header
    assert config.auto_scale_lr == dict(enable=False, base_batch_size=batch)
    version = r'deeplabv(1|2|3|3plus)'
    baseline = r'(fcn_r50|fcn(8|16|32)s_vgg16|pspnet_r50|unet|segformer_b0|knet_r50)'
    network = baseline if path.parent.name == 'baselines' else rf'{version}_[a-z]+\d+'
    data = '|'.join(DATASETS_IN_NAMES)
    assert re.fullmatch(rf'{network}(_[a-z0-9-]+)*_({data})(_[a-z0-9_]+)?', path.stem), 'name grammar'


@every_config
def test_the_head_has_the_classes_of_the_dataset(path):
    config = _load(path)
    dataset_type = DATASETS.get(config.dataset_type)
    classes = dataset_type.METAINFO.get('classes')
    if config.model.type == 'DeepLab':  # which hands them on
        assert config.model.num_classes == config.num_classes
        assert config.model.crop_size == config.crop_size
    heads = [config.model.decode_head, config.model.get('auxiliary_head')]
    assert all(head.num_classes == config.num_classes for head in heads if head and 'num_classes' in head)
    if classes:
        assert config.num_classes == len(classes)


@every_config
def test_its_figure_is_published(path):
    if not FACTS.is_file():
        pytest.skip(f'the published figures are not here: {FACTS}')
    header = _header(path)
    facts = FACTS.read_text()
    figures = re.findall(r'(?<![\d.])\d\d\.\d{1,2}(?![\d.])', header)
    assert figures or re.search(r'[Nn]o (DeepLab paper|figure|published figure)', header), (
        'no figure, and no word on it'
    )
    for figure in set(figures):
        # 71.1 may be written as .711, and 77.80 as 77.8.
        spellings = {figure, figure.rstrip('0'), '.' + figure.replace('.', '')}
        assert any(re.search(rf'(?<![\d.]){re.escape(s)}0*(?!\d)', facts) for s in spellings), figure


def test_no_two_configs_are_the_same_experiment():
    seen: dict[str, Path] = {}
    for path in CONFIGS:
        content = json.dumps(_load(path).to_dict(), sort_keys=True, default=str)
        assert content not in seen, f'{path.name} and {seen[content].name} are the same'
        seen[content] = path


def test_rates_are_stated_at_output_stride_16():
    # v3, section 3.3: rate x output stride is 96, 192 and 288 pixels, at every output stride.
    for path in CONFIGS:
        head = _load(path).model.decode_head
        if head.type in ('DeepLabV3Head', 'DeepLabV3PlusHead'):
            rates = tuple(head.get('rates', (6, 12, 18)))
            assert rates in ((), (6, 12, 18), (6, 12, 18, 24)), path.name


def test_short_trainings_start_from_weights_for_them_and_long_ones_from_the_releases():
    for path in CONFIGS:
        config = _load(path)
        if config.model.decode_head.type in ('DeepLabV3Head', 'DeepLabV3PlusHead'):
            own = config.model.decode_head.get('initial_weights', 'release')
            assert own == ('release' if config.train_cfg.max_iters >= 30000 else 'kaiming'), path.name


@pytest.mark.parametrize(
    ('name', 'backbone', 'head'),
    [
        # TensorFlow release: slim's MobileNetV2, its Xception and all its heads; v3's text for ResNets.
        ('deeplabv3_mobilenetv2_voc', 0.997, 0.9997),
        ('deeplabv3plus_mobilenetv2_voc', 0.997, 0.9997),
        ('deeplabv3plus_mobilenetv2_tf_voc', 0.997, 0.9997),
        ('deeplabv3plus_xception65_voc', 0.9997, 0.9997),
        ('deeplabv3_r101_voc', 0.9997, 0.9997),
        ('deeplabv3plus_r101_voc', 0.9997, 0.9997),
        ('deeplabv3plus_mobilenetv2_demo', 0.9, 0.9),
        ('deeplabv3_mobilenetv2_demo', 0.9, 0.9),
    ],
)
def test_the_decay_of_batch_norm_is_that_of_release_or_text(name, backbone, head):
    init_default_scope('mmseg')
    with torch.device('meta'):
        model = MODELS.build(_load(REPO / f'configs/{name}.py').model)
    for part, decay in ((model.backbone, backbone), (model.decode_head, head)):
        (momentum,) = {layer.momentum for layer in part.modules() if isinstance(layer, torch.nn.SyncBatchNorm)}
        assert momentum == pytest.approx(1 - decay)
