"""The papers' tables: every row is whole, published figures stand in the papers, rows run or say why not."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest

from segwright.datasets import DATASETS
from segwright.errors import InputError
from segwright.evaluation.table_report import plot, text
from segwright.evaluation.table_rows import FILES, Line, common_of, names, read_paper
from segwright.evaluation.tables import Options, _check_settings, _gain, method_of, table
from segwright.methods import METHODS, find_method
from segwright.methods.base import MethodSpec
from segwright.presets import PRESETS
from segwright.weights import load_controlnet

PAPERS = Path(__file__).resolve().parents[3] / "shared" / "papers"
EXPECTED = (
    [f"freeseg-diff/{n}" for n in range(1, 8)]
    + [f"ovdiff/{n}" for n in ("1", "2", "3", "4", "fig4")]
    + [f"g4seg/{n}" for n in ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "sec-XI", "XI", "fig4")]
    + ["critical-look/1"]
)


def test_all_tables_are_there() -> None:
    assert list(names()) == EXPECTED
    with pytest.raises(InputError, match="there is no table 'freeseg-diff/9'"):
        table("freeseg-diff/9")


@pytest.mark.parametrize("name", EXPECTED)
def test_every_row_can_be_run_or_says_why_not(name: str) -> None:
    """Methods and settings exist (where the method does), data sets too; on both kinds of data."""
    file, key = name.split("/")
    paper = read_paper(file)
    for row in paper["tables"][key]["rows"]:
        assert ("method" in row) != ("missing" in row)
        assert "missing" in row or set(row["published"]) <= set(DATASETS)
        for data in ("voc", "mini"):
            job = {**common_of(paper), **row, **(row.get("mini", {}) if data == "mini" else {})}
            if "missing" in job:
                assert len(job["missing"]) > 10
            elif job["method"] in METHODS:
                spec = method_of(
                    job, data, Options(None, data, Path(), None, "cpu", "float32", None, None, 1, 1, None, (), {}, False)
                )
                assert isinstance(spec, MethodSpec)
                known = {f.name for f in fields(find_method(spec.name).Settings)}
                assert set(spec.settings) <= known
                assert spec.preset == ("mini" if data == "mini" else None), "else the profile's"
                assert spec.filled().preset in PRESETS


@pytest.mark.skipif(not PAPERS.is_dir(), reason="../shared/papers is not here")
@pytest.mark.parametrize("file", FILES)
def test_published_figures_stand_in_the_papers_text(file: str) -> None:
    words = (PAPERS / f"{file}.txt").read_text("utf8")
    for key, found in read_paper(file)["tables"].items():
        for row in found["rows"]:
            for value in row["published"].values():
                for number in value.values() if isinstance(value, dict) else [value]:
                    if number is not None:
                        assert any(f"{number:.{digits}f}" in words for digits in (1, 2)), (key, row["row"], number)


def test_a_row_on_the_miniature_world_runs_and_the_others_are_listed(tmp_path: Path) -> None:
    lines = table("freeseg-diff/3", data="mini", device="cpu", out=tmp_path, limit=1)
    assert [line.row for line in lines] == ["CLIP-ViT", "ViT", "DINOv2", "SDM"]
    assert [bool(line.missing) for line in lines] == [False, True, True, False]
    assert all(0 < line.measured["miou_per_image"] <= 1 for line in lines if not line.missing)
    shown = text("freeseg-diff/3", lines)
    assert "49.52 miou_per_image, 72.19 pixel_accuracy (voc)" in shown
    assert "- DINOv2 (mini): preset mini has no DINOv2" in shown
    assert (tmp_path / "freeseg-diff-3.md").read_text("utf8") == shown
    assert "Measured with preset mini on mini (val), 1 photo. Intervals:" in shown
    assert "fewer than 30 photos they are rough" in shown
    assert {(line.preset, line.split, line.photos) for line in lines if line.measured} == {("mini", "val", 1)}
    before = sorted(p.stat().st_mtime_ns for p in tmp_path.glob("runs/*/photos.jsonl"))
    assert table("freeseg-diff/3", data="mini", device="cpu", out=tmp_path, limit=1) == lines
    assert sorted(p.stat().st_mtime_ns for p in tmp_path.glob("runs/*/photos.jsonl")) == before, "nothing was run twice"


def test_without_data_every_row_says_what_is_missing(tmp_path: Path) -> None:
    lines = table("freeseg-diff/2", tmp_path, out=tmp_path / "out")
    assert len(lines) == 4
    assert all("does not hold voc" in line.missing for line in lines)
    given = ["features.timestep=100"]
    table("freeseg-diff/2", tmp_path, out=tmp_path / "out", settings=given)
    assert "Nothing was measured, `--set features.timestep=100`." in (tmp_path / "out/freeseg-diff-2.md").read_text("utf8")
    assert json.loads((tmp_path / "out/freeseg-diff-2.json").read_text("utf8"))["settings"] == given
    assert {p.suffix for p in (tmp_path / "out").iterdir()} == {".md", ".json"}, "no picture without a bar"


def test_what_was_measured_stands_above_the_table() -> None:
    lines = [
        Line("a", "voc", {"": 53.0}, {"miou": 0.5}, preset="sd15", split="val", photos=1449),
        Line("a", "coco-object", {"": None}, {"miou": 0.5}, preset="sd21", split="val", photos=5000),
        Line("b", "voc", {}, {}, missing="no weights"),
    ]
    shown = text("freeseg-diff/2", lines, ["clusters=5", "restarts=1"])
    wanted = (
        "Measured with presets sd15, sd21 on voc (val), 1449 photos; coco-object (val), 5000 photos, "
        "`--set clusters=5`, `--set restarts=1`. Intervals: bootstrap over photos, expanded percentiles.\n"
    )
    assert wanted in shown


def test_a_diamond_is_named_where_one_is_drawn() -> None:
    with_one = Line("a", "voc", {"": 53.0}, {"miou": 0.5})
    without = Line("a", "mini", {"voc": 53.0}, {"miou": 0.5})
    assert b"diamond: published" in plot("freeseg-diff/2", [with_one, without])["svg"]
    drawn = plot("freeseg-diff/2", [without])
    assert b">measured<" in drawn["svg"]
    assert b"diamond" not in drawn["svg"]
    assert plot("freeseg-diff/2", [Line("a", "voc", {}, {}, missing="no weights")]) == {}


def test_settings_that_no_row_takes_are_refused_first(tmp_path: Path) -> None:
    options = Options(None, "mini", tmp_path, None, "cpu", "float32", 1, None, 1, 1, None, (), {}, False)
    _check_settings("freeseg-diff/1", replace(options, settings=("clusters=5",)))  # of FreeSeg-Diff's row alone
    for bad, sentence in (("clusters=x", "whole number"), ("clusters=0", "clusters"), ("clutsers=5", "has no setting 'clutsers'")):
        with pytest.raises(InputError, match=sentence):
            _check_settings("freeseg-diff/2", replace(options, settings=(bad,)))
    with pytest.raises(InputError, match=r"this is features\.timestep"):
        table("freeseg-diff/2", data="mini", out=tmp_path / "out", settings=["timestep=100"])
    assert not (tmp_path / "out").exists()


def test_gain_is_the_mean_over_photos_in_the_range() -> None:
    assert _gain([0.1, 0.5, 0.9, 1.0], [0.2, 0.4, 0.9, 0.8], [0, 0.4]) == pytest.approx(0.1)
    assert _gain([0.1, 0.5, 0.9, 1.0], [0.2, 0.4, 0.9, 0.8], [0.8, 1]) == pytest.approx(-0.1)
    with pytest.raises(InputError, match="no photo's coarse mask"):
        _gain([0.5], [0.5], [0, 0.4])


def test_rows_of_a_controlnet_and_of_lcm(tmp_path: Path) -> None:
    """A ControlNet's folder makes its rows run; LCM's row is refined on the LCM's own weights, with CLIP B/16."""
    import tiny

    from segwright.evaluation import tables

    lines = table("g4seg/VIII", data="mini", out=tmp_path / "none", limit=1)
    assert [line.missing for line in lines if "ControlNet" in line.row] == [tables.NO_CONTROLNET] * 2
    options = Options(None, "mini", tmp_path, None, "cpu", "float32", 1, None, 1, 1, None, (), {}, False)
    paper = read_paper("g4seg")
    row = next(r for r in paper["tables"]["VIII"]["rows"] if r["row"] == "ControlNet, SCLIP")
    folder = tiny.controlnet(tmp_path / "net", "sd1")
    spec = method_of({**common_of(paper), **row}, "mini", replace(options, controlnet=str(folder)))
    (refiner,) = spec.then
    assert refiner.settings()["controlnet"] == load_controlnet(folder, "cpu").identity()
    row = next(r for r in paper["tables"]["IX"]["rows"] if r["row"] == "LCM")
    parts = tables._parts(method_of({**common_of(paper), **row}, "voc", options))
    assert {part.repo.partition("/")[2] for part in parts} == {"LCM_Dreamshaper_v7", "clip-vit-base-patch16"}


