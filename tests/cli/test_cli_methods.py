"""``segwright --help`` and ``segwright methods``."""

from __future__ import annotations

import subprocess
import sys

import pytest

import segwright as sw
from segwright.cli import GROUPS, main, parser
from segwright.errors import InputError
from segwright.methods import METHODS, find_method
from segwright.settings import paths


def test_help_fits_a_screen_and_names_every_command_once() -> None:
    lines = parser().format_help().splitlines()
    assert len(lines) <= 30
    assert max(map(len, lines)) <= 100
    (inner,) = (action for action in parser()._actions if action.choices)
    assert sorted(name for names in GROUPS.values() for name in names) == sorted(inner.choices)  # type: ignore[arg-type]
    shown = {line[21:].split()[0] for line in lines[4:] if line[21:].strip()}
    assert set(inner.choices) <= shown  # type: ignore[arg-type]


def test_help_loads_no_network_library() -> None:
    heavy = "[m for m in ('torch', 'numpy') if m in sys.modules]"
    code = f"import sys; from segwright.cli import parser; parser().format_help(); print({heavy})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_methods_are_listed_with_their_papers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["methods"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert [row.split()[0] for row in rows] == list(METHODS)
    assert all(find_method(name).paper in row for name, row in zip(METHODS, rows, strict=True))


@pytest.mark.parametrize("name", METHODS)
def test_every_setting_of_a_method_is_listed_with_what_it_is(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["methods", name]) == 0
    lines = capsys.readouterr().out.splitlines()
    heads = {line.split()[0]: i for i, line in enumerate(lines) if line.startswith("  ") and line[2] not in " -"}
    groups = {"refine.crf", "refine.pamr", "refine.g4seg", "refine.emi", "refine.specks", "support"}
    assert set(paths(find_method(name).settings_tree())) - groups - {"bank", "stuff"} == set(heads)
    silent = [path for path, i in heads.items() if not lines[i + 1].startswith("      ")]
    assert not silent, "a setting that no docstring explains"


def test_an_unknown_method_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["methods", "nosuch"]) == 2
    assert "method must be one of freeseg-diff" in capsys.readouterr().err
    with pytest.raises(InputError):
        find_method("nosuch")


def test_the_package_lists_its_public_names() -> None:
    assert dir(sw) == sorted(sw.__all__)
    assert {"segment", "evaluate", "prototypes", "load_method"} <= set(dir(sw))
