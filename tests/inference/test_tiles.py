"""Tiles against whole pictures: labels, probabilities, CRF, void, and files of any size."""

import csv
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from PIL import Image
from torch import nn

from mmseg_deeplab.apis import init_model, predict
from mmseg_deeplab.cli import predict as command
from mmseg_deeplab.inference import GuidedFilter, UnreadablePicturesError, make_crf, pooling, tiles
from mmseg_deeplab.models.layers import ASPP

CONFIG = 'configs/deeplabv3plus_mobilenetv2_demo.py'
SMALL = {'model.backbone.width': 0.25, 'model.decode_head.channels': 16}


@pytest.fixture(autouse=True)
def less_overlap(monkeypatch):
    """Less than usual, so that small pictures have tiles."""
    monkeypatch.setattr(tiles, 'OVERLAP', 256)


@pytest.fixture(scope='module')
def picture() -> np.ndarray:
    patches = np.random.default_rng(0).integers(0, 256, (20, 25, 3), dtype=np.uint8)
    return cv2.resize(patches, (450, 370), interpolation=cv2.INTER_LINEAR)


@pytest.fixture(scope='module')
def saved(repo, tmp_path_factory, picture) -> tuple[Config, str]:
    """A small network whose classes are balanced on the picture, and a checkpoint of it."""
    cfg = Config.fromfile(repo / CONFIG)
    cfg.merge_from_dict(SMALL)
    init_default_scope('mmseg')
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp('tiles') / 'model.pth'
    model = MODELS.build(cfg.model).eval()
    model.init_weights()
    nn.init.normal_(model.decode_head.conv_seg.weight, std=1)
    pixels = torch.from_numpy(picture).permute(2, 0, 1)[None].float()
    with torch.no_grad():
        model.decode_head.conv_seg.bias -= model.encode_decode(pixels / 58 - 2, []).mean((0, 2, 3))
    torch.save(dict(state_dict=model.state_dict(), meta={}), path)
    return cfg, str(path)


@pytest.fixture(scope='module')
def model(saved):
    return init_model(*saved, device='cpu')


def far_from_ends(spans, length: int) -> np.ndarray:
    """Which places along a side are further than the border from every end of a tile within the picture."""
    inner = [end for span in spans for end in span if 0 < end < length]
    return np.all([np.abs(np.arange(length) - end) > tiles.BORDER for end in inner], axis=0)


@pytest.fixture(scope='module')
def whole(model, picture):
    return predict(model, picture)


@pytest.mark.parametrize('tile', [144, (200, 256), (100, 600)])
def test_labels_and_probabilities_of_tiles_are_those_of_the_whole(model, picture, whole, tile):
    tiled = predict(model, picture, tile=tile)
    assert len(whole.areas) > 2
    assert (whole.labels == tiled.labels).mean() > 0.99
    p, q = whole.probabilities(), tiled.probabilities()
    assert q.dtype == np.float32 and q.shape == p.shape
    np.testing.assert_allclose(q.sum(0), 1, atol=1e-5)
    assert (q.argmax(0) == tiled.labels).mean() > 0.99  # but for ties, which an untrained network has many of
    assert np.abs(p - q).mean() < 0.005
    np.testing.assert_array_equal(tiled.image, picture)
    assert tiled.labels.dtype == np.uint8 and sum(tiled.areas.values()) == tiled.labels.size


def test_image_pooling_sees_the_whole_picture(model, picture, whole, monkeypatch):
    """Its mean is that of the whole picture, and with a picture of two kinds this matters."""
    means = []
    original = ASPP._pool

    def spy(self, x, bins, conv):
        conv.register_forward_pre_hook(lambda _, inputs: means.append(inputs[0][:1]))
        try:
            return original(self, x, bins, conv)
        finally:
            conv._forward_pre_hooks.clear()

    picture = picture.copy()
    picture[:, :225] = 255 - picture[:, :225] // 3
    monkeypatch.setattr(ASPP, '_pool', spy)
    expected = predict(model, picture)
    tiled = predict(model, picture, tile=128)
    assert len(means) == 3
    for mean in means[1:]:
        assert torch.equal(mean, means[1])
        assert (mean - means[0]).abs().mean() < 0.1 * means[0].abs().mean()
    assert (tiled.labels == expected.labels).mean() > 0.99


