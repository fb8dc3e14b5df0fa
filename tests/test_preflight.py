"""Each problem that preflight finds, by a deliberately broken config or dataset; and no alarm for what is right."""

import copy
import shutil
from pathlib import Path

import cv2
import mmseg
import numpy as np
import pytest
from mmengine.config import Config

from mmseg_deeplab.datasets import set_data_root
from mmseg_deeplab.datasets.demo import make_demo_dataset
from mmseg_deeplab.preflight import PreflightError, check, check_options
from mmseg_deeplab.preflight.data import check_pipelines
from mmseg_deeplab.preflight.keys import check_keys
from mmseg_deeplab.preflight.signatures import accepted, wrong_type

NUM_TRAIN = 70  # more than the sample that is looked into


@pytest.fixture(scope='session')
def generated(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp('preflight') / 'demo'
    make_demo_dataset(str(root), NUM_TRAIN, 3, 0)
    return root


@pytest.fixture(scope='session')
def demo_config(repo) -> Config:
    return Config.fromfile(repo / 'configs' / 'deeplabv3plus_mobilenetv2_demo.py')


@pytest.fixture
def cfg(demo_config, generated) -> Config:
    """The demo's config on a generated dataset; a test may change it."""
    cfg = copy.deepcopy(demo_config)
    set_data_root(cfg, generated)
    return cfg


@pytest.fixture
def data(cfg, generated, tmp_path) -> Path:
    """A copy of the dataset that a test may break; `cfg` points to it."""
    shutil.copytree(generated, tmp_path / 'demo')
    set_data_root(cfg, tmp_path / 'demo')
    return tmp_path / 'demo'


def problem(cfg: Config, mode: str = 'train', **options) -> str:
    with pytest.raises(PreflightError) as error:
        check(cfg, mode, **options)
    return str(error.value)


def names(data: Path, split: str = 'train') -> list[str]:
    return (data / 'ImageSets' / 'Segmentation' / f'{split}.txt').read_text().split()


def mask_of(data: Path, index: int) -> Path:
    return data / 'SegmentationClass' / f'{names(data)[index]}.png'


def image_of(data: Path, index: int) -> Path:
    return next((data / 'JPEGImages').glob(f'{names(data)[index]}.*'))


def write_mask(path: Path, mask: np.ndarray) -> None:
    assert cv2.imwrite(str(path), mask)


def read_mask(path: Path) -> np.ndarray:
    from PIL import Image

    return np.array(Image.open(path))


# ---- nothing wrong ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('mode', ['train', 'test'])
def test_the_demo_passes(cfg, mode):
    check(cfg, mode, check_all=True)


def test_every_ready_config_passes(repo):
    """Keys, numbers and pipelines; the data of most are not here."""
    ready = [path for path in sorted((repo / 'configs').rglob('*.py')) if '_base_' not in path.parts]
    assert len(ready) > 100
    for path in ready:
        config = Config.fromfile(path)
        check_keys(config)
        for split in ('train', 'val', 'test'):
            check_pipelines(config[f'{split}_dataloader'], f'{split}_dataloader')
        check_pipelines(dict(pipeline=config.tta_pipeline), 'tta')


@pytest.mark.parametrize(
    'stock',
    [
        'deeplabv3plus/deeplabv3plus_r50-d8_4xb4-20k_voc12aug-512x512.py',
        'pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py',
        'segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py',
        'point_rend/pointrend_r101_4xb2-80k_cityscapes-512x1024.py',
        'bisenetv2/bisenetv2_fcn_4xb4-amp-160k_cityscapes-1024x1024.py',
        'swin/swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512.py',
        'cgnet/cgnet_fcn_4xb4-60k_cityscapes-680x680.py',  # the old train_cfg.sampler
        'knet/knet-s3_r50-d8_fcn_8xb2-adamw-80k_ade20k-512x512.py',  # clip_grad
    ],
)
def test_keys_of_stock_configs_pass(stock):
    check_keys(Config.fromfile(Path(mmseg.__file__).parent / '.mim' / 'configs' / stock))


def test_a_stock_model_on_generated_data_passes(cfg):
    stock = Path(mmseg.__file__).parent / '.mim' / 'configs'
    cfg.model = Config.fromfile(stock / 'deeplabv3plus' / 'deeplabv3plus_r18-d8_4xb2-80k_cityscapes-512x1024.py').model
    cfg.model.pretrained = None
    cfg.model.decode_head.num_classes = cfg.model.auxiliary_head.num_classes = 7
    check(cfg, 'train')


def test_stock_loading_transforms_pass(cfg):
    for split in ('train', 'val'):
        pipeline = cfg[f'{split}_dataloader'].dataset.pipeline
        pipeline[1] = dict(type='LoadAnnotations')
    check(cfg, 'train')


# ---- keys and types --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'options, told',
    [
        ({'model.decode_head.num_clases': 7}, ['model.decode_head.num_clases', "did you mean 'num_classes'"]),
        ({'model.ouput_stride': 8}, ['model.ouput_stride', "did you mean 'output_stride'"]),
        ({'model.test_cfg.mod': 'slide'}, ['model.test_cfg.mod', "did you mean 'mode'"]),
        ({'model.backbone.widht': 0.5}, ['model.backbone.widht', "did you mean 'width'"]),
        ({'model.decode_head.type': 'DeepLabV3PlusHaed'}, ['decode_head.type', "did you mean 'DeepLabV3PlusHead'"]),
        ({'train_dataloader.batchsize': 4}, ['train_dataloader.batchsize', "did you mean 'batch_size'"]),
        ({'train_dataloader.dataset.ann_fiel': 'x'}, ['dataset.ann_fiel', "did you mean 'ann_file'"]),
        ({'train_dataloader.dataset.data_prefix.img_pth': 'x'}, ['data_prefix.img_pth', "did you mean 'img_path'"]),
        ({'train_dataloader.dataset.pipeline.4.porb': 0.1}, ['pipeline.4.porb', "did you mean 'prob'"]),
        ({'train_cfg.max_iter': 10}, ['train_cfg.max_iter', "did you mean 'max_iters'"]),
        ({'optim_wrapper.optimizer.momentun': 0.9}, ['optimizer.momentun', "did you mean 'momentum'"]),
        ({'optim_wrapper.acumulative_counts': 2}, ["did you mean 'accumulative_counts'"]),
        ({'param_scheduler.0.powr': 1}, ['param_scheduler.0.powr', "did you mean 'power'"]),
        ({'default_hooks.checkpoint.max_keep_ckpt': 1}, ["did you mean 'max_keep_ckpts'"]),
        ({'default_hooks.checkpiont': dict(type='CheckpointHook')}, ['default_hooks.checkpiont', "'checkpoint'"]),
        ({'model.data_preprocessor.test_cfg.sise': 5}, ['data_preprocessor.test_cfg.sise', "did you mean 'size'"]),
        ({'model.train_cfg.foo': 1}, ['model.train_cfg.foo', "train_cfg takes no 'foo'"]),
        ({'optim_wrapper.clip_grad.max_nrom': 1}, ['clip_grad.max_nrom', "did you mean 'max_norm'"]),
        ({'env_cfg.dist_cfg.bakend': 'gloo'}, ['env_cfg.dist_cfg.bakend', "did you mean 'backend'"]),
        ({'custom_hooks.0.foo': 1}, ['custom_hooks', 'must be a list']),
        ({'randomness.sed': 1}, ['randomness.sed', "did you mean 'seed'"]),
        ({'env_cfg.cudnn_bechmark': True}, ["did you mean 'cudnn_benchmark'"]),
        ({'auto_scale_lr.enabled': True}, ['auto_scale_lr.enabled', "did you mean 'enable'"]),
        ({'train_dataloder': {}}, ['train_dataloder', "did you mean 'train_dataloader'"]),
        ({'train_dataloader.batch_size': 'two'}, ["train_dataloader.batch_size' is 'two'", 'needs int']),
        ({'optim_wrapper.optimizer.lr': 'fast'}, ["optim_wrapper.optimizer.lr' is 'fast'", 'needs float']),
        ({'train_dataloader.batch_size': 2.5}, ["train_dataloader.batch_size' is 2.5", 'needs int above 0']),
        ({'val_dataloader.batch_size': 0}, ["val_dataloader.batch_size' is 0", 'needs int above 0']),
        ({'train_dataloader.num_workers': -1}, ["train_dataloader.num_workers' is -1", 'needs int of 0 or more']),
        ({'train_cfg.max_iters': 100.5}, ["train_cfg.max_iters' is 100.5", 'needs int above 0']),
        ({'train_cfg.max_iters': -5}, ["train_cfg.max_iters' is -5", 'needs int above 0']),
        ({'train_cfg.val_interval': 0}, ["train_cfg.val_interval' is 0", 'needs int above 0']),
        ({'optim_wrapper.optimizer.lr': 0.0}, ["optim_wrapper.optimizer.lr' is 0.0", 'needs float above 0']),
        ({'optim_wrapper.optimizer.lr': -0.01}, ["optim_wrapper.optimizer.lr' is -0.01", 'needs float above 0']),
        ({'optim_wrapper.accumulative_counts': 0}, ["accumulative_counts' is 0", 'needs int above 0']),
        ({'default_hooks.logger.interval': 0}, ["default_hooks.logger.interval' is 0", 'needs int above 0']),
        ({'optim_wrapper.clip_grad': 35}, ["clip_grad' is 35", 'dict(max_norm=35)']),
        ({'model.data_preprocessor.size': 'abc'}, ["data_preprocessor.size' is 'abc'", '(height, width)']),
        ({'model.data_preprocessor.test_cfg.size': 513}, ["test_cfg.size' is 513", '(height, width)']),
        ({'randomness.seed': 'abc'}, ["randomness.seed' is 'abc'", 'needs int of 0 or more']),
        ({'auto_scale_lr.base_batch_size': 'abc'}, ["base_batch_size' is 'abc'", 'needs int above 0']),
        ({'train_cfg.max_iters': '4k'}, ["train_cfg.max_iters' is '4k'", 'needs int']),
        ({'model.decode_head.num_classes': 'seven'}, ["model.decode_head.num_classes' is 'seven'", 'needs int']),
    ],
)
def test_a_wrong_key_or_type_is_named(cfg, options, told):
    cfg = copy.deepcopy(cfg)
    cfg._cfg_dict.pop('train_dataloader') if 'train_dataloder' in options else None
    cfg.merge_from_dict(options)
    with pytest.raises(PreflightError) as error:
        check_keys(cfg)
    for words in told:
        assert words in str(error.value)


