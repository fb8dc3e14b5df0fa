"""Several labels a pixel, from masks of bands to masks of bands, by the tools."""

import csv
import json
import runpy
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from mmseg_deeplab import init_model, predict
from mmseg_deeplab.cli import browse as browse_command
from mmseg_deeplab.datasets.masks import read_label_bands
from mmseg_deeplab.errors import UserError
from mmseg_deeplab.inference import export_model
from mmseg_deeplab.preflight import PreflightError, check

NAMES = ['red', 'green', 'left']
CONFIG = """
_base_ = ['{configs}/deeplabv3plus_mobilenetv2_folder.py']
masks = dict(data_root={root!r}, masks='bands', seg_map_suffix='.npy')
augmented = [dict(type='LoadImageFromFile'), dict(type='LoadLabels'), dict(type='RandomScale', scales=(1.0, 1.25)),
    dict(type='RandomCrop', crop_size=(65, 65)), dict(type='RandomRotate', prob=0.5, degree=10, seg_pad_val=255),
    dict(type='PackSegInputs')]
train_dataloader = dict(batch_size=4, num_workers=0, persistent_workers=False,
    dataset=dict(masks, pipeline=augmented))
val_dataloader = dict(num_workers=0, persistent_workers=False, dataset=masks)
test_dataloader = val_dataloader
model = dict(num_classes=3, crop_size=(65, 65), norm_cfg=dict(momentum=0.1),
    backbone=dict(width=0.25, init_cfg=None, norm_cfg=dict(momentum=0.1)),
    decode_head=dict(channels=16, multi_label=True))
optim_wrapper = dict(optimizer=dict(lr=0.05))
train_cfg = dict(max_iters=40, val_interval=40)
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(save_best='IoU/red'), classes=dict(after=1))
val_evaluator = dict(per_class=True)
test_evaluator = val_evaluator
"""


def write_set(root):
    """Pictures whose red and green parts overlap, and whose left half is a label too; some of it unknown."""
    rng = np.random.default_rng(0)
    for folder in ('images', 'masks'):
        (root / folder).mkdir(parents=True)
    (root / 'classes.txt').write_text('\n'.join(f'{name}, {c}' for name, c in zip(NAMES, COLOURS, strict=True)))
    for number in range(12):
        mask = np.zeros((72, 80, 3), np.uint8)
        for band in range(2):
            y, x = rng.integers(0, 40, 2)
            mask[y : y + 30, x : x + 40, band] = 1
        mask[:, :40, 2] = 1
        image = 40 + 170 * mask + rng.integers(0, 30, mask.shape, dtype=np.uint8)
        image[..., 2] = np.linspace(230, 0, 80)
        mask[:6, :, number % 3] = 255
        mask[-3:] = 255
        Image.fromarray(image).save(root / f'images/{number}.png')
        np.save(root / f'masks/{number}.npy', mask)


COLOURS = ['200, 0, 0', '0, 200, 0', '0, 0, 200']


def run(repo, monkeypatch, tool, *arguments):
    monkeypatch.setattr(sys, 'argv', [str(repo / 'tools' / tool), *map(str, arguments)])
    runpy.run_path(sys.argv[0], run_name='__main__')


@pytest.fixture(scope='module')
def several(repo, tmp_path_factory):
    """A work dir after 40 iterations on such a set."""
    folder = tmp_path_factory.mktemp('several')
    write_set(folder / 'data')
    config = folder / 'mine.py'
    config.write_text(CONFIG.format(configs=repo / 'configs', root=str(folder / 'data')))
    with pytest.MonkeyPatch.context() as patch:
        run(repo, patch, 'train.py', config, '--work-dir', folder / 'work')
    return SimpleNamespace(folder=folder, data=folder / 'data', config=config, checkpoint=folder / 'work/iter_40.pth')


