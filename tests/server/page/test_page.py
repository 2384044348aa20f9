"""The page without a browser: limits, jobs that stop, results, pictures, files, and lines that make a result again."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shlex
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from PIL import ImageDraw
from test_end_to_end import REFUSED

import segwright as sw
from segwright.cli import main
from segwright.errors import InputError, SegwrightError
from segwright.files.colors import color
from segwright.files.masks import write_label_map
from segwright.methods.ovdiff.support import support_of
from segwright.mini.voc import data_folder
from segwright.models.diffusion import Diffusion
from segwright.runs.exports import export
from segwright.server.page import reproduce
from segwright.server.page.downloads import coco, cutouts, write_files
from segwright.server.page.figure import outline, regions_figure, swipe
from segwright.server.page.uploads import Limits, read_upload
from segwright.server.page.why import diagnose, why
from segwright.server.page.work import DOING, Job, Stopped, Update, follow
from segwright.server.page.workspace import RefineRequest, Request, Workspace
from segwright.types import Segmentation

PHOTO = data_folder() / "JPEGImages/val_00014.jpg"
WORDS = "banana, horse"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace("mini", "cpu", banks=tmp_path_factory.mktemp("banks"), limits=Limits(megabytes=2.0, megapixels=3.0))


@pytest.fixture(scope="module")
def image() -> Any:
    return sw.read(PHOTO)


# --- uploads


@pytest.mark.parametrize("name", REFUSED)
def test_bad_uploads_are_refused_by_their_own_name(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(REFUSED[name]())
    with pytest.raises(InputError) as refused:
        read_upload(tmp_path / name, Limits())
    assert name in str(refused.value)
    assert str(tmp_path) not in str(refused.value)


def test_uploads_are_limited_in_bytes_and_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Pillow.new("RGB", (60, 50), "red").save(tmp_path / "a.png")
    size = (tmp_path / "a.png").stat().st_size
    assert read_upload(tmp_path / "a.png", Limits(size / 1e6, 0.003)).shape == (50, 60, 3)
    smaller = read_upload(tmp_path / "a.png", Limits(1, 0.0029))
    assert smaller.shape == (49, 58, 3), "made smaller, to 0.0029 megapixels at most"
    assert (smaller == [255, 0, 0]).all()
    with pytest.raises(InputError, match=r"60x50 pixels; this page takes 0.0028 megapixels"):
        read_upload(tmp_path / "a.png", Limits(1, 0.0007))
    with pytest.raises(InputError, match=r"MB; this page takes"):
        read_upload(tmp_path / "a.png", Limits((size - 1) / 1e6, 1))
    with pytest.raises(InputError, match="no photo yet"):
        read_upload(None, Limits())
    with pytest.raises(InputError, match="no longer there"):
        read_upload(tmp_path / "gone.png", Limits())


# --- jobs


def test_a_job_tells_what_it_does_and_ends_with_its_result() -> None:
    def work(job: Job) -> int:
        job.report("one")
        job.report("two", 0.5)
        return 7

    assert list(follow(work)) == [Update("one"), Update("two", 0.5), 7]


def test_networks_do_not_talk_over_a_share_that_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = torch.nn.Linear(2, 2)
    monkeypatch.setitem(DOING, "Linear", "Multiplying")

    def work(job: Job) -> None:
        for share in (0.0, 0.5, 1.0):
            job.report("Drawing", share)
            layer(torch.zeros(1, 2))

    drawn = [Update("Drawing", share) for share in (0.0, 0.5, 1.0)]
    assert list(follow(work)) == [*drawn, Update("Multiplying"), None]


def test_a_job_is_stopped_inside_a_network() -> None:
    """A module that would run for ever, and catches every Exception on the way."""
    stop, layer = threading.Event(), torch.nn.Linear(2, 2)

    def work(job: Job) -> None:
        job.report("began")
        while True:
            try:
                layer(torch.zeros(1, 2))
            except Exception:
                continue

    steps = follow(work, stop)
    assert next(steps) == Update("began")
    stop.set()
    with pytest.raises(Stopped):
        next(steps)
    layer(torch.zeros(1, 2))  # other threads' networks go on


def test_a_closed_job_stops_and_errors_are_sentences(capfd: pytest.CaptureFixture[str]) -> None:
    ended = threading.Event()

    def endless(job: Job) -> None:
        try:
            while True:
                job.report("on")
                time.sleep(0.001)
        finally:
            ended.set()

    steps = follow(endless)
    next(steps)
    steps.close()
    assert ended.wait(10)
    for error, said in ((InputError("no"), "^no$"), (MemoryError(), "more memory"), (KeyError("x"), r"\(KeyError\)")):
        with pytest.raises(SegwrightError, match=said):
            list(follow(lambda job, error=error: (_ for _ in ()).throw(error)))
    assert "KeyError" in capfd.readouterr().err, "the server's log has the details"


# --- cache


@pytest.mark.parametrize("method", ["freeseg-diff", "ovdiff"])
def test_other_words_on_a_photo_need_no_diffusion_model(
    method: str, workspace: Workspace, image: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = tiny_bank(workspace) if method == "ovdiff" else ""
    request = Request("banana, sofa", method, {"candidates": "none"}, bank)
    workspace.segment(image, "a.jpg", request)
    fresh = Workspace("mini", "cpu", banks=workspace.banks).segment(image, "a.jpg", Request("sofa", method, request.settings, bank))

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the U-Net was asked again")

    monkeypatch.setattr(Diffusion, "features", refuse)
    again = workspace.segment(image, "a.jpg", Request("sofa", method, request.settings, bank))
    assert np.array_equal(again.segmentation.labels, fresh.segmentation.labels)
    assert again.segmentation.scores is not None
    assert torch.equal(again.segmentation.scores.values, fresh.segmentation.scores.values)


# --- results, and the lines that make them again


def tiny_bank(workspace: Workspace) -> str:
    pytest.importorskip("gradio", reason="the page needs Gradio")
    from segwright.server.page.prototypes_tab import build_bank

    build_bank(workspace, "tiny", "banana, sofa", "", 2, steps=2)
    return "tiny"


def label_map(path: Path) -> np.ndarray:
    with Pillow.open(path) as picture:
        return np.asarray(picture)


REQUESTS = {
    "plain": Request(WORDS),
    "caption": Request(""),
    "settings": Request(
        WORDS, settings={"refine": "pamr,crf", "clusters": 5, "candidates": "none", "sharpen_first": True, "seed": 3}
    ),
    "unrefined": Request(WORDS, settings={"refine": "none"}),
    "maskclip": Request('banana, it\'s a "car"', "maskclip", {"refine": "crf", "clusters": 9}),
    "ovdiff": Request("banana", "ovdiff", {"background": "threshold"}, "tiny"),
    "typed": Request("banana, sofa", "best", {"refine": "none", "seed": 1}, more="parts=presence, dense\nseed=2"),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_the_lines_shown_make_the_same_masks(
    name: str, workspace: Workspace, image: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "ovdiff":
        tiny_bank(workspace)
    result = workspace.segment(image, "my photo.jpg", REQUESTS[name])
    (tmp_path / "my photo.jpg").write_bytes(PHOTO.read_bytes())
    monkeypatch.chdir(tmp_path)
    program, *arguments = shlex.split(reproduce.segment_command(result))
    assert program == "segwright"
    assert main(arguments) == 0
    assert np.array_equal(label_map(tmp_path / "out/my photo.png"), result.segmentation.labels)
    exec(reproduce.segment_lines(result), {})
    assert np.array_equal(label_map(tmp_path / "out/result.png"), result.segmentation.labels)


def test_refined_masks_are_made_again_too(
    workspace: Workspace, image: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = np.zeros(image.shape[:2], np.int64)
    labels[30:90, 30:80] = 2
    write_label_map(tmp_path / "coarse.png", labels)
    (tmp_path / "photo.jpg").write_bytes(PHOTO.read_bytes())
    result = workspace.refine(image, "photo.jpg", RefineRequest(tmp_path / "coarse.png", "1=dog, 2=banana"))
    assert (result.segmentation.labels != labels).any()
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(reproduce.refine_command(result))[1:]) == 0
    assert np.array_equal(label_map(tmp_path / "out/photo.png"), result.segmentation.labels)
    (tmp_path / "out/photo.png").unlink()
    exec(reproduce.refine_lines(result), {})
    assert np.array_equal(label_map(tmp_path / "out/photo.png"), result.segmentation.labels)
    with pytest.raises(InputError, match="indices are called"):
        workspace.refine(image, "photo.jpg", RefineRequest(tmp_path / "coarse.png", ""))


def test_banks_are_made_again_too(workspace: Workspace, tmp_path: Path) -> None:
    path = workspace.bank_path(tiny_bank(workspace))
    settings = support_of(path)
    assert settings is not None
    given = (workspace.loading, ("banana", "sofa"), ())
    assert main(shlex.split(reproduce.bank_command(*given, str(tmp_path / "command"), settings))[1:]) == 0
    exec(reproduce.bank_lines(*given, str(tmp_path / "lines"), settings), {})
    pictures = sorted(p.relative_to(path) for p in path.rglob("*.png"))
    assert pictures
    for name in pictures:
        wanted = (path / name).read_bytes()
        assert [(tmp_path / made / name).read_bytes() for made in ("command", "lines")] == [wanted, wanted]


def embedded(html: str) -> list[np.ndarray]:
    """The pictures in a page."""
    found = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    return [np.asarray(Pillow.open(io.BytesIO(base64.b64decode(text))).convert("RGB"), np.float64) for text in found]


def test_diagnoses_are_made_again_too(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my photo.jpg").write_bytes(PHOTO.read_bytes())
    html = diagnose(sw.read(PHOTO), "my photo.jpg", "banana", ["gradcam"], workspace.networks)
    given = (workspace.loading, "my photo.jpg", ("banana",), ["gradcam"])
    assert main(shlex.split(reproduce.diagnose_command(*given))[1:]) == 0
    first = [p.read_text("utf8") for p in (tmp_path / "out").rglob("*.html")]
    exec(reproduce.diagnose_lines(*given), {})
    again = [p.read_text("utf8") for p in (tmp_path / "out").rglob("*.html")]
    figures = embedded(html)
    assert len(figures) > 2
    for text in (first[0], again[0]):
        for one, other in zip(figures, embedded(text), strict=True):
            assert np.abs(one - other).mean() < 0.01, "gradients differ in their last bits when tensors lie elsewhere in memory"


def test_banks_lie_in_the_pages_folder_only(workspace: Workspace) -> None:
    for name in ("../x", "a/b", "", "é", "a" * 41, ".hidden"):
        with pytest.raises(InputError, match="bank's name"):
            workspace.bank_path(name)
    with pytest.raises(InputError, match="no bank"):
        workspace.bank("nothing")
    pytest.importorskip("gradio", reason="the page needs Gradio")
    from segwright.server.page.prototypes_tab import build_bank

    with pytest.raises(InputError, match="called stuff"):
        build_bank(workspace, "b", "dog", "grass", 1, steps=1)


# --- pictures


def blobs(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.kron(rng.random((12, 15)) < 0.5, np.ones((3, 2), bool)) ^ (rng.random((36, 30)) < 0.02)


@pytest.mark.parametrize("seed", range(4))
def test_outlines_enclose_exactly_the_mask(seed: int) -> None:
    """Pixel centres inside the path by the even-odd rule, counted by hand with crossings, are the mask's."""
    mask = blobs(seed)
    inside = np.zeros(mask.shape, bool)
    y, x = np.mgrid[: mask.shape[0], : mask.shape[1]] + 0.5
    for part in re.findall(r"M([^Z]*)Z", outline(mask)):
        points = np.array(part.split(), float).reshape(-1, 2)
        for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, 0), strict=True):
            if y0 != y1:
                inside ^= (np.minimum(y0, y1) <= y) & (y < np.maximum(y0, y1)) & (x < x0 + (y - y0) / (y1 - y0) * (x1 - x0))
    assert np.array_equal(inside, mask)


