"""The command and its twin, end to end on small random networks."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from PIL import Image as Pillow

import segwright as sw
from segwright.cli import main
from segwright.files.masks import write_label_map
from segwright.mini.voc import data_folder

SAMPLE = data_folder() / "JPEGImages" / "val_00000.jpg"


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("preset")
    tiny.diffusion(folder)
    tiny.clip(folder / "clip")
    tiny.captioner(folder / "captioner")
    return folder


def run(*arguments: object) -> int:
    return main([str(a) for a in arguments])


def test_a_photo_gives_one_page_and_its_pictures(preset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = np.zeros((128, 128), np.int64)
    truth[40:80, 40:80] = 1
    write_label_map(tmp_path / "truth.png", truth)
    given = ("--words", "bus, bottle", "--truth", tmp_path / "truth.png", "--steps", 2)
    assert run("diagnose", SAMPLE, *given, "--preset", preset, "-o", tmp_path / "out") == 0
    page = tmp_path / "out/val_00000.html"
    assert capsys.readouterr().out.strip() == str(page)
    html = page.read_text("utf8")
    for heading in ("Grad-CAM", "cross-attention", "k-means of features", "Conditioning"):
        assert heading in html
    assert not re.search(r"(src|href)=\"(?!data:)|<script|<link|url\(", html)
    pictures = sorted((tmp_path / "out/val_00000").iterdir())
    plots = 2 * html.count("<svg")  # each a PNG and an SVG file
    assert len(pictures) - plots == html.count("data:image/png") > 60
    for path in (p for p in pictures if p.suffix == ".png"):
        with Pillow.open(path) as picture:
            picture.load()
    assert not list((tmp_path / "out").rglob(".segwright-*"))


def test_only_some_parts_and_the_twin(preset: Path, tmp_path: Path) -> None:
    assert run("diagnose", SAMPLE, "--words", "bus", "--only", "gradcam", "--preset", preset, "-o", tmp_path / "a") == 0
    page = sw.diagnose(SAMPLE, ["bus"], tmp_path / "b", only=["gradcam"], preset=preset)
    assert page.read_text("utf8") == (tmp_path / "a/val_00000.html").read_text("utf8")
    assert "k-means" not in page.read_text("utf8")


def recorded(folder: Path) -> list[dict[str, Any]]:
    """The photos' records; later lines add parts to earlier ones."""
    found: dict[str, dict[str, Any]] = {}
    for line in (folder / "records.jsonl").read_text("utf8").splitlines():
        record = json.loads(line)
        found[record["name"]] = found.get(record["name"], {}) | record
    return list(found.values())


def test_a_data_set_gives_averages_and_goes_on(preset: Path, tmp_path: Path) -> None:
    common = ("diagnose", "--data", "mini", "--steps", 2, "--preset", preset, "-o", tmp_path)
    assert run(*common, "--limit", 1, "--only", "gradcam,features") == 0
    before = recorded(tmp_path)
    assert run(*common, "--limit", 2) == 0
    after = recorded(tmp_path)
    assert len(before) == 1
    assert len(after) == 2
    assert after[0]["gradcam"] == before[0]["gradcam"]
    figures = json.loads((tmp_path / "figures.json").read_text("utf8"))
    assert figures["photos"] == 2
    assert len(figures["tables"]) == 7
    assert any("(b) against (a)" in name for name in figures["tests"])
    text = (tmp_path / "figures.md").read_text("utf8")
    assert all(f"## {t['title']}" in text for t in figures["tables"])
    plots = [p.read_text("utf8").count("<svg") for p in tmp_path.glob("plot-*.svg")]
    assert len(plots) >= 3  # three more where a word's attention can be told from others'
    assert (tmp_path / "report.html").read_text("utf8").count("<svg") == sum(plots) > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "one of the two"),
        ((SAMPLE, "--data", "mini"), "one of the two"),
        ((SAMPLE,), "needs words"),
        ((SAMPLE, "--words", "bus", "--only", "magic"), "only must be"),
        ((SAMPLE, "--words", "bus", "--prompt", "a dog"), "'bus' is not in"),
        ((SAMPLE, "--words", "bus", "--truth", SAMPLE), "label map"),
        ((SAMPLE, "--words", "bus", "--steps", 0), "steps must"),
        (("--data", "mini", "--words", "bus"), "leave words"),
        (("--data", "mini", "--limit", 0), "limit must"),
        (("--data", "nothere"), "nothere"),
        (("nothere.jpg", "--words", "bus"), "nothere.jpg"),
    ],
    ids=str,
)
def test_bad_input_is_one_sentence(
    arguments: tuple, message: str, preset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("diagnose", *arguments, "--preset", preset, "-o", tmp_path) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert len(printed.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_records_of_another_run_are_not_mixed_in(preset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ("diagnose", "--data", "mini", "--limit", 1, "--only", "gradcam", "--preset", preset, "-o", tmp_path)
    assert run(*common, "--steps", 2) == 0
    capsys.readouterr()
    assert run(*common, "--steps", 3) == 2
    assert "holds a run with settings.steps = 2, this one has 3" in capsys.readouterr().err
