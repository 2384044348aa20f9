"""The page of results and the README's table are made from the files of figures, and from nothing else."""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
import results

from segwright.cli import parser
from segwright.cli.options import method_spec
from segwright.methods.best.method import PARTS


def figures(value: float) -> dict[str, Any]:
    return {"measure": "miou", "figures": {"miou": [value, value - 0.1, value + 0.1]}, "seconds": 0.5, "photos": 9, "networks": {}}


def content(part: str, split: str) -> dict[str, Any]:
    rows = [{"title": m, "command": "c", **figures(0.1 * i)} for i, m in enumerate(results.METHODS[:3], 2)]
    rows.append({"title": "groupvit", "command": "c", "missing": "no network"})
    return {
        "title": results.parts()[part].title, "against": "best", "rows": rows, "preset": "mini", "data": "mini",
        "split": split, "limit": None, "commit": "abc",
    }  # fmt: skip


def test_page_and_table_follow_the_files(tmp_path: Path) -> None:
    for part in ("methods", "named", "open"):
        for split in results.SPLITS:
            (tmp_path / f"{part}-{split}.json").write_text(json.dumps(content(part, split)), "utf8")
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{results.OPENING}\nold\n{results.CLOSING}\nafter\n", "utf8")
    results.render("mini", readme, tmp_path)
    told = readme.read_text("utf8")
    assert told.startswith("before\n")
    assert told.endswith("\nafter\n")
    assert "old" not in told
    assert "| freeseg-diff | 20.00 [10.00, 30.00] |" in told
    assert "| groupvit | - | - |" in told
    assert (tmp_path / "mini.md").read_text("utf8").count("missing: no network") == 6
    results.render("mini", readme, tmp_path)
    assert readme.read_text("utf8") == told


def test_what_ships_is_what_the_files_say(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    shutil.copytree(results.PAGES, tmp_path / "pages")
    shutil.copy(results.README, readme)
    results.render("mini", readme, tmp_path / "pages")
    assert readme.read_text("utf8") == results.README.read_text("utf8")
    assert (tmp_path / "pages/mini.md").read_text("utf8") == (results.PAGES / "mini.md").read_text("utf8")


def test_a_part_is_measured_with_differences_and_reasons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = [
        "one",
        "--limit",
        "2",
        "--splits",
        "val",
        "--work",
        str(tmp_path / "work"),
        "--pages",
        str(tmp_path),
        "--device",
        "cpu",
    ]
    part = results.Part("one", tuple(results.Run(m, m, "named", only="one") for m in ("maskclip", "sclip", "groupvit")), "maskclip")
    monkeypatch.setattr(results, "parts", lambda: {"one": part})
    assert results.main(given) == 0
    made = json.loads((tmp_path / "one-val.json").read_text("utf8"))
    first, second, third = made["rows"]
    assert first["figures"]["right"][0] in (0, 0.5, 1)
    assert first["photos"] == 2
    assert second["difference"][0] == pytest.approx(second["figures"]["right"][0] - first["figures"]["right"][0])
    assert "--only one" in first["command"]
    assert ("missing" in third) != ("figures" in third)


RUNS = [run for part in results.parts().values() for run in part.runs]
FEW = results.Run(
    "two parts, with a template of two commas", "best", settings={"parts": ("presence", "dense"), "templates": ("a {}, b, c",)}
)


@pytest.mark.parametrize("run", [*RUNS, FEW], ids=lambda run: f"{run.title} {run.method} {run.protocol} {run.only}")
def test_a_recorded_command_has_the_settings_that_were_measured(run: results.Run) -> None:
    options = argparse.Namespace(preset="mini", data="mini", root=None, limit=100, device="cpu", dtype="bfloat16")
    program, *arguments = shlex.split(shlex.join(results.command(run, "held", options)))
    given = parser().parse_args(arguments)
    read, measured = method_spec(given), results.spec(run, options)
    assert program == "segwright"
    assert (given.data, given.split, given.limit, given.protocol, given.only) == ("mini", "held", 100, run.protocol, run.only)
    assert (read.name, read.preset, read.device, read.dtype) == (run.method, "mini", "cpu", "bfloat16")
    assert read.kind.checked(read.settings) == measured.kind.checked(measured.settings)


def test_the_parts_of_best_that_were_left_out_are_read_from_their_command() -> None:
    options = argparse.Namespace(preset="mini", data="mini", root=None, limit=None, device=None, dtype="float32")
    read = [method_spec(parser().parse_args(results.command(run, "val", options)[1:])) for run in results.parts()["best"].runs]
    found = [spec.kind.checked(spec.settings).parts for spec in read]
    assert found == [PARTS, *(tuple(p for p in PARTS if p != left) for left in PARTS)]


def test_unknown_parts_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        results.main(["nosuch"])
    assert "there is no part nosuch" in capsys.readouterr().err