@pytest.mark.parametrize(
    'options',
    [
        {'optim_wrapper.clip_grad': dict(type='norm', max_norm=1, norm_type='inf', error_if_nonfinite=True)},
        {'optim_wrapper.clip_grad': dict(type='value', clip_value=0.1, foreach=False)},
        {'env_cfg.dist_cfg': dict(backend='gloo', timeout=1800, init_backend='torch', port=29501)},
        {'model.data_preprocessor.test_cfg': dict(size_divisor=32)},
        {'model.train_cfg': dict(num_points=2048, oversample_ratio=3, importance_sample_ratio=0.75)},
        {'custom_hooks': [dict(type='EMAHook', priority='NORMAL')]},
        {'custom_hooks': None},
        {'optim_wrapper.optimizer.lr': 1, 'train_dataloader.num_workers': 0, 'randomness.seed': None},
    ],
)
def test_keys_that_the_stack_reads_pass(cfg, options):
    cfg.merge_from_dict(options)
    check_keys(cfg)


@pytest.mark.parametrize(
    'key, told',
    [
        ('data_root', '--data-root'),
        ('num_classes', 'model.decode_head.num_classes'),
        ('train_pipeline', 'train_dataloader.dataset.pipeline'),
        ('custom_imports.imports', 'imports run before'),
        ('modle.output_stride', "did you mean 'model'"),
        ('zzz', "no key 'zzz' is read"),
    ],
)
def test_an_option_that_nothing_reads_is_refused(cfg, key, told):
    """The stack takes all of these silently, and trains on as if they had not been given."""
    with pytest.raises(PreflightError, match=told):
        check_options(cfg, {key: 1})


