"""Models of other bands than RGB: arrays, tiles, files by rows, exported files, as in training."""

import numpy as np
import pytest
import torch
from export_helpers import load
from mmengine.config import Config
from mmseg.registry import MODELS
from PIL import Image
from torch import nn

from mmseg_deeplab import init_model, predict
from mmseg_deeplab.cli import predict as predict_command
from mmseg_deeplab.errors import UserError
from mmseg_deeplab.inference import export_model
from mmseg_deeplab.preflight import PreflightError
from mmseg_deeplab.preflight.step import check_bands

HIGH = 4095
ORDERS = {4: (3, 0, 1, 2), 13: (12, 3, 2, 1, 0, 4, 5, 6, 7, 8, 9, 10, 11)}


@pytest.fixture(scope='module', params=ORDERS, ids=['4 bands', '13 bands'])
def made(request, repo, tmp_path_factory):
    """A model of as many bands, its config file and its order of the bands."""
    folder, bands = tmp_path_factory.mktemp('bands'), ORDERS[request.param]
    count = len(bands)
    mean, std = [1000.0 + 100 * i for i in range(count)], [500.0 + 10 * i for i in range(count)]
    config = folder / 'mine.py'
    config.write_text(f"""
_base_ = ['{repo}/configs/deeplabv3plus_mobilenetv2_folder.py']
load = [dict(type='LoadImage', bands={bands}, value_range=(0, {HIGH})), dict(type='PackSegInputs')]
test_dataloader = dict(dataset=dict(pipeline=load))
val_dataloader = test_dataloader
model = dict(num_classes=3, crop_size=(65, 65), norm_cfg=dict(type='BN'),
    data_preprocessor=dict(mean={mean}, std={std}, bgr_to_rgb=False),
    backbone=dict(width=0.25, in_channels={count}, init_cfg=None), decode_head=dict(channels=8))
""")
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(config).model)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
    palette = [[200, 0, 0], [0, 200, 0], [0, 0, 200]]
    meta = dict(dataset_meta=dict(classes=('a', 'b', 'c'), palette=palette))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), folder / 'model.pth')
    return init_model(config, folder / 'model.pth', device='cpu'), config, bands


