"""tools/predict.py on files, folders and videos: what is written, restarts, shards, and what can not be read."""

import csv

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from PIL import Image

from mmseg_deeplab.cli import predict
from mmseg_deeplab.errors import UserError
from mmseg_deeplab.inference import init_model, segment
from mmseg_deeplab.inference.folder import shard_of_environment

CONFIG = 'configs/deeplabv3plus_mobilenetv2_demo.py'
SMALL = ['--cfg-options', 'model.backbone.width=0.25', 'model.decode_head.channels=16']


@pytest.fixture(scope='module')
def checkpoint(repo, tmp_path_factory) -> str:
    """Random weights of a small network."""
    cfg = Config.fromfile(repo / CONFIG)
    cfg.merge_from_dict({'model.backbone.width': 0.25, 'model.decode_head.channels': 16, 'model.norm_cfg.type': 'BN'})
    init_default_scope('mmseg')
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    torch.nn.init.normal_(model.decode_head.conv_seg.weight, std=1)
    path = tmp_path_factory.mktemp('predict') / 'model.pth'
    torch.save(dict(state_dict=model.state_dict(), meta={}), path)
    return str(path)


@pytest.fixture
def run(repo, checkpoint, tmp_path, capsys):
    """run(*inputs, options): what the command prints."""

    def call(*inputs, options=()) -> str:
        predict.main(
            [str(repo / CONFIG), checkpoint, *map(str, inputs), '--out', str(tmp_path / 'out'), *options, *SMALL]
        )
        return capsys.readouterr().out

    return call


@pytest.fixture
def pictures(tmp_path):
    rng = np.random.default_rng(0)
    for name, size in (
        ('a/one.png', (40, 50)),
        ('a/two.jpg', (33, 61)),
        ('b/one.png', (50, 40)),
        ('b/one.jpg', (37, 37)),
    ):
        path = tmp_path / 'in' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)
    return tmp_path / 'in'


def written(tmp_path) -> set[str]:
    return {str(path.relative_to(tmp_path / 'out')) for path in (tmp_path / 'out').rglob('*') if path.is_file()}


def test_masks_overlays_and_areas(run, pictures, tmp_path, repo, checkpoint):
    assert run(pictures).startswith('4 written, 0 were there already')
    places = ['a/one', 'a/two', 'b/one.jpg', 'b/one.png']  # two of one name keep their suffix
    assert written(tmp_path) == {
        'areas.csv',
        *(f'{kind}/{place}.png' for kind in ('mask', 'overlay') for place in places),
    }
    cfg = Config.fromfile(repo / CONFIG)
    cfg.merge_from_dict({'model.backbone.width': 0.25, 'model.decode_head.channels': 16})
    model = init_model(cfg, checkpoint, device='cpu')
    rows = list(csv.DictReader((tmp_path / 'out' / 'areas.csv').open()))
    for place, row in zip(places, rows, strict=True):
        source = pictures / (place if place.startswith('b') else {'a/one': 'a/one.png', 'a/two': 'a/two.jpg'}[place])
        labels = segment(model, source)
        np.testing.assert_array_equal(np.array(Image.open(tmp_path / 'out' / 'mask' / f'{place}.png')), labels)
        assert row['picture'] == str(source) and (int(row['height']), int(row['width'])) == labels.shape
        shares = [float(row[name]) for name in model.dataset_meta['classes']]
        np.testing.assert_allclose(shares, np.bincount(labels.ravel(), minlength=7) / labels.size, atol=1e-6)


def test_a_restart_makes_only_what_is_missing(run, pictures, tmp_path):
    run(pictures)
    kept, gone = tmp_path / 'out' / 'mask' / 'a' / 'one.png', tmp_path / 'out' / 'overlay' / 'b' / 'one.png.png'
    before = kept.stat().st_mtime_ns
    gone.unlink()
    assert run(pictures).startswith('1 written, 3 were there already')
    assert gone.exists() and kept.stat().st_mtime_ns == before
    assert len(list(csv.reader((tmp_path / 'out' / 'areas.csv').open()))) == 5
    assert run(pictures, options=['--overwrite']).startswith('4 written, 0')
    assert kept.stat().st_mtime_ns > before