@pytest.mark.parametrize('key', ['model.output_stride', 'train_cfg.max_iters', 'load_from', 'tta_model.type', 'resume'])
def test_an_option_that_is_read_passes(cfg, key):
    check_options(cfg, {key: 1})


def test_keywords_are_followed_to_base_classes_but_not_elsewhere():
    class Base:
        def __init__(self, near: int = 1): ...

    class Child(Base):
        def __init__(self, own: bool, **kwargs):
            super().__init__(**kwargs)

    class Elsewhere(Base):
        def __init__(self, **kwargs):
            super().__init__()
            self.rest = dict(**kwargs)

    assert set(accepted(Child).names) == {'own', 'near'}
    assert not accepted(Child).open
    assert accepted(Elsewhere).open
    assert wrong_type(accepted(Child).names['near'], '1') == 'int'
    assert wrong_type(accepted(Child).names['near'], 1.0) is None


# ---- the model -------------------------------------------------------------------------------------------------------


def test_an_output_stride_that_can_not_be(cfg):
    cfg.model.output_stride = 12
    message = problem(cfg)
    assert 'output_stride=12' in message and '8, 16, 32' in message


def test_head_and_dataset_with_different_classes(cfg):
    cfg.model.decode_head.num_classes = 5
    message = problem(cfg)
    assert 'model.decode_head.num_classes is 5' in message and '7 classes (background' in message


