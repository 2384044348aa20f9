"""``--set`` and single networks, on every command that takes them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import segwright as sw
from segwright.cli import main, parser
from segwright.cli.options import SINGLE, method_spec
from segwright.files.masks import read_label_map
from segwright.methods.base import MethodSpec
from segwright.mini.voc import data_folder
from segwright.presets import CHOICES
from segwright.refine import CRF, G4Seg
from segwright.runs.refine_masks import REFINERS, RefinementSettings

PHOTO = data_folder() / "JPEGImages" / "val_00000.jpg"
MASK = data_folder() / "SegmentationClass" / "val_00000.png"
MINI = ("--preset", "mini", "--device", "cpu")
# What each command must be given beside settings.
NEEDED: dict[tuple[str, ...], tuple[object, ...]] = {
    ("segment",): (PHOTO, "--words", "apple"),
    ("explain",): (PHOTO, "--words", "apple", "-o", "page.html"),
    ("refine",): (PHOTO, "--mask", MASK, "--vocabulary", "mini", "-o", "out"),
    ("prototypes",): ("apple", "-o", "bank"),
    ("evaluate",): ("--data", "mini", "-o", "report"),
    ("table",): ("freeseg-diff/4", "--data", "mini", "--limit", "1"),
    ("diagnose",): (PHOTO, "--words", "apple"),
    ("serve",): (),
    ("check",): (),
}
SETS = {
    ("segment",): ("inner=3", "best has no setting 'inner'; this is refine.g4seg.inversion.inner"),
    ("explain",): ("clutsers=100", "did you mean clusters"),
    ("refine",): ("timestep=100", "this is g4seg.timestep"),
    ("prototypes",): ("steps=100", "this is sampling.steps"),
    ("evaluate",): ("clusters=x", "clusters must be a whole number, got 'x'"),
    ("table",): ("timestep=100", "freeseg-diff has no setting 'timestep'; this is features.timestep"),
    ("diagnose",): ("round=2", "did you mean rounds"),
}


def commands(
    top: argparse.ArgumentParser, before: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], argparse.ArgumentParser]]:
    """Every command with its parser, as ("bank", "show")."""
    inner = [action for action in top._actions if isinstance(action, argparse._SubParsersAction)]
    if not inner:
        yield before, top
    for name, sub in inner[0].choices.items() if inner else ():
        yield from commands(sub, (*before, name))


def takes(command: argparse.ArgumentParser, flag: str) -> bool:
    return any(flag in action.option_strings for action in command._actions)


WITH_PRESET = [
    path for path, command in commands(parser()) if takes(command, "--device") and path[0] not in ("mini", "export", "bench")
]


def test_names_of_single_networks_are_the_tables() -> None:
    assert set(SINGLE) == set(CHOICES)


@pytest.mark.parametrize("path", WITH_PRESET, ids=" ".join)
def test_single_networks_wherever_a_preset_is_chosen(
    path: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for kind in SINGLE:
        code = main([*path, *map(str, NEEDED[path]), *MINI, f"--{kind}", "no-such"])
        shown = capsys.readouterr()
        assert f"{kind} must be one of {', '.join(CHOICES[kind])}, got 'no-such'" in shown.err + shown.out
        assert code == (0 if path == ("table",) else 2)  # a table says what is missing in its row


@pytest.mark.parametrize("path", SETS, ids=" ".join)
def test_wrong_settings_are_refused_by_name(
    path: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text, sentence = SETS[path]
    assert main([*path, *map(str, NEEDED[path]), *MINI, "--set", text]) == 2
    assert sentence in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def spec(*arguments: str) -> MethodSpec:
    made: MethodSpec = method_spec(parser().parse_args(["segment", "a.jpg", *arguments]))
    return made


def test_flags_and_set_make_one_spec(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert spec("--method", "freeseg-diff", "--clusters", "6", "--sharpen-first", "--refine", "none").settings == {
        "clusters": 6, "sharpen_first": True, "refine": None,
    }  # fmt: skip
    made = spec(
        "--method",
        "ovdiff",
        "--extractors",
        "sd,clip",
        "--stuff",
        "grass, sky",
        "--set",
        "support.pictures=4",
        "--clip",
        "clip-b32",
    )
    assert made.settings == {"extractors": ("sd", "clip")}
    assert made.extras == {"clip": "clip-b32", "stuff": ("grass", "sky"), "support": {"pictures": 4}}
    row = spec(
        "--method",
        "freeseg-diff",
        "--refine",
        "g4seg,crf",
        "--set",
        "refine.g4seg.timestep=100",
        "--set",
        "refine.g4seg.inversion.inner=3",
    ).settings["refine"]
    assert [type(r) for r in row] == [G4Seg, CRF]
    assert (row[0].timestep, row[0].inversion.inner, row[1].binary) == (100, 3, True)
    assert main(["segment", str(PHOTO), "--clusters", "3", "--set", "clusters=4"]) == 2
    assert "--clusters and --set clusters say the same" in capsys.readouterr().err


def test_segment_and_evaluate_as_python_does(tmp_path: Path) -> None:
    given = ("--method", "freeseg-diff", "--set", "features.kind=query", "--set", "clusters=5", "--set", "refine.crf.iterations=2")
    assert main(["segment", str(PHOTO), "--words", "apple, dog", *MINI, *given, "-o", str(tmp_path / "out")]) == 0
    python = sw.load_method(
        "freeseg-diff", "mini", "cpu", features={"kind": "query"}, clusters=5, refine={"crf": {"iterations": 2}}
    )(sw.read(PHOTO), ["apple", "dog"])  # fmt: skip
    assert np.array_equal(read_label_map(tmp_path / "out/val_00000.png"), python.labels)
    assert main(["evaluate", "--data", "mini", "--limit", "1", *MINI, *given, "-o", str(tmp_path / "report")]) == 0
    run = json.loads((tmp_path / "report/report.json").read_text("utf8"))["run"]
    assert (run["settings"]["clusters"], run["settings"]["features"]["kind"], run["refine"][0]["iterations"]) == (5, "query", 2)


def test_refine_as_python_does(tmp_path: Path) -> None:
    words = ("--vocabulary", "mini", "--with", "crf", "--set", "crf.iterations=2", "--set", "crf.bilateral_sxy=20")
    assert main(["refine", str(PHOTO), "--mask", str(MASK), *words, *MINI, "-o", str(tmp_path / "cli")]) == 0
    changes = {"crf": {"iterations": 2, "bilateral_sxy": 20}}
    from segwright.refine.pipeline import changed_row

    settings = RefinementSettings(changed_row("crf", changes, REFINERS))
    (done,) = sw.refine_masks(PHOTO, MASK, tmp_path / "python", settings=settings)
    assert done.error is None
    assert (tmp_path / "cli/val_00000.png").read_bytes() == (tmp_path / "python/val_00000.png").read_bytes()


def test_a_table_with_other_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["table", "freeseg-diff/4", "--data", "mini", "--limit", "1", *MINI, "-o", str(tmp_path)]
    assert main([*common, "--set", "refine=none", "--set", "restarts=1"]) == 0
    shown = capsys.readouterr().out
    assert "missing" not in shown
    assert "Measured with preset mini on mini (val), 1 photo, `--set refine=none`, `--set restarts=1`." in shown
    runs = [json.loads(p.read_text("utf8"))["run"] for p in tmp_path.rglob("report.json")]
    assert runs
    assert all(run["refine"] == [] and run["settings"]["restarts"] == 1 for run in runs)