def picture(height, width, bands):
    rng = np.random.default_rng(0)
    patches = rng.integers(0, HIGH + 1, (-(-height // 24), -(-width // 24), bands), np.uint16)
    return patches.repeat(24, 0).repeat(24, 1)[:height, :width]


@torch.no_grad()
def test_an_array_is_what_its_file_is_and_what_training_sees(made, tmp_path):
    model, _, bands = made
    pixels = picture(90, 70, len(bands))
    np.save(tmp_path / 'a.npy', pixels)
    preprocessor = model.data_preprocessor
    chosen = torch.from_numpy(pixels[..., list(bands)].astype(np.float32)).permute(2, 0, 1)[None]
    images = (chosen - preprocessor.mean) / preprocessor.std
    expected = model.encode_decode(images, [])[0].softmax(0).numpy()
    for source in (pixels, tmp_path / 'a.npy', [pixels], [str(tmp_path / 'a.npy')]):
        found = predict(model, source)
        found = next(iter(found)) if isinstance(source, list) else found
        np.testing.assert_allclose(found.probabilities(), expected, atol=1e-5)
        shown = np.rint(pixels[..., list(bands[:3])] * (255 / HIGH)).astype(np.uint8)
        np.testing.assert_array_equal(found.image, shown)


@pytest.mark.parametrize(
    ('source', 'told'),
    [
        (np.zeros((9, 9, 3), np.uint16), 'image 0 has 3 bands, 0 to 2'),
        (np.full((9, 9, 13), 5000, np.uint16), 'image 0 holds the values 5000 to 5000, outside of value_range'),
        (np.zeros((9, 9, 13)) * np.nan, 'NaN'),
        (np.zeros(9), r'is a ndarray \(9,\); to a model that takes bands .* give a numpy array'),
        (Image.new('RGB', (9, 9)), 'is a Image; to a model that takes bands'),
        (torch.zeros(13, 9, 9, dtype=torch.uint8), r'is a Tensor \(13, 9, 9\)'),
    ],
)
def test_what_is_no_such_array_is_refused(made, source, told):
    with pytest.raises(UserError, match=told):
        predict(made[0], source)


def test_tiles_of_arrays_and_files(made, tmp_path):
    model, _, bands = made
    pixels = picture(560, 200, len(bands))
    np.save(tmp_path / 'a.npy', pixels)
    whole, tiled = predict(model, pixels), predict(model, pixels, tile=128)
    assert (tiled.labels == whole.labels).mean() > 0.98
    assert len(np.unique(whole.labels)) > 1
    by_rows = predict(model, tmp_path / 'a.npy', tile=128)
    np.testing.assert_array_equal(by_rows.labels, tiled.labels)
    np.testing.assert_array_equal(by_rows.image, whole.image)


def test_a_tiff_by_rows(made, tmp_path):
    tifffile = pytest.importorskip('tifffile', reason='tifffile (extra [large]) is not installed')
    model, config, bands = made
    pixels = picture(560, 200, len(bands))
    for name, options in (('pixels', dict(planarconfig='contig', tile=(64, 64), compression='zlib')),
                          ('planes', dict(planarconfig='separate'))):  # fmt: skip
        data = pixels if name == 'pixels' else pixels.transpose(2, 0, 1)
        tifffile.imwrite(tmp_path / f'{name}.tif', data, photometric='minisblack', **options)
    expected = predict(model, pixels, tile=128)
    sources = [str(tmp_path / f'{name}.tif') for name in ('pixels', 'planes')]
    predict_command.main([str(config), str(config.with_name('model.pth')), *sources, '--out', str(tmp_path / 'out'),
                          '--tile', '128', '--device', 'cpu'])  # fmt: skip
    for name in ('pixels', 'planes'):
        np.testing.assert_array_equal(tifffile.imread(tmp_path / f'out/mask/{name}.tif'), expected.labels)
        assert tifffile.imread(tmp_path / f'out/overlay/{name}.tif').shape == (560, 200, 3)


@pytest.mark.parametrize('format', ['torchscript', 'onnx'])
@torch.no_grad()
def test_exported_files_take_as_many_bands(made, tmp_path, format):
    if format == 'onnx':
        pytest.importorskip('onnxruntime'), pytest.importorskip('onnx')
    model, _, bands = made
    path = tmp_path / f'a.{dict(torchscript="ts", onnx="onnx")[format]}'
    checks = export_model(model, path, format)
    assert all(check.different == 0 and check.classes > 1 for check in checks)
    images = torch.randn(2, len(bands), 40, 52)
    np.testing.assert_allclose(load(path)(images)[0], model.encode_decode(images, []), atol=1e-3)
    chosen = picture(60, 60, len(bands))[..., list(bands)].astype(np.float32)
    (proven, *_) = export_model(model, path, format, images=[chosen])
    assert proven.different == 0 and proven.classes > 1
    with pytest.raises(UserError, match=f'has 3 bands, but the network takes {len(bands)}'):
        export_model(model, path, format, images=[np.zeros((60, 60, 3), np.uint8)])
    with pytest.raises(UserError, match=f'8-bit RGB, but the network takes {len(bands)} bands of another range'):
        export_model(model, path, format, uint8=True)


def test_onnxruntime_computes_it(made):
    pytest.importorskip('onnxruntime'), pytest.importorskip('onnx')
    model, config, bands = made
    other = init_model(config, config.with_name('model.pth'), device='cpu', runtime='onnxruntime')
    pixels = picture(90, 70, len(bands))
    np.testing.assert_allclose(
        predict(other, pixels).probabilities(), predict(model, pixels).probabilities(), atol=1e-4
    )


def test_bands_and_network_are_compared_before_the_first_step(made):
    model, _, bands = made
    count = len(bands)
    for step, told in (
        (dict(type='LoadImageFromFile'), rf'loads 3 bands, RGB, but the network takes {count} .*in_channels=3'),
        (dict(type='LoadImage', bands=(0, 1)), rf'loads 2 bands, bands=\(0, 1\), but the network takes {count}'),
    ):
        with pytest.raises(PreflightError, match=told):
            check_bands(model, [step], 'train_dataloader.dataset')
    good = [dict(type='LoadImage', bands=bands, value_range=(0, 1)), dict(type='LoadLabels')]
    check_bands(model, good, 'train_dataloader.dataset')
    whole = model.data_preprocessor.mean
    try:
        model.data_preprocessor.mean = whole[:2]
        with pytest.raises(PreflightError, match='data_preprocessor.mean has 2 values'):
            check_bands(model, good, 'train_dataloader.dataset')
    finally:
        model.data_preprocessor.mean = whole