def test_the_test_data_have_their_own_classes(cfg):
    """A dataset's METAINFO is what counts, also at test."""
    cfg.test_dataloader.dataset.metainfo = dict(classes=('ring', 'cross'))
    message = problem(cfg, 'test')
    assert 'test_dataloader has 2 classes (ring, cross)' in message


def test_one_image_per_device_under_image_pooling(cfg):
    cfg.train_dataloader.batch_size = 1
    message = problem(cfg)
    assert 'batch_size is 1' in message and 'image pooling' in message and 'batch_size=2' in message


def test_one_image_per_device_is_fine_with_frozen_batch_norm(cfg):
    cfg.train_dataloader.batch_size = 1
    cfg.model.frozen_bn = ['backbone', 'decode_head']
    check(cfg, 'train')


@pytest.mark.parametrize(
    'options, told',
    [
        ({'decode_head.rates': 6}, "model.decode_head (DeepLabV3PlusHead) can not be built: 'int' object"),
        ({'decode_head.num_classes': [7]}, 'model.decode_head (DeepLabV3PlusHead) can not be built: '),
        ({'decode_head.num_classes': -1}, 'model.decode_head (DeepLabV3PlusHead) can not be built: '),
        (
            {'decode_head.loss_decode': dict(class_weight=[1, 2])},
            'must contain the key "type", but got {\'class_weight\'',
        ),
        (
            {'decode_head.loss_decode': dict(type='SegCrossEntropy', class_weight='none')},
            'model.decode_head.loss_decode (SegCrossEntropy) can not be built: ',
        ),
        ({'backbone.width': 'wide'}, "config key 'model.backbone.width' is 'wide'"),
        ({'backbone.width': (1, 2)}, 'model.backbone (DeepLabMobileNetV2) can not be built: '),
        ({'backbone': None}, 'config key model.backbone is None'),
        ({'decode_head': 7}, 'config key model.decode_head is 7'),
    ],
)
def test_the_part_of_the_model_that_can_not_be_built_is_named(cfg, options, told):
    for key, value in options.items():
        part, _, setting = key.partition('.')
        if setting:
            cfg.model[part][setting] = value
        else:
            cfg.model[part] = value
    assert told in problem(cfg)