def test_shards_are_the_whole(run, pictures, tmp_path, monkeypatch):
    assert run(pictures, options=['--shard', '0/3']).startswith('2 written')
    monkeypatch.setenv('RANK', '1')
    monkeypatch.setenv('WORLD_SIZE', '3')
    assert run(pictures).startswith('1 written')
    monkeypatch.setenv('SLURM_ARRAY_TASK_ID', '7')
    monkeypatch.setenv('SLURM_ARRAY_TASK_MIN', '5')
    monkeypatch.setenv('SLURM_ARRAY_TASK_COUNT', '3')
    assert shard_of_environment() == (2, 3)
    assert run(pictures).startswith('1 written')
    assert len([name for name in written(tmp_path) if name.startswith('mask')]) == 4
    areas = [name for name in written(tmp_path) if name.startswith('areas')]
    assert sorted(areas) == [f'areas_{k}_of_3.csv' for k in range(3)]


def test_what_can_not_be_read_is_named_at_the_end(run, pictures, tmp_path):
    (pictures / 'a' / 'broken.png').write_bytes(b'no picture')
    with pytest.raises(ValueError, match=r'1 pictures could not be used:\n.*broken\.png'):
        run(pictures, options=['--save', 'mask', '--crf', 'v1'])
    assert len([name for name in written(tmp_path) if name.startswith('mask')]) == 4
    assert not [name for name in written(tmp_path) if name.startswith('overlay')]


def test_inputs_without_pictures_are_named_and_the_rest_goes_on(run, pictures, tmp_path):
    film = tmp_path / 'film.avi'
    writer = cv2.VideoWriter(str(film), cv2.VideoWriter.fourcc(*'MJPG'), 12, (65, 47))
    writer.write(np.zeros((47, 65, 3), np.uint8))
    writer.release()
    (tmp_path / 'broken.avi').write_bytes(b'no video')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(ValueError, match=r'3 pictures could not be used:') as error:
        run(*(tmp_path / name for name in ('none.png', 'empty', 'broken.avi', 'film.avi', 'in/a/one.png')))
    assert all(name in str(error.value) for name in ('none.png', 'empty', 'broken.avi'))
    assert written(tmp_path) == {'areas.csv', 'mask/in/a/one.png', 'overlay/in/a/one.png', 'overlay/film.mp4'}
    with pytest.raises(FileNotFoundError, match=r'none\.png'):
        run(tmp_path / 'none.png')


