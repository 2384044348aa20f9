"""The command line as a user runs it, in this process, with preset mini on shipped scenes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import segwright as sw
from segwright.cli import main, parser
from segwright.mini.scenes import THINGS
from segwright.mini.voc import data_folder

PHOTOS = data_folder() / "JPEGImages"
SAMPLE = PHOTOS / "val_00000.jpg"


def run(*arguments: object) -> int:
    return main([str(a) for a in arguments])


def test_segment_writes_three_files_that_agree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("segment", SAMPLE, "--preset", "mini", "--vocabulary", "mini", "-o", tmp_path) == 0
    names = ["manifest.jsonl", "run.json", "val_00000.json", "val_00000.overlay.png", "val_00000.png"]
    assert sorted(p.name for p in tmp_path.iterdir()) == names
    record = json.loads((tmp_path / "val_00000.json").read_text("utf8"))
    with Image.open(tmp_path / "val_00000.png") as mask:
        labels = np.asarray(mask)
        assert mask.mode == "P"
    assert labels.shape == (128, 128)
    assert {s["index"]: s["area"] for s in record["segments"]} == {int(i): int((labels == i).sum()) for i in np.unique(labels) if i}
    for segment in record["segments"]:
        assert THINGS[segment["index"] - 1] == segment["word"]
    for key in ("caption", "competed", "beliefs", "not_found", "preset", "settings", "seed", "versions"):
        assert key in record
    assert "-> " in capsys.readouterr().out


def test_command_and_python_give_the_same_masks(tmp_path: Path) -> None:
    assert run("segment", SAMPLE, "--preset", "mini", "--words", "dog, car, apple", "--seed", 3, "-o", tmp_path) == 0
    with Image.open(tmp_path / "val_00000.png") as mask:
        written = np.asarray(mask)
    result = sw.load_method("best", "mini", "cpu", seed=3)(sw.read(SAMPLE), ["dog", "car", "apple"])
    assert np.array_equal(written, result.labels)


def test_a_bad_photo_among_good_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a.jpg", "c.jpg"):
        (folder / name).write_bytes(SAMPLE.read_bytes())
    (folder / "b.jpg").write_bytes(SAMPLE.read_bytes()[:700])
    assert run("segment", folder, "--preset", "mini", "-o", tmp_path / "out", "--json") == 1
    printed = capsys.readouterr()
    assert len([json.loads(line) for line in printed.out.splitlines()]) == 2
    assert "b.jpg" in printed.err
    assert "Traceback" not in printed.err
    assert sorted(p.stem for p in (tmp_path / "out").glob("*.json")) == ["a", "c", "run"]


def test_photos_of_one_name_do_not_overwrite_each_other(tmp_path: Path) -> None:
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "photo.jpg").write_bytes((PHOTOS / f"val_0000{'xy'.index(name)}.jpg").read_bytes())
    assert run("segment", tmp_path / "x/photo.jpg", tmp_path / "y/photo.jpg", "--preset", "mini", "-o", tmp_path / "out") == 0
    assert len(list((tmp_path / "out").rglob("*.overlay.png"))) == 2


def test_turned_photo_keeps_its_upright_size(tmp_path: Path) -> None:
    photo = Image.open(SAMPLE).crop((0, 0, 100, 60))
    exif = photo.getexif()
    exif[0x0112] = 6
    photo.save(tmp_path / "turned.jpg", exif=exif)
    assert run("segment", tmp_path / "turned.jpg", "--preset", "mini", "-o", tmp_path / "out") == 0
    with Image.open(tmp_path / "out/turned.png") as mask:
        assert mask.size == (60, 100)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("segment", "missing.jpg", "--preset", "mini"), "missing.jpg"),
        (("segment", SAMPLE, "--preset", "nothere"), "unknown preset 'nothere'"),
        (("segment", SAMPLE, "--preset", "./no-folder"), "no-folder"),
        (("segment", SAMPLE, "--preset", "mini", "--words", " , "), "word"),
        (("segment", SAMPLE, "--preset", "mini", "--words", "dog; cat, cat"), "each word once"),
        (("segment", SAMPLE, "--preset", "mini", "--words", "x" * 500), "200"),
        (("segment", SAMPLE, "--preset", "mini", "--vocabulary", "imagenet"), "imagenet"),
        (("segment", SAMPLE, "--preset", "mini", "--clusters", 2000), "clusters"),
        (("segment", SAMPLE, "--preset", "mini", "--device", "tpu"), "device"),
        (("mini", "train", "-o", "x", "--steps", 3), "--stage"),
    ],
    ids=str,
)
def test_bad_input_is_one_sentence(
    arguments: tuple, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.startswith("segwright: ")
    assert len(printed.err.strip().splitlines()) == 1
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_unwritable_output_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert run("segment", SAMPLE, "--preset", "mini", "-o", tmp_path / "file") == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_presets_lists_everything_and_path_prints_the_folder_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("presets") == 0
    listed = capsys.readouterr().out
    for word in ("sd14", "sd15", "sd21", "sdxl", "mini", "Apache-2.0", "GB"):
        assert word in listed
    assert run("presets", "--path", "mini") == 0
    folder = capsys.readouterr().out
    assert folder.count("\n") == 1
    assert os.path.isfile(Path(folder.strip()) / "model_index.json")


def test_explain_writes_a_page_that_holds_its_pictures(tmp_path: Path) -> None:
    assert run("explain", SAMPLE, "--method", "freeseg-diff", "--preset", "mini", "--vocabulary", "mini", "-o", tmp_path) == 0
    page = (tmp_path / "val_00000.html").read_text("utf8")
    assert page.count("data:image/png;base64,") >= 9
    assert "http" not in page
    for heading in ("1. Words", "2. Features and regions", "3. What CLIP calls each region", "4. Refinement"):
        assert heading in page


def test_environment_sets_the_default_preset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGWRIGHT_PRESET", "mini")
    assert run("segment", SAMPLE, "-o", tmp_path) == 0


def test_every_command_has_help() -> None:
    for command in (["segment"], ["explain"], ["presets"], ["mini"], ["mini", "scenes"], ["mini", "train"], ["mini", "measure"]):
        with pytest.raises(SystemExit) as stopped:
            parser().parse_args([*command, "--help"])
        assert stopped.value.code == 0