def test_another_runtime_pools_each_tile(model, picture, monkeypatch):
    """Its pooling is out of reach, so that nothing is computed for it."""
    monkeypatch.setattr(model, 'network', lambda inputs: model.decode_head(model.backbone(inputs)))
    monkeypatch.setattr(type(model), 'extract_feat', lambda *_: pytest.fail('the network is not taken'))
    assert not model.pools_images
    assert predict(model, picture, tile=128).labels.shape == picture.shape[:2]


def test_features_that_are_too_many_are_sampled(model, picture, whole, monkeypatch):
    monkeypatch.setattr(pooling, 'KEPT_BYTES', 0)
    monkeypatch.setattr(pooling, 'SAMPLED', 3)
    found = predict(model, picture, tile=64)
    assert (found.labels == whole.labels).mean() > 0.95


def test_seams_are_smooth(model, picture, whole):
    """Across the ends of tiles probabilities change no more than elsewhere."""
    p = predict(model, picture, tile=96).probabilities()
    steps = np.abs(np.diff(p, axis=2)).max(axis=(0, 1))
    expected = np.abs(np.diff(whole.probabilities(), axis=2)).max(axis=(0, 1))
    assert steps.max() <= expected.max() * 1.1


@pytest.mark.parametrize('tile', [370, 450, (370, 450), (5000, 450), 256])
def test_a_picture_that_is_no_larger_than_a_tile_goes_whole(model, picture, tile):
    if tile == 370:
        picture = picture[:, :370].copy()
    found = predict(model, picture, tile=tile)
    np.testing.assert_array_equal(found.labels, predict(model, picture).labels)


def test_many_pictures_of_both_kinds_in_order(model, picture, tmp_path):
    paths = [tmp_path / f'{k}.{suffix}' for k, suffix in enumerate(('png', 'png', 'jpg', 'png', 'png'))]
    for path, size in zip(paths, (100, 300, 300, 90, 91), strict=True):
        Image.fromarray(picture[:size, :size]).save(path)
    paths[3].write_bytes(paths[3].read_bytes()[:80])
    found = []
    with pytest.raises(UnreadablePicturesError, match=r'1 pictures[^\n]*\n.*3\.png'):
        for prediction in predict(model, [*paths, picture], tile=128, batch_size=2):
            found.append((prediction.name, prediction.labels.shape))
    sizes = [(100, 100), (300, 300), (300, 300), (91, 91), picture.shape[:2]]
    assert [shape for _, shape in found] == sizes
    assert [name for name, _ in found] == [*(str(paths[k]) for k in (0, 1, 2, 4)), 'image 5']


def test_several_tiles_together_and_flips(model, picture):
    one = predict(model, picture, tile=96)
    together = predict(model, picture, tile=96, batch_size=3)
    assert (together.labels == one.labels).mean() > 0.999  # sums in another order
    picture = picture[:200].copy()
    expected, tiled = (predict(model, picture, tta=True, tile=tile) for tile in (None, (200, 128)))
    assert (expected.labels == tiled.labels).mean() > 0.9  # each tile is pooled by itself


@pytest.mark.parametrize('workers', [0, 2])
def test_the_crf_on_tiles(model, picture, workers):
    crf = dict(bi_xy_std=20, bi_rgb_std=10)
    plain = predict(model, picture)
    expected = predict(model, picture, crf=crf)
    tiled = predict(model, picture, crf=crf, tile=128, workers=workers)
    assert (expected.labels != plain.labels).mean() > 0.02
    assert (tiled.labels == expected.labels).mean() > 0.97
    np.testing.assert_allclose(tiled.probabilities().sum(0), 1, atol=1e-4)


@pytest.mark.parametrize('xy_std, overlap', [(20, 256), (80, 256), (121, 368)])
def test_a_crf_that_reaches_far_has_an_overlap_of_its_own(model, xy_std, overlap):
    plan = tiles.Tiles.of((2000, 3000), (512, 1024), model, make_crf(bi_xy_std=xy_std))
    for spans, side in ((plan.rows, 512), (plan.columns, 1024)):
        shared = [stop - start for (_, stop), (start, _) in zip(spans, spans[1:], strict=False)]
        assert overlap <= min(shared) <= overlap + 32
        assert max(stop - start for start, stop in spans) <= side + overlap