def test_two_parts_of_one_class_are_both_named(cfg):
    stock = Path(mmseg.__file__).parent / '.mim' / 'configs'
    cfg.model = Config.fromfile(stock / 'fcn' / 'fcn_r18-d8_4xb2-80k_cityscapes-512x1024.py').model
    cfg.model.auxiliary_head.loss_decode = dict(use_sigmoid=True)
    assert 'model.decode_head or model.auxiliary_head (FCNHead) can not be built: ' in problem(cfg)


def test_a_missing_checkpoint(cfg):
    cfg.load_from = 'work_dirs/none.pth'
    assert "load_from: checkpoint 'work_dirs/none.pth' does not exist" in problem(cfg, 'test')


def test_a_missing_pretrained_backbone(cfg):
    cfg.model.backbone.init_cfg = dict(type='Pretrained', checkpoint='none.pth')
    assert "model.backbone.init_cfg.checkpoint: checkpoint 'none.pth'" in problem(cfg)
    check(cfg, 'test')  # a test loads its own weights


# ---- pipelines -------------------------------------------------------------------------------------------------------


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


# ---- folders and files -----------------------------------------------------------------------------------------------


def test_a_missing_folder(cfg):
    cfg.train_dataloader.dataset.data_root = 'data/nowhere'
    message = problem(cfg)
    assert "train_dataloader.dataset.data_root: folder 'data/nowhere' does not exist" in message
    assert '--data-root' in message


def test_a_missing_folder_below_the_root(cfg):
    cfg.train_dataloader.dataset.data_prefix.img_path = 'Pictures'
    message = problem(cfg)
    assert 'data_prefix.img_path' in message and 'Pictures' in message and 'JPEGImages' in message


def test_a_missing_split_file(cfg):
    cfg.train_dataloader.dataset.ann_file = 'ImageSets/Segmentation/trainaug.txt'
    message = problem(cfg)
    assert 'train_dataloader.dataset.ann_file' in message and 'trainaug.txt' in message and 'train.txt' in message


def test_an_empty_split(cfg, data):
    (data / 'ImageSets' / 'Segmentation' / 'train.txt').write_text('')
    message = problem(cfg)
    assert 'train_dataloader.dataset: no images' in message and 'train.txt' in message


def test_an_image_that_the_split_names_but_is_not_there(cfg, data):
    image = image_of(data, 5)
    image.unlink()
    message = problem(cfg)
    assert str(image) in message and 'does not exist' in message


def test_an_image_without_mask(cfg, data):
    """All masks are looked for, not only those of the sample."""
    mask = mask_of(data, NUM_TRAIN - 1)
    mask.unlink()
    message = problem(cfg)
    assert f'has no mask: {mask}' in message and 'seg_map_suffix' in message


@pytest.mark.parametrize('loader', ['LoadLabels', 'LoadAnnotations'])
def test_label_values_out_of_range(cfg, data, loader):
    if loader == 'LoadAnnotations':
        cfg.train_dataloader.dataset.pipeline[1] = dict(type=loader)
    mask = read_mask(mask_of(data, 0))
    mask[:2, :2], mask[2:4, 2:4] = 30, 44
    write_mask(mask_of(data, 0), mask)
    message = problem(cfg)
    assert str(mask_of(data, 0)) in message and '30, 44' in message and '0..6' in message


@pytest.mark.parametrize('loader', ['LoadLabels', 'LoadAnnotations'])
def test_image_and_mask_of_different_size(cfg, data, loader):
    if loader == 'LoadAnnotations':
        cfg.train_dataloader.dataset.pipeline[1] = dict(type=loader)
    mask = read_mask(mask_of(data, 0))
    write_mask(mask_of(data, 0), mask[:-3])
    message = problem(cfg)
    assert str(mask_of(data, 0)) in message
    assert f'{mask.shape[1]} x {mask.shape[0] - 3}' in message and f'{mask.shape[1]} x {mask.shape[0]}' in message


