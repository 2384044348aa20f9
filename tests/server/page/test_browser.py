"""The page as people meet it: Debian's Chromium, preset mini, every tab's main path.

With SEGWRIGHT_SCREENSHOTS=FOLDER the pictures of docs/page are taken on the way.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from test_end_to_end import READ, REFUSED

from segwright.cli import main
from segwright.files.masks import write_label_map
from segwright.mini.scenes import THINGS
from segwright.mini.voc import data_folder

pytest.importorskip("gradio", reason="the page needs Gradio: pip install 'segwright[page]'")
chromium = pytest.importorskip("chromium", reason="browser tests need Playwright: pip install playwright")

from visiting import FOCUSED, SHOTS, Visit  # noqa: E402

from segwright.server.page.app import serving, warm  # noqa: E402
from segwright.server.page.uploads import Limits  # noqa: E402
from segwright.server.page.work import Job  # noqa: E402
from segwright.server.page.workspace import Request, Workspace  # noqa: E402

playwright, browser, pytestmark = chromium.playwright, chromium.browser, chromium.needed

PICTURES = data_folder() / "JPEGImages"
MASKS = data_folder() / "SegmentationClass"
PHOTO = PICTURES / "val_00014.jpg"  # a banana and a horse on snow
OTHER = PICTURES / "val_00010.jpg"  # an umbrella and a cow below the sky
WORDS = "banana, horse, snow"
OTHER_WORDS = "umbrella, cow, sky"


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


def label_map(path: Path) -> np.ndarray:
    with Pillow.open(path) as picture:
        return np.asarray(picture)


def by_command(photo: Path, words: str, out: Path, *more: str) -> np.ndarray:
    assert main(["segment", str(photo), "--preset", "mini", "--device", "cpu", "--words", words, *more, "-o", str(out)]) == 0
    return label_map(out / f"{photo.stem}.png")


def test_segment_and_why(visit: Visit, tmp_path: Path) -> None:
    visit.segment(WORDS, PHOTO)
    assert set(WORDS.split(", ")) <= set(visit.words())
    regions = visit.wait(".sw-region")
    regions.first.focus()
    assert "of the photo" in visit.panel.locator(".sw-readout").inner_text()
    first = regions.first.get_attribute("data-label")
    visit.panel.locator(f".sw-switch[data-label='{first}']").uncheck()
    assert not regions.first.is_visible()
    visit.panel.get_by_text("Dropped by hand").wait_for()  # the note says what the files hold, and comes with them
    visit.panel.locator(f".sw-switch[data-label='{first}']").check()
    visit.panel.get_by_text("Dropped by hand").wait_for(state="detached")
    visit.panel.locator(".sw-opacity").fill("0.7")
    assert visit.panel.locator(".sw-figure").evaluate("e => getComputedStyle(e).getPropertyValue('--cover')").strip() == "0.7"
    visit.panel.locator(".sw-opacity").fill("0.5")
    facts = visit.panel.locator(".sw-facts").inner_text()
    assert all(told in facts for told in ("Preset: mini", "Method: best", "Seconds: "))
    visit.page.wait_for_function(
        "() => ![...document.querySelectorAll('button')].some(b => b.textContent.includes('Label map') && b.disabled)"
    )
    with visit.page.expect_download() as download:
        visit.panel.get_by_text("Label map").click()
    download.value.save_as(tmp_path / "page.png")
    assert np.array_equal(label_map(tmp_path / "page.png"), by_command(PHOTO, WORDS, tmp_path / "command"))
    visit.panel.get_by_text("Make this again").click()
    visit.shoot("segment")

    visit.tab("Why")
    visit.press("Explain the last result")
    visit.wait(".sw-picks")
    region = visit.panel.locator(".sw-region[role=button][data-label='1']")
    region.focus()
    visit.page.keyboard.press("Enter")
    section = visit.panel.locator(".sw-section[data-label='1']")
    section.wait_for()
    assert "banana" in section.inner_text()
    assert visit.panel.locator(".sw-section:visible").count() == 1
    visit.shoot("why")


def test_a_new_result_begins_with_everything_switched_on(visit: Visit) -> None:
    visit.segment(WORDS, PHOTO)
    visit.wait(".sw-switch").first.uncheck()
    visit.panel.locator(".sw-labels").uncheck()
    visit.panel.locator(".sw-opacity").fill("0.9")
    visit.segment("snow, banana")
    assert visit.panel.locator(".sw-switch").count() == 2
    for box in visit.panel.locator("input.sw-switch, input.sw-labels").all():
        assert box.is_checked()
    for shown in visit.panel.locator(".sw-region, .sw-names text").all():
        assert shown.is_visible()
    assert visit.panel.locator(".sw-opacity").input_value() == "0.5"
    assert visit.panel.locator(".sw-figure").evaluate("e => getComputedStyle(e).getPropertyValue('--cover')").strip() == "0.5"


def test_a_run_without_words_is_started_by_the_keyboard(visit: Visit) -> None:
    visit.take(PHOTO)
    visit.field("Words").focus()
    visit.page.keyboard.press("Enter")
    visit.wait(".sw-figure")
    assert "Caption: " in visit.panel.locator(".sw-facts").inner_text()


def test_prototypes_are_built_and_used(visit: Visit, workspace: Workspace) -> None:
    visit.tab("Prototypes")
    visit.field("Bank").fill("tiny")
    visit.page.keyboard.press("Enter")
    visit.fill("Words", "banana, sofa")
    pictures, steps = ("6", "40") if SHOTS else ("2", "2")
    for label, value in (("Pictures a word", pictures), ("Denoising steps", steps)):
        visit.panel.locator(f"input[type=number][aria-label*='{label}']").fill(value)
    visit.press("Build")
    visit.wait(".sw-facts")
    assert list(workspace.bank("tiny").entries()) == ["banana", "sofa"]
    assert visit.panel.locator(".sw-sheet img").is_visible()
    visit.shoot("prototypes")
    visit.fill("Take a word out", "sofa")
    visit.press("Remove")
    visit.page.wait_for_function("() => document.querySelector('.sw-sheet img')?.alt === 'support pictures of banana'")
    assert list(workspace.bank("tiny").entries()) == ["banana"]
    visit.press("Use it on the first tab")
    visit.wait("[role=status]")
    visit.tab("Segment")
    visit.segment("banana", PHOTO)
    assert "Method: ovdiff" in visit.panel.locator(".sw-facts").inner_text()
    assert "tiny" in visit.panel.locator(".sw-code pre").first.text_content()


def blocky(labels: np.ndarray) -> np.ndarray:
    """A coarse mask: one label for each 8 by 8 pixels."""
    return labels[4::8, 4::8].repeat(8, 0).repeat(8, 1)


def test_refine_an_uploaded_and_a_painted_mask(visit: Visit, tmp_path: Path) -> None:
    visit.tab("Refine")
    visit.take(PHOTO)
    labels, named = label_map(MASKS / "val_00014.png"), {i: word for i, word in enumerate(THINGS, 1) if word in WORDS}
    coarse = np.where(np.isin(labels, list(named)), labels, 0)
    write_label_map(tmp_path / "coarse.png", blocky(coarse))
    visit.panel.locator("input[type=file][accept*='.npy']").set_input_files(tmp_path / "coarse.png")
    visit.field("What its indices are called").fill(", ".join(f"{i}={word}" for i, word in named.items()))
    visit.field("Refiners, in this order").click()
    visit.page.get_by_role("option", name="crf", exact=True).click()
    visit.press("Refine")
    visit.wait(".sw-swipe")
    visit.panel.locator(".sw-swiper").fill("30")
    assert "Refiners: crf" in visit.panel.locator(".sw-facts").inner_text()
    visit.shoot("refine")
    visit.panel.get_by_label("Paint it").check()
    visit.field("What its indices are called").fill("1=banana")
    canvas = visit.wait("canvas").first
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    visit.page.mouse.move(x - 30, y)
    visit.page.mouse.down()
    visit.page.mouse.move(x + 30, y, steps=6)
    visit.page.mouse.up()
    visit.press("Refine")
    visit.page.wait_for_function(
        "() => [...document.querySelectorAll('.sw-code pre')].some(p => p.textContent.includes(' 1=banana'))"
    )
    assert visit.words() == ["banana", "unlabelled"]
    assert visit.panel.locator(".sw-swiper").input_value() == "50", "a new picture's slider begins in the middle"
    visit.wait("button:not([disabled]):has-text('Painted mask')")
    visit.shoot("paint")


def test_a_bad_mask_is_refused(visit: Visit, tmp_path: Path) -> None:
    visit.tab("Refine")
    visit.take(PHOTO)
    visit.field("What its indices are called").fill("1=banana")
    visit.field("Refiners, in this order").click()
    visit.page.get_by_role("option", name="crf", exact=True).click()
    (tmp_path / "text.png").write_text("no mask")
    (tmp_path / "empty.npy").write_bytes(b"")
    write_label_map(tmp_path / "small.png", np.ones((20, 30), np.int64))
    for name in ("text.png", "empty.npy", "small.png"):
        visit.panel.locator("input[type=file][accept*='.npy']").set_input_files(tmp_path / name)
        visit.panel.get_by_text(name).first.wait_for()
        visit.press("Refine")
        visit.page.wait_for_function("name => document.querySelector('[role=alert]')?.textContent.includes(name)", arg=name)
        assert str(tmp_path) not in visit.panel.locator("[role=alert]").inner_text()
        visit.panel.get_by_label("Clear").last.click()


def test_diagnose(visit: Visit) -> None:
    visit.tab("Diagnose")
    visit.take(PHOTO)
    visit.fill("Words", "banana")
    for part in ("attention", "features", "conditioning"):
        visit.panel.get_by_label(part, exact=True).uncheck()
    visit.press("Diagnose")
    visit.wait(".sw-steps figure")
    visit.shoot("diagnose")


@pytest.fixture
def bad(tmp_path: Path) -> list[Path]:
    """Every kind of file that is refused, a photo of too many pixels and one of too many bytes."""
    for name, make in REFUSED.items():
        (tmp_path / name).write_bytes(make())
    (tmp_path / "page.pdf").rename(tmp_path / "page.png")
    Pillow.new("RGB", (4200, 3000)).save(tmp_path / "many-pixels.png")
    (tmp_path / "large.png").write_bytes(bytes(2_500_000))
    return sorted(tmp_path.iterdir())


def test_no_bad_file_kills_the_page(visit: Visit, bad: list[Path], tmp_path: Path) -> None:
    assert len(bad) == len(REFUSED) + 2
    for path in bad:
        visit.upload(path)
        visit.page.wait_for_function("name => document.querySelector('[role=alert]')?.textContent.includes(name)", arg=path.name)
        said = visit.panel.locator("[role=alert]").inner_text()
        assert str(tmp_path) not in said
        assert "Traceback" not in said
    (tmp_path / "cmyk.tif").write_bytes(READ["cmyk.tif"][0]())
    visit.segment("banana", tmp_path / "cmyk.tif")
    assert "cmyk.tif " in visit.panel.locator(".sw-code pre").first.text_content()


def test_stop_in_the_middle(visit: Visit, workspace: Workspace) -> None:
    begin_endless(visit, "endless")
    visit.press("Stop")
    visit.page.get_by_text("Stopped.").wait_for()
    assert not workspace.bank("endless").entries()
    visit.tab("Segment")
    visit.segment(WORDS, PHOTO)


def test_two_sessions_do_not_meet(browser: playwright.Browser, url: str, tmp_path: Path) -> None:
    one, two = Visit(browser, url), Visit(browser, url)
    one.take(PHOTO)
    two.take(OTHER)
    for visitor, words in ((one, WORDS), (two, OTHER_WORDS)):
        visitor.fill("Words", words)
        visitor.press("Segment")
    for visitor, photo in ((one, PHOTO), (two, OTHER)):
        visitor.wait(".sw-figure")
        assert photo.name in visitor.panel.locator(".sw-code pre").first.text_content()
    assert set() < set(one.words()) - {"unlabelled"} <= set(WORDS.split(", "))
    assert set() < set(two.words()) - {"unlabelled"} <= set(OTHER_WORDS.split(", "))
    one.leave()
    two.leave()


def test_a_huge_file_does_not_reach_the_page(browser: playwright.Browser, url: str, tmp_path: Path) -> None:
    """Gradio refuses it in its own words, and may ask for the progress of what it refused, which the console tells."""
    visitor = Visit(browser, url)
    (tmp_path / "huge.png").write_bytes(bytes(10_500_000))
    visitor.upload(tmp_path / "huge.png")
    visitor.page.get_by_text(re.compile("exceed", re.I)).first.wait_for()
    visitor.segment("banana", PHOTO)
    visitor.wrong = [said for said in visitor.wrong if "404" not in said and said != "Response"]
    visitor.leave()


def begin_endless(visit: Visit, bank: str) -> None:
    """Start what takes minutes, and see it run."""
    visit.tab("Prototypes")
    visit.field("Bank").fill(bank)
    visit.page.keyboard.press("Enter")
    visit.fill("Words", "train")
    for label, value in (("Pictures a word", "32"), ("Denoising steps", "50")):
        visit.panel.locator(f"input[type=number][aria-label*='{label}']").fill(value)
    visit.press("Build")
    visit.panel.locator(".sw-status", has_text="Drawing").wait_for()


def test_who_waits_can_stop_and_start_again(
    browser: playwright.Browser, url: str, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = Visit(browser, url), Visit(browser, url)
    begin_endless(one, "long")
    two.take(PHOTO)
    two.fill("Words", "banana")
    two.press("Segment")
    two.panel.get_by_text("Waiting for its turn").wait_for()
    two.press("Stop")
    two.panel.get_by_text("Stopped.").wait_for()
    assert one.panel.locator(".sw-status", has_text="Drawing").is_visible(), "one's run goes on"
    two.fill("Words", WORDS)
    two.press("Segment")
    two.panel.get_by_text("Waiting for its turn").wait_for()
    asked: list[str] = []
    real = workspace.segment

    def noted(image: Any, photo: str, request: Request, job: Job | None = None) -> Any:
        asked.append(request.words)
        return real(image, photo, request, job)

    monkeypatch.setattr(workspace, "segment", noted)
    one.press("Stop")
    one.page.get_by_text("Stopped.").wait_for()
    two.wait(".sw-figure")
    assert asked == [WORDS], "the run that was stopped while it waited never was"
    one.leave()
    two.leave()


def test_everything_is_reached_by_the_keyboard(visit: Visit) -> None:
    visit.segment(WORDS, PHOTO)
    visit.wait("button:not([disabled]):has-text('Cut-outs')")
    visit.page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    reached: list[str] = []
    for _ in range(120):
        visit.page.keyboard.press("Tab")
        reached.append(visit.page.evaluate(FOCUSED))
        if reached.count(reached[0]) > 2:
            break
    for wanted in (
        "Words", "Method", "Refiner", "More settings", "Stop", "banana: ", "switch 1", "Opacity", "words in the picture",
        "Make this again", "Label map", "Overlay", "COCO JSON", "Cut-outs", "upload", "sample",
        "tab Segment", "tab Why", "tab Collection", "tab Prototypes", "tab Refine", "tab Diagnose",
    ):  # fmt: skip
        assert any(wanted.lower() in found.lower() for found in reached), (wanted, reached)
    assert "Segment" in reached, "the button"
    visit.page.get_by_role("tab", name="Diagnose", exact=True).focus()
    visit.page.keyboard.press("Enter")
    assert visit.panel.get_by_role("button", name="Diagnose", exact=True).is_visible()


@pytest.mark.parametrize(("width", "name"), [(400, "narrow"), (2000, "wide")])
def test_narrow_and_wide_windows(width: int, name: str, browser: playwright.Browser, url: str) -> None:
    visitor = Visit(browser, url, width=width)
    visitor.segment(WORDS, PHOTO)
    visitor.wait(".sw-figure")
    for field in visitor.panel.get_by_role("combobox").all():
        assert field.evaluate("e => e.scrollWidth <= e.clientWidth"), "what is chosen is not cut off"
    for tab in ("Why", "Collection", "Prototypes", "Refine", "Diagnose", "Segment"):
        if visitor.page.get_by_role("tab", name=tab, exact=True).is_visible():
            visitor.tab(tab)
        assert visitor.page.evaluate("document.scrollingElement.scrollWidth <= innerWidth"), tab
    visitor.shoot(name)
    visitor.leave()
