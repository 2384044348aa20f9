"""One person's visit to the page, in the system's Chromium.

With SEGWRIGHT_SCREENSHOTS=FOLDER the pictures of docs/page are taken on the way.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from chromium import playwright

PATIENCE = int(os.environ.get("SEGWRIGHT_PATIENCE", 60_000))  # milliseconds; a busy machine is slow
SHOTS = os.environ.get("SEGWRIGHT_SCREENSHOTS")

# What has the focus: its name, or what it is.
FOCUSED = """() => {
  const e = document.activeElement;
  const label = e.labels?.[0]?.textContent || e.closest('label')?.textContent;
  const own = e.matches('.sw-switch') ? `switch ${e.dataset.label}` : '';
  const sample = e.closest('.gallery') ? 'sample' : '';
  const said = e === document.body ? [] : [own, sample, e.getAttribute('role'), e.getAttribute('aria-label'), label, e.textContent];
  return said.map((s) => (s || '').trim()).filter((s) => s).join(' ');
}"""


class Visit:
    """One person's tab of the browser, and whatever went wrong in it."""

    def __init__(
        self, browser: playwright.Browser, url: str, width: int = 1280, height: int = 900, scheme: str = "light", **more: Any
    ) -> None:
        size = {"width": width, "height": height}
        self.context = browser.new_context(viewport=size, accept_downloads=True, color_scheme=scheme, **more)  # type: ignore[arg-type]
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.wrong: list[str] = []
        self.hosts: set[str | None] = set()  # None: data: and blob:, which ask nobody
        self.page.on("console", lambda message: self.wrong.append(message.text) if message.type == "error" else None)
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("request", lambda request: self.hosts.add(urlsplit(request.url).hostname))
        self.page.goto(url)
        self.tab("Segment")

    def tab(self, name: str) -> playwright.Locator:
        """Go to a tab; the panel with what is in it."""
        self.page.get_by_role("tab", name=name, exact=True).click()
        return self.panel

    @property
    def panel(self) -> playwright.Locator:
        return self.page.locator("[role=tabpanel]:visible")

    def upload(self, path: Path, place: int = 0) -> None:
        self.panel.locator("input[type=file]").nth(place).set_input_files(path)

    def take(self, path: Path) -> None:
        """Upload a photo and wait until it is there."""
        self.upload(path)
        self.panel.locator(".image-frame img, .image-container img").first.wait_for()

    def press(self, name: str) -> None:
        self.panel.get_by_role("button", name=name, exact=True).click()

    def fill(self, label: str, text: str) -> None:
        self.field(label).fill(text)

    def field(self, label: str) -> playwright.Locator:
        """An input; what explains it is part of its label."""
        return self.panel.get_by_label(re.compile(f"^\\s*{re.escape(label)}"))

    def wait(self, selector: str) -> playwright.Locator:
        found = self.panel.locator(selector)
        found.first.wait_for()
        return found

    def segment(self, words: str, photo: Path | None = None) -> None:
        """Segment on the first tab and wait for the picture of these words."""
        if photo is not None:
            self.take(photo)
        self.fill("Words", words)
        self.press("Segment")
        self.page.wait_for_function(
            "words => [...document.querySelectorAll('.sw-code pre')].some(p => p.textContent.includes(words))",
            arg=f"--words '{words}'" if "," in words else f"--words {words}",
        )

    def words(self) -> list[str]:
        return self.panel.locator(".sw-legend tbody th").all_inner_texts()

    def shoot(self, name: str) -> None:
        if SHOTS:
            self.page.mouse.move(2, 2)
            self.page.wait_for_timeout(400)
            self.page.screenshot(path=Path(SHOTS) / f"{name}.png", full_page=True)

    def leave(self) -> None:
        self.context.close()
        assert not self.wrong
        assert self.hosts <= {"127.0.0.1", None}