def test_one_file_under_several_names_is_one(run, pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(pictures / 'a')
    assert run('one.png', './one.png', '../a/one.png', pictures / 'a', '../b/one.png').startswith('3 written')
    assert {name for name in written(tmp_path) if name.startswith('mask')} == {
        'mask/a/one.png', 'mask/a/two.png', 'mask/b/one.png',
    }  # fmt: skip


def test_no_two_pictures_have_one_place(run, pictures, tmp_path):
    picture = Image.open(pictures / 'a' / 'one.png')
    for name in ('one.bmp', 'one.png.png'):
        picture.save(pictures / 'a' / name)
    assert run(pictures / 'a').startswith('4 written')
    assert len([name for name in written(tmp_path) if name.startswith('mask')]) == 4


def test_answers_are_no_inputs_of_the_next_run(run, pictures, tmp_path):
    (tmp_path / 'out').mkdir()
    pictures.rename(tmp_path / 'out' / 'in')
    assert run(tmp_path / 'out').startswith('4 written')
    assert run(tmp_path / 'out').startswith('0 written, 4 were there')


def test_what_a_killed_run_left_is_removed(run, pictures, tmp_path):
    (tmp_path / 'out/mask/a').mkdir(parents=True)
    left = tmp_path / 'out/mask/a/.one.png.999999999.tmp'
    left.write_bytes(b'half')
    run(pictures)
    assert not left.exists()


@pytest.mark.parametrize(
    'variables, expected',
    [
        (dict(RANK='3', WORLD_SIZE='8'), (3, 8)),
        (dict(OMPI_COMM_WORLD_RANK='1', OMPI_COMM_WORLD_SIZE='2'), (1, 2)),
        (dict(SLURM_PROCID='1', SLURM_NTASKS='4'), (1, 4)),
        (dict(ID='5', COUNT='3', MIN='1', STEP='2'), (2, 3)),
        (dict(RANK='a', WORLD_SIZE='2'), 'RANK=a, WORLD_SIZE=2 in the environment'),
        (dict(RANK='2', WORLD_SIZE='2'), 'not the numbers of 2 parts'),
        (dict(ID='7', COUNT='3', MIN='0', STEP='1'), 'not the numbers of 3 parts'),
    ],
)
def test_parts_that_launchers_number(monkeypatch, variables, expected):
    for name, value in variables.items():
        slurm = name in ('ID', 'COUNT', 'MIN', 'STEP')
        monkeypatch.setenv(f'SLURM_ARRAY_TASK_{name}' if slurm else name, value)
    if isinstance(expected, str):
        with pytest.raises(UserError, match=expected):
            shard_of_environment()
    else:
        assert shard_of_environment() == expected


def test_probabilities_and_confidence(run, pictures, tmp_path):
    run(pictures / 'a' / 'one.png', options=['--save', 'probabilities', 'confidence', '--batch-size', '2', '--tta'])
    p = np.load(tmp_path / 'out' / 'probabilities' / 'one.npz')['probabilities']
    confidence = np.array(Image.open(tmp_path / 'out' / 'confidence' / 'one.png')) / 65535
    np.testing.assert_allclose(confidence, p.max(0), atol=1e-3)


def test_a_video_keeps_its_frames_and_rate(run, tmp_path):
    film = tmp_path / 'film.avi'
    writer = cv2.VideoWriter(str(film), cv2.VideoWriter.fourcc(*'MJPG'), 12, (64, 48))
    for level in (30, 120, 220):
        writer.write(np.full((48, 64, 3), level, np.uint8))
    writer.release()
    run(film)
    video = cv2.VideoCapture(str(tmp_path / 'out' / 'overlay' / 'film.mp4'))
    assert round(video.get(cv2.CAP_PROP_FPS)) == 12
    frames = []
    while (read := video.read())[0]:
        frames.append(read[1])
    assert len(frames) == 3 and frames[0].shape == (48, 64, 3)
    assert frames[0].mean() < frames[1].mean() < frames[2].mean()
    assert not list((tmp_path / 'out' / 'overlay').glob('.*'))


@pytest.mark.parametrize(
    'options, message',
    [
        (['--shard', '3/3'], '--shard 3/3: write I/N'),
        (['--save', 'masks'], "there is no output 'masks'"),
        (['--crf-backend', 'torch'], 'give --crf too'),
        (['--crf-mode', 'all'], '--crf-mode chooses the mode of --crf; give --crf too'),
        (['--crf', 'v1', '--crf-mode', 'quick'], "mode='quick'"),
        (['--refine', 'guide'], "no refiner 'guide'"),
        (['--refine', 'guided', 'size=3'], "'size'; it takes radius, eps"),
        (['--refine', 'guided', '--crf', 'v1'], '--crf and --refine'),
        (['--precision', 'fp8'], "precision='fp8'"),
        (['--eval-output-stride', '12'], 'output_stride=12'),
        (['--device', 'tpu'], "device='tpu' can not be used"),
        (['--device', 'cuda:99'], "device='cuda:99' can not be used"),
    ],
)
def test_wrong_options_are_named(run, pictures, options, message):
    with pytest.raises(ValueError, match=message):
        run(pictures, options=options)


def test_a_file_in_the_place_of_the_folder_is_refused_before_anything_is_loaded(run, pictures, tmp_path, monkeypatch):
    (tmp_path / 'out').write_text('mine')
    monkeypatch.setattr(predict, 'init_model', None)
    with pytest.raises(UserError, match=r"out \(--out\): '.*out' is to be a folder, but .* is a file"):
        run(pictures)
    assert (tmp_path / 'out').read_text() == 'mine'