def expected_scores(several, folder):
    """IoU, Dice and precision of each class over the validation's files, from the masks that predict wrote."""
    hit, truth, found = np.zeros((3, 3), np.int64)
    names = sorted(path.stem for path in folder.glob('*.npy'))
    assert names
    for name in names:
        mask, answer = np.load(several.data / f'masks/{name}.npy'), np.load(folder / f'{name}.npy')
        assert answer.shape == mask.shape and answer.dtype == np.uint8 and set(np.unique(answer)) <= {0, 1}
        known = mask != 255
        hit += ((mask == 1) & (answer == 1) & known).sum((0, 1))
        truth += ((mask == 1) & known).sum((0, 1))
        found += ((answer == 1) & known).sum((0, 1))
    return 100 * hit / (truth + found - hit), 200 * hit / (truth + found), 100 * hit / found


def test_scores_pictures_and_report_are_by_class(several, repo, monkeypatch, tmp_path):
    run(repo, monkeypatch, 'test.py', several.config, several.checkpoint, '--work-dir', tmp_path / 'work',
        '--report', tmp_path / 'report', '--show-dir', tmp_path / 'show')  # fmt: skip
    results = json.loads((tmp_path / 'report/results.json').read_text())
    shown = sorted(path.stem for path in (tmp_path / 'show').glob('*.png'))
    images = [several.data / f'images/{name}.png' for name in shown]
    run(repo, monkeypatch, 'predict.py', several.config, several.checkpoint, *images, '--out', tmp_path / 'answers',
        '--save', 'mask', 'overlay', 'probabilities')  # fmt: skip
    iou, dice, precision = expected_scores(several, tmp_path / 'answers/mask')
    np.testing.assert_allclose(results['iou'], iou, atol=1e-6)
    scores = results['metrics']
    assert scores['mIoU'] == pytest.approx(iou.mean(), abs=0.006)
    assert scores['IoU/left'] > 60, 'nothing was learnt'
    for number, name in enumerate(NAMES):
        assert scores[f'Dice/{name}'] == pytest.approx(dice[number], abs=0.006)
        assert scores[f'Precision/{name}'] == pytest.approx(precision[number], abs=0.006)
    rows = list(csv.reader((tmp_path / 'report/confusion.csv').open()))
    assert rows[0][1:] == ['neither', 'predicted only', 'true only', 'both']
    assert [row[0] for row in rows[1:]] == NAMES
    neither, only, missed, both = np.array([row[1:] for row in rows[1:]], int).T
    np.testing.assert_allclose(100 * both / (both + only + missed), iou)
    page = (tmp_path / 'report/index.html').read_text()
    assert 'Near the boundaries' not in page and 'Confusion' not in page and 'IoU by class' in page
    areas = list(csv.DictReader((tmp_path / 'answers/areas.csv').open()))
    answer = np.load(tmp_path / f'answers/mask/{shown[0]}.npy')
    assert float(areas[0]['left']) == pytest.approx((answer[..., 2] == 1).mean(), abs=1e-6)
    kept = np.load(tmp_path / f'answers/probabilities/{shown[0]}.npz')['probabilities']
    assert kept.shape == (3, 72, 80) and (kept.sum(0) > 1.05).any()
    assert ((kept > 0.5) == answer.transpose(2, 0, 1)).mean() > 0.999  # float16


def test_prediction_and_tiles(several, tmp_path):
    model = init_model(several.config, several.checkpoint, device='cpu')
    prediction = predict(model, several.data / 'images/0.png')
    assert prediction.labels.shape == (3, 72, 80)
    np.testing.assert_array_equal(prediction.labels, prediction.probabilities() > 0.5)
    assert prediction.areas['left'] == (prediction.labels[2] == 1).sum()
    assert prediction.overlay(legend=True).size[0] >= 80
    prediction.save(mask=tmp_path / 'a.npy', overlay=tmp_path / 'a.png')
    np.testing.assert_array_equal(read_label_bands(tmp_path / 'a.npy'), prediction.labels)
    for call, told in (
        (prediction.mask, 'a picture holds one label a pixel'),
        (lambda: prediction.confidence, 'no one confidence'),
        (lambda: prediction.save(mask=tmp_path / 'b.png'), r'named \.npy or \.tif'),
    ):
        with pytest.raises(UserError, match=told):
            call()
    large = np.tile(prediction.image, (9, 9, 1))
    whole, tiled = predict(model, large), predict(model, large, tile=320)
    assert tiled.labels.shape == whole.labels.shape == (3, 648, 720)
    assert (tiled.labels == whole.labels).mean() > 0.9  # little was learnt: many probabilities are near 0.5
    assert ((tiled.labels == 1) == (tiled.probabilities() > 0.5)).mean() > 0.9999
    views = predict(model, several.data / 'images/0.png', tta=True)
    np.testing.assert_array_equal(views.labels, views.probabilities() > 0.5)


