"""``import segwright`` stays light, and what it promises is there."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import segwright

ROOT = Path(__file__).parents[1]


def test_heavy_libraries_are_not_imported_with_the_package() -> None:
    code = "import sys, segwright; print([m for m in ('torch', 'diffusers', 'transformers', 'scipy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_all_names_resolve() -> None:
    for name in segwright.__all__:
        assert getattr(segwright, name) is not None


def test_contributing_prints_the_floors_of_the_linter() -> None:
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text("utf8"))["tool"]["importlinter"]["contracts"][0]
    floors = [set(layer.split(" | ")) for layer in contract["layers"]]
    rows = (ROOT / "CONTRIBUTING.md").read_text("utf8").partition("| floor |")[2].partition("\n\n")[0].splitlines()[2:]
    assert [set(re.findall(r"`(\w+)`", row.split("|")[1])) for row in rows] == floors
