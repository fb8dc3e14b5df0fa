"""The page of tools/demo_server.py: what it answers, refuses and escapes, and how it does in a real browser."""

import html
import io
import os
import re
import shutil
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from lively_network import save_lively_checkpoint
from PIL import Image

from mmseg_deeplab.cli import demo_server
from mmseg_deeplab.datasets.demo import draw_picture
from mmseg_deeplab.errors import UserError, UserFileNotFoundError, UserImportError, UserOSError
from mmseg_deeplab.inference import Prediction, init_model, predict

HOSTILE = '<img src=x onerror="document.title=\'taken\'">'
CLASSES = ['background', HOSTILE, *(f'class {k}' for k in range(2, 7))]
PALETTE = [[40 * k, 255 - 30 * k, 20 * k] for k in range(7)]
MAX_MIB = 0.5


@pytest.fixture(scope='module')
def served(repo, tmp_path_factory) -> SimpleNamespace:
    """A small network, its `config` and `checkpoint`, and four pictures that differ in size."""
    folder = tmp_path_factory.mktemp('demo_server')
    base = repo / 'configs/deeplabv3plus_mobilenetv2_demo.py'
    config = folder / 'small.py'
    config.write_text(
        f'_base_ = {str(base)!r}\nmodel = dict(backbone=dict(width=0.25), decode_head=dict(channels=16))\n'
    )
    checkpoint = folder / 'model.pth'
    save_lively_checkpoint(config, checkpoint, dataset_meta=dict(classes=CLASSES, palette=PALETTE))
    pictures = [folder / f'picture_{number}.png' for number in range(4)]
    for number, path in enumerate(pictures):
        image, _ = draw_picture(np.random.default_rng(number))
        Image.fromarray(image[: 100 - number]).save(path)
    model = init_model(config, checkpoint, 'cpu')
    return SimpleNamespace(config=str(config), checkpoint=str(checkpoint), pictures=pictures, model=model)


def pixels_of(text: str) -> list[int]:
    """The pixels of the classes, in the order in which the legend has them."""
    return [int(number.replace(',', '')) for number in re.findall(r'([\d,]+) px', text)]


def expected(served, path: Path, crf: str | None = None) -> Prediction:
    prediction = predict(served.model, path, crf)
    assert isinstance(prediction, Prediction)
    return prediction


@pytest.mark.parametrize('crf', [None, 'v1'])
@pytest.mark.parametrize('beside_no_crf', [False, True])
def test_what_is_shown(served, crf, beside_no_crf):
    path = served.pictures[0]
    (before, after), legend = demo_server.answer(served.model, path, crf, beside_no_crf, 10**6)
    prediction = expected(served, path, crf)
    left = expected(served, path).overlay() if beside_no_crf else Image.open(path)
    assert np.array_equal(before, left) and np.array_equal(after, prediction.overlay())
    assert pixels_of(legend) == list(prediction.areas.values())
    assert f'{before.width} x 100 pixels' in legend and re.search(r'\d\.\d\d s on cpu', legend)


def test_names_are_escaped_and_colours_those_of_the_palette(served):
    labels = np.array([[1, 1, 1, 2]], np.uint8)
    page = demo_server.legend(Prediction('x', labels, CLASSES, PALETTE, np.empty, np.empty), '1 < 2')
    assert '<img' not in page and html.escape(HOSTILE) in page and '1 &lt; 2' in page
    assert page.index('rgb(40, 225, 20)') < page.index('75.0%') < page.index('rgb(80, 195, 40)') < page.index('25.0%')


def test_users_do_not_interfere(served):
    """Eight threads on one model, with and without CRF, get what each would get alone."""
    tasks = [(path, crf, beside) for path in served.pictures for crf in (None, 'fast') for beside in (False, True)]

    def run(task) -> tuple:
        path, crf, beside = task
        (before, after), legend = demo_server.answer(served.model, path, crf, beside, 10**6)
        return np.array(before), np.array(after), pixels_of(legend)

    alone = [run(task) for task in tasks]
    assert len({tuple(pixels) for *_, pixels in alone}) >= len(served.pictures)
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(run, tasks * 2))
    for one, other in zip(alone * 2, together, strict=True):
        assert np.array_equal(one[0], other[0]) and np.array_equal(one[1], other[1]) and one[2] == other[2]