def test_masks_of_a_tiff(several, tmp_path):
    pytest.importorskip('tifffile', reason='tifffile (extra [large]) is not installed')
    model = init_model(several.config, several.checkpoint, device='cpu')
    prediction = predict(model, several.data / 'images/0.png')
    prediction.save(mask=tmp_path / 'a.tif')
    np.testing.assert_array_equal(read_label_bands(tmp_path / 'a.tif', 3), prediction.labels)


def test_what_keeps_one_label_is_refused(several, repo, tmp_path):
    model = init_model(several.config, several.checkpoint, device='cpu')
    with pytest.raises(UserError, match='the dense CRF gives each pixel one label'):
        predict(model, several.data / 'images/0.png', crf='v2_r101')
    with pytest.raises(UserError, match='uint8 gives one label a pixel'):
        export_model(model, tmp_path / 'a.ts', 'torchscript', uint8=True)


@pytest.mark.parametrize('options', [['--crf'], ['--out', 'answers']])
def test_tools_refuse_what_keeps_one_label(several, repo, monkeypatch, tmp_path, capsys, options):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        run(repo, monkeypatch, 'test.py', several.config, several.checkpoint, '--work-dir', tmp_path / 'work', *options)
    assert 'one label' in str(stop.value.code) and 'Traceback' not in capsys.readouterr().err


def test_export_gives_the_logits(several, tmp_path):
    model = init_model(several.config, several.checkpoint, device='cpu')
    (checked,) = export_model(model, tmp_path / 'a.ts', 'torchscript')
    assert checked.different == 0
    image = torch.randn(1, 3, 40, 52)
    with torch.no_grad():
        logits = torch.jit.load(str(tmp_path / 'a.ts'))(image)
        expected = model.encode_decode(image, [])
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)


def test_browse_draws_each_label(several, capsys, tmp_path):
    browse_command.main([str(several.config), '--out', str(tmp_path / 'drawn'), '--split', 'val'])
    table = {line.split()[0]: line.split()[1] for line in capsys.readouterr().out.splitlines() if '%' in line}
    masks = [np.load(path) for path in several.data.glob('masks/*.npy')]
    share = np.mean([(mask[..., 2] == 1).mean() for mask in masks])
    assert float(table['left'].rstrip('%')) == pytest.approx(100 * share, abs=2)
    assert list((tmp_path / 'drawn').glob('*.png'))


def test_masks_and_head_that_do_not_agree_are_told_before_the_first_step(several):
    from mmengine.config import Config

    for options, told in (
        (
            {'model.decode_head.multi_label': False},
            "multi_label is False, but train_dataloader.* is 'bands'",
        ),
        ({'train_dataloader.dataset.masks': 'indices'}, "dataset.masks is 'indices'"),
    ):
        cfg = Config.fromfile(several.config)
        cfg.merge_from_dict(options)
        with pytest.raises(PreflightError, match=told):
            check(cfg, 'train')


@pytest.mark.parametrize(('value', 'told'), [(255, 'no band .* holds a 1.*255 is void'), (0, 'nothing to learn$')])
def test_masks_without_a_label(several, tmp_path, value, told):
    from mmengine.config import Config

    write_set(tmp_path)
    for path in tmp_path.glob('masks/*.npy'):
        mask = np.load(path)
        np.save(path, np.where(mask == 1, value, 0).astype(np.uint8))
    cfg = Config.fromfile(several.config)
    cfg.merge_from_dict({'train_dataloader.dataset.data_root': str(tmp_path)})
    with pytest.raises(PreflightError, match=told):
        check(cfg, 'train')
