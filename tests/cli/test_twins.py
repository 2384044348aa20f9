"""Every command has a twin in Python, and what both can be told has the same default in both."""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Callable
from typing import Any

import pytest

import segwright as sw
from segwright.cli import parser
from segwright.cli.options import method_spec
from segwright.cli.refine import _row
from segwright.methods import DEFAULT, load_method
from segwright.methods.ovdiff.bank import Bank
from segwright.methods.ovdiff.bank_sheet import bank_sheet
from segwright.mini.atlas import make_atlas
from segwright.mini.measure import measure
from segwright.mini.sheets import write_sheets
from segwright.mini.train.run import Settings, train_preset
from segwright.mini.voc import write_scenes
from segwright.refine import G4SegSettings
from segwright.runs.exports.objects import ExportSettings
from segwright.runs.refine_masks import RefinementSettings
from segwright.selfcheck.bench import Bench

# Command -> the functions and classes among whose parameters its options are; the first is its twin.
TWINS: dict[str, tuple[Callable[..., Any], ...]] = {
    "segment": (sw.segment, load_method, sw.OVDiffSettings, sw.FreeSegDiffSettings),
    "explain": (sw.explain, load_method, sw.OVDiffSettings, sw.FreeSegDiffSettings),
    "evaluate": (sw.evaluate, sw.open_dataset, load_method),
    "compare": (sw.compare,),
    "table": (sw.table,),
    "datasets": (sw.list_datasets,),
    "export": (sw.export, ExportSettings),
    "overview": (sw.overview,),
    "review": (sw.review,),
    "refine": (sw.refine_masks, RefinementSettings, sw.load, G4SegSettings),
    "prototypes": (sw.prototypes, sw.SupportSettings),
    "bank show": (bank_sheet,),
    "bank verify": (Bank.verify,),
    "bank remove": (Bank.remove,),
    "presets": (sw.list_presets,),
    "fetch": (sw.fetch,),
    "check": (sw.examine,),
    "doctor": (sw.doctor,),
    "bench": (sw.bench, Bench),
    "methods": (sw.list_methods,),
    "diagnose": (sw.diagnose, sw.DiagnoseSettings),
    "serve": (sw.serve,),
    "mini scenes": (write_scenes,),
    "mini atlas": (make_atlas,),
    "mini train": (train_preset, Settings),
    "mini measure": (measure,),
    "mini sheets": (write_sheets,),
}
# Of the package's own top level; the steps of a bank and of the miniature world are for those who keep them.
TOP = [name for name in TWINS if " " not in name]
# Of one name and not one thing: evaluate's seed is of its intervals, the option's of the method; --set's texts are added to
# RefinementSettings and DiagnoseSettings.
OTHER = {("evaluate", "seed"), ("refine", "settings"), ("diagnose", "settings")}
STATED = re.compile(r"default: ([^\s;,)]+)(?:[;,)]|$)")  # a single word or number


def commands(parser: argparse.ArgumentParser, before: str = "") -> dict[str, argparse.ArgumentParser]:
    """Every command that can be run, steps of commands by both names."""
    found: dict[str, argparse.ArgumentParser] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, inner in action.choices.items():
                found |= commands(inner, f"{before}{name} ") or {f"{before}{name}": inner}
    return found


COMMANDS = commands(parser())


def defaults(name: str) -> dict[str, Any]:
    """Parameter -> default, of all that a command's twin takes; those without default are left out."""
    out: dict[str, Any] = {}
    for twin in reversed(TWINS[name]):
        out |= {k: p.default for k, p in inspect.signature(twin).parameters.items() if p.default is not inspect.Parameter.empty}
    return out


def test_every_command_has_a_twin() -> None:
    assert set(COMMANDS) == set(TWINS)
    assert all(callable(twin) for twins in TWINS.values() for twin in twins)


def shared(name: str) -> list[tuple[argparse.Action, Any]]:
    """Options with a default, and the twin's default of the same name."""
    known = defaults(name)
    actions = [a for a in COMMANDS[name]._actions if not a.required and a.dest in known]
    return [(a, known[a.dest]) for a in actions if (name, a.dest) not in OTHER]


def test_most_options_are_the_twins_own() -> None:
    assert sum(len(shared(name)) for name in TWINS) > 100


@pytest.mark.parametrize("name", TWINS)
def test_defaults_are_the_same(name: str) -> None:
    """An option that is None where the twin's parameter is not is not passed on, so its help may state that default only."""
    for action, wanted in shared(name):
        stated = STATED.search(action.help or "")
        if action.default is not None:
            assert plain(action.default) == plain(wanted), action.dest
        if stated and wanted is not None and "%" not in stated[1]:
            assert stated[1] == str(wanted).removesuffix(".0"), action.dest


def test_refine_has_the_constants_of_its_twin() -> None:
    options = parser().parse_args(["refine", "p.png", "--mask", "m.png", "-o", "out"])
    assert _row(options) == RefinementSettings().row
    assert options.refiners == RefinementSettings().refiners


def test_a_method_without_options_is_the_twins() -> None:
    options = parser().parse_args(["segment", "p.png", "--preset", "mini"])
    spec = method_spec(options)
    assert (spec, spec.name) == (sw.MethodSpec(DEFAULT, "mini"), DEFAULT)


def plain(value: Any) -> Any:
    """Lists and tuples alike."""
    return tuple(value) if isinstance(value, list) else value


@pytest.mark.parametrize("name", TOP)
def test_a_commands_twin_is_at_the_top(name: str) -> None:
    assert any(getattr(sw, public) is TWINS[name][0] for public in sw.__all__)