def test_masks_are_looked_at_when_labels_are_loaded_after_a_resize(cfg, data):
    """As in test pipelines that don't resize the labels."""
    pipeline = cfg.test_dataloader.dataset.pipeline
    pipeline.insert(1, dict(type='Resize', scale=(33, 33), keep_ratio=True))
    check(cfg, 'test')
    mask = data / 'SegmentationClass' / f'{names(data, "val")[0]}.png'
    write_mask(mask, np.full_like(read_mask(mask), 30))
    message = problem(cfg, 'test')
    assert str(mask) in message and 'values 30' in message
    mask.unlink()
    assert f'has no mask: {mask}' in problem(cfg, 'test')


@pytest.mark.parametrize('loader', [dict(type='LoadLabels', num_classes=7), dict(type='mmseg.LoadAnnotations')])
def test_masks_are_looked_at_under_test_time_augmentation(cfg, data, loader):
    cfg.test_dataloader.dataset.pipeline = copy.deepcopy(cfg.tta_pipeline)
    groups = cfg.tta_pipeline[1].transforms
    assert [step.type for group in groups for step in group].count('LoadLabels') == 1
    cfg.test_dataloader.dataset.pipeline[1].transforms = [
        [loader] if group[0].type == 'LoadLabels' else group for group in groups
    ]
    check(cfg, 'test')
    mask = data / 'SegmentationClass' / f'{names(data, "val")[0]}.png'
    write_mask(mask, np.full_like(read_mask(mask), 30))
    message = problem(cfg, 'test')
    assert str(mask) in message and 'values 30' in message
    write_mask(mask, read_mask(mask)[:-3])
    assert str(mask) in problem(cfg, 'test')
    mask.unlink()
    assert f'has no mask: {mask}' in problem(cfg, 'test')


@pytest.mark.parametrize('content', [b'', b'not an image', None], ids=['empty', 'text', 'truncated'])
def test_a_damaged_image(cfg, data, content):
    image = image_of(data, 0)
    image.write_bytes(image.read_bytes()[:60] if content is None else content)
    message = problem(cfg)
    assert str(image) in message and 'cannot be read' in message