def test_a_figure_names_counts_and_escapes() -> None:
    labels = np.zeros((20, 40), np.int64)
    labels[:, 10:] = 2
    found = Segmentation(("unused", "<b>&"), labels)
    html = regions_figure(np.zeros((20, 40, 3), np.uint8), found, 'x"y.jpg')
    assert html.count("<path") == 1
    assert "&lt;b&gt;&amp;: 75.0 % of the photo" in html
    assert "<b>&" not in html.replace("&lt;b&gt;&amp;", "")
    assert "rgb({} {} {})".format(*color(2)) in html
    assert "http" not in html.replace("http://www.w3.org", ""), "nothing is fetched"
    picks = regions_figure(np.zeros((20, 40, 3), np.uint8), found, picks=True)
    assert picks.count("<path") == 2, "what has no label can be asked about, too"
    assert swipe(np.zeros((20, 40, 3), np.uint8), found, found).count("<img") == 2
    nothing = regions_figure(np.zeros((20, 40, 3), np.uint8), Segmentation((), np.zeros((20, 40), np.int64)))
    assert "Nothing was found" in nothing


def test_large_photos_are_shown_smaller() -> None:
    labels = np.ones((60, 3000), np.int64)
    html = regions_figure(np.zeros((60, 3000, 3), np.uint8), Segmentation(("a",), labels))
    assert 'viewBox="0 0 1200 24"' in html
    assert len(html) < 100_000


