"""README and the pages hold what the program is: commands parse, code runs, every page is in the site's navigation."""

from __future__ import annotations

import argparse
import ast
import inspect
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from contracts import check_method
from PIL import Image as Pillow

import segwright
from segwright.cli import parser
from segwright.errors import InputError
from segwright.images import read
from segwright.methods import find_method
from segwright.mini.voc import data_folder
from segwright.presets import CHOICES

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(p for p in DOCS.rglob("*.md") if p != DOCS / "reference/cli.md")  # that one is made from the parser
TEXTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "benchmarks/README.md", *PAGES]
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)


def fenced(text: str, *kinds: str) -> list[str]:
    return [body for kind, body in FENCED.findall(text) if kind in kinds]


def commands(text: str) -> Iterator[tuple[str, bool]]:
    """Each segwright command of a text, and whether it is whole: in a block and without [options] or a|choice."""
    blocks = "\n".join(fenced(text, "", "sh", "bash", "console")).replace("\\\n", " ")
    for line in blocks.splitlines():
        if (found := re.match(r"\s*\$?\s*(segwright .*)", line)) is not None:
            yield found[1], not re.search(r"[\[\]|]", found[1])
    for inline in re.findall(r"`+(segwright [a-z][^`]*)`+", FENCED.sub("", text)):
        yield inline.replace("\n", " "), False


def below(command: argparse.ArgumentParser, word: str) -> argparse.ArgumentParser | None:
    """The parser of a command's command."""
    inner: Any = next((a for a in command._actions if isinstance(a, argparse._SubParsersAction)), None)
    return None if inner is None else inner.choices.get(word)


def fault(line: str, whole: bool) -> str | None:
    """What is wrong with a command line, or None."""
    words = shlex.split(line, comments=True)[1:]
    if whole:
        try:
            parser().parse_args(words)
        except SystemExit:
            return "does not parse"
        return None
    command, rest = parser(), words
    while rest and (found := below(command, rest[0])) is not None:
        command, rest = found, rest[1:]
    if len(rest) == len(words) and not words[0].startswith("-"):
        return f"no command {words[0]}"
    known = {option for action in command._actions for option in action.option_strings}
    foreign = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", " ".join(rest))) - known
    return f"no option {sorted(foreign)}" if foreign else None


def test_faults_would_be_found() -> None:
    assert fault("segwright segment a.jpg --colour red", True) == "does not parse"
    assert fault("segwright segment a.jpg  # only with --words", True) is None
    assert fault("segwright segment --colour", False) == "no option ['--colour']"
    assert fault("segwright colour", False) == "no command colour"
    text = "`segwright bank show`\n```sh\nsegwright presets  # what\n$ segwright explain P [--seed S]\n```\n"
    assert list(commands(text)) == [
        ("segwright presets  # what", True), ("segwright explain P [--seed S]", False), ("segwright bank show", False),
    ]  # fmt: skip


