"""``import segwright`` stays light, and what it promises is there."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

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


def imported(code: str, modules: dict[str, Path]) -> Iterator[str]:
    """The package's modules that a module imports, within functions too."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            yield from {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)} & {*modules}
        if isinstance(node, ast.Import):
            yield from {alias.name for alias in node.names} & {*modules}


def test_modules_import_in_no_circle() -> None:
    """Of files; a package's ``__init__`` is left out, since whoever imports a module imports the packages above it."""
    root = ROOT / "src"
    paths = [p for p in (root / "segwright").rglob("*.py") if p.name != "__init__.py"]
    modules = {".".join(p.relative_to(root).with_suffix("").parts): p for p in paths}
    graph = {name: {*imported(p.read_text("utf8"), modules)} for name, p in modules.items()}
    assert len(graph) > 180
    assert "segwright.models.repositories" in graph["segwright.models.download"]
    assert len([*TopologicalSorter(graph).static_order()]) == len(graph)
    with pytest.raises(CycleError):
        [*TopologicalSorter(graph | {"segwright.errors": {"segwright.types"}}).static_order()]
