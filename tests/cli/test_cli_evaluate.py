"""evaluate, compare, table and datasets on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from segwright.cli import main


def test_evaluate_and_compare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, more in (("a", []), ("b", ["--refine", "none"])):
        command = ["evaluate", "--data", "mini", "--preset", "mini", "--device", "cpu", "--limit", "2", *more]
        assert main([*command, "-o", str(tmp_path / name)]) == 0
    said = capsys.readouterr().out
    report = json.loads((tmp_path / "a/report.json").read_text("utf8"))
    assert f"miou: {100 * report['miou']:.2f}" in said
    assert report["run"]["settings"]["refine"] == "pamr,specks"
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    assert capsys.readouterr().out.count("best") == 2


def test_datasets_tables_and_refusals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["datasets"]) == 0
    assert "coco_stuff164k/annotations" in capsys.readouterr().out
    assert main(["table"]) == 0
    assert "g4seg/XI: other refiners" in capsys.readouterr().out
    assert main(["evaluate", "--data", "voc", "--root", str(tmp_path), "-o", str(tmp_path / "r")]) == 2
    assert "does not hold voc" in capsys.readouterr().err
    assert (
        main(
            [
                "evaluate",
                "--data",
                "mini",
                "--method",
                "freeseg-diff",
                "--protocol",
                "x",
                "--preset",
                "mini",
                "-o",
                str(tmp_path / "r"),
            ]
        )
        == 2
    )
    assert "protocol must be one of" in capsys.readouterr().err
