"""Attacks on exports: into a run, over other people's files, words and names that break XML and YAML, nan."""

from __future__ import annotations

import json
import math
from pathlib import Path
from xml.etree import ElementTree as Xml

import pytest
from toy import WORDS, make_photos, spec

from segwright.cli import main
from segwright.errors import InputError
from segwright.runs.exports import FORMATS, export
from segwright.runs.exports.objects import xml_text, yaml_text
from segwright.runs.segment import segment

ODD = "p\x01\ufffe\u2028\U0001f600"  # control character, noncharacter, line separator, outside the first plane


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    photos = make_photos(folder / "in", 1)
    (photos / "p0.png").rename(photos / f"{ODD}.png")
    list(segment(photos, spec(), folder / "run", WORDS))
    return folder / "run"


@pytest.mark.parametrize("format", [f for f in FORMATS if f != "parquet"])
def test_an_export_never_writes_into_a_run(format: str, run: Path) -> None:
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    with pytest.raises(InputError, match="holds a run"):
        export(run, format, run)
    assert {p: p.read_bytes() for p in run.rglob("*") if p.is_file()} == before


def test_an_export_replaces_its_own_files_only(run: Path, tmp_path: Path) -> None:
    first = export(run, "coco", tmp_path)
    assert export(run, "coco", tmp_path) == first
    (tmp_path / "tasks.json").write_text("mine")
    with pytest.raises(InputError, match="written by somebody else"):
        export(run, "label-studio", tmp_path)
    assert (tmp_path / "tasks.json").read_text() == "mine"


def test_an_export_with_other_options_leaves_nothing_of_the_earlier_one(run: Path, tmp_path: Path) -> None:
    def files(folder: Path) -> set[str]:
        return {p.relative_to(folder).as_posix() for p in folder.rglob("*")}

    out = tmp_path / "out"
    export(run, "yolo", out, objects="parts", split={"train": 1.0}, copy_photos=True)
    export(run, "coco", out)
    (out / "train/mine.txt").write_text("mine")
    export(run, "yolo", out)
    export(run, "yolo", tmp_path / "fresh")
    assert files(out) == {*files(tmp_path / "fresh"), "annotations.json", "train", "train/mine.txt"}
    export(run, "coco", out, copy_photos=True)
    photos = {name for name in files(out) if name.startswith("images/")}
    assert photos
    export(run, "yolo", out, copy_photos=True)
    export(run, "yolo", out)
    assert photos <= files(out), "they are the other export's, too"
    export(run, "coco", out)
    assert not photos & files(out)


def test_names_that_no_xml_holds_are_read_back(run: Path, tmp_path: Path) -> None:
    for format in ("voc", "cvat"):
        export(run, format, tmp_path / format)
    (annotation,) = (tmp_path / "voc/Annotations").glob("*.xml")
    assert Xml.parse(annotation).findtext("filename") == xml_text(f"{ODD}.png")
    image = Xml.parse(tmp_path / "cvat/annotations.xml").find("image")
    assert image is not None
    assert image.get("name") == xml_text(f"{ODD}.png")


def test_words_that_no_yaml_holds_are_read_back() -> None:
    yaml = pytest.importorskip("yaml")
    for code in [*range(1, 0x3000), *range(0xD7F0, 0xD800), *range(0xE000, 0xE010), *range(0xFE00, 0x10000), 0x1F600, 0x10FFFF]:
        word = f"a{chr(code)}b"
        assert yaml.safe_load(yaml_text(word)) == word, hex(code)


def test_numbers_that_are_none(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for bad in (math.nan, math.inf, -1.0):
        assert main(["export", str(run), "--format", "coco", "--simplify", str(bad), "-o", str(tmp_path)]) == 2
        assert "from 0 up" in capsys.readouterr().err


def test_the_list_of_written_files_is_checked(run: Path, tmp_path: Path) -> None:
    export(run, "coco", tmp_path)
    (tmp_path / "segwright-export.jsonl").write_text(json.dumps({"file": "labels.xml"}) + "\n")
    with pytest.raises(InputError, match="line 1 of"):
        export(run, "coco", tmp_path)