def test_tiles_share_what_another_refiner_looks_at(model, picture):
    plan = tiles.Tiles.of((2000, 3000), (512, 1024), model, GuidedFilter(radius=200))
    shared = [stop - start for (_, stop), (start, _) in zip(plan.rows, plan.rows[1:], strict=False)]
    assert 400 <= min(shared) <= 432
    expected, tiled = (predict(model, picture, crf=GuidedFilter(), tile=tile) for tile in (None, 128))
    assert (expected.labels != predict(model, picture).labels).mean() > 0.005
    assert (tiled.labels == expected.labels).mean() > 0.97

    class Whole(GuidedFilter):
        def __init__(self):
            super().__init__()
            self.reach = None

    with pytest.raises(ValueError, match='Whole looks at whole pictures'):
        predict(model, picture, crf=Whole(), tile=128)


@pytest.mark.parametrize('tile', [0, -3, 2.5, True, '512', (100,), (1, 2, 3), (100, None)])
def test_what_is_no_tile(model, picture, tile):
    with pytest.raises(ValueError, match='tile=.*whole number'):
        predict(model, picture, tile=tile)


def test_tiles_that_are_too_small(model, picture):
    with pytest.raises(ValueError, match='needs tiles of 16 pixels at least'):
        predict(model, picture, tile=15)


@pytest.mark.parametrize('align', [True, False])
@pytest.mark.parametrize('config', ['deeplabv3plus_mobilenetv2_demo.py', 'deeplabv3_mobilenetv2_voc.py'])
def test_logits_are_blended_as_the_network_gives_them(repo, picture, monkeypatch, config, align):
    """Logits of any stride, with both ways to resize: full-size ones of each tile, blended, give nearly the same."""
    cfg = Config.fromfile(repo / 'configs' / config)
    cfg.merge_from_dict({**SMALL, 'model.decode_head.align_corners': align, 'model.crop_size': None})
    init_default_scope('mmseg')
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).eval()
    model.cfg = cfg
    nn.init.normal_(model.decode_head.conv_seg.weight, std=1)
    monkeypatch.setattr(tiles, 'OVERLAP', 64)
    coarse = predict(model, picture, tile=96).probabilities()
    monkeypatch.setattr(tiles.TiledPicture, '_stride', lambda *_: None)
    full = predict(model, picture, tile=96).probabilities()
    assert np.abs(coarse - full).max() > 0 and np.abs(coarse - full).mean() < 0.01


def test_a_pipeline_that_resizes_some_tiles(saved, picture, said, monkeypatch):
    """Those have another size than the others, here the last ones: full-size logits of each, blended, give the same."""
    cfg = Config(saved[0].to_dict())
    steps = cfg.test_dataloader.dataset.pipeline
    cfg.test_dataloader.dataset.pipeline = [steps[0], dict(type='ResizeToMultiple', size_divisor=16), *steps[1:]]
    model = init_model(cfg, saved[1], device='cpu')
    found = predict(model, picture, tile=96).probabilities()
    assert len(set(said)) == 1 and 'resizes what it is given' in said[0]
    monkeypatch.setattr(tiles.TiledPicture, '_stride', lambda *_: None)
    expected = predict(model, picture, tile=96).probabilities()
    assert np.abs(found - expected).mean() < 0.01


def test_any_segmentor(picture):
    """One of MMSegmentation, with a single channel and a threshold."""
    init_default_scope('mmseg')
    preprocessor = dict(type='SegDataPreProcessor', mean=[127.5] * 3, std=[127.5] * 3, bgr_to_rgb=True)
    head = dict(
        type='FCNHead', in_channels=3, in_index=1, channels=4, num_classes=2, out_channels=1, threshold=0.4,
        num_convs=1, loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=True),
    )  # fmt: skip
    one = dict(strides=(1, 1), enc_num_convs=(1, 1), dec_num_convs=(1,), enc_dilations=(1, 1), dec_dilations=(1,))
    backbone = dict(type='UNet', base_channels=3, num_stages=2, downsamples=(False,), **one)
    cfg = dict(type='EncoderDecoder', data_preprocessor=preprocessor, backbone=backbone, decode_head=head)
    torch.manual_seed(1)
    model = MODELS.build({**cfg, 'test_cfg': ConfigDict(mode='whole')}).eval()
    nn.init.normal_(model.decode_head.conv_seg.weight, std=3)
    with torch.no_grad():
        x = torch.from_numpy(picture).permute(2, 0, 1)[None] / 127.5 - 1
        model.decode_head.conv_seg.bias -= model.encode_decode(x, [dict(img_shape=picture.shape[:2])]).mean()
    model.cfg = Config(dict(test_pipeline=[dict(type='LoadImageFromFile'), dict(type='PackSegInputs')]))
    model.dataset_meta = dict(classes=['no', 'yes'], palette=[[0, 0, 0], [9, 9, 9]])
    whole, tiled = predict(model, picture), predict(model, picture, tile=128)
    assert 0.1 < (whole.labels == 1).mean() < 0.9
    assert (whole.labels == tiled.labels).mean() > 0.999
    np.testing.assert_allclose(whole.probabilities(), tiled.probabilities(), atol=0.05)


