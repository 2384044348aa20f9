"""Several photos at once on the page: limits, the same masks and exports as the commands, and a browser with three photos."""

from __future__ import annotations

import json
import re
import shlex
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from segwright.cli import main
from segwright.errors import InputError
from segwright.mini.voc import data_folder
from segwright.runs.reading import open_run
from segwright.server.page import collection, reproduce
from segwright.server.page.collection import KEPT, MULTIPLE, PHOTOS, bring, collect, new_folder, write_export, write_run
from segwright.server.page.uploads import Limits
from segwright.server.page.work import Job, Stopped, follow
from segwright.server.page.workspace import Request, Workspace

pytest.importorskip("gradio", reason="the page needs Gradio: pip install 'segwright[page]'")
chromium = pytest.importorskip("chromium", reason="browser tests need Playwright: pip install playwright")
from visiting import Visit  # noqa: E402

from segwright.server.page.app import serving, warm  # noqa: E402

playwright, browser = chromium.playwright, chromium.browser

PICTURES = sorted((data_folder() / "JPEGImages").glob("val_*.jpg"))[:3]
WORDS = "banana, boat, snow, tv"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    made = Workspace("mini", "cpu", banks=tmp_path_factory.mktemp("banks"), limits=Limits(megabytes=2.0, megapixels=3.0))
    warm(made)
    return made


def by_command(out: Path, *more: str) -> Path:
    photos = [str(photo) for photo in PICTURES]
    assert main(["segment", *photos, "--preset", "mini", "--device", "cpu", "--words", WORDS, "-o", str(out / "run")]) == 0
    assert main(["export", str(out / "run"), "--format", "coco", "--copy-photos", "-o", str(out / "coco")]) == 0
    return out


def label_map(file: Any) -> np.ndarray:
    with Pillow.open(file) as picture:
        return np.asarray(picture)


def check_masks(archive: Path, theirs: Path) -> None:
    """The masks of a ZIP are those of a run, bit by bit."""
    with zipfile.ZipFile(archive) as masks:
        assert set(masks.namelist()) == {f"{p.stem}{end}" for p in PICTURES for end in (".json", ".overlay.png", ".png")}
        for photo in PICTURES:
            assert np.array_equal(label_map(masks.open(f"{photo.stem}.png")), label_map(theirs / f"{photo.stem}.png"))
            ours = json.loads(masks.read(f"{photo.stem}.json"))
            other = json.loads((theirs / f"{photo.stem}.json").read_bytes())
            assert ours["segments"] == other["segments"]
            assert ours["photo"] == f"photos/{photo.name}", "where it lies on the server is nobody's business"


def check_export(archive: Path, theirs: Path) -> None:
    with zipfile.ZipFile(archive) as files:
        ours, other = (json.loads(t) for t in (files.read("annotations.json"), (theirs / "annotations.json").read_bytes()))
        assert ours["annotations"] == other["annotations"]
        assert ours["categories"] == other["categories"]
        for photo in PICTURES:
            name = next(name for name in files.namelist() if name.endswith(photo.name))
            assert files.read(name) == photo.read_bytes()


def test_the_same_masks_and_exports_as_the_commands(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "session").mkdir()
    (tmp_path / "text.jpg").write_text("no picture")
    made = collect(workspace, [*PICTURES, tmp_path / "text.jpg"], tmp_path / "session", Request(WORDS))
    assert (made.done, made.of, len(made.bad)) == (3, 4, 1)
    assert "'text.jpg' is not a picture" in made.bad[0]
    theirs = by_command(tmp_path)
    overview, masks = write_run(made)
    check_masks(masks, theirs / "run")
    check_export(write_export(made, "coco"), theirs / "coco")
    text = overview.read_text("utf8")
    assert str(tmp_path) not in text
    assert text.count('"name": "val_') == 3
    for path in sorted((made.folder / "export-coco").parent.glob("*.zip")):
        with zipfile.ZipFile(path) as archive:
            assert not any(str(tmp_path).encode() in archive.read(name) for name in archive.namelist())
    with pytest.raises(InputError, match="format must be one of"):
        write_export(made, "../x")
    again = collect(workspace, PICTURES[:1], tmp_path / "session", Request(WORDS))
    assert not made.folder.exists(), "a session has one collection"
    assert again.done == 1
    with pytest.raises(InputError, match="no longer on the server"):
        write_export(made, "coco")


def test_the_lines_shown_make_the_same_run(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "session").mkdir()
    made = collect(workspace, PICTURES[:2], tmp_path / "session", Request(WORDS, settings={"refine": "none"}, more="clusters=5"))
    monkeypatch.chdir(tmp_path)
    (made.folder / "photos").rename(tmp_path / "photos")
    for line in reproduce.collection_command(made).splitlines():
        program, *arguments = shlex.split(line)
        assert (program, main(arguments)) == ("segwright", 0)
    assert (tmp_path / "coco/annotations.json").is_file()
    (tmp_path / "out").rename(tmp_path / "first")
    (tmp_path / "coco").rename(tmp_path / "first-coco")
    exec(reproduce.collection_lines(made), {})
    for photo in PICTURES[:2]:
        wanted = label_map(made.run / f"{photo.stem}.png")
        for run in ("first", "out"):
            assert np.array_equal(label_map(tmp_path / run / f"{photo.stem}.png"), wanted)