@pytest.mark.parametrize("method", ["freeseg-diff", "maskclip", "diffsegmenter"])
def test_why_has_a_section_for_every_region(method: str, workspace: Workspace, image: Any) -> None:
    result = workspace.segment(image, "a.jpg", Request(WORDS, method))
    html = why(result)
    sections = re.findall(r'<section class="sw-section" data-label="(\d+)"', html)
    assert [int(s) for s in sections] == np.unique(result.segmentation.labels).tolist()
    assert all(f'data-label="{s}" aria-label' in html for s in sections)
    assert "Who competed" in html


def test_diagnosis_needs_words_and_parts(workspace: Workspace, image: Any) -> None:
    assert "Grad-CAM" in diagnose(image, "a.jpg", "banana", ["gradcam"], workspace.networks)
    with pytest.raises(InputError, match="at least one part"):
        diagnose(image, "a.jpg", "banana", [], workspace.networks)
    with pytest.raises(InputError, match="at least one word"):
        diagnose(image, "a.jpg", " ", ["gradcam"], workspace.networks)


# --- files


def test_files_hold_the_same_as_the_commands_do(workspace: Workspace, image: Any, tmp_path: Path) -> None:
    result = workspace.segment(image, "val_00014.jpg", Request(WORDS))
    files = write_files(image, result.segmentation, "val_00014.jpg", tmp_path / "page")
    assert [f.name for f in files] == ["val_00014" + e for e in (".png", ".overlay.png", ".coco.json", ".cutouts.zip")]
    run = ["segment", str(PHOTO), "--preset", "mini", "--words", WORDS, "--device", "cpu", "-o", str(tmp_path / "run")]
    assert main(run) == 0
    assert np.array_equal(label_map(files[0]), label_map(tmp_path / "run/val_00014.png"))
    assert files[1].read_bytes() == (tmp_path / "run/val_00014.overlay.png").read_bytes()
    export(tmp_path / "run", "coco", tmp_path / "coco")
    theirs, ours = (
        json.loads((tmp_path / "coco/annotations.json").read_bytes()),
        json.loads(coco(result.segmentation, "val_00014.jpg")),
    )
    assert ours["annotations"] == theirs["annotations"]
    assert ours["categories"] == theirs["categories"]
    assert ours["images"] == theirs["images"]


