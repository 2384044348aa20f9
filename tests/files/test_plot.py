"""Plots of figures: what is in them, the same bytes every time, and a picture that is none too small."""

from __future__ import annotations

import io
import math
from xml.etree import ElementTree

import numpy as np
from PIL import Image as Pillow

from segwright.files.colors import color
from segwright.files.plot import Bar, draw_bars, draw_lines

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


def test_lines_are_drawn_where_their_points_are() -> None:
    series = {"one <b>": [(0.0, 1.0), (5.0, 2.0), (10.0, 3.0)], "two": [(0.0, 2.0), (10.0, math.nan)], "none": []}
    drawn = draw_lines(series, "a title", "time step", "figure")
    assert drawn == draw_lines(series, "a title", "time step", "figure"), "the same bytes every time"
    assert set(drawn) == {"svg", "png"}
    text = drawn["svg"].decode()
    assert all(f">{said}<" in text for said in ("a title", "time step", "figure", "one &lt;b&gt;", "two"))
    with Pillow.open(io.BytesIO(drawn["png"])) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    for number in (1, 2):
        where = np.argwhere((np.abs(pixels.astype(int) - color(number)) < 12).all(-1))
        assert len(where) > 20, "its line or point, and its key"
    first = np.argwhere((np.abs(pixels[:, :500].astype(int) - color(1)) < 12).all(-1))
    left, right = first[first[:, 1].argmin()], first[first[:, 1].argmax()]
    assert left[0] > right[0] + 50, "it rises"
    assert draw_lines({"x": [(0, math.nan)]}, "t", "x", "y") == {}
