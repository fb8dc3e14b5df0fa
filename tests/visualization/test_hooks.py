"""PanelHook and ReportHook in a runner's own test loop."""

import csv
import errno
import multiprocessing
import os
import re
import subprocess
import sys
from html.parser import HTMLParser

import mmcv
import numpy as np
import pytest
import torch.distributed
from PIL import Image

from mmseg_deeplab.engine.hooks import panels
from mmseg_deeplab.evaluation import Scores
from mmseg_deeplab.evaluation.metric import ImageResult
from mmseg_deeplab.visualization.report_page import Card, image_names, render


@pytest.mark.parametrize('mode', ['test', 'val'])
def test_panels_of_every_sample(run_test, tmp_path, mode):
    _, runner = run_test([{'type': 'PanelHook', 'out_dir': str(tmp_path / 'show')}], mode=mode)
    files = sorted((tmp_path / 'show').iterdir())
    assert [file.name for file in files] == [f'shape_{k}.png' for k in range(6)]
    assert next(h for h in runner.hooks if isinstance(h, panels.PanelHook)).paths == files
    with Image.open(files[0]) as picture:
        assert picture.width == 4 * 208 + 8, 'image, truth, prediction and difference of 200 pixels'


def test_only_the_drawn_images_are_decoded_again(run_test, tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(
        panels, 'read_shown', lambda path, bands: read.append(path) or mmcv.imread(path, channel_order='rgb')
    )
    run_test([{'type': 'PanelHook', 'out_dir': str(tmp_path / 'show'), 'max_images': 2}], crf=True)
    assert sorted(file.name for file in (tmp_path / 'show').iterdir()) == ['shape_0.png', 'shape_3.png']
    assert len(read) == 2
    with Image.open(tmp_path / 'show' / 'shape_0.png') as picture:
        assert picture.width == 5 * 208 + 8


NO_PLOTS = dict.fromkeys(('class_iou', 'trimap', 'confusion'), b'')


class Page(HTMLParser):
    """Collects tags, checks that they close, and finds every address that the page would fetch."""

    VOID = {'meta', 'img', 'br', 'link'}

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.headings, self.addresses = [], [], []
        self.tags, self.attributes, self.text = set(), set(), ''
        self.feed(text)
        assert not self.open, f'unclosed: {self.open}'

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.addresses += [value for name, value in attrs if name in ('src', 'href')]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if self.open and self.open[-1] == 'h2':
            self.headings.append(data)


@pytest.mark.parametrize('crf', [False, True])
def test_report_is_one_page_that_holds_everything(run_test, tmp_path, crf):
    metrics, _ = run_test([{'type': 'ReportHook', 'out_dir': str(tmp_path / 'report'), 'num_images': 2}], crf=crf)
    text = (tmp_path / 'report' / 'index.html').read_text(encoding='utf-8')
    page = Page(text)
    assert all(address.startswith('data:image/') for address in page.addresses)
    assert '<script' not in text and 'http' not in text.split('<h2>Configuration')[0]
    assert {'Classes', 'Confusion', 'Worst images', 'Best images', 'Configuration'} <= set(page.headings)
    # 3 plots, and for 2 worst and 2 best images: image, truth, prediction, difference (and before CRF)
    assert len(page.addresses) == 3 + 4 * (5 if crf else 4)
    assert f'<b>{metrics["mIoU"]:.2f}</b>' in text
    # The prediction of image k is k pixels off.
    names = re.findall(r'<b>(shape_\d\.png)</b>', text)
    assert names[0] == 'shape_5.png' and names[2] == 'shape_0.png'
    assert ('before CRF' in text) == crf
    with (tmp_path / 'report' / 'images.csv').open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6 and float(rows[0]['aAcc']) == 100
    if crf:
        assert 50 < float(rows[0]['aAcc before CRF']) < 100
    with (tmp_path / 'report' / 'trimap.csv').open() as file:
        trimap = list(csv.DictReader(file))
    assert [row['width'] for row in trimap] == [str(w) for w in range(1, 41)]
    assert round(float(trimap[9]['mIoU']), 2) == metrics['trimap/mIoU_10px']
    confusion = np.genfromtxt(tmp_path / 'report' / 'confusion.csv', delimiter=',', skip_header=1)[:, 1:]
    assert round(100 * np.trace(confusion) / confusion.sum(), 2) == metrics['aAcc']


def test_images_of_one_name_are_told_apart():
    assert image_names(['/d/val/a/1.png', '/d/val/b/1.png']) == {
        '/d/val/a/1.png': 'a/1.png',
        '/d/val/b/1.png': 'b/1.png',
    }
    assert image_names(['d/1.png']) == {'d/1.png': '1.png'}
    assert image_names(['a/1.png', '/b/1.png']) == {'a/1.png': 'a/1.png', '/b/1.png': '/b/1.png'}
    assert image_names([]) == {}


def test_two_processes_give_the_numbers_and_files_of_one(run_test, tmp_path, monkeypatch):
    """Five images on two processes: each takes three, the sixth is a repeat that must not count."""
    monkeypatch.chdir(tmp_path)  # MMEngine collects in the working directory
    hooks = [
        {'type': 'PanelHook', 'out_dir': str(tmp_path / 'show')},
        {'type': 'ReportHook', 'out_dir': str(tmp_path / 'report'), 'num_images': 2},
    ]
    alone, _ = run_test(hooks, crf=True, num_images=5)
    pages = {k: (tmp_path / 'report' / k).read_text() for k in ('images.csv', 'trimap.csv', 'confusion.csv')}
    names = re.findall(r'<b>(shape_\d\.png)</b>', (tmp_path / 'report' / 'index.html').read_text(encoding='utf-8'))
    for file in [*(tmp_path / 'show').iterdir(), *(tmp_path / 'report').iterdir()]:
        file.unlink()
    queue = multiprocessing.get_context('fork').Queue()

    def work(rank):
        address = f'file://{tmp_path}/rendezvous'
        torch.distributed.init_process_group('gloo', init_method=address, rank=rank, world_size=2)
        metrics, runner = run_test(hooks, crf=True, num_images=5)
        queue.put((rank, metrics, len(next(h for h in runner.hooks if isinstance(h, panels.PanelHook)).paths)))
        queue.close()
        queue.join_thread()
        os._exit(0)

    processes = [multiprocessing.get_context('fork').Process(target=work, args=(rank,)) for rank in (0, 1)]
    for process in processes:
        process.start()
    answers = [queue.get(timeout=300) for _ in processes]
    for process in processes:
        process.join(300)
        assert process.exitcode == 0
    assert [(metrics, count) for _, metrics, count in answers] == [(alone, 5)] * 2
    assert sorted(file.name for file in (tmp_path / 'show').iterdir()) == [f'shape_{k}.png' for k in range(5)]
    assert pages == {k: (tmp_path / 'report' / k).read_text() for k in pages}
    text = (tmp_path / 'report' / 'index.html').read_text(encoding='utf-8')
    assert re.findall(r'<b>(shape_\d\.png)</b>', text) == names


def test_report_needs_our_metric(run_test, tmp_path):
    with pytest.raises(ValueError, match='no SegmentationMetric'):
        run_test([{'type': 'ReportHook', 'out_dir': str(tmp_path)}], evaluator={'type': 'IoUMetric'})


@pytest.mark.parametrize('text', ['<u>&', '"><script>alert(1)</script>', "{{ 1 + 1 }} {% raw %}' x='"])
def test_user_text_is_escaped(text):
    """Wherever a name comes from: config, classes, files, metrics."""
    matrix = np.ones((1, 1), int)
    image = ImageResult.of(f'/data/{text.replace("/", "")}.png', matrix)
    card = Card(image, image, {text: np.zeros((4, 4, 3), np.uint8)})
    page = render(
        text, {text: text}, {text: 1.0, f'before_crf/{text}': 2.0}, [text], [(1, 2, 3)], Scores.of(matrix),
        Scores.of(matrix), NO_PLOTS, [card], [card], [image], text, [text],
    )  # fmt: skip
    assert text not in page and '<script' not in page
    parsed = Page(page)
    assert {'html', 'body', 'table'} <= parsed.tags and not {'u', 'script'} & parsed.tags
    assert parsed.text.count(text) >= 10
    assert parsed.attributes <= {
        'lang', 'charset', 'name', 'content', 'class', 'style', 'src', 'alt',
    }  # fmt: skip


def test_before_and_after_are_over_the_same_classes_and_the_page_says_so():
    """Before the CRF a third class is predicted, which is nowhere in the truth: that it goes is no gain."""
    after = Scores.of(np.array([[90, 10, 0], [0, 100, 0], [0, 0, 0]]))
    before = Scores.of(np.array([[90, 5, 5], [0, 100, 0], [0, 0, 0]]), among=after.counted)
    page = render(
        'run', {}, {'mIoU': 100 * after.miou, 'before_crf/mIoU': 100 * before.miou}, ['sky', 'road', 'cow'],
        [(0, 0, 0)] * 3, after, before, NO_PLOTS, [], [], [], '', ['cow'],
    )  # fmt: skip
    text = ' '.join(Page(page).text.split())
    assert 'the same classes: those that occur in the truth or in the prediction after the CRF' in text
    assert 'Predicted before the CRF only, and no part of the means: cow.' in text
    assert f'{100 * (0.9 + 100 / 105) / 2:.2f} before CRF' in text
    rows = re.findall(r'<tr[^>]*>(.*?)</tr>', page, flags=re.S)
    cells = [
        [re.sub('<[^>]*>', '', cell).strip() for cell in re.findall('<td>(.*?)</td>', row, flags=re.S)] for row in rows
    ]
    table = {row[0]: row[1:] for row in cells if len(row) == 8}
    assert table['cow'] == ['–', '', '–', '–', '–', '–', '–']
    changes = [float(table[name][-1]) for name in ('sky', 'road')]
    assert min(changes) <= float(table['mean'][-1]) <= max(changes)


@pytest.mark.parametrize(
    'images, expected',
    [
        (['/d/a/1.jpg', '/d/b/2.jpg'], ['1', '2']),
        (['/d/a/1.jpg', '/d/b/1.jpg', '/d/b/2.jpg'], ['a/1', 'b/1', 'b/2']),
        (['/d/1.jpg', '/d/1.png'], ['1.jpg', '1.png']),
        (['/d/A.jpg', '/d/a.jpg', '/d/b/a.jpg'], ['A.jpg', 'a.jpg', 'b/a.jpg']),
        (['/d/1.jpg', 'e/1.jpg', '../1.jpg'], None),
        (['/d/x.y.jpg', '/d/x.z.jpg'], ['x.y', 'x.z']),
        (['/d/1.jpg', '/d/1.jpg'], ['1', '1']),
    ],
)
def test_pictures_of_one_name_stay_apart(images, expected):
    names = panels.picture_names(images)
    assert all(not name.is_absolute() and '..' not in name.parts for name in names.values())
    assert len(set(names.values())) == len(set(images))
    if expected:
        assert [str(names[image]) for image in images] == [f'{name}.png' for name in expected]


@pytest.mark.filterwarnings('ignore:.* instance named of')  # MMEngine's, of three runs within a second
def test_an_error_in_the_middle_leaves_no_part_of_a_file(run_test, tmp_path, monkeypatch):
    """A full disk, for example: the old page stays, and the message has the name of the file."""
    hooks = [
        {'type': 'PanelHook', 'out_dir': str(tmp_path / 'show')},
        {'type': 'ReportHook', 'out_dir': str(tmp_path / 'report')},
    ]
    run_test(hooks, num_images=2)
    old = {path: path.read_bytes() for path in tmp_path.glob('*/*.*') if path.parent.name in ('show', 'report')}
    assert len(old) == 2 + 8

    def full(descriptor):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', full)
    for hook in hooks:
        with pytest.raises(ValueError, match=r'/(show|report)/.*\.png can not be written: No space left'):
            run_test([hook], num_images=2)
    now = {path: path.read_bytes() for path in tmp_path.glob('*/*.*') if path.parent.name in ('show', 'report')}
    assert now == old


def test_number_of_pictures_is_checked(tmp_path):
    with pytest.raises(ValueError, match='max_images=0'):
        panels.PanelHook(str(tmp_path), max_images=0)


def test_an_installed_package_has_the_page(repo, tmp_path):
    """The template is no module, so a plain `pip install .` would leave it out."""
    command = [sys.executable, 'setup.py', '--quiet', 'build_py', '--build-lib', str(tmp_path)]
    subprocess.run(command, cwd=repo, check=True, capture_output=True, timeout=300)
    assert (tmp_path / 'mmseg_deeplab' / 'visualization' / 'report_page.html').is_file()
