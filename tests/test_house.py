"""Nobody outside a method's own file asks which method it has: the contract is asked instead. Read from the syntax trees."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from segwright.methods import METHODS, find_method
from segwright.refine import REFINERS

ROOT = Path(__file__).parents[1] / "src/segwright"
# The literal tables of names, and the contracts themselves.
TABLES = {"methods/__init__.py", "methods/base/spec.py", "refine/__init__.py", "refine/base.py", "refine/pipeline.py"}
NAMES = {*METHODS, *REFINERS}
CLASSES = {find_method(name).__name__ for name in METHODS} | {kind.__name__ for kind in REFINERS.values()}
CLASSES |= {find_method(name).Settings.__name__ for name in METHODS} | {"CRFSettings", "G4SegSettings", "Method", "Refiner"}
HOMES = {Path(find_method(name).__module__.removeprefix("segwright.").replace(".", "/") + ".py") for name in METHODS}
HOMES |= {Path(kind.__module__.removeprefix("segwright.").replace(".", "/") + ".py") for kind in REFINERS.values()}
METHOD_LIKE = {"method", "kind", "made", "loaded", "refiner", "source", "spec"}  # how variables that hold one are called


def own(path: Path) -> bool:
    """A method's or refiner's own file, or one of its folder; or a table."""
    inner = path.relative_to(ROOT)
    mine = inner in HOMES or any(len(home.parts) == 3 and inner.parent == home.parent for home in HOMES)
    return mine or str(inner) in TABLES


def literals(node: ast.AST) -> Iterator[str]:
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            yield part.value


def constants(tree: ast.AST) -> dict[str, set[str]]:
    """Names of methods and refiners in a module's own constants; a table of its own (a dictionary) is none."""
    found: dict[str, set[str]] = {}
    for node in getattr(tree, "body", []):
        if isinstance(node, ast.Assign | ast.AnnAssign) and not isinstance(node.value, ast.Dict | None):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {t.id: names for t in targets if isinstance(t, ast.Name) and (names := {*literals(node.value or t)} & NAMES)}
    return found


def last(node: ast.AST) -> str:
    """The name that an expression ends with: ``method`` of ``self.method``."""
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def classes(node: ast.AST) -> set[str]:
    """Classes of methods and refiners, and of their settings, that are named in an expression or pattern."""
    return {last(part) for part in ast.walk(node)} & CLASSES


def compared(sides: Iterable[ast.AST], own_names: dict[str, set[str]]) -> set[str]:
    """Names and classes of methods and refiners in what is compared, those behind a module's constant too."""
    found = {text for side in sides for text in literals(side)} & NAMES
    found |= {text for side in sides if isinstance(side, ast.Name) for text in own_names.get(side.id, ())}
    return found | {name for side in sides for name in {last(side)} & CLASSES}


def asks(tree: ast.AST) -> Iterator[str]:
    """Places that ask for a method or refiner instead of asking it."""
    own_names = constants(tree)
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id="hasattr" | "getattr" as name), args=[first, *_]) if last(first) in METHOD_LIKE:
                yield f"{node.lineno}: {name} of {last(first)}"
            case ast.Call(func=ast.Name(id="isinstance" | "issubclass"), args=[_, kinds]) if found := classes(kinds):
                yield f"{node.lineno}: isinstance of {found}"
            case ast.Call(func=ast.Attribute(attr="startswith" | "endswith")) if found := compared(node.args, own_names):
                yield f"{node.lineno}: comparison with {found}"
            case ast.Compare() if found := compared((node.left, *node.comparators), own_names):
                yield f"{node.lineno}: comparison with {found}"
            case ast.Match(cases=cases):
                patterns = [case.pattern for case in cases]
                if found := {n for one in patterns for n in classes(one)} | {t for one in patterns for t in literals(one)} & NAMES:
                    yield f"{node.lineno}: match of {found}"


@pytest.mark.parametrize(
    "code",
    [
        "hasattr(method, 'steps')", "getattr(refiner, 'x', None)", "isinstance(m, FreeSegDiff)", "hasattr(spec.kind, 'bank')",
        "isinstance(s, (int, CRFSettings))", "isinstance(s, refine.CRF)", "name == 'ovdiff'", "x in ('crf', 'y')",
        "SLOW = ('ovdiff',)\nx = name not in SLOW", "type(m) is FreeSegDiff", "m.__class__ == methods.OVDiff",
        "name.startswith('crf')", "match m:\n case FreeSegDiff():\n  pass", "match name:\n case 'crf':\n  pass",
    ],
)  # fmt: skip
def test_what_is_forbidden_would_be_found(code: str) -> None:
    assert list(asks(ast.parse(code)))


def test_nobody_asks_which_method_it_has() -> None:
    found = [
        f"{p.relative_to(ROOT)}:{a}" for p in sorted(ROOT.rglob("*.py")) if not own(p) for a in asks(ast.parse(p.read_text("utf8")))
    ]
    assert not found


def functions(node: ast.AST, within: bool = False) -> Iterator[tuple[ast.FunctionDef | ast.AsyncFunctionDef, int]]:
    """Every function with the number of its parameters that can be given by place; ``self`` and ``cls`` are none."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            static = any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in child.decorator_list)
            yield child, len(child.args.posonlyargs + child.args.args) - (within and not static)
        yield from functions(child, isinstance(child, ast.ClassDef))


def test_many_parameters_would_be_found() -> None:
    tree = ast.parse(
        "class A:\n def f(self, a, b, /, c, d, e, *, g): pass\ndef h(a, b, c, d, e, f=1):\n async def i(a, *b, c): pass"
    )
    assert {found.name: count for found, count in functions(tree)} == {"f": 5, "h": 6, "i": 1}


def test_at_most_five_parameters_are_given_by_place() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{function.lineno}: {function.name} has {count}"
        for path in sorted(ROOT.rglob("*.py"))
        for function, count in functions(ast.parse(path.read_text("utf8")))
        if count > 5
    ]
    assert not found


def test_methods_holds_methods_only() -> None:
    allowed = {"__init__.py", "base", "segmenter.py"} | {home.parts[1] for home in HOMES if home.parts[0] == "methods"}
    there = {p.name for p in (ROOT / "methods").iterdir() if p.name != "__pycache__"}
    assert there == allowed
