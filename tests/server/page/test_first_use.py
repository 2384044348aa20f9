"""What somebody meets who opens the page for the first time, and whatever they do in the wrong order."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image as Pillow

from segwright.cli import main
from segwright.mini.voc import data_folder

pytest.importorskip("gradio", reason="the page needs Gradio: pip install 'segwright[page]'")
chromium = pytest.importorskip("chromium", reason="browser tests need Playwright: pip install playwright")

from visiting import FOCUSED, Visit  # noqa: E402

from segwright.diagnosis.run import SECTIONS  # noqa: E402
from segwright.server.page.app import serving, warm  # noqa: E402
from segwright.server.page.uploads import Limits  # noqa: E402
from segwright.server.page.workspace import Workspace  # noqa: E402

playwright, browser, pytestmark = chromium.playwright, chromium.browser, chromium.needed

PHOTO = data_folder() / "JPEGImages/val_00014.jpg"  # a banana and a horse on snow
WORDS = "banana, horse, snow"
TABS = ("Segment", "Why", "Collection", "Prototypes", "Refine", "Diagnose")
SIZES = [(400, 800), (1280, 900), (2000, 1100)]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    made = Workspace("mini", "cpu", banks=tmp_path_factory.mktemp("banks"), limits=Limits(megabytes=2.0, megapixels=3.0))
    warm(made)
    return made


@pytest.fixture(scope="module")
def url(workspace: Workspace) -> Iterator[str]:
    with serving(workspace) as address:
        yield address


@pytest.fixture
def visit(browser: playwright.Browser, url: str) -> Iterator[Visit]:
    visitor = Visit(browser, url)
    yield visitor
    visitor.leave()


def test_more_settings_can_be_opened_filled_and_emptied(visit: Visit) -> None:
    visit.take(PHOTO)
    visit.panel.get_by_text("More settings").click()
    assert visit.field("Regions (freeseg-diff)").input_value() == ""
    visit.segment("banana")
    visit.fill("Regions (freeseg-diff)", "5")
    visit.fill("Seed", "7")
    visit.segment("banana, snow")
    facts = visit.panel.locator(".sw-facts").inner_text()
    assert "clusters 5, seed 7" in facts
    visit.fill("Regions (freeseg-diff)", "0")
    visit.press("Segment")
    assert "Clusters" in visit.wait("[role=alert]").inner_text()
    visit.fill("Regions (freeseg-diff)", "many")
    visit.press("Segment")
    visit.panel.get_by_text("Regions must be a whole number").wait_for()
    visit.fill("Regions (freeseg-diff)", "")
    visit.segment("snow")


def test_an_error_leaves_nothing_that_looks_like_its_result(visit: Visit) -> None:
    visit.segment(WORDS, PHOTO)
    visit.wait("button:has-text('Label map'), a:has-text('Label map')")
    visit.fill("Words", "x" * 300)
    visit.press("Segment")
    assert "at most 200 characters" in visit.wait("[role=alert]").inner_text()
    visit.page.wait_for_function("() => !document.querySelector('.sw-figure, .sw-facts')")
    visit.panel.get_by_text("Label map").wait_for(state="hidden")
    visit.tab("Why")
    visit.press("Explain the last result")
    assert "no result yet" in visit.wait("[role=alert]").inner_text()


def test_a_text_file_and_a_quick_press(visit: Visit, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.png").write_text("no picture\n" * 20_000)
    (tmp_path / "notes.txt").write_text("no picture\n")
    for name, said in (("notes.png", "notes.png"), ("notes.txt", "no photo yet")):
        visit.upload(tmp_path / name)
        visit.press("Segment")
        visit.page.wait_for_function(
            "said => [...document.querySelectorAll('[role=alert]')].some((e) => e.textContent.includes(said))", arg=said
        )
        visit.panel.locator(".sw-status progress").wait_for(state="detached")
    assert "Traceback" not in capfd.readouterr().err
    visit.segment("banana", PHOTO)


def test_the_same_word_twice_is_one_word(visit: Visit) -> None:
    visit.take(PHOTO)
    visit.fill("Words", "Banana, BANANA, snow")
    visit.press("Segment")
    visit.wait(".sw-figure")
    assert set(visit.words()) - {"unlabelled"} == {"Banana", "snow"}


def test_only_methods_that_the_preset_can_run_are_offered(visit: Visit) -> None:
    visit.field("Method").click()
    offered = visit.page.get_by_role("option").all_inner_texts()
    assert "groupvit" not in " ".join(offered)
    assert any("best" in name for name in offered)
    visit.page.keyboard.press("Escape")
    assert visit.panel.get_by_text("Not with preset mini: groupvit (preset 'mini' has no groupvit).").is_visible()


def test_a_reload_keeps_photo_words_and_result(browser: playwright.Browser, url: str, visit: Visit) -> None:
    visit.segment(WORDS, PHOTO)
    visit.wait("button:has-text('Label map'), a:has-text('Label map')")
    shown = visit.panel.locator(".sw-facts").inner_text()
    visit.fill("Words", "banana")
    visit.page.keyboard.press("Tab")
    visit.page.wait_for_timeout(1000)  # what was typed is on its way
    visit.page.reload()
    visit.wait(".sw-figure")
    visit.wait(".image-frame img")
    assert visit.panel.locator(".sw-facts").inner_text() == shown
    assert visit.field("Words").input_value() == "banana"
    visit.tab("Why")
    visit.press("Explain the last result")
    visit.wait(".sw-picks")
    visit.tab("Segment")
    visit.segment("snow, banana")
    with visit.page.expect_download() as download:
        visit.panel.get_by_text("Label map").click()
    assert download.value.suggested_filename == "val_00014.png"
    other = Visit(browser, url)
    other.page.wait_for_timeout(2000)
    assert other.panel.locator(".sw-figure").count() == 0, "another person sees none of it"
    other.leave()


def test_a_photo_beyond_the_limit_is_made_smaller_with_a_note(
    browser: playwright.Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = Workspace("mini", "cpu", banks=tmp_path / "banks", limits=Limits(megabytes=2.0, megapixels=0.01))
    with serving(small) as address:
        visit = Visit(browser, address)
        visit.upload(PHOTO)
        note = visit.wait(".sw-note[role=status]").inner_text()
        assert note == (
            "val_00014.jpg has 128x128 pixels, and this page works on 0.01 megapixels at most. "
            "It was made smaller, to 100x100; the masks have that size."
        )
        visit.segment(WORDS)
        assert "val_00014.scaled.png" in visit.panel.locator(".sw-code pre").first.text_content()
        with visit.page.expect_download() as download:
            visit.panel.get_by_text("Label map").click()
        download.value.save_as(tmp_path / "labels.png")
        source = visit.panel.locator(".image-frame img").first.get_attribute("src")
        assert source is not None
        (tmp_path / "val_00014.scaled.png").write_bytes(visit.page.request.get(source).body())  # what is shown is what was used
        visit.leave()
    monkeypatch.chdir(tmp_path)  # the lines that make it again start from the photo as it was made smaller
    assert main(["segment", "val_00014.scaled.png", "--words", WORDS, "--preset", "mini", "--device", "cpu", "-o", "out"]) == 0
    with Pillow.open("labels.png") as page, Pillow.open("out/val_00014.scaled.png") as command:
        assert page.size == (100, 100)
        assert np.array_equal(np.asarray(page), np.asarray(command))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_layout(width: int, height: int, scheme: str, browser: playwright.Browser, url: str) -> None:
    visitor = Visit(browser, url, width, height, scheme)
    for tab in TABS[::-1]:
        visitor.tab(tab)
        assert visitor.page.evaluate("document.scrollingElement.scrollWidth <= innerWidth"), tab
    button = visitor.panel.get_by_role("button", name="Segment", exact=True)
    inside = "e => { const b = e.getBoundingClientRect(); return b.top >= 0 && b.bottom <= innerHeight; }"
    assert button.evaluate(inside), "the button is above the fold"
    visitor.segment("banana, horse, snow, " + " ".join(["a rather long name of something"] * 3), PHOTO)
    figure = visitor.wait(".sw-figure .sw-photo svg")
    visitor.page.wait_for_timeout(500)
    assert figure.evaluate("e => { const b = e.getBoundingClientRect(); return b.top >= -1 && b.top < 0.6 * innerHeight; }")
    assert width == 400 or figure.evaluate(inside)
    assert visitor.page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
    assert contrast(visitor, ".sw-facts") > 7, "text on its ground"
    assert contrast(visitor, ".sw-legend th[scope=row]") > 7
    assert visitor.panel.locator("button.gallery-item").first.get_attribute("aria-label") == "sample photo 1"
    visitor.shoot(f"segment-{width}-{scheme}")
    visitor.leave()


def contrast(visitor: Visit, selector: str) -> float:
    """WCAG's contrast ratio of a text to what lies behind it."""
    colors = visitor.panel.locator(selector).first.evaluate(
        """e => {
          const solid = (p) => p && (/rgba\\(.*, 0\\)|transparent/.test(getComputedStyle(p).backgroundColor)
            ? solid(p.parentElement) : getComputedStyle(p).backgroundColor);
          return [getComputedStyle(e).color, solid(e) || 'rgb(255, 255, 255)'];
        }"""
    )
    values = [np.array([float(part) for part in color[color.index("(") + 1 : -1].split(",")[:3]]) / 255 for color in colors]
    linear = [np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722] for v in values]
    return float((max(linear) + 0.05) / (min(linear) + 0.05))


