"""The reports of ``segwright diagnose`` as a browser opens them from disk: no error, no request, every picture there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tiny
from chromium import browser, needed

import segwright as sw
from segwright.mini.voc import data_folder

pytestmark = needed
BROKEN = "[...document.images].filter((i) => !i.complete || !i.naturalWidth || i.width < 64).length"

__all__ = ["browser"]


def visited(browser: Any, page: Path) -> tuple[list[str], list[str], list[Any]]:
    """What the console said, what was asked of elsewhere, and numbers: broken or tiny pictures, pictures, whether all fit."""
    tab, said, asked = browser.new_page(), [], []
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(page.resolve().as_uri())
    drawn = "document.images.length + document.querySelectorAll('svg').length"
    seen = [tab.evaluate(s) for s in (BROKEN, drawn, "document.documentElement.scrollWidth <= window.innerWidth")]
    tab.close()
    return said, [url for url in asked if not url.startswith(("data:", page.resolve().as_uri()))], seen


def test_reports_open_without_network_or_errors(browser: Any, tmp_path: Path) -> None:
    for part, make in (("clip", tiny.clip), ("captioner", tiny.captioner), ("", tiny.diffusion)):
        make(tmp_path / "preset" / part)
    given: dict[str, Any] = {"preset": tmp_path / "preset", "device": "cpu", "settings": sw.DiagnoseSettings(steps=2)}
    photo = sw.diagnose(data_folder() / "JPEGImages/val_00000.jpg", ["bus", "bottle"], tmp_path / "photo", **given)
    averages = sw.diagnose(data="mini", limit=2, out=tmp_path / "set", only=["gradcam"], **given)
    for page in (photo, averages):
        said, asked, (broken, pictures, fits) = visited(browser, page)
        assert not said
        assert not asked
        assert broken == 0
        assert pictures > 0
        assert fits
