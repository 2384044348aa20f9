"""The page of results and the README's table are made from the files of figures, and from nothing else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import results


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


def test_unknown_parts_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        results.main(["nosuch"])
    assert "there is no part nosuch" in capsys.readouterr().err