def test_pictures_that_are_refused(served, tmp_path):
    large = served.pictures[0]
    width, height = Image.open(large).size
    assert demo_server.answer(served.model, large, None, False, width * height)
    with pytest.raises(UserError, match=rf'{width} x {height} pixels; this page takes 0\.01 million'):
        demo_server.answer(served.model, large, None, False, 10_000)
    broken = tmp_path / 'broken.png'
    broken.write_bytes(b'no picture')
    with pytest.raises(UserError, match=r'image broken\.png cannot be read: [\w ]+$'):
        demo_server.answer(served.model, broken, None, False, 10**6)
    deep = tmp_path / 'deep.png'
    Image.fromarray(np.zeros((20, 20), np.uint16)).save(deep)
    with pytest.raises(UserError, match='8 bits are needed'):
        demo_server.answer(served.model, deep, None, False, 10**6)


@pytest.mark.parametrize(
    'options, told',
    [
        (['one more'], '3 files are named: give pairs'),
        (['--max-mib', '0'], '--max-mib 0.0: expected more than 0'),
        (['--max-mib', 'nan'], '--max-mib nan'),
        (['--max-megapixels', '-1'], '--max-megapixels -1.0'),
        (['--port', '65536'], '--port 65536: expected 1 to 65535'),
        (['--port', '0'], '--port 0'),
    ],
)
def test_command_lines_that_are_refused(options, told):
    with pytest.raises(UserError, match=re.escape(told)):
        demo_server.main(['a.py', 'b.pth', *options])


def test_without_gradio(served, monkeypatch):
    monkeypatch.setitem(sys.modules, 'gradio', None)
    with pytest.raises(UserImportError, match=r"needs the package gradio: pip install 'mmseg_deeplab\[web\]'$"):
        demo_server.main([served.config, served.checkpoint])
    monkeypatch.setitem(sys.modules, 'gradio', SimpleNamespace(__version__='5.49.1'))
    with pytest.raises(UserImportError, match=r'gradio 6, not 5\.49\.1'):
        demo_server.main([served.config, served.checkpoint])


def test_what_can_not_be_served(served):
    pytest.importorskip('gradio', reason="the page needs gradio: pip install 'mmseg_deeplab[web]'")
    with pytest.raises(UserFileNotFoundError, match='nowhere'):
        demo_server.main([served.config, 'nowhere.pth'])
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserOSError, match=f'no page at --host 127.0.0.1, port {port}'):
            demo_server.main([served.config, served.checkpoint, '--device', 'cpu', '--port', str(port)])


@pytest.fixture(scope='module')
def address(served, repo, tmp_path_factory):
    """The page, served by the tool in a process of its own."""
    pytest.importorskip('gradio', reason="the page needs gradio: pip install 'mmseg_deeplab[web]'")
    temporary = tmp_path_factory.mktemp('temporary')
    path = os.pathsep.join([str(repo), os.environ.get('PYTHONPATH', '')])
    arguments = [served.config, served.checkpoint, '--device', 'cpu', '--max-mib', str(MAX_MIB)]
    process = subprocess.Popen(
        [sys.executable, str(repo / 'tools/demo_server.py'), *arguments, '--max-megapixels', '0.1'],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': path, 'TMPDIR': str(temporary)},
    )
    try:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, '')
        yield next(found[0] for line in lines if (found := re.search(r'http://127\.0\.0\.1:\d+', line)))
    finally:
        assert list(temporary.glob('demo_server_*/**/*.jpeg'))
        process.terminate()
        process.wait()
        assert not list(temporary.glob('demo_server_*'))


@pytest.fixture(scope='module')
def browser():
    """A headless Chromium."""
    reason = 'the browser test needs playwright and a Chromium: pip install playwright'
    playwright = pytest.importorskip('playwright.sync_api', reason=reason)
    names = ('chromium', 'chromium-browser', 'google-chrome')
    found = next((path for name in names if (path := shutil.which(name))), None)
    with playwright.sync_playwright() as driver:
        try:
            browser = driver.chromium.launch(executable_path=found, args=['--no-sandbox'])
        except playwright.Error as error:
            pytest.skip(f'{reason} ({error})')
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, address):
    """visit(): a new visitor, who sees the page; `page.asked` are the machines that it asked for something."""
    contexts = []

    def visit():
        contexts.append(browser.new_context(viewport=dict(width=1280, height=860)))
        page = contexts[-1].new_page()
        page.asked = set()
        page.on('request', lambda request: page.asked.add(re.sub(r'^(\w+://[^/]*).*', r'\1', request.url)[:40]))
        page.goto(address)
        page.locator('input[type=file]').wait_for(state='attached')
        page.wait_for_load_state('networkidle')
        return page

    yield visit
    for context in contexts:
        context.close()


