"""Plots are well-formed and to scale; heat rises; the page needs nothing from outside."""

from __future__ import annotations

import math
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import torch

from segwright.diagnosis.report import Section, Shot, heat, heat_over, line_plot, markdown, page, picture_files, table, wide_mask

GREY = np.zeros((8, 10, 3), np.uint8)


def test_a_plot_is_xml_with_its_points_to_scale() -> None:
    drawn = line_plot("a < b", "t", "y", {"one": [(0, 1.0), (5, 2.0), (10, 3.0)], "two & more": [(0, 2.0), (10, math.nan)]})
    root = ElementTree.fromstring(drawn)
    space = "{http://www.w3.org/2000/svg}"
    dots = [(float(c.get("cx", 0)), float(c.get("cy", 0))) for c in root.iter(f"{space}circle")]
    assert len(dots) == 4
    assert dots[1][0] - dots[0][0] == dots[2][0] - dots[1][0] > 0
    assert abs((dots[0][1] - dots[1][1]) - (dots[1][1] - dots[2][1])) < 0.2
    assert dots[0][1] > dots[2][1]  # y grows upwards
    assert dots[3] == (dots[0][0], dots[1][1])
    assert "two & more" in [t.text for t in root.iter(f"{space}text")]
    assert line_plot("none", "t", "y", {"one": [(0, math.nan)]}) == ""


def test_heat_grows_lighter() -> None:
    row = heat(torch.linspace(3, 9, 20)[None], 20).astype(float).mean(2)[0]
    assert (np.diff(row) > 0).all()
    over = heat_over(GREY, torch.tensor([[0.0, 1.0]]), 40)
    assert over.shape == (32, 40, 3)
    assert over[:, -1].mean() > over[:, 0].mean() + 50


def test_a_mask_is_the_stretched_map_above_the_threshold() -> None:
    mask = wide_mask(torch.tensor([[2.0, 4.0]]), (1, 8), 0.5)
    assert mask.tolist() == [[False] * 4 + [True] * 4]


def test_the_page_holds_its_pictures_and_escapes_words(tmp_path: Path) -> None:
    section = Section(
        "gradcam", "T", ("<p>text</p>", Shot("../<b>&word-map", GREY, "a <b>word</b>"), table(["h<"], [["<x>", 0.25]]))
    )
    html = page("title <i>", "<p>in</p>", [section])
    assert "data:image/png;base64," in html
    assert "a &lt;b&gt;word" in html
    assert "&lt;x&gt;" in html
    assert "title &lt;i&gt;" in html
    assert not re.search(r"(src|href)=\"(?!data:)", html)
    ((path, content),) = picture_files(tmp_path, [section]).items()
    assert path.parent == tmp_path
    assert content.startswith(b"\x89PNG")


def test_markdown() -> None:
    assert markdown(["a", "b"], [["x", 0.12345], ["y", math.nan]]) == "| a | b |\n| --- | --- |\n| x | 0.123 |\n| y | - |\n"
