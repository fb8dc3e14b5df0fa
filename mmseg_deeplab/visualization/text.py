"""Text in pictures: class names are drawn as they are, in any script, by plots and panels alike.

The font is matplotlib's own DejaVu Sans. For characters that it lacks, such as Chinese ones, the system's fonts are
searched, then the one that OpenCV 5 has inside of it. A character that none of them has is written as U+1F408.
"""

import atexit
import functools
import tempfile
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.font_manager import fontManager, get_font
from PIL import ImageDraw, ImageFont

BASE = 'DejaVu Sans'
PLACEHOLDERS = ('lastresort', 'adobeblank', 'fallback')  # fonts that have a box for every character
EM = 128  # pixels of the glyphs that are taken from OpenCV


class Font(NamedTuple):
    name: str
    path: str


def drawable(text: str) -> str:
    """The text with characters that can't be drawn as U+ and their code."""
    known = set().union(*(_characters(font.path) for font in _fonts(text)))
    return ''.join(c if c in known and c.isprintable() else f'U+{ord(c):04X}' for c in text)


def text_style(texts: Iterable[str]) -> dict:
    """Arguments with which matplotlib draws `drawable` of the texts as they are: fonts, and no formulas within $."""
    return dict(fontfamily=[font.name for font in _fonts(''.join(texts))], parse_math=False)


def text_width(text: str, size: int) -> int:
    """Pixels that `draw_text` takes."""
    return round(sum(font.getlength(part) for part, font in _parts(text, size)))


def draw_text(draw: ImageDraw.ImageDraw, xy: tuple[float, float], text: str, size: int) -> None:
    """Draw one line of text, black, its left upper corner at `xy`."""
    x, y = xy
    baseline = y + round(0.95 * size)
    for part, font in _parts(text, size):
        draw.text((x, baseline), part, 'black', font, anchor='ls')
        x += font.getlength(part)


def _parts(text: str, size: int) -> list[tuple[str, ImageFont.FreeTypeFont]]:
    """The text in parts of one font each."""
    text = drawable(text)
    fonts = _fonts(text)
    indices = [next(i for i, font in enumerate(fonts) if c in _characters(font.path)) for c in text]
    parts = groupby(zip(indices, text, strict=True), key=lambda pair: pair[0])
    return [(''.join(c for _, c in part), ImageFont.truetype(fonts[i].path, size)) for i, part in parts]


def _fonts(text: str) -> tuple[Font, ...]:
    """Fonts that together have the text's characters, as far as there are any."""
    base = Font(BASE, str(fontManager.findfont(BASE)))
    missing = frozenset(c for c in text if c.isprintable()) - _characters(base.path)
    return (base, *_fonts_beside_the_base(missing)) if missing else (base,)


@functools.lru_cache(maxsize=64)
def _fonts_beside_the_base(missing: frozenset[str]) -> tuple[Font, ...]:
    fonts = []
    upright = [f for f in fontManager.ttflist if f.style == 'normal' and f.weight in (400, 500, 'normal', 'regular')]
    for font in sorted(upright, key=lambda font: ('sans' not in font.name.lower(), font.name)):
        if any(word in font.name.lower().replace(' ', '') for word in PLACEHOLDERS):
            continue
        found = missing & _characters(font.fname)
        if found:
            fonts.append(Font(font.name, str(font.fname)))
            missing -= found
        if not missing:
            break
    own = _font_of_opencv(missing) if missing and hasattr(cv2, 'FontFace') else None
    return (*fonts, own) if own else tuple(fonts)


@functools.cache
def _characters(path: str) -> frozenset[str]:
    """The characters that a font file has outlines of."""
    try:
        font = get_font(path)
    except (OSError, RuntimeError, ValueError):  # a font that FreeType can't read is no use
        return frozenset()
    return frozenset(map(chr, font.get_charmap())) if font.scalable else frozenset()


def _font_of_opencv(characters: frozenset[str]) -> Font | None:
    """A font, for this process, with those of the characters that OpenCV's built-in font has; None if none.

    OpenCV draws with it but doesn't hand it out, so a glyph here is what it draws, each row of pixels as rectangles.
    """
    face = cv2.FontFace('uni')
    unknown = _glyph(face, '?')
    glyphs = {c: glyph for c in sorted(characters) if (glyph := _glyph(face, c)) != unknown}
    if not glyphs:
        return None
    names = {ord(c): f'glyph{ord(c)}' for c in glyphs}
    outlines, widths = {'.notdef': TTGlyphPen(None).glyph()}, {'.notdef': (EM, 0)}
    for c, (rectangles, width) in glyphs.items():
        pen = TTGlyphPen(None)
        for left, right, bottom in rectangles:
            for number, corner in enumerate([(left, 0), (left, 1), (right, 1), (right, 0)]):
                (pen.lineTo if number else pen.moveTo)((corner[0], bottom + corner[1]))
            pen.closePath()
        outlines[names[ord(c)]], widths[names[ord(c)]] = pen.glyph(), (width, 0)
    builder = FontBuilder(EM, isTTF=True)
    builder.setupGlyphOrder(['.notdef', *names.values()])
    builder.setupCharacterMap(names)
    builder.setupGlyf(outlines)
    builder.setupHorizontalMetrics(widths)
    builder.setupHorizontalHeader(ascent=EM, descent=-EM // 4)
    family = f'OpenCV {len(fontManager.ttflist)}'  # a name of its own
    builder.setupNameTable(dict(familyName=family, styleName='Regular'))
    builder.setupOS2(sTypoAscender=EM, sTypoDescender=-EM // 4, usWinAscent=EM, usWinDescent=EM // 4)
    builder.setupPost()
    with tempfile.NamedTemporaryFile(suffix='.ttf', delete=False) as file:
        builder.save(file)
    atexit.register(Path(file.name).unlink, missing_ok=True)
    fontManager.addfont(file.name)
    return Font(family, file.name)


def _glyph(face, character: str) -> tuple[tuple[tuple[int, int, int], ...], int]:
    """(left, right, bottom) of the rectangles, one pixel high, above the baseline, and the advance."""
    canvas = np.zeros((2 * EM, 3 * EM), np.uint8)
    end, canvas = cv2.putText(canvas, character, (EM // 2, EM), (255,), face, EM)
    filled = np.pad((canvas > 127).astype(np.int8), ((0, 0), (1, 1)))
    edges = np.argwhere(np.diff(filled, axis=1)).reshape(-1, 2, 2)  # of a run: its first pixel, and the one after it
    rectangles = tuple((int(a[1]) - EM // 2, int(b[1]) - EM // 2, EM - 1 - int(a[0])) for a, b in edges)
    return rectangles, end[0] - EM // 2