@pytest.fixture
def said(monkeypatch) -> list[str]:
    """What is logged."""
    lines: list[str] = []
    monkeypatch.setattr('mmseg_deeplab.inference.predictor.print_log', lambda text, **_: lines.append(text))
    return lines


def test_a_pipeline_that_resizes_is_named(saved, picture, said):
    cfg, checkpoint = saved
    cfg = Config(cfg.to_dict())
    steps = cfg.test_dataloader.dataset.pipeline
    cfg.test_dataloader.dataset.pipeline = [steps[0], dict(type='Resize', scale=(96, 96), keep_ratio=True), *steps[1:]]
    model = init_model(cfg, checkpoint, device='cpu')
    predict(model, picture, tile=128)
    (line,) = said
    assert 'resizes what it is given' in line and '(96, 9' in line


def write_tiff(path, picture, damaged=()):
    tifffile = pytest.importorskip('tifffile', reason='tifffile is not installed')
    tifffile.imwrite(path, picture, photometric='rgb', rowsperstrip=50, compression='zlib')
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0]
        for k in damaged:
            content[page.dataoffsets[k] : page.dataoffsets[k] + page.databytecounts[k]] = bytes(page.databytecounts[k])
    path.write_bytes(content)


def test_a_broken_strip_is_void_and_named(model, picture, tmp_path, said):
    write_tiff(tmp_path / 'a.tif', picture, damaged=[2, 5])
    prediction = predict(model, tmp_path / 'a.tif', tile=96)
    void = np.zeros(picture.shape[:2], bool)
    void[100:150] = void[250:300] = True
    np.testing.assert_array_equal(prediction.labels == 255, void)
    assert sum(prediction.areas.values()) == (~void).sum()
    assert 'rows 100 to 149' in said[0] and 'rows 250 to 299' in said[0]
    prediction.overlay(legend=True)
    with pytest.raises(UnreadablePicturesError, match=r'a\.tif: rows 100 to 149'):
        list(predict(model, [tmp_path / 'a.tif'], tile=96))


@pytest.fixture
def run(repo, saved, tmp_path):
    def call(*inputs, options=()) -> None:
        small = [f'{key}={value}' for key, value in SMALL.items()]
        out = ['--out', str(tmp_path / 'out'), *options, '--cfg-options', *small]
        command.main([str(repo / CONFIG), saved[1], *map(str, inputs), *out])

    return call