def test_a_row_asks_for_exactly_its_own_networks() -> None:
    """SCLIP's row wants CLIP B/16 alone, refined by G4Seg SD 2.1 and B/16; OVDiff's SD 1.5, B/16 and DINO; nothing is fetched."""
    from segwright.evaluation import tables

    paper, options = read_paper("g4seg"), Options(None, None, Path(), None, "cpu", "float32", None, None, 1, 1, None, (), {}, False)

    def wanted(file: str, key: str, name: str) -> set[str]:
        paper = read_paper(file)
        row = next(r for r in paper["tables"][key]["rows"] if r["row"] == name)
        parts = tables._parts(method_of({**common_of(paper), **row}, "voc", options))
        return {part.repo.partition("/")[2] for part in parts}

    assert wanted("g4seg", "I", "SCLIP") == {"clip-vit-base-patch16"}
    assert wanted("g4seg", "I", "G4Seg+SCLIP") == {"clip-vit-base-patch16", "stable-diffusion-2-1"}
    assert wanted("g4seg", "I", "DiffSegmenter") == {
        "stable-diffusion-v1-5", "blip-image-captioning-large", "clip-vit-base-patch32",
    }  # fmt: skip
    assert wanted("ovdiff", "1", "OVDiff") == {"stable-diffusion-v1-5", "clip-vit-base-patch16", "dino-vitb8"}
    first = [table["rows"][0]["row"] for table in paper["tables"].values()]
    assert all("SCLIP B/16" in row for row in first)
    spec = method_of({**common_of(paper), **paper["tables"]["I"]["rows"][-2]}, "context", options)
    assert spec.then[0].settings()["reach"] is None
