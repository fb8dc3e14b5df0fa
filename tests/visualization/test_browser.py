"""Markup in the names that a page shows stays text, in a real browser."""

import html
import shutil
import subprocess

import numpy as np
import pytest

from mmseg_deeplab.evaluation import Scores
from mmseg_deeplab.evaluation.metric import ImageResult
from mmseg_deeplab.evaluation.results import Results
from mmseg_deeplab.visualization.comparison import as_html
from mmseg_deeplab.visualization.report_page import Card, render

# Each runs a script where it is taken for markup, or ends what it stands in and begins one.
NAMES = [
    '<img src=x onerror="document.title=\'RAN\'">',
    '"><script>document.title="RAN"</script>',
    "'><svg onload=document.title='RAN'>",
    '</style></title></textarea><script>document.title="RAN"</script>',
    '--><script>document.title="RAN"</script><!--',
    "{{ ''.__class__ }}{% for x in y %}",
    '" onmouseover="document.title=1" autofocus onfocus="document.title=\'RAN\'" tabindex="0',
    '<meta http-equiv=refresh content="0;url=data:text/html,<title>RAN</title>">',
    '&lt;script&gt;',
]


@pytest.fixture(scope='module')
def browse(tmp_path_factory):
    """The page as a browser has it after its scripts have run."""
    names = ('chromium', 'chromium-browser', 'google-chrome')
    program = next((found for name in names if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip(f'none of {", ".join(names)} is installed')
    folder = tmp_path_factory.mktemp('browser')

    def dump(page):
        (folder / 'page.html').write_text(page, encoding='utf-8')
        options = ['--headless', '--no-sandbox', '--disable-gpu', f'--user-data-dir={folder}/profile']
        address = (folder / 'page.html').as_uri()
        done = subprocess.run([program, *options, '--dump-dom', address], capture_output=True, timeout=120)
        return done.stdout.decode()

    return dump


def report():
    """With a name of each kind in every place that shows one."""
    matrix = np.eye(len(NAMES), dtype=int)
    images = [ImageResult.of(f'/data/{name.replace("/", "")}.png', matrix) for name in NAMES]
    cards = [Card(image, image, {NAMES[0]: np.zeros((4, 4, 3), np.uint8)}) for image in images]
    metrics = {key: 1.0 for name in NAMES for key in (name, f'before_crf/{name}')}
    plots = dict.fromkeys(('class_iou', 'trimap', 'confusion'), b'')
    return render(
        NAMES[1], {name: name for name in NAMES}, metrics, NAMES, [(1, 2, 3)] * len(NAMES), Scores.of(matrix),
        Scores.of(matrix), plots, cards, cards, images, '\n'.join(NAMES), NAMES,
    )  # fmt: skip


def comparison():
    run = Results(
        title=NAMES[0], facts={name: name for name in NAMES}, metrics={'mIoU': 50.0}, classes=NAMES,
        iou=[50.0] * len(NAMES), iou_before_crf=None, trimap=[], trimap_before_crf=None, images=1, seconds=1.0,
        parameters=1, multiply_adds=None, shape=[1, 1],
    )  # fmt: skip
    return as_html(dict.fromkeys(NAMES, run), b'')


@pytest.mark.parametrize('page', [report, comparison])
def test_no_name_becomes_markup(browse, page):
    text = page()
    shown = browse(text)
    assert 'RAN</title>' not in shown and '<script' not in shown and '<svg' not in shown
    body = html.unescape(shown)
    assert all(name in body for name in NAMES)
    assert 'RAN</title>' in browse(html.unescape(text))  # unescaped, they do run