def test_the_command_writes_tiffs_for_tiffs(run, model, picture, tmp_path):
    (tmp_path / 'in').mkdir()
    write_tiff(tmp_path / 'in/a.tif', picture)
    write_tiff(tmp_path / 'in/b.tif', picture, damaged=[7])
    Image.fromarray(picture[:300]).save(tmp_path / 'in/c.png')
    with pytest.raises(UnreadablePicturesError, match=r'1 pictures .*\n.*b\.tif: rows 350 to 369'):
        run(tmp_path / 'in', options=['--tile', '96', '160'])
    out = tmp_path / 'out'
    assert sorted(str(path.relative_to(out)) for path in out.rglob('*.*')) == [
        'areas.csv', 'mask/a.tif', 'mask/b.tif', 'mask/c.png', 'overlay/a.tif', 'overlay/b.tif', 'overlay/c.png',
    ]  # fmt: skip
    mask = Image.open(out / 'mask/a.tif')
    expected = predict(model, picture, tile=(96, 160))
    np.testing.assert_array_equal(np.array(mask), expected.labels)
    assert mask.mode == 'P' and mask.getpalette()[3:6] == list(expected.palette[1])
    damaged = np.array(Image.open(out / 'mask/b.tif'))
    assert (damaged[350:] == 255).all() and (damaged[:350] != 255).all()
    np.testing.assert_array_equal(np.array(Image.open(out / 'overlay/a.tif')), np.array(expected.overlay()))
    with open(out / 'areas.csv') as file:
        rows = list(csv.DictReader(file))
    assert [row['height'] for row in rows] == ['370', '370', '300']
    for name, count in expected.areas.items():
        assert float(rows[0][name]) == pytest.approx(count / expected.labels.size, abs=1e-6)
    before = {path: path.stat().st_mtime_ns for path in out.rglob('*.tif')}
    run(tmp_path / 'in/a.tif', tmp_path / 'in/c.png', options=['--tile', '96', '160'])
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob('*.tif')}
    with pytest.raises(ValueError, match=r'a\.tif: with tiles.*probabilities.*leave them out'):
        run(tmp_path / 'in/a.tif', options=['--tile', '96', '--save', 'probabilities'])


@pytest.mark.parametrize('crf', [False, True])
def test_the_command_writes_confidence(run, model, picture, tmp_path, crf):
    write_tiff(tmp_path / 'a.tif', picture, damaged=[7])
    options = ['--tile', '96', '160', '--save', 'confidence', *(['--crf', 'v1'] if crf else [])]
    with pytest.raises(UnreadablePicturesError, match='rows 350 to 369'):
        run(tmp_path / 'a.tif', options=options)
    with Image.open(tmp_path / 'out/confidence/a.tif') as image:
        found = np.array(image)
    expected = predict(model, tmp_path / 'a.tif', tile=(96, 160), crf='v1' if crf else None)
    assert found.dtype == np.uint16 and not found[350:].any() and (found[:350] > 0).all()
    np.testing.assert_allclose(found[:350] / 65535, expected.probabilities().max(0)[:350], atol=1e-4)
    np.testing.assert_allclose(found / 65535, expected.confidence, atol=1e-4)
    np.testing.assert_array_equal(np.array(Image.open(tmp_path / 'out/mask/a.tif')), expected.labels)


MEMORY = """
import resource, sys
import numpy as np, torch
from mmseg_deeplab.inference import rasters, tiff_writer, tiles

torch.set_num_threads(1)
classes = int(sys.argv[1])
class Model(torch.nn.Module):
    out_channels = classes
raster = rasters.open_raster(rasters.Path(sys.argv[2]))
class Network:
    model, crf, tta, classes = Model(), None, False, range(classes)
    def tile_scores(self, name, pixels, pooled):
        for tile in pixels:
            grey = torch.from_numpy(tile)[..., 0].float()
            yield torch.stack([grey * (1 - 2 * (k % 2)) + 9 * k for k in range(1, len(self.classes) + 1)])
picture = tiles.TiledPicture(raster, (256, 256), Network())
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
tiff_writer.write_tiff(sys.argv[3], picture.strips(), picture.dtype, raster, void=255)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def test_memory_does_not_grow_with_the_height(tmp_path):
    """A picture of 4096 x 2048 at 21 classes, whose logits take 0.66 GiB, within 0.25 GiB."""
    tifffile = pytest.importorskip('tifffile', reason='tifffile is not installed')
    pixels = np.random.default_rng(0).integers(0, 256, (512, 2048, 3), dtype=np.uint8)
    path = tmp_path / 'large.tif'
    tifffile.imwrite(path, np.tile(pixels, (8, 1, 1)), photometric='rgb', tile=(256, 256))
    result = subprocess.run(
        [sys.executable, '-c', MEMORY, '21', path, tmp_path / 'mask.tif'], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert float(result.stdout.split()[-1]) < 250
    found = np.array(Image.open(tmp_path / 'mask.tif'))
    grey = pixels[:64, ..., 0].astype(np.float32)
    np.testing.assert_array_equal(
        found[512:576], np.stack([grey * (1 - 2 * (k % 2)) + 9 * k for k in range(1, 22)]).argmax(0)
    )
