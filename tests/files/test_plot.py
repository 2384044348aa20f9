"""Plots of figures: what is in them, the same bytes every time, and a picture that is none too small."""

from __future__ import annotations

import io
from xml.etree import ElementTree

from PIL import Image as Pillow

from segwright.files.plot import Bar, draw_bars

BARS = [Bar("mIoU", 50.2, (45.0, 55.0), 53.3), Bar("a cat & <a dog>", None), Bar("x" * 80, float("nan"))]


def test_bars_as_svg_and_png() -> None:
    drawn = draw_bars(BARS, "freeseg-diff on mini", "IoU, %")
    assert drawn == draw_bars(BARS, "freeseg-diff on mini", "IoU, %"), "a resumed report has the same files"
    words = [element.text for element in ElementTree.fromstring(drawn["svg"]).iter() if element.tag.endswith("text")]
    for wanted in ("mIoU", "a cat & <a dog>", "x" * 45 + "...", "measured", "published", "IoU, %", "freeseg-diff on mini"):
        assert wanted in words, (wanted, words)
    assert b'href="http' not in drawn["svg"], "nothing is fetched"
    with Pillow.open(io.BytesIO(drawn["png"])) as picture:
        assert picture.width > 600
        assert len(picture.convert("RGB").getcolors(1 << 24) or ()) > 10


def test_many_bars_make_a_taller_picture() -> None:
    few, many = (draw_bars([Bar(f"class {i}", i) for i in range(n)], "", "")["png"] for n in (3, 60))
    with Pillow.open(io.BytesIO(few)) as low, Pillow.open(io.BytesIO(many)) as high:
        assert high.height > 5 * low.height
