"""Pictures of any bands and bits: read as they are stored, refused where they would change, shown by three bands."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from mmseg.registry import MODELS, TRANSFORMS
from PIL import Image

from mmseg_deeplab import init_model, predict
from mmseg_deeplab.cli import browse as browse_command
from mmseg_deeplab.datasets.bands import Bands, read_shown
from mmseg_deeplab.datasets.browse import browse, measure
from mmseg_deeplab.errors import UserError, UserImportError

rng = np.random.default_rng(0)


def load(path, **options):
    return TRANSFORMS.build(dict(type='LoadImage', **options))(dict(img_path=str(path)))['img']


def test_three_bands_of_rgb_are_what_the_default_reads(tmp_path):
    for name in ('a.png', 'a.jpg', 'a.bmp'):
        Image.fromarray(rng.integers(0, 256, (9, 7, 3), np.uint8)).save(tmp_path / name)
        np.testing.assert_array_equal(load(tmp_path / name, bands=(0, 1, 2)), load(tmp_path / name))


@pytest.mark.parametrize('bands', [(0,), (4, 2), (2, 1, 0), (3, 0, 2, 1), (*range(12, -1, -1),)])
def test_bands_in_the_order_of_the_network(tmp_path, bands):
    array = rng.integers(0, 4000, (6, 5, 13), np.uint16)
    np.save(tmp_path / 'a.npy', array)
    image = load(tmp_path / 'a.npy', bands=bands, value_range=(0, 4095))
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
    preprocessor = MODELS.build(dict(type='SegDataPreProcessor', bgr_to_rgb=True))
    seen = preprocessor(dict(inputs=[pixels]))['inputs'][0]
    np.testing.assert_array_equal(seen.numpy(), array[..., bands].transpose(2, 0, 1).astype(np.float32))


def test_the_orientation_of_a_png_and_a_jpeg(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    for name in ('a.png', 'a.jpg'):
        Image.fromarray(rng.integers(0, 256, (9, 7, 3), np.uint8)).save(tmp_path / name, exif=exif)
        image = load(tmp_path / name, bands=(0, 1, 2))
        assert image.shape == (7, 9, 3)
        np.testing.assert_array_equal(image, load(tmp_path / name))


@pytest.mark.parametrize(
    ('array', 'options', 'told'),
    [
        (np.zeros((2, 3, 4), np.uint16), dict(bands=(0, 4)), r'has 4 bands, 0 to 3 \(3 x 2 pixels\).* asks for 4'),
        (
            np.full((2, 3), 700, np.uint16),
            dict(bands=(0,)),
            'holds uint16 values, here 700 to 700: state what is black',
        ),
        (np.full((2, 3), 0.5, np.float64), dict(bands=(0,)), 'holds float64 values, here 0.5 to 0.5: state'),
        (
            np.full((2, 3), 4096, np.int32),
            dict(bands=(0,), value_range=(0, 4095)),
            r'outside of value_range=\(0, 4095\)',
        ),
        (np.full((2, 3), -1, np.int16), dict(bands=(0,), value_range=(0, 4095)), 'the values -1 to -1, outside'),
        (np.full((2, 3), np.nan), dict(bands=(0,), value_range=(0, 1)), 'holds NaN or infinite'),
        (np.full((2, 3), 2**24 + 1), dict(bands=(0,), value_range=(0, 2**30)), 'not exact in float32'),
        (np.zeros((2, 3), complex), dict(bands=(0,)), 'holds complex128; numbers are needed'),
        (np.zeros((2, 3), bool), dict(bands=(0,)), 'holds bool'),
        (np.zeros((2, 3, 4, 5), np.uint8), dict(bands=(0,)), r'an array \(2, 3, 4, 5\); \(H, W\) or'),
        (np.full((2, 3), 200, np.uint8), dict(bands=(0,), value_range=(0, 100)), 'outside of value_range'),
    ],
)
def test_what_would_change_is_refused(tmp_path, array, options, told):
    np.save(tmp_path / 'a.npy', array)
    with pytest.raises(UserError, match=told):
        load(tmp_path / 'a.npy', **options)


@pytest.mark.parametrize(
    ('options', 'told'),
    [
        (dict(value_range=(0, 1)), 'no effect without bands'),
        (dict(show=(0, 1, 2)), 'no effect without bands'),
        (dict(bands=()), r'bands=\(\)'),
        (dict(bands=(0, 0)), 'bands='),
        (dict(bands=(-1,)), 'bands='),
        (dict(bands=(True,)), 'bands='),
        (dict(bands=(0, 1), show=(0, 1)), 'show='),
        (dict(bands=(0, 1), show=(0, 1, 2)), 'show='),
        (dict(bands=(0,), value_range=(1, 1)), 'value_range='),
        (dict(bands=(0,), value_range=7), 'value_range='),
        (dict(bands=(0,), color_type='grayscale'), 'color_type and imdecode_backend have no effect'),
    ],
)
def test_arguments_that_can_not_be_meant(options, told):
    with pytest.raises(UserError, match=told):
        TRANSFORMS.build(dict(type='LoadImage', **options))


def test_without_bands_an_array_is_no_image_and_16_bits_are_refused(tmp_path):
    np.save(tmp_path / 'a.npy', np.zeros((2, 3), np.uint8))
    cv2.imwrite(str(tmp_path / 'a.png'), np.full((2, 3), 300, np.uint16))
    with pytest.raises(UserError, match='not an image'):
        load(tmp_path / 'a.npy')
    with pytest.raises(UserError, match='uint16 pixels'):
        load(tmp_path / 'a.png')


def test_no_pickle_is_opened(tmp_path):
    np.save(tmp_path / 'a.npy', np.array([[object()]]), allow_pickle=True)
    with pytest.raises(UserError, match='cannot be read as an array'):
        load(tmp_path / 'a.npy', bands=(0,))


def test_tiff_without_tifffile_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'tifffile', None)
    Image.new('RGB', (3, 2)).save(tmp_path / 'a.tif')
    with pytest.raises(UserImportError, match=r'mmseg_deeplab\[large\]'):
        load(tmp_path / 'a.tif', bands=(0, 1, 2))


@pytest.mark.parametrize('planar', ['contig', 'separate', None])
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.int16, np.float32])
def test_tiff_of_six_bands(tmp_path, planar, dtype):
    tifffile = pytest.importorskip('tifffile', reason='tifffile (extra [large]) is not installed')
    array = rng.integers(0, 100, (7, 5, 6)).astype(dtype)
    stored = array if planar == 'contig' else array.transpose(2, 0, 1)
    photometric = 'minisblack'
    tifffile.imwrite(tmp_path / 'a.tif', stored, photometric=photometric, planarconfig=planar)
    options = dict(bands=(5, 0, 3, 1), value_range=(0, 100))
    if planar is None:  # six pages
        with pytest.raises(UserError, match=r'6 pages|pictures of the axes'):
            load(tmp_path / 'a.tif', **options)
        return
    np.testing.assert_array_equal(load(tmp_path / 'a.tif', **options), array[..., [5, 0, 3, 1]])


def test_what_is_shown(tmp_path):
    array = np.zeros((1, 3, 5), np.uint16)
    array[0, :, 4], array[0, :, 2], array[0, :, 0] = (0, 2000, 4000), (4000, 0, 1000), (1, 2, 3)
    np.save(tmp_path / 'a.npy', array)
    shown = read_shown(tmp_path / 'a.npy', Bands.of((0, 2, 4), (0, 4000), show=(4, 2, 0)))
    np.testing.assert_array_equal(shown, [[[0, 255, 0], [128, 0, 0], [255, 64, 0]]])
    grey = read_shown(tmp_path / 'a.npy', Bands.of((4, 2), (0, 4000)))
    np.testing.assert_array_equal(grey, [[[0] * 3, [128] * 3, [255] * 3]])


@pytest.mark.parametrize('channels', [1, 2, 4, 13])
def test_random_scale_keeps_the_bands(channels):
    image = rng.random((8, 6, channels), np.float32)
    scaled = TRANSFORMS.build(dict(type='RandomScale', scales=(2.0,)))(dict(img=image))['img']
    assert scaled.shape == (16, 12, channels)
    for band in range(channels):
        expected = cv2.resize(image[..., band], (12, 16), interpolation=cv2.INTER_LINEAR)
        np.testing.assert_allclose(scaled[..., band], expected, atol=1e-6)


def test_a_transform_for_colours_is_refused(tmp_path):
    np.save(tmp_path / 'a.npy', np.full((4, 4, 3), 3000, np.uint16))
    results = TRANSFORMS.build(dict(type='LoadImage', bands=(0, 1, 2), value_range=(0, 4095)))(
        dict(img_path=str(tmp_path / 'a.npy'))
    )
    results['img'] = results['img'].astype(np.uint8)  # as PhotoMetricDistortion does
    with pytest.raises(UserError, match='made 3 channels of uint8 of 3 bands of float32'):
        TRANSFORMS.build(dict(type='PackSegInputs'))(results)


@pytest.mark.parametrize('channels', [1, 3, 4, 13])
def test_as_many_means_as_channels(channels):
    mean, std = np.arange(channels) + 1.0, np.arange(channels) + 2.0
    model = MODELS.build(dict(type='SegDataPreProcessor', mean=mean.tolist(), std=std.tolist()))
    images = rng.random((channels, 3, 2), np.float32)
    expected = (images - mean[:, None, None]) / std[:, None, None]
    np.testing.assert_allclose(model(dict(inputs=[torch.from_numpy(images)]))['inputs'][0], expected, rtol=1e-6)
    if channels > 1:
        with pytest.raises(UserError, match=rf'has {channels + 1} channels, but .* {channels} means'):
            model(dict(inputs=[torch.zeros(channels + 1, 2, 2)]))


@pytest.mark.parametrize(
    'options', [dict(mean=[1.0]), dict(mean=[1.0, 2.0], std=[1.0]), dict(mean=[1.0], std=[0.0]), dict(mean=[], std=[])]
)
def test_means_that_do_not_fit(options):
    with pytest.raises(UserError, match='data_preprocessor'):
        MODELS.build(dict(type='SegDataPreProcessor', **options))


# In place of a network of this project, one that has had `in_channels` for long.
NETWORK = """
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(type='SegDataPreProcessor', mean={mean}, std={std}, bgr_to_rgb=True, seg_pad_val=255,
        size=(32, 32)),
    backbone=dict(type='UNet', in_channels={n}, base_channels=4, num_stages=2, strides=(1, 1), enc_num_convs=(1, 1),
        dec_num_convs=(1,), downsamples=(True,), enc_dilations=(1, 1), dec_dilations=(1,), norm_cfg=dict(type='BN')),
    decode_head=dict(type='FCNHead', in_channels=4, in_index=1, channels=4, num_convs=1, num_classes=2,
        norm_cfg=dict(type="BN"), loss_decode=dict(type='CrossEntropyLoss')),
    test_cfg=dict(mode='whole'))
