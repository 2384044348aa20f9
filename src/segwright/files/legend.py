"""The legend of an overlay: colour, word and share of the picture, in columns that fit beside or below the photo."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import cache

from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Color = tuple[int, int, int]

PAPER, INK, RULE = (255, 255, 255), (20, 20, 20), (90, 90, 90)
LONGEST_WORD = 12  # in heights of the text
OTHER_FONTS = ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "NotoSansCJK-Regular.ttc", "Arial Unicode.ttf", "arial.ttf")


@dataclass(frozen=True)
class Entry:
    """One line: ``color`` is None for what has no label."""

    color: Color | None
    word: str
    share: float


def draw_legend(entries: list[Entry], text: int, width: int | None = None, height: int | None = None) -> Pillow.Image:
    """The legend on white, as RGB.

    Args:
        text: height of the letters' font in pixels.
        width: below a photo, entries run in rows of this width (more, if one entry needs it).
        height: beside a photo, entries run in columns of this height; give one of the two.
    """
    pad, line = round(0.5 * text), round(1.6 * text)
    lines = [(entry, *_line(entry, text)) for entry in entries]
    column = max(round(_length(word, text)) for _, word, _ in lines) + round(_length("100.0 %", text)) + 4 * text
    if width is not None:
        across = max(1, min((width - 2 * pad) // column, len(entries)))
        down = -(-len(entries) // across)
    else:
        down = max(1, min(((height or 0) - 2 * pad) // line, len(entries)))
        across = -(-len(entries) // down)
    size = max(width or 0, across * column + 2 * pad), max(height or 0, down * line + 2 * pad)
    picture = Pillow.new("RGB", size, PAPER)
    for number, (entry, word, share) in enumerate(lines):
        place = pad + number // down * column, pad + number % down * line
        _draw(picture, place, entry.color, word, share, text=text, width=column - text)
    return picture


def elide(word: str, text: int, width: float) -> str:
    """``word`` on one line, cut with an ellipsis where it is wider than ``width`` pixels."""
    word = " ".join("".join(c if c.isprintable() else " " for c in word[:100]).split())
    font = font_for(word + "…", text)
    if font.getlength(word) <= width:
        return word
    while word and font.getlength(word + "…") > width:
        word = word[:-1]
    return word.rstrip() + "…"


def font_for(word: str, text: int) -> Font:
    """The first font that has every letter of ``word``: Pillow's own (Latin without accents), else an installed one."""
    fonts = (font for name in ("", *OTHER_FONTS) if (font := _font(name, text)) is not None)
    return next((font for font in fonts if _has(font, word)), _built_in(text))


def _line(entry: Entry, text: int) -> tuple[str, str]:
    """An entry's word and share as they are written."""
    share = f"{100 * entry.share:.1f} %" if entry.share >= 0.001 or not entry.share else "<0.1 %"
    return elide(_showable(entry.word, text), text, LONGEST_WORD * text), share


def _draw(
    picture: Pillow.Image, place: tuple[int, int], color: Color | None, word: str, share: str, *, text: int, width: int
) -> None:
    pen = ImageDraw.Draw(picture)
    x, y = place
    box, rule = (x, y, x + round(1.4 * text), y + round(1.2 * text)), max(1, text // 12)
    pen.rectangle(box, fill=color or (150, 150, 150), outline=RULE, width=rule)
    if color is None:
        pen.line((box[0], box[3], box[2], box[1]), fill=RULE, width=rule)
    middle = y + round(0.6 * text)
    if isinstance(_built_in(text), ImageFont.FreeTypeFont):
        pen.text((x + 2 * text, middle), word, INK, font_for(word, text), anchor="lm")
        pen.text((x + width, middle), share, INK, font_for(share, text), anchor="rm")
    else:  # Pillow without FreeType: one small bitmap font
        pen.text((x + 2 * text, y), f"{word}  {share}", INK, _built_in(text))


@cache
def _font(name: str, text: int) -> Font | None:
    """An installed font, or Pillow's own for an empty name; None where there is no such font."""
    try:
        return ImageFont.truetype(name, text) if name else ImageFont.load_default(text)
    except (ImportError, OSError):
        return None


def _built_in(text: int) -> Font:
    return _font("", text) or ImageFont.load_default()


def _has(font: Font, word: str) -> bool:
    """Whether every letter has a picture of its own, other than the one for letters that are missing."""
    if not isinstance(font, ImageFont.FreeTypeFont):
        return word.isascii()
    return all(c.isspace() or _draws(font, c) for c in set(word))


@cache
def _draws(font: ImageFont.FreeTypeFont, letter: str) -> bool:
    return bytes(font.getmask(letter)) != bytes(font.getmask("\uffff"))


def _showable(word: str, text: int) -> str:
    """``word``, without its accents if no font at hand has them."""
    if _has(font_for(word, text), word):
        return word
    plain = "".join(c for c in unicodedata.normalize("NFKD", word) if not unicodedata.combining(c))
    return plain if _has(font_for(plain, text), plain) else word


def _length(word: str, text: int) -> float:
    return font_for(word, text).getlength(word)