@pytest.mark.parametrize("path", TEXTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_parse(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert not [f"{line}: {wrong}" for line, whole in commands(path.read_text("utf8")) if (wrong := fault(line, whole))]


def test_readme_and_tour_show_commands() -> None:
    assert sum(whole for _, whole in commands((ROOT / "README.md").read_text("utf8"))) >= 15
    assert sum(whole for _, whole in commands((DOCS / "tour.md").read_text("utf8"))) >= 15


@pytest.mark.parametrize("path", TEXTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_python_compiles(path: Path) -> None:
    for block in fenced(path.read_text("utf8"), "python"):
        compile(block, str(path), "exec")


def shown(text: str) -> Iterator[str]:
    """Python of a text: blocks, and calls of ``sw.NAME`` within lines."""
    yield from fenced(text, "python")
    yield from re.findall(r"(?<!`)`(sw\.\w[^`]*)`", FENCED.sub("", text))


def found(node: ast.expr, names: Mapping[str, Any]) -> Any:
    """What an expression of names and attributes is in segwright; None: something else."""
    match node:
        case ast.Name():
            return names.get(node.id)
        case ast.Attribute() if (owner := found(node.value, names)) is not None:
            return getattr(owner, node.attr)
    return None


def called(code: str) -> Iterator[tuple[ast.Call, Any]]:
    """Calls of what is segwright's own; looking it up raises AttributeError where it is not there."""
    tree = ast.parse(code.replace("[...]", "[]").replace("(...)", "()"))
    names: dict[str, Any] = {"sw": segwright, "segwright": segwright}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("segwright"):
            names |= {a.asname or a.name: getattr(import_module(str(node.module)), a.name) for a in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            found(node, names)
        if isinstance(node, ast.Call) and (what := found(node.func, names)) is not None:
            yield node, what


def misfit(call: ast.Call, what: Any) -> str | None:
    """Why a call's arguments do not fit; a method's settings and options are looked up by name."""
    given = {k.arg: None for k in call.keywords if k.arg}
    try:
        inspect.signature(what).bind_partial(*call.args, **given)
        if what is segwright.load_method and isinstance(call.args[0], ast.Constant):
            kind = find_method(str(call.args[0].value))
            known = {*kind.settings_tree(), *kind.options, *CHOICES, *inspect.signature(segwright.load_method).parameters}
            return ", ".join(sorted({*given} - known)) or None
    except (TypeError, InputError) as error:
        return str(error)
    return None


def test_a_call_that_does_not_fit_would_be_found() -> None:
    with pytest.raises(AttributeError):
        list(called("import segwright as sw\nsw.refine.nothing_of_this(1)"))
    wrong = (
        "sw.read('a', 'b', 'c', 'd', 'e')",
        "sw.load_method('sclip', 'mini', clusters=3)",
        "sw.load_method('colour')",
        "sw.CRF(sxy=3)",
    )
    for code in wrong:
        assert [misfit(*one) for one in called(code)] != [None]
    assert [misfit(*one) for one in called("sw.load_method('sclip', clip='clip-b16', short=224)")] == [None]


@pytest.mark.parametrize("path", TEXTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_python_calls_what_is_there(path: Path) -> None:
    calls = [one for code in shown(path.read_text("utf8")) for one in called(code)]
    assert not [f"{ast.unparse(call)}: {wrong}" for call, what in calls if (wrong := misfit(call, what))]


def test_readme_and_tour_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first Python of each as it stands there, on a shipped scene."""
    monkeypatch.chdir(tmp_path)
    scene = read(data_folder() / "JPEGImages/val_00000.jpg")
    (tmp_path / "photos").mkdir()
    for name in ("street.jpg", "photos/a.jpg"):
        Pillow.fromarray(scene).save(name)
    for path in (DOCS / "tour.md", ROOT / "README.md"):
        (tmp_path / "street.png").unlink(missing_ok=True)
        values: dict[str, Any] = {}
        exec(fenced(path.read_text("utf8"), "python")[0], values)
        assert values["seg"].labels.shape == scene.shape[:2]
        assert (tmp_path / "street.png").is_file()
    assert values["sharp"].values.shape == values["seg"].scores.values.shape
    assert (tmp_path / "out/python/a.png").is_file()


def test_own_method_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The code of the page as it stands there; what it makes keeps the contract of methods."""
    scene = read(data_folder() / "JPEGImages/val_00000.jpg")
    monkeypatch.chdir(tmp_path)
    Pillow.fromarray(scene).save("street.jpg")
    module = ModuleType("own_method")
    monkeypatch.setitem(sys.modules, "own_method", module)  # dataclasses look their module up
    for block in fenced((DOCS / "howto/own-method.md").read_text("utf8"), "python"):
        exec(block, vars(module))
    assert module.segmentation.labels.shape == scene.shape[:2]
    assert (tmp_path / "run/street.png").is_file()
    check_method(module.method.many, [scene, scene[:90, :117]], ["dog", "car", "boat"])


def test_every_page_is_in_the_navigation() -> None:
    def places(entries: Any) -> Iterator[str]:
        for entry in entries:
            for value in entry.values():
                yield from [value] if isinstance(value, str) else places(value)

    listed = list(places(tomllib.loads((ROOT / "zensical.toml").read_text("utf8"))["project"]["nav"]))
    assert sorted(listed) == sorted([str(p.relative_to(DOCS)) for p in PAGES] + ["reference/cli.md"])