def test_cut_outs_are_transparent_outside_their_word(image: Any) -> None:
    labels = np.zeros(image.shape[:2], np.int64)
    labels[10:20, 30:50] = 1
    labels[12, 33] = 0
    with zipfile.ZipFile(io.BytesIO(cutouts(image, Segmentation(("a/b ..", "no"), labels)))) as archive:
        assert archive.namelist() == ["001-a_b_.png"]
        with Pillow.open(archive.open("001-a_b_.png")) as picture:
            cut = np.asarray(picture)
    assert np.array_equal(cut[..., :3], image[10:20, 30:50])
    assert np.array_equal(cut[..., 3] == 255, labels[10:20, 30:50] == 1)


def test_paint_becomes_labels() -> None:
    pytest.importorskip("gradio", reason="the page needs Gradio")
    from segwright.server.page.refine_tab import painted_labels

    layer = Pillow.new("RGBA", (80, 60), (0, 0, 0, 0))
    pen = ImageDraw.Draw(layer)
    pen.rectangle((10, 10, 29, 29), fill=(*color(1), 255))
    pen.rectangle((40, 10, 59, 29), fill=(*(min(255, c + 9) for c in color(3)), 200))
    pen.rectangle((70, 50, 79, 59), fill=(*color(2), 90))
    labels = painted_labels([np.asarray(layer)], (60, 80))
    expected = np.zeros((60, 80), np.int64)
    expected[10:30, 10:30], expected[10:30, 40:60] = 1, 3
    assert np.array_equal(labels, expected)
    with pytest.raises(InputError, match="nothing is painted"):
        painted_labels([np.zeros((60, 80, 4), np.uint8)], (60, 80))


