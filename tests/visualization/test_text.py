"""Class names in pictures are drawn as they are: any script, dollars, markup, and long ones."""

import warnings

import cv2
import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image, ImageDraw

from mmseg_deeplab.evaluation import Scores
from mmseg_deeplab.visualization import class_iou_figure, confusion_figure, draw_panels, text
from mmseg_deeplab.visualization.crf_maps import iteration_figure
from mmseg_deeplab.visualization.panels import compose
from mmseg_deeplab.visualization.receptive_field import Field, draw_fields
from mmseg_deeplab.visualization.text import draw_text, drawable, text_style, text_width

# Two dollars are a formula for matplotlib, and some of these a wrong one, which ends the drawing.
NAMES = ['$', 'a$b', '$x$', r'$\frac{$', r'\$5', 'a_b^c', '100%', '<b>&amp;', '{x}', '_hidden', 'ñandú', 'кошка', '']
NO_FONT = '\U000f0000'  # a character for private use


@pytest.fixture(autouse=True)
def no_warnings():
    """matplotlib warns of glyphs that it lacks, and draws boxes."""
    with warnings.catch_warnings():
        warnings.filterwarnings('error', category=UserWarning)
        yield


@pytest.fixture(autouse=True)
def known_fonts(monkeypatch):
    """Only matplotlib's own fonts, whatever this system has; searches of other tests are forgotten."""
    own = [font for font in font_manager.fontManager.ttflist if 'mpl-data' in str(font.fname)]
    monkeypatch.setattr(font_manager.fontManager, 'ttflist', own)
    text._fonts_beside_the_base.cache_clear()
    yield
    text._fonts_beside_the_base.cache_clear()


def drawn(string: str, size: int = 16) -> np.ndarray:
    """The ink of a line of text, (H, W) bool, cut to what has any."""
    canvas = Image.new('L', (600, 3 * size), 255)
    draw_text(ImageDraw.Draw(canvas), (10, size), string, size)
    ink = np.array(canvas) < 128
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] if len(rows) else ink[:0, :0]


def figures(names: list[str]):
    """Every kind of figure with class names, or names of modules, in it."""
    matrix = np.eye(len(names), dtype=int) + 1
    yield confusion_figure(matrix, names)
    yield class_iou_figure(names, Scores.of(matrix), Scores.of(matrix.T))
    beliefs = {0: np.full((len(names), 4, 4), 1 / len(names))}
    yield iteration_figure(np.zeros((4, 4, 3), np.uint8), beliefs, names, [0, len(names) - 1])
    yield draw_fields([(names[-1], Field(1, 1, 1), np.ones((5, 5)), np.ones((5, 5)))])


@pytest.mark.parametrize('names', [NAMES, ['$a$', '$猫$'], ['猫', '고양이'], [NO_FONT, '猫\t犬']], ids=range(4))
def test_every_figure_shows_the_names(names):
    for figure in figures(names):
        FigureCanvasAgg(figure).draw()
        shown = {label.get_text() for axes in figure.axes for label in (*axes.get_yticklabels(), axes.title)}
        assert any(drawable(names[-1]) in each for each in shown)


@pytest.mark.parametrize('length', [1, 20, 90])
def test_names_of_any_length_are_inside_of_the_figure(length):
    for figure in list(figures(['w' * length, 'x']))[:2]:
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        for label in (*figure.axes[0].get_yticklabels(), *figure.axes[0].get_xticklabels()):
            box = label.get_window_extent(canvas.get_renderer())
            assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1
        cells = figure.axes[0].get_window_extent()
        assert min(cells.width, cells.height) > 50


def test_a_title_stays_above_its_panel():
    labels = np.zeros((40, 200), np.uint8)
    panels = [('w' * 90, labels[..., None].repeat(3, 2)), ('', labels[..., None].repeat(3, 2))]
    titles = np.array(compose(panels, []))[:20]
    assert (titles[:, 8:208] < 128).any() and (titles[:, 208:] == 255).all()