"""
CONFIG = """
_base_ = [{bases}'network.py']
load = [dict(type='LoadImage', bands={bands}, value_range={range}), dict(type='LoadLabels')]
augment = [dict(type='RandomScale'), dict(type='RandomCrop', crop_size=(32, 32)), dict(type='RandomFlip', prob=0.5)]
data = dict(type='ImageMaskFolder', data_root={root!r}, image_pattern='{{}}{suffix}')
pack = dict(type='PackSegInputs')
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False,
    dataset=dict(_delete_=True, **data, split='train', pipeline=[*load, *augment, pack]))
val_dataloader = dict(num_workers=0, persistent_workers=False,
    dataset=dict(_delete_=True, **data, split='val', pipeline=[*load, pack]))
test_dataloader = val_dataloader
"""


def write_set(root, channels, dtype, high, suffix):
    """Two classes that differ in the last band alone."""
    for folder in ('images', 'masks'):
        (root / folder).mkdir(parents=True)
    (root / 'classes.txt').write_text('ground\nfield\n')
    for number in range(6):
        mask = np.zeros((40, 36), np.uint8)
        mask[:, 10 + number : 28] = 1
        image = rng.integers(0, high // 3, (40, 36, channels))
        image[..., -1] += mask.astype(int) * (high // 2)
        Image.fromarray(mask).save(root / f'masks/{number}.png')
        if suffix == '.npy':
            np.save(root / f'images/{number}.npy', image.astype(dtype))
        else:
            pixels = image.astype(dtype)
            cv2.imwrite(str(root / f'images/{number}{suffix}'), pixels[..., [2, 1, 0, 3]] if channels == 4 else pixels)


@pytest.mark.parametrize(
    ('channels', 'bands', 'dtype', 'high', 'suffix'),
    [
        (4, (3, 0, 1, 2), np.uint8, 255, '.png'),
        (13, (*range(13),), np.uint16, 9999, '.npy'),
        (1, (0,), np.uint16, 4095, '.png'),
    ],
    ids=['satellite-4', 'satellite-13', 'medical-grey'],
)
def test_from_the_files_to_the_answer(tmp_path, repo, capsys, channels, bands, dtype, high, suffix):
    """Loading, augmentation, training, evaluation, the CRF, the report, prediction: a set learnt by its last band."""
    write_set(tmp_path / 'data', channels, dtype, high, suffix)
    root, base = str(tmp_path / 'data'), repo / 'configs/_base_'
    bases = ''.join(f'{str(base / name)!r}, ' for name in ('datasets/image_mask_folder.py', 'default_runtime.py'))
    text = CONFIG.format(bases=bases, bands=bands, range=(0, high), root=root, suffix=suffix)
    assert len(text.strip().splitlines()) <= 15
    (tmp_path / 'mine.py').write_text(text)
    network = tmp_path / 'network.py'
    network.write_text(NETWORK.format(n=len(bands), mean=[0.0] * len(bands), std=[1.0] * len(bands)))
    mean, std = measure(Config.fromfile(tmp_path / 'mine.py'))
    stored = np.concatenate(
        [load(path, bands=bands, value_range=(0, high)).reshape(-1, len(bands)) for path in train_files(tmp_path)]
    )
    np.testing.assert_allclose(mean, stored.mean(0, dtype=np.float64), rtol=1e-6)
    np.testing.assert_allclose(std, stored.std(0, dtype=np.float64), rtol=1e-6)
    browse_command.main([str(tmp_path / 'mine.py'), '--statistics'])
    assert f'mean={[round(value, 4) for value in mean]}' in capsys.readouterr().out
    network.write_text(NETWORK.format(n=len(bands), mean=mean, std=std))

    cfg = Config.fromfile(tmp_path / 'mine.py')
    cfg.update(work_dir=str(tmp_path / 'work'), randomness=dict(seed=0), log_level='WARNING')
    cfg.update(train_cfg=dict(type='IterBasedTrainLoop', max_iters=60, val_interval=60), val_cfg=dict(type='ValLoop'))
    cfg.update(test_cfg=dict(type='TestLoop'), optim_wrapper=dict(optimizer=dict(type='Adam', lr=0.02)))
    cfg.custom_hooks = [
        dict(type='DenseCRFHook', iterations=1),
        dict(type='ReportHook', out_dir=str(tmp_path / 'report')),
        dict(type='PanelHook', out_dir=str(tmp_path / 'panels')),
    ]
    cfg.param_scheduler = []
    runner = Runner.from_cfg(cfg)
    runner.train()
    scores = runner.test()
    assert scores['before_crf/mIoU'] > 90
    assert (tmp_path / 'report/index.html').is_file() and list((tmp_path / 'panels').glob('*.png'))

    browse(cfg, tmp_path / 'look', count=2)
    assert len(list((tmp_path / 'look').glob('*.png'))) == 2
    checkpoint = tmp_path / 'work/iter_60.pth'
    model = init_model(cfg, str(checkpoint), device='cpu')
    file = sorted((tmp_path / 'data/images').iterdir())[0]
    prediction = predict(model, file)
    truth = np.array(Image.open(tmp_path / 'data/masks' / f'{file.stem}.png'))
    assert (prediction.labels == truth).mean() > 0.9
    np.testing.assert_array_equal(prediction.image, read_shown(file, Bands.of(bands, (0, high))))
    pixels = np.load(file) if suffix == '.npy' else cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    pixels = pixels[..., [2, 1, 0, 3]] if channels == 4 else pixels
    given = predict(model, pixels)
    np.testing.assert_array_equal(given.probabilities(), prediction.probabilities())
    np.testing.assert_array_equal(given.image, prediction.image)


def train_files(folder):
    cfg = Config.fromfile(folder / 'mine.py')
    from mmseg.registry import DATASETS

    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    return [dataset.get_data_info(index)['img_path'] for index in range(len(dataset))]
