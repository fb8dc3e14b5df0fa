"""Masks of folders by the command line: which belong together, restarts, shards, order, truth."""

import csv
from threading import current_thread

import numpy as np
import pytest
import torch
from PIL import Image

from mmseg_deeplab.cli import pseudo_masks
from mmseg_deeplab.crf import DenseCRF
from mmseg_deeplab.datasets.masks import read_mask, write_mask
from mmseg_deeplab.datasets.palette import voc_palette
from mmseg_deeplab.errors import UserError, UserFileNotFoundError
from mmseg_deeplab.inference import UnreadablePicturesError
from mmseg_deeplab.pseudo import Recipe, make_masks, pair, sweep
from mmseg_deeplab.pseudo.masks import in_order

NAMES = ['a', 'b', 'c', 'd', 'e']


@pytest.fixture
def here(tmp_path):
    """Five pictures with a bright object of class 8, its truth, and maps of half the size that are a bit off."""
    rng = np.random.default_rng(0)
    for folder in ('images', 'cams', 'truth'):
        (tmp_path / folder).mkdir()
    for i, name in enumerate(NAMES):
        truth = np.zeros((24, 30 + 2 * i), np.uint8)
        truth[6:18, 6:20] = 8
        image = np.where(truth[..., None] == 8, 200, 40) + rng.normal(0, 6, (*truth.shape, 3))
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(tmp_path / f'images/{name}.png')
        cam = np.zeros((12, truth.shape[1] // 2), np.float32)
        cam[2:8, 3:9] = rng.random((6, 6)) * 0.6 + 0.4
        np.save(tmp_path / f'cams/{name}.npy', {'keys': torch.tensor([7]), 'high_res': cam[None] / cam.max()})
        truth[0] = 255
        write_mask(tmp_path / f'truth/{name}.png', truth)
    return tmp_path


@pytest.fixture
def run(here, capsys):
    """run(*options): what the command prints."""

    def call(*options, scores='cams') -> str:
        arguments = [here / scores, '--images', here / 'images', '--out', here / 'out', *options]
        pseudo_masks.main(list(map(str, arguments)))
        return capsys.readouterr().out

    return call


def test_masks_are_palette_files_of_the_recipe(run, here):
    assert run('--threshold', 0.4).startswith('5 written, 0 were there already')
    assert sorted(path.name for path in (here / 'out').iterdir()) == [f'{name}.png' for name in NAMES]
    for job in pair([here / 'cams'], here / 'images'):
        with Image.open(here / f'out/{job.place}.png') as mask, Image.open(job.image) as image:
            assert mask.mode == 'P' and mask.size == image.size
            assert mask.getpalette()[: 3 * 21] == [value for colour in voc_palette(21) for value in colour]
        assert set(np.unique(read_mask(here / f'out/{job.place}.png'))) == {0, 8}


def test_the_crf_brings_the_masks_nearer_to_the_truth(run, here):
    def right() -> float:
        pairs = [(read_mask(here / f'out/{name}.png'), read_mask(here / f'truth/{name}.png')) for name in NAMES]
        return float(np.mean([(mask == truth)[truth != 255].mean() for mask, truth in pairs]))

    run('--threshold', 0.3)
    before = right()
    run('--threshold', 0.3, '--crf', 'pydensecrf', '--overwrite')
    refined = right()
    run('--threshold', 0.3, '--crf', 'irn', '--certainty', 0.7, '--crf-mode', 'all', '--overwrite')
    assert before < min(refined, right())


def test_it_goes_on_where_it_stopped(run, here, monkeypatch):
    names = here / 'two.txt'
    names.write_text('d\nb\n')
    assert run('--threshold', 0.4, '--names', names).startswith('2 written, 0 were there')
    kept = (here / 'out/b.png').stat().st_mtime_ns
    assert run('--threshold', 0.4).startswith('3 written, 2 were there')
    assert (here / 'out/b.png').stat().st_mtime_ns == kept
    assert run('--threshold', 0.4).startswith('0 written, 5 were there')
    with pytest.raises(UserError, match=r'5 masks in .* were made otherwise, such as a\.png .*0\.4.*now .*0\.5'):
        run('--threshold', 0.5)
    with pytest.raises(UserError, match=r'5 masks in .* were made otherwise'):
        run('--threshold', 0.4, '--crf')
    assert run('--threshold', 0.5, '--overwrite').startswith('5 written')


def test_shards_share_the_work(run, here):
    assert run('--power', 4, '--shard', '0/2').startswith('3 written')
    assert sorted(path.stem for path in (here / 'out').iterdir()) == ['a', 'c', 'e']
    assert run('--power', 4, '--shard', '1/2').startswith('2 written')
    with pytest.raises(UserError, match='--shard 2/2: write I/N'):
        run('--power', 4, '--shard', '2/2')


def test_labels_of_masks_are_refined(run, here):
    run('--threshold', 0.3)
    (here / 'out').rename(here / 'first')
    run('--crf', 'irn', '--certainty', 0.7, scores='first')
    (here / 'out').rename(here / 'second')
    run('--threshold', 0.3, '--crf', 'irn', '--certainty', 0.7)
    for name in NAMES:
        np.testing.assert_array_equal(read_mask(here / f'second/{name}.png'), read_mask(here / f'out/{name}.png'))


def test_what_can_not_be_used_is_named_when_all_else_is_done(run, here):
    np.save(here / 'cams/b.npy', np.zeros((3, 2, 2)))
    (here / 'images/d.png').write_bytes(b'no picture')
    with pytest.raises(UnreadablePicturesError, match=r'2 pictures could not be used') as error:
        run('--threshold', 0.4)
    assert [name for name, _ in error.value.errors] == ['b', 'd']
    assert sorted(path.stem for path in (here / 'out').iterdir()) == ['a', 'c', 'e']


def test_a_bug_keeps_its_traceback(here, monkeypatch):
    monkeypatch.setattr(Recipe, 'labels', lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        make_masks(pair([here / 'cams'], here / 'images'), here / 'out', Recipe(21, threshold=0.3))


def test_maps_and_pictures_that_do_not_belong_together(run, here):
    (here / 'names.txt').write_text('a\nz\n')
    with pytest.raises(UserFileNotFoundError, match=r'1 of 2 names of .*names\.txt have no file of scores: z'):
        run('--threshold', 0.4, '--names', here / 'names.txt')
    (here / 'images/b.png').rename(here / 'images/other.png')
    with pytest.raises(UserFileNotFoundError, match=r'1 of 5 files of scores have no picture in .*images: b'):
        run('--threshold', 0.4)
    with pytest.raises(UserFileNotFoundError, match='there is no folder of pictures'):
        pair([here / 'cams'], here / 'nothing')
    with pytest.raises(UserError, match=r'there are no score files \(\.npy, \.npz, \.png\) below'):
        (here / 'empty').mkdir()
        pair([here / 'empty'], here / 'images')
    Image.new('RGB', (3, 3)).save(here / 'images/a.jpg')
    (here / 'images/other.png').rename(here / 'images/b.png')
    with pytest.raises(UserError, match=r'a has several pictures: .*a\.'):
        run('--threshold', 0.4)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--threshold', 0.3, '--certainty', 0.7], '--certainty .* give --crf too'),
        (['--threshold', 0.3, 0.4], 'several thresholds or powers are for --evaluate'),
        (['--threshold', 0.3, '--classes', 'cat'], '--classes says which classes count with --evaluate'),
        (['--threshold', 0.3, '--evaluate', 'truth', '--classes', 'kat'], '--classes kat: the classes are background'),
        (['--threshold', 0.3, '--evaluate', 'truth', '--overwrite'], '--shard and --overwrite'),
        (['--threshold', 0.3, '--crf', 'v3'], "preset 'v3' is unknown"),
        (['--threshold', 0.3, '--crf-mode', 'fast'], 'give --crf too'),
        (['--threshold', 3], 'threshold 3.0: expected a number between 0 and 1'),
    ],
)
def test_options_that_contradict_each_other(run, options, message):
    with pytest.raises(UserError, match=message):
        run(*options)


def test_the_curve_over_thresholds(run, here):
    printed = run('--threshold', 0.2, 0.4, 0.6, '--crf', 'irn', '--certainty', 0.7, '--evaluate', here / 'truth')
    rows = list(csv.DictReader((here / 'out/curve.csv').open()))
    assert [(row['threshold'], row['crf']) for row in rows] == [(t, c) for t in ['0.2', '0.4', '0.6'] for c in '01']
    assert (here / 'out/curve.png').stat().st_size > 5000
    assert len(printed.splitlines()) == 8 and 'threshold 0.4, with CRF' in printed
    # The same from the masks themselves, counted by hand.
    for value, row in (('0.4', rows[2]), ('0.6', rows[4])):
        make_masks(pair([here / 'cams'], here / 'images'), here / value, Recipe(21, threshold=float(value)))
        hit, union = np.zeros(21), np.zeros(21)
        for name in NAMES:
            truth, mask = read_mask(here / f'truth/{name}.png'), read_mask(here / value / f'{name}.png')
            for k in (0, 8):
                a, b = (truth == k)[truth != 255], (mask == k)[truth != 255]
                hit[k] += (a & b).sum()
                union[k] += (a | b).sum()
        assert float(row['mIoU']) == pytest.approx(100 * (hit[[0, 8]] / union[[0, 8]]).mean(), abs=0.006)
        assert float(row['cat']) == pytest.approx(100 * hit[8] / union[8], abs=0.006)
        assert row['aeroplane'] == '' and row['labelled'] == '100.00'
    assert 'mIoU' in run('--threshold', 0.4, '--evaluate', here / 'truth', '--classes', 'cat')
    assert list(csv.DictReader((here / 'out/curve.csv').open()))[0]['mIoU'] == rows[2]['cat']


def test_void_in_masks_is_counted_apart(here):
    jobs = pair([here / 'cams'], here / 'images')
    sure, all_ = (sweep(jobs, here / 'truth', [Recipe(21, power=1, unsure_below=p)])[0] for p in (0.7, 0))
    assert sure.labelled < all_.labelled == 1
    assert sure.matrix.sum() == pytest.approx(sure.labelled * all_.matrix.sum())
    with pytest.raises(UserFileNotFoundError, match='5 of 5 masks of the truth are missing'):
        sweep(jobs, here / 'images2', [Recipe(21, power=1)])


def test_threads_keep_the_order_and_begin_no_more_than_they_can_take():
    begun = []

    def items():
        for i in range(40):
            begun.append(i)
            yield i

    threads = set()

    def square(i):
        threads.add((current_thread().name, torch.get_num_threads()))
        return i * i

    for count, (item, future) in enumerate(in_order(square, items(), 2)):
        assert (item, future.result()) == (count, count * count)
        assert len(begun) <= count + 6
    assert count == 39 and len(threads) <= 2 and all(number == 1 for _, number in threads)


def test_the_whole_command_is_what_the_parts_make(run, here):
    run('--power', 4, '--crf', 'irn')
    crf = DenseCRF(10, 3, 3, 10, 50, 5)
    job = pair([here / 'cams'], here / 'images')[1]
    cam = np.load(job.maps, allow_pickle=True).item()['high_res']
    image = np.array(Image.open(job.image).convert('RGB'))
    tensor = torch.nn.functional.interpolate(torch.from_numpy(cam)[None], image.shape[:2], mode='bilinear')[0].numpy()
    scores = np.concatenate([(1 - tensor) ** 4, tensor])
    np.testing.assert_array_equal(read_mask(here / 'out/b.png'), crf(image, scores).argmax(0) * 8)