def areas_of(page) -> list[int]:
    page.locator('.areas.prose td').first.wait_for()
    return pixels_of(page.locator('.areas.prose').inner_text())


def test_a_picture_in_the_browser(served, visit, address):
    page, path = visit(), served.pictures[1]
    page.set_input_files('input[type=file]', path)
    prediction = expected(served, path)
    assert areas_of(page) == list(prediction.areas.values())
    assert HOSTILE in page.locator('.areas.prose').inner_text() and page.title() == 'mmseg_deeplab'
    shown = page.locator('[data-testid=imageslider-image]')
    sides = [page.request.get(shown.nth(side).get_attribute('src')).body() for side in (0, 1)]
    shown_pixels = [np.array(Image.open(io.BytesIO(side)), float) for side in sides]
    drawn = [prediction.image, np.array(prediction.overlay())]
    errors = [[np.abs(one - other).mean() for other in drawn] for one in shown_pixels]  # JPEG loses the noise
    assert errors[0][0] < errors[0][1] / 3 and errors[1][1] < errors[1][0] / 3
    # The handle is seen, in the middle, and uncovers more of the picture where it is drawn to.
    handle, after = page.get_by_test_id('slider').locator('.icon-wrap'), shown.nth(1)
    assert '50%' in after.get_attribute('style')
    box = handle.bounding_box()
    assert box is not None
    x, y = box['x'] + box['width'] / 2, box['y'] + box['height'] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 150, y, steps=5)
    page.mouse.up()
    assert handle.is_visible() and handle.bounding_box()['x'] == pytest.approx(box['x'] + 150, abs=2)
    assert '50%' not in after.get_attribute('style')
    assert page.asked <= {address, address.replace('http', 'ws')}  # nobody else hears of it


def test_the_crf_in_the_browser(served, visit):
    page, path = visit(), served.pictures[2]
    page.set_input_files('input[type=file]', path)
    plain = areas_of(page)
    page.get_by_label('Dense CRF').click()
    page.get_by_role('option', name='v1', exact=True).click()
    refined = list(expected(served, path, 'v1').areas.values())
    assert plain != refined
    page.wait_for_function(
        "text => document.querySelector('.areas.prose').innerText.includes(text)", arg=f'{refined[0]:,} px'
    )
    assert areas_of(page) == refined
    page.get_by_label('Remove').or_(page.get_by_label('Clear')).first.click()
    page.locator('.areas.prose td').first.wait_for(state='detached')


def test_wrong_files_in_the_browser(served, visit, address, tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / 'notes.txt').write_text('no picture')
    (tmp_path / 'fake.png').write_text('no picture')
    Image.fromarray(rng.integers(0, 256, (600, 600, 3), np.uint8)).save(tmp_path / 'heavy.png')
    Image.new('RGB', (600, 600)).save(tmp_path / 'wide.png')
    assert (tmp_path / 'heavy.png').stat().st_size > MAX_MIB * 2**20 > (tmp_path / 'wide.png').stat().st_size
    told = {
        'notes.txt': ('[data-testid=toast-text]', 'Invalid file type: notes.txt'),
        'heavy.png': ('[data-testid=toast-text]', 'maximum allowed size'),
        'fake.png': ('.areas.prose .problem', 'image fake.png cannot be read: the file is damaged or not an image'),
        'wide.png': ('.areas.prose .problem', 'image wide.png has 600 x 600 pixels; this page takes 0.1 million'),
    }
    page = visit()
    for name, (place, text) in told.items():
        page.set_input_files('input[type=file]', tmp_path / name)
        page.locator(place, has_text=text).wait_for()
        assert page.locator('.areas.prose td').count() == 0
        page = visit()
    # Past the page, which looks at the size by itself.
    upload = dict(name='heavy.png', mimeType='image/png', buffer=(tmp_path / 'heavy.png').read_bytes())
    assert page.request.post(f'{address}/gradio_api/upload', multipart=dict(files=upload)).status == 413
    page.set_input_files('input[type=file]', served.pictures[3])  # the server is as well as before
    assert areas_of(page) == list(expected(served, served.pictures[3]).areas.values())


def test_visitors_at_the_same_time(served, visit):
    pages = [visit() for _ in served.pictures]
    for page, path in zip(pages, served.pictures, strict=True):
        page.set_input_files('input[type=file]', path)
    for page, path in zip(pages, served.pictures, strict=True):
        assert areas_of(page) == list(expected(served, path).areas.values())