def test_diagnose_shows_each_part_as_it_is_ready(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()
    waiting = SimpleNamespace(html=lambda: "<p>the second</p>")
    sections = {part: lambda *_: waiting for part in SECTIONS} | {
        "gradcam": lambda *_: SimpleNamespace(html=lambda: "<p>the first</p>"),
        "attention": lambda *_: go.wait(60) and waiting,
    }
    for part, make in sections.items():
        monkeypatch.setitem(SECTIONS, part, make)
    visit.tab("Diagnose")
    visit.take(PHOTO)
    visit.fill("Words", "banana")
    visit.press("Diagnose")
    visit.panel.get_by_text("the first").wait_for()
    assert visit.panel.get_by_text("the second").count() == 0
    assert visit.panel.locator(".sw-contents li").all_inner_texts()[:2] == ["gradcam", "attention ..."]
    go.set()
    visit.wait(".sw-facts")
    assert visit.panel.locator(".sw-contents a").count() == visit.panel.locator(".sw-steps details").count() == 4
    visit.panel.locator(".sw-steps summary").first.focus()
    visit.page.keyboard.press("Enter")
    assert not visit.panel.get_by_text("the first").is_visible(), "folded away"


def test_everything_is_done_by_the_keyboard_alone(visit: Visit) -> None:
    """From the top of the page: a sample, words, the result, its first region, a download, another tab."""
    reached: list[str] = []

    def tab_to(name: str) -> None:
        for _ in range(90):
            visit.page.keyboard.press("Tab")
            reached.append(visit.page.evaluate(FOCUSED))
            if name.lower() in reached[-1].lower():
                return
        raise AssertionError((name, reached))

    tab_to("sample photo 4")
    visit.page.keyboard.press("Enter")
    visit.wait(".image-frame img")
    tab_to("Words")
    visit.page.keyboard.type("train, water, road")  # of the sample
    visit.page.keyboard.press("Enter")
    visit.wait(".sw-figure")
    visit.panel.get_by_text("Label map").wait_for()
    tab_to("of the photo")
    assert "of the photo" in visit.panel.locator(".sw-readout").inner_text()
    with visit.page.expect_download() as download:
        tab_to("Label map")
        visit.page.keyboard.press("Enter")
    assert download.value.suggested_filename == "val_00003.png"


def test_a_region_is_dropped_and_taken_back(visit: Visit, tmp_path: Path) -> None:
    def label_map() -> set[int]:
        with visit.page.expect_download() as download:
            visit.panel.get_by_text("Label map").click()
        download.value.save_as(tmp_path / "labels.png")
        with Pillow.open(tmp_path / "labels.png") as picture:
            return set(np.unique(np.asarray(picture)).tolist())

    visit.segment(WORDS, PHOTO)
    visit.panel.get_by_text("Label map").wait_for()
    assert {1, 2, 3} <= label_map()
    undo = visit.panel.get_by_role("button", name="Undo")
    assert undo.is_disabled()
    region = visit.panel.locator(".sw-region[data-label='1']")
    region.focus()
    visit.page.keyboard.press("Enter")
    visit.panel.get_by_text("Dropped by hand, and not in the files: banana.").wait_for()
    assert not region.is_visible()
    assert label_map() & {1, 2, 3} == {2, 3}
    visit.panel.locator(".sw-region[data-label='2']").dispatch_event("click")
    visit.panel.get_by_text("not in the files: banana, horse.").wait_for()
    undo.click()
    undo.click()
    visit.panel.get_by_text("Dropped by hand").wait_for(state="detached")
    assert undo.is_disabled()
    assert region.is_visible()
    assert {1, 2, 3} <= label_map()