def test_a_damaged_mask(cfg, data):
    mask = mask_of(data, 0)
    mask.write_bytes(mask.read_bytes()[: mask.stat().st_size // 2])
    message = problem(cfg)
    assert str(mask) in message and 'cannot be read' in message


def test_a_sample_is_checked_unless_all_is_asked_for(cfg, data):
    """A bad mask between the samples is found with --check-all only."""
    write_mask(mask_of(data, 1), np.full_like(read_mask(mask_of(data, 1)), 99))
    check(cfg, 'train')
    assert str(mask_of(data, 1)) in problem(cfg, check_all=True)


# ---- black and white masks -------------------------------------------------------------------------------------------


@pytest.fixture
def black_and_white(cfg, tmp_path) -> Config:
    """Two classes whose masks were drawn with 0 and 255."""
    (tmp_path / 'images').mkdir()
    (tmp_path / 'masks').mkdir()
    (tmp_path / 'classes.txt').write_text('ground, 0, 0, 0\nbuilding, 255, 255, 255\n')
    for index in range(6):
        write_mask(tmp_path / 'images' / f'{index}.png', np.zeros((40, 50, 3), np.uint8))
        mask = np.zeros((40, 50), np.uint8)
        mask[:20] = 255
        write_mask(tmp_path / 'masks' / f'{index}.png', mask)
    for split in ('train', 'val', 'test'):
        pipeline = cfg[f'{split}_dataloader'].dataset.pipeline
        pipeline[1].num_classes = 2
        cfg[f'{split}_dataloader'].dataset = dict(
            type='ImageMaskFolder',
            data_root=str(tmp_path),
            split='val' if split == 'test' else split,
            pipeline=pipeline,
        )
    cfg.model.decode_head.num_classes = 2
    return cfg


def test_masks_of_0_and_255_are_refused_and_the_advice_works(black_and_white, tmp_path):
    """255 is void: a network that says ground everywhere would score 100."""
    message = problem(black_and_white)
    assert "masks' (5 of 5 read) hold only class 0 (ground) and 255 (void, not learnt)" in message
    assert '2 classes' in message and "masks='colours'" in message and "'building, 255, 255, 255'" in message
    for split in ('train', 'val'):
        black_and_white[f'{split}_dataloader'].dataset.masks = 'colours'
    check(black_and_white, 'train')


def test_zero_reduced_by_mistake_is_named(black_and_white, tmp_path):
    for path in (tmp_path / 'masks').iterdir():
        write_mask(path, read_mask(path) // 255)
    check(black_and_white, 'train')
    for split in ('train', 'val'):
        black_and_white[f'{split}_dataloader'].dataset.reduce_zero_label = True
    assert 'reduce_zero_label=True makes 0 void' in problem(black_and_white)


def test_masks_that_lack_a_class_pass_where_void_is_not_met(black_and_white, tmp_path):
    for path in (tmp_path / 'masks').iterdir():
        write_mask(path, np.zeros((40, 50), np.uint8))
    check(black_and_white, 'train')


def test_images_without_masks_pass(black_and_white, tmp_path):
    dataset = black_and_white.test_dataloader.dataset
    dataset.data_prefix = dict(img_path='images')
    black_and_white.test_evaluator = dict(type='SegmentationMetric', format_only=True, output_dir=str(tmp_path / 'out'))
    for path in (tmp_path / 'masks').iterdir():
        path.unlink()
    (tmp_path / 'masks').rmdir()
    check(black_and_white, 'test')


@pytest.mark.parametrize('ratio, told', [(0.5, 'both trained on and validated on'), (0.1, 'in neither split')])
def test_shares_of_different_ratios(black_and_white, ratio, told):
    black_and_white.val_dataloader.dataset.val_ratio = ratio
    message = problem(black_and_white)
    assert f'val_ratio is 0.2 in train_dataloader.dataset but {ratio} in val' in message and told in message


def test_the_share_of_a_single_image_is_empty(black_and_white, tmp_path):
    for index in range(1, 6):
        (tmp_path / 'images' / f'{index}.png').unlink()
    write_mask(tmp_path / 'masks' / '0.png', np.ones((40, 50), np.uint8))
    message = problem(black_and_white)
    assert 'val_dataloader.dataset: 1 image found in ' in message and 'val_ratio=0.2 is empty; add' in message


# ---- batches of validation -------------------------------------------------------------------------------------------


@pytest.mark.parametrize('tta', [False, True])
def test_a_batch_of_different_sizes(cfg, generated, tta):
    """Images of the demo are of many sizes."""
    if tta:
        cfg.test_dataloader.dataset.pipeline = copy.deepcopy(cfg.tta_pipeline)
    check(cfg, 'test')
    cfg.test_dataloader.batch_size = 2
    message = problem(cfg, 'test')
    assert 'test_dataloader.batch_size is 2' in message and message.endswith('Set test_dataloader.batch_size=1')
    for name in names(generated, 'val')[:2]:
        image = generated / 'JPEGImages' / f'{name}.jpg'
        height, width = cv2.imread(str(image)).shape[:2]
        assert str(image) in message if tta else f'{image} has {width} x {height}' in message


def test_batches_of_images_that_are_made_one_size_pass(cfg):
    cfg.val_dataloader.batch_size = 2
    assert 'val_dataloader.batch_size is 2' in problem(cfg)
    cfg.val_dataloader.dataset.pipeline.insert(1, dict(type='Resize', scale=(64, 64), keep_ratio=False))
    check(cfg, 'train')


def test_batches_of_equal_images_pass(black_and_white):
    for split in ('train', 'val'):
        black_and_white[f'{split}_dataloader'].dataset.update(masks='colours', val_ratio=0.5)
    black_and_white.val_dataloader.batch_size = 2
    check(black_and_white, 'train')
