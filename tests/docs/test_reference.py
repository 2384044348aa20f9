"""The reference holds the whole public API, and every docstring can be shown: read by griffe, as the site does it."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import griffe
import pytest

import segwright

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs/reference"
SHOWN = re.compile(r"^::: ([\w.]+)$", re.M)
NAMED = ("parameters", "attributes", "raises")


@cache
def package() -> Any:
    return griffe.load("segwright", search_paths=[ROOT / "src"], docstring_parser="google")


def inside(thing: Any) -> Iterator[Any]:
    """A module or class and all that is written in it."""
    yield thing
    for member in thing.members.values():
        if not member.is_alias:
            yield from inside(member) if member.is_module or member.is_class else (member,)


def public(thing: Any) -> bool:
    return not any(part.startswith("_") for part in thing.path.split("."))


def shown() -> set[str]:
    """Every path that a page of the reference shows, members included."""
    named = {name for page in REFERENCE.glob("*.md") for name in SHOWN.findall(page.read_text("utf8"))}
    things = [package()[name.removeprefix("segwright.")] for name in named]
    return {inner.path for thing in things for inner in inside(thing.final_target if thing.is_alias else thing)}


def test_the_reference_shows_every_public_name() -> None:
    seen = shown()
    targets = {name: package()[name] for name in segwright.__all__ if name != "__version__"}
    missing = {
        n for n, t in targets.items() if not (t.final_target if t.is_alias else t).is_module and t.canonical_path not in seen
    }
    assert not missing


def test_the_reference_shows_every_method_and_refiner() -> None:
    from segwright.methods import METHODS

    seen = shown()
    assert not [f"{module}.{kind}" for module, kind in METHODS.values() if f"{module}.{kind}" not in seen]
    text = (REFERENCE / "refiners.md").read_text("utf8")
    names = {path.rpartition(".")[2] for path in seen} | set(re.findall(r'"(\w+)"', text))  # constants are listed by name
    assert not set(segwright.refine.__all__) - names


def test_every_public_thing_has_a_sentence() -> None:
    kinds = (griffe.Kind.CLASS, griffe.Kind.FUNCTION)
    things = [t for name in sorted(shown()) for t in [package()[name.removeprefix("segwright.")]] if name != "segwright"]
    bare = [t.path for t in things if t.kind in kinds and public(t) and not inherits_text(t)]
    assert not bare


def inherits_text(thing: Any) -> bool:
    """It has a docstring of its own, or overrides something of a base class."""
    return thing.docstring is not None or (thing.parent.is_class and bool(thing.parent.bases))


def test_docstrings_are_read_without_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    joined, bare = [], []
    with caplog.at_level(logging.WARNING):
        for thing in inside(package()):
            sections = thing.docstring.parse("google") if thing.docstring else []
            if sections and sections[0].kind.value in NAMED:
                bare.append(thing.path)
            entries = [entry for section in sections if section.kind.value in NAMED for entry in section.value]
            joined += [f"{thing.path}: {n}" for e in entries if "," in (n := str(getattr(e, "name", e.annotation)))]
    assert not joined, "one name an entry"
    assert not bare, "one sentence first"
    assert not [record.getMessage() for record in caplog.records]


def test_names_in_docstrings_are_there() -> None:
    """``segwright.some.name`` in a docstring names something."""
    lost = []
    for thing in inside(package()):
        text = thing.docstring.value if thing.docstring else ""
        for name in re.findall(r"``segwright\.([\w.]+)``", text):
            try:
                package()[name]
            except KeyError:
                lost.append(f"{thing.path}: segwright.{name}")
    assert not lost
