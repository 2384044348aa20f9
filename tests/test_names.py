"""Identifiers and texts in the field's words: what was private vocabulary stays out."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src/segwright").rglob("*.py"))
TEXTS = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
PRIVATE = {
    "eyes", "habits", "backdrop", "chances", "forgetful", "alone", "together", "say", "said", "told", "maker", "look", "studio",
    "nothing",
}  # fmt: skip
OTHERS = ("label_studio",)  # names of other projects
PHRASES = re.compile(
    r"\bbr[oe]ken? off\b|goe?s? on (from|where)|as if alone|(is|was|are) told\b(?! apart| from)|told to stop", re.I
)


def identifiers(tree: ast.AST) -> Iterator[str]:
    """Every name that a module binds or uses."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.name
            case ast.arg() | ast.keyword() if node.arg is not None:
                yield node.arg
            case ast.Name():
                yield node.id
            case ast.Attribute():
                yield node.attr
            case ast.alias():
                yield from (node.name, node.asname or "")


def private(name: str) -> set[str]:
    """The private words among the parts of a name, written in either case."""
    for other in OTHERS:
        name = name.replace(other, "")
    return set(re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower().replace(".", "_").split("_")) & PRIVATE


def test_a_private_name_would_be_found() -> None:
    assert private("Studio") == private("my_studio.MakeIt") == {"studio"}
    assert not private("label_studio")
    for text in (
        "It goes on where it was",
        "it goes on from there",
        "where it was broken off",
        "the line broke off",
        "it is told so",
    ):
        assert PHRASES.search(text) is not None
    assert not PHRASES.search("one is told from another, and words are told apart")


def test_identifiers_are_the_fields() -> None:
    found = {(str(p.relative_to(ROOT)), n) for p in SOURCES for n in identifiers(ast.parse(p.read_text("utf8"))) if private(n)}
    modules = {str(p.relative_to(ROOT)) for p in SOURCES if private(p.stem)}
    assert not found | modules


def test_texts_are_plain() -> None:
    assert not [f"{p}:{m.group()}" for p in (*SOURCES, *TEXTS) for m in PHRASES.finditer(p.read_text("utf8"))]


def test_no_constant_or_module_name_means_two_things() -> None:
    names = [p.stem for p in SOURCES]
    assert all(names.count(name) == 1 for name in ("ddim", "null_text", "sheet", "cache", "bank"))
    statements = [node for p in SOURCES for node in ast.parse(p.read_text("utf8")).body if isinstance(node, ast.Assign)]
    constants = [target.id for node in statements for target in node.targets if isinstance(target, ast.Name)]
    assert constants.count("PRESETS") == 1