def test_dollars_are_drawn():
    figure = confusion_figure(np.eye(2, dtype=int), ['$x$', 'x'])
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    dollars, plain = (label.get_window_extent(renderer).width for label in figure.axes[0].get_yticklabels())
    assert dollars > 2 * plain, 'a formula would be as wide as its x'


@pytest.mark.skipif(not hasattr(cv2, 'FontFace'), reason='OpenCV before 5 has no font of its own')
def test_without_a_font_of_the_system_opencvs_is_taken():
    assert drawable('猫犬 cat') == '猫犬 cat'
    cat, dog = drawn('猫', 64), drawn('犬', 64)
    assert cat.shape != dog.shape or (cat != dog).any(), 'two boxes'
    canvas = np.zeros((128, 128), np.uint8)
    _, canvas = cv2.putText(canvas, '猫', (20, 90), (255,), cv2.FontFace('uni'), 64)
    rows, columns = np.flatnonzero((canvas > 127).any(1)), np.flatnonzero((canvas > 127).any(0))
    reference = canvas[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] > 127
    assert abs(cat.shape[0] - reference.shape[0]) <= 3 and abs(cat.shape[1] - reference.shape[1]) <= 3
    cut = tuple(min(pair) for pair in zip(cat.shape, reference.shape, strict=True))
    same = cat[: cut[0], : cut[1]] == reference[: cut[0], : cut[1]]
    assert same.mean() > 0.8
    assert len(text_style(['猫'])['fontfamily']) == 2


def test_a_font_of_the_system_comes_first(tmp_path):
    """With a font whose cat is a black square."""
    pen = TTGlyphPen(None)
    for number, corner in enumerate([(0, 0), (0, 100), (100, 100), (100, 0)]):
        (pen.lineTo if number else pen.moveTo)(corner)
    pen.closePath()
    builder = FontBuilder(100, isTTF=True)
    builder.setupGlyphOrder(['.notdef', 'cat'])
    builder.setupCharacterMap({ord('猫'): 'cat'})
    builder.setupGlyf({'.notdef': TTGlyphPen(None).glyph(), 'cat': pen.glyph()})
    builder.setupHorizontalMetrics({'.notdef': (100, 0), 'cat': (120, 0)})
    builder.setupHorizontalHeader(ascent=100, descent=0)
    builder.setupNameTable(dict(familyName='Black Cats', styleName='Regular'))
    builder.setupOS2()
    builder.setupPost()
    builder.save(tmp_path / 'cats.ttf')
    font_manager.fontManager.addfont(tmp_path / 'cats.ttf')
    assert text_style(['猫'])['fontfamily'] == [text.BASE, 'Black Cats']
    assert drawn('猫', 40).all() and drawn('猫', 40).shape == (40, 40)
    assert text_width('猫猫', 40) == 96


def test_a_character_without_a_font_is_told_by_its_code(monkeypatch):
    assert drawable(f'a{NO_FONT}b') == 'aU+F0000b'
    assert drawable('a\nb\tc') == 'aU+000AbU+0009c'
    monkeypatch.delattr(cv2, 'FontFace', raising=False)
    assert drawable('猫 cat') == 'U+732B cat'


@pytest.mark.parametrize('name', [*NAMES, '猫', NO_FONT])
def test_panels_draw_the_name_and_have_room_for_it(name):
    labels = np.zeros((40, 200), np.uint8)
    panel = draw_panels(np.zeros((40, 200, 3), np.uint8), labels, [name], [(1, 2, 3)])
    assert panel.width == 2 * 208 + 8
    long = draw_panels(np.zeros((40, 200, 3), np.uint8), labels, [f'{name}{"w" * 60}'], [(1, 2, 3)])
    right = np.array(long)[70:, -10:]
    assert long.width > panel.width and (right == 255).all(), 'cut off'
