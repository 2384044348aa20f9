"""Names for options' choices and help, from the one table that holds them, which may be heavy to import."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterator
from importlib import import_module
from typing import Any


class Listed(Collection[str]):
    """The names in a table, or from a function, read when they are asked for: parsing another command imports nothing.

    Args:
        home: "module:TABLE" or "module:function".
    """

    def __init__(self, home: str) -> None:
        self.home = home

    def _names(self) -> tuple[str, ...]:
        module, name = self.home.split(":")
        found: Any = getattr(import_module(module), name)
        return tuple(found() if callable(found) else found)

    def __contains__(self, name: object) -> bool:
        return name in self._names()

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())

    def __str__(self) -> str:
        return ", ".join(self._names())


METHOD_NAMES = Listed("segwright.methods:list_methods")
REFINER_NAMES = Listed("segwright.refine:REFINERS")
EXPLAINED = Listed("segwright.refine.base:with_page")
CRF_NAMES = Listed("segwright.refine:CRF_CONSTANTS")
FORMAT_NAMES = Listed("segwright.runs.exports:FORMATS")
GENERATOR_NAMES = Listed("segwright.presets:FEW_STEPS")
PRESET_NAMES = Listed("segwright.presets:PRESETS")
DATASET_NAMES = Listed("segwright.datasets:DATASETS")


def add_listed(parser: Any, names: Listed, *flags: str, help: str, **options: Any) -> None:
    """An option whose help has the names as ``%(listed)s``; any other value is accepted too.

    argparse fills help with an action's attributes when the help is printed, and not before.
    """
    action: argparse.Action = parser.add_argument(*flags, help=help, **options)
    vars(action)["listed"] = names