def test_a_collection_is_bounded(tmp_path: Path) -> None:
    Pillow.new("RGB", (100, 100), "red").save(tmp_path / "a.png")
    (tmp_path / "b").mkdir()
    (tmp_path / "b/A.jpg").write_bytes(PICTURES[0].read_bytes())
    (tmp_path / "list.txt").write_bytes((tmp_path / "a.png").read_bytes())
    limits, out = Limits(1.0, 0.02), tmp_path / "out"
    out.mkdir()
    for photos, what in (([], "no photos yet"), ([tmp_path / "a.png"] * (PHOTOS + 1), f"which takes {PHOTOS}")):
        with pytest.raises(InputError, match=what):
            bring(photos, out, limits)
    bad = bring([tmp_path / "a.png", tmp_path / "b/A.jpg", tmp_path / "list.txt", tmp_path / "gone.png"], out, limits)
    assert sorted(path.name for path in out.iterdir()) == ["A-2.jpg", "a.png"]
    assert [re.search("not called as a photo|no longer there", said) is not None for said in bad] == [True, True]
    enough = int(MULTIPLE * 0.02 / 0.01)
    with pytest.raises(InputError, match=r"10 MB and 0.2 megapixels at once"):
        bring([tmp_path / "a.png"] * (enough + 1), out, limits)


def test_the_server_keeps_the_latest_collections(tmp_path: Path) -> None:
    made = []
    for number in range(KEPT + 3):
        place = tmp_path / f"session {number}"
        place.mkdir()
        made.append(new_folder(place))
    assert [folder.exists() for folder in made] == [False] * 3 + [True] * KEPT


def test_what_was_done_before_a_stop_stays(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "session").mkdir()
    steps = follow(lambda job: collect(workspace, PICTURES, tmp_path / "session", Request(WORDS), job))
    small = collection._small

    def work(job: Job) -> Any:
        def stop_behind_the_second(overlay: Path, name: str) -> str:
            if name == PICTURES[1].name:
                job.stop.set()
            return small(overlay, name)

        monkeypatch.setattr(collection, "_small", stop_behind_the_second)
        return collect(workspace, PICTURES, tmp_path / "session", Request(WORDS), job)

    *_, made = follow(work)
    assert (made.done, made.of, made.stopped) == (2, 3, True)
    assert len(write_run(made)) == 2
    stopped = Job()
    stopped.stop.set()
    with pytest.raises(Stopped):
        collect(workspace, PICTURES, tmp_path / "session", Request(WORDS), stopped)
    steps.close()


@pytest.fixture(scope="module")
def url(workspace: Workspace) -> Iterator[str]:
    with serving(workspace) as address:
        yield address


@chromium.needed
def test_three_photos_in_a_browser(browser: playwright.Browser, url: str, tmp_path: Path) -> None:
    visit = Visit(browser, url)
    visit.tab("Collection")
    visit.press("Segment all")
    visit.panel.locator("[role=alert]", has_text="There are no photos yet").wait_for()
    (tmp_path / "text.jpg").write_text("no picture")
    visit.panel.locator("input[type=file]").set_input_files([*PICTURES, tmp_path / "text.jpg"])
    visit.panel.get_by_text("text", exact=True).first.wait_for()
    visit.fill("Words", WORDS)
    visit.press("Segment all")
    visit.panel.locator(".sw-growing img").first.wait_for()
    frame = visit.panel.frame_locator(".sw-frame")
    frame.locator("figure").nth(2).wait_for()
    facts = visit.wait(".sw-facts").inner_text()
    assert "Photos: 3 of 4" in facts
    assert "'text.jpg' is not a picture" in facts
    visit.wait("button:has-text('Masks')")
    visit.shoot("collection")
    theirs = by_command(tmp_path)
    found = [one.words for one in open_run(theirs / "run").done]
    word = found[0][0]
    frame.locator("#word").select_option(word)
    frame.locator("#count", has_text=f"{sum(word in words for words in found)} of 3 photos").wait_for()
    for button, check in (("Masks", check_masks), ("Export", check_export)):
        if button == "Export":
            visit.press("Export")
            button = "coco.zip"
        with visit.page.expect_download() as download:
            visit.panel.get_by_text(button).last.click()
        download.value.save_as(tmp_path / f"{button}.zip")
        check(tmp_path / f"{button}.zip", theirs / ("run" if check is check_masks else "coco"))
    with visit.page.expect_download() as download:
        visit.panel.get_by_role("button", name="Overview").click()
    assert download.value.suggested_filename == "overview.html"
    visit.fill("Words", "")
    visit.press("Segment all")
    without = "() => ![...document.querySelectorAll('.sw-code pre')].some(p => p.textContent.includes('--words'))"
    visit.page.wait_for_function(without)
    visit.leave()