# --- the server, asked by a program


def test_the_named_api_answers_with_the_masks_of_the_command_line(workspace: Workspace, tmp_path: Path) -> None:
    pytest.importorskip("gradio", reason="the page needs Gradio")
    from gradio_client import Client, handle_file
    from gradio_client.exceptions import AppError

    from segwright.server.page.app import serving

    with serving(workspace) as url:
        client = Client(url, verbose=False, download_files=str(tmp_path))
        labels, record = client.predict(photo=handle_file(str(PHOTO)), words=WORDS, api_name="/segment")
        (tmp_path / "text.jpg").write_text("no picture")
        with pytest.raises(AppError, match=r"'text.jpg' is not a picture"):
            client.predict(photo=handle_file(str(tmp_path / "text.jpg")), words=WORDS, api_name="/segment")
        with pytest.raises(InputError, match="cannot be served"), serving(workspace, port=int(url.rsplit(":")[-1].strip("/"))):
            pass
        by_caption, _ = client.predict(photo=handle_file(str(PHOTO)), api_name="/segment")
        chosen = {"method": "freeseg-diff", "refiner": "pamr", "candidates": "none", "clusters": 5, "seed": 3}
        other, _ = client.predict(photo=handle_file(str(PHOTO)), words=WORDS, **chosen, api_name="/segment")
        named = list(client.view_api(return_format="dict")["named_endpoints"])
    run = ["segment", str(PHOTO), "--preset", "mini", "--words", WORDS, "--device", "cpu", "-o", str(tmp_path / "run")]
    assert main(run) == 0
    assert np.array_equal(label_map(Path(labels)), label_map(tmp_path / "run/val_00014.png"))
    plain = ["segment", str(PHOTO), "--preset", "mini", "--device", "cpu"]
    flags = [f"--{name.replace('refiner', 'refine')}={value}" for name, value in chosen.items()]
    assert main([*plain, "-o", str(tmp_path / "caption")]) == 0
    assert main([*plain, "--words", WORDS, *flags, "-o", str(tmp_path / "chosen")]) == 0
    assert np.array_equal(label_map(Path(by_caption)), label_map(tmp_path / "caption/val_00014.png"))
    assert np.array_equal(label_map(Path(other)), label_map(tmp_path / "chosen/val_00014.png"))
    theirs = json.loads((tmp_path / "run/val_00014.json").read_bytes())
    assert record["segments"] == theirs["segments"]
    assert named == ["/segment"]


def test_the_command_serves_until_it_is_told_to_end(tmp_path: Path) -> None:
    pytest.importorskip("gradio", reason="the page needs Gradio")
    (tmp_path / "t").mkdir()
    command = [sys.executable, "-m", "segwright", "serve", "--preset", "mini", "--device", "cpu", "--banks", str(tmp_path)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(tmp_path / "t")})
    assert server.stdout is not None
    try:
        assert re.match(r"segwright: the page is at http://127.0.0.1:\d+/ \(preset mini\)", server.stdout.readline())
        assert list((tmp_path / "t").glob("segwright-page-*"))
    finally:
        server.terminate()
    assert server.wait(30) == 0
    assert server.stdout.read() == "segwright: stopped\n"
    assert not list((tmp_path / "t").glob("segwright-page-*"))


def test_nothing_is_left_behind(workspace: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("gradio", reason="the page needs Gradio")
    from segwright.server.page.app import serving

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with serving(workspace):
        assert list(tmp_path.glob("segwright-page-*"))
    assert not list(tmp_path.glob("segwright-page-*"))
