"""``segwright methods``: which methods there are, and every setting of one."""

from __future__ import annotations

import argparse
import textwrap
from typing import Any

WIDTH = 100


def add(commands: Any) -> None:
    command = commands.add_parser("methods", help="the methods; with NAME every setting of one, for --set")
    command.add_argument("name", nargs="?", metavar="NAME", help="a method, or package.module:Class")
    command.set_defaults(run=_methods)


def _methods(options: argparse.Namespace) -> int:
    from segwright.methods import find_method, method_names

    if options.name is None:
        for name in method_names():
            print(f"{name:14} {find_method(name).paper}")
        return 0
    print("\n".join(lines(find_method(options.name))))
    return 0


def lines(kind: Any) -> list[str]:
    """A method's settings as text: path, type and default, then what it is and where its default is from."""
    from segwright.refine import REFINERS
    from segwright.settings import describe, group

    out = [f"{kind.name}: {kind.paper}", "", "Settings, for --set NAME=VALUE:"]
    out += [line for row in describe(kind.Settings) for line in _row(row)]
    for name, hint in kind.options.items():
        part = group(hint)
        out += [line for row in describe(part, f"{name}.") for line in _row(row)] if part is not None else [f"  --{name}"]
    for name, refiner in REFINERS.items():
        base = kind.refiners.get(name, refiner())
        out += ["", f"With {name} among its refiners:"]
        out += [line for row in describe(type(base), f"refine.{name}.", base) for line in _row(row)]
    return out


def _row(row: Any) -> list[str]:
    head = f"  {row.path} ({row.kind}) = {textwrap.shorten(row.default, 60, placeholder=' ...')}"
    return [head, *textwrap.wrap(row.about, WIDTH, initial_indent="      ", subsequent_indent="      ")]
