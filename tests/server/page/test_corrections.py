"""What is changed of a result by hand: words dropped, places added, all taken back, the same in files and in lines of Python."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

import segwright as sw
from segwright.errors import InputError
from segwright.mini.voc import data_folder
from segwright.server.page import reproduce
from segwright.server.page.corrections import ADDITIONS, STEPS, Added, Corrections, read_place, read_steps
from segwright.server.page.figure import regions_figure
from segwright.server.page.uploads import Limits
from segwright.server.page.workspace import Request, Result, Workspace
from segwright.types import Segmentation

pytest.importorskip("gradio", reason="the page needs Gradio: pip install 'segwright[page]'")
chromium = pytest.importorskip("chromium", reason="browser tests need Playwright: pip install playwright")
from visiting import Visit  # noqa: E402

from segwright.server.page.app import serving  # noqa: E402

playwright, browser = chromium.playwright, chromium.browser

PHOTO = data_folder() / "JPEGImages/val_00014.jpg"
WORDS = "banana, horse, snow, sofa"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace("mini", "cpu", banks=tmp_path_factory.mktemp("banks"), limits=Limits(megabytes=2.0, megapixels=3.0))


@pytest.fixture(scope="module")
def made(workspace: Workspace) -> Result:
    return workspace.segment(sw.read(PHOTO), PHOTO.name, Request(WORDS))


@pytest.fixture(scope="module")
def target(workspace: Workspace, made: Result) -> tuple[int, tuple[int, int], np.ndarray]:
    """A label to drop (its region is large), a pixel of it, and what belongs there."""
    labels = made.segmentation.labels
    largest = 1 + int(np.bincount(labels[labels > 0], minlength=5)[1:].argmax())
    best = sw.load_method("best", "mini", "cpu")
    for y, x in zip(*(at[:: len(at) // 20] for at in np.nonzero(labels == largest)), strict=True):
        where = best.reach(made.image, "sofa", (int(x), int(y)))  # type: ignore[attr-defined]
        if (where & np.isin(labels, (0, largest))).sum() > 50:
            return largest, (int(x), int(y)), where
    raise AssertionError("nowhere")


def square(label: int, top: int, left: int, side: int = 4, size: tuple[int, int] = (10, 12)) -> Added:
    where = np.zeros(size, bool)
    where[top : top + side, left : left + side] = True
    return Added(label, (left, top), np.packbits(where), size)


def test_steps_are_done_and_taken_back_in_order() -> None:
    labels = np.zeros((10, 12), np.int64)
    labels[:5], labels[5:, :3] = 1, 2
    found = Segmentation(("a", "b", "c"), labels)
    changes = Corrections()
    assert changes.corrected(found).labels is labels
    changes = changes.after([1]).with_added(square(3, 3, 2)).with_added(square(2, 6, 4))
    assert (changes.steps, changes.dropped, changes.word) == ((1, 0, 0), {1}, 2)
    expected = np.where(labels == 1, 0, labels)
    expected[3:7, 2:6] = np.where(expected[3:7, 2:6] == 0, 3, expected[3:7, 2:6])
    expected[6:10, 4:8] = np.where(expected[6:10, 4:8] == 0, 2, expected[6:10, 4:8])
    corrected = changes.corrected(found)
    assert np.array_equal(corrected.labels, expected)
    assert [one["word"] for one in corrected.notes["added"]] == ["c", "b"]
    drawn = changes.drawn(found).labels
    assert np.array_equal(drawn, np.where((expected == 0) & (labels == 1), 1, expected)), (
        "what was dropped is drawn, to be taken back"
    )
    html = regions_figure(np.zeros((10, 12, 3), np.uint8), changes.drawn(found), changes=changes)
    assert 'data-steps="[1, 0, 0]"' in html
    assert html.count("sw-switch") - html.count(" checked>") + html.count('sw-labels" checked') == 1, "one of them is off"
    one = changes.after([1, 0])
    assert len(one.added) == 1
    assert not one.after([1]).added
    assert np.array_equal(changes.after([1, 0, 0, 1]).corrected(found).labels[:5], labels[:5]), "switched on again"
    without_c = changes.after([1, 0, 0, 3]).corrected(found)
    assert without_c.found == ("b",), "what was added to a word goes with it"
    many = Corrections(added=changes.added[:1] * ADDITIONS)
    with pytest.raises(InputError, match=f"{ADDITIONS} additions"):
        many.with_added(square(1, 0, 0))


def test_what_the_script_tells_is_checked() -> None:
    found = Segmentation(("a", "b"), np.zeros((10, 20), np.int64))
    assert read_steps({"steps": [1, 0, "x", True, None, 2.5, 2]}) == (1, 0, 2)
    assert [read_steps(odd) for odd in (None, [], {"steps": "12"}, {})] == [()] * 4
    assert len(read_steps({"steps": [1] * 10_000})) == STEPS
    assert read_place({"label": 2, "place": [0.5, 0.25]}, found) == (2, (10, 2))
    assert read_place({"label": 2, "place": [1, 1]}, found) == (2, (19, 9))
    assert read_place({"label": 1, "place": [0.11, 0.11, 0.49, 0.51]}, found) == (1, (2, 1, 10, 6))
    assert read_place({"label": 1, "place": [1, 1, 1, 1]}, found) == (1, (19, 9, 20, 10))
    for label, place in ((0, [0, 0]), (3, [0, 0]), (True, [0, 0]), (1, [0, 2]), (1, [0, 0, 0]), (1, "01"), (1, [0, float("nan")])):
        with pytest.raises(InputError, match="choose the word" if label != 1 or label is True else "no place"):
            read_place({"label": label, "place": place}, found)


def test_the_lines_of_python_do_the_same(
    workspace: Workspace, made: Result, target: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    largest, place, where = target
    dropped = made.changes.after([largest])
    sofa = workspace.also(Result(**{**vars(made), "changes": dropped}), 4, place)
    labels = made.segmentation.labels
    expected = np.where(where & np.isin(labels, (0, largest)), 4, np.where(labels == largest, 0, labels))
    assert np.array_equal(sofa.corrected.labels, expected)
    with pytest.raises(InputError, match="nothing unlabelled belongs"):
        workspace.also(sofa, 4, place)
    monkeypatch.chdir(tmp_path)
    (tmp_path / PHOTO.name).write_bytes(PHOTO.read_bytes())
    exec(reproduce.segment_lines(sofa) + reproduce.by_hand(sofa), {})
    with Pillow.open(tmp_path / "out/result.png") as picture:
        assert np.array_equal(np.asarray(picture), expected)


@pytest.fixture(scope="module")
def url(workspace: Workspace) -> Iterator[str]:
    with serving(workspace) as address:
        yield address


@chromium.needed
def test_this_too_in_a_browser(browser: playwright.Browser, url: str, made: Result, target: Any, tmp_path: Path) -> None:
    largest, (x, y), where = target
    visit, labels = Visit(browser, url), made.segmentation.labels
    height, width = labels.shape

    def label_map() -> np.ndarray:
        with visit.page.expect_download() as download:
            visit.panel.get_by_text("Label map").click()
        download.value.save_as(tmp_path / "labels.png")
        with Pillow.open(tmp_path / "labels.png") as picture:
            return np.asarray(picture)

    def told(text: str, there: bool = True) -> None:
        visit.panel.locator(".sw-note[role=status]", has_text=text).wait_for(state="visible" if there else "detached")

    visit.segment(WORDS, PHOTO)
    visit.panel.get_by_text("Label map").wait_for()
    visit.panel.locator(f".sw-switch[data-label='{largest}']").uncheck()
    told("Dropped by hand")
    visit.panel.locator(".sw-also").select_option(label="sofa")
    svg = visit.panel.locator(".sw-photo svg")
    svg.scroll_into_view_if_needed()
    box = svg.bounding_box()
    assert box is not None
    visit.page.mouse.click(box["x"] + (x + 0.5) / width * box["width"], box["y"] + (y + 0.5) / height * box["height"])
    told(f"Added by hand: sofa at {x}, {y}")
    empty = np.where(labels == largest, 0, labels)
    point = np.where(where & (empty == 0), 4, empty)
    assert np.array_equal(label_map(), point)
    assert "sofa" in visit.words()
    assert not visit.panel.locator(f".sw-switch[data-label='{largest}']").is_checked(), "what was dropped stays dropped"
    visit.shoot("this-too")

    visit.panel.locator(".sw-undo").click()
    told("Added by hand", there=False)
    assert np.array_equal(label_map(), empty)
    assert "sofa" not in visit.words()

    visit.panel.locator(".sw-also").select_option(label="sofa")
    visit.page.mouse.move(box["x"] + 2, box["y"] + 2)
    visit.page.mouse.down()
    visit.page.mouse.move(box["x"] + box["width"] - 2, box["y"] + box["height"] - 2, steps=4)
    visit.page.mouse.up()
    told("Added by hand: sofa at 0, 0, ")
    whole = sw.load_method("best", "mini", "cpu").reach(made.image, "sofa", (0, 0, width, height))  # type: ignore[attr-defined]
    assert np.array_equal(label_map(), np.where(whole & (empty == 0), 4, empty))
    for _ in range(2):
        visit.panel.locator(".sw-undo:enabled").click()
    told("Dropped by hand", there=False)
    assert np.array_equal(label_map(), labels)

    visit.panel.locator(f".sw-switch[data-label='{largest}']").uncheck()  # and by the keyboard alone
    told("Dropped by hand")
    visit.panel.locator(".sw-also").focus()
    visit.page.keyboard.type("sofa")
    visit.panel.locator(".sw-cross").focus()
    visit.page.keyboard.press("Shift+ArrowLeft")
    visit.page.keyboard.press("ArrowDown")
    assert visit.panel.locator(".sw-cross").evaluate("e => [e.dataset.x, e.dataset.y].map(Number)") == pytest.approx([0.4, 0.52])
    visit.page.keyboard.press("Enter")
    visit.panel.get_by_text("Added by hand: sofa at").or_(visit.panel.get_by_text("Nothing unlabelled belongs")).first.wait_for()
    visit.leave()
