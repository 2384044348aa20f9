"""Seconds from pressing the page's button to the picture, in a real browser, with preset mini.

    python benchmarks/page.py [--photo FILE] [--size 512] [--times 5]

Needs Chromium and Playwright (``apt install chromium``). The server runs as ``segwright serve`` starts it, in a process of its
own; the browser is on the same machine and shares its cores. A time ends when the picture of those words is in the page and
painted. "First" is a photo that the page has not seen; "other words" is the same photo again.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image as Pillow
from PIL import ImageOps
from playwright.sync_api import Page, sync_playwright

from segwright.mini.voc import data_folder

SCENE = data_folder() / "JPEGImages/val_00003.jpg"
WORDS = ("apple, motorbike, sand", "sand, apple, tree, dog", "apple, car, sand", "motorbike, sofa, apple", "apple, sand, boat")

# Runs in the page: press, and wait until the words' own picture is there, decoded and in a painted frame.
PRESS = """async (button, words) => {
  const made = () => [...document.querySelectorAll('.sw-code pre')].some((p) => p.textContent.includes(words + "'"));
  const begun = performance.now();
  button.click();
  while (!made() || !document.querySelector('.sw-figure svg')) {
    if (performance.now() > begun + 60000) throw new Error(document.body.innerText);
    await new Promise((done) => setTimeout(done, 4));
  }
  const picture = new Image();
  picture.src = document.querySelector('.sw-figure image').getAttribute('href');
  await picture.decode();
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  return (performance.now() - begun) / 1000;
}"""


@contextmanager
def server() -> Iterator[str]:
    """The address of ``segwright serve --preset mini``."""
    with tempfile.TemporaryDirectory() as banks:
        command = [sys.executable, "-m", "segwright", "serve", "--preset", "mini", "--device", "cpu", "--banks", banks]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            found = re.search(r"http://\S+", process.stdout.readline())
            if found is None:
                raise SystemExit("the page did not start")
            yield found[0]
        finally:
            process.terminate()
            process.wait()


def photos(source: Path, size: int, count: int, folder: Path) -> list[Path]:
    """``count`` photos of ``size`` by ``size`` pixels that differ in one pixel, so that each is new to the page."""
    with Pillow.open(source) as opened:
        image = ImageOps.fit(opened.convert("RGB"), (size, size))
    files = []
    for i in range(count):
        image.putpixel((0, 0), (i, 0, 0))
        files.append(folder / f"photo{i}.png")
        image.save(files[-1])
    return files


def visit(page: Page, photo: Path, times: int) -> list[float]:
    """Seconds of ``times`` runs on one photo, each with other words."""
    panel = page.locator("[role=tabpanel]:visible")
    panel.locator("input[type=file]").first.set_input_files(photo)
    panel.locator(".image-frame img").first.wait_for()
    seconds = []
    for words in WORDS[:times]:
        panel.get_by_label(re.compile(r"^\s*Words")).fill(words)
        page.wait_for_timeout(500)
        seconds.append(panel.get_by_role("button", name="Segment", exact=True).evaluate(PRESS, words))
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photo", type=Path, default=SCENE, help="default: one of mini's scenes, enlarged")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--times", type=int, default=5, help="photos")
    options = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    first, others = [], []
    with tempfile.TemporaryDirectory() as folder, server() as url, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for photo in photos(options.photo, options.size, options.times, Path(folder)):
            page = browser.new_page()
            page.goto(url)
            seconds = visit(page, photo, len(WORDS))
            first.append(seconds[0])
            others += seconds[1:]
            page.close()
        browser.close()
    print(f"{options.size} x {options.size} pixels, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; seconds, median (all)")
    for name, seconds in (("first", first), ("other words", others)):
        print(f"{name}: {statistics.median(seconds):.2f} ({', '.join(f'{s:.2f}' for s in sorted(seconds))})")


if __name__ == "__main__":
    main()
