"""``segwright methods``: which methods there are, and every setting of one."""

from __future__ import annotations

import argparse
import textwrap
from typing import Any

from segwright.settings import as_text, describe, group

WIDTH = 100
CUT = 32  # characters of a value in the profiles


def add(commands: Any) -> None:
    command = commands.add_parser("methods", help="the methods; with NAME every setting of one, for --set")
    command.add_argument("name", nargs="?", metavar="NAME", help="a method, or package.module:Class")
    command.set_defaults(run=_methods)


def _methods(options: argparse.Namespace) -> int:
    from segwright.methods import find_method, list_methods

    if options.name is None:
        for name in list_methods():
            print(f"{name:14} {find_method(name).paper}")
        return 0
    print("\n".join(lines(find_method(options.name))))
    return 0


def lines(kind: Any) -> list[str]:
    """A method's settings as text: path, type and default, then what it is and where its default is from."""
    from segwright.refine import REFINERS

    out = [f"{kind.name}: {kind.paper}", "", "Settings, for --set NAME=VALUE:"]
    out += [line for row in describe(kind.Settings) for line in _row(row)]
    for name, hint in kind.options.items():
        part = group(hint)
        out += [line for row in describe(part, f"{name}.") for line in _row(row)] if part is not None else [f"  --{name}"]
    out += profile_lines(kind)
    for name, refiner in REFINERS.items():
        base = kind.refiners.get(name, refiner())
        out += ["", f"With {name} among its refiners:"]
        out += [line for row in describe(type(base), f"refine.{name}.", base) for line in _row(row)]
    return out


def profile_lines(kind: Any) -> list[str]:
    """Default and profiles side by side: a line for each of them under what they set, each with its source."""
    if not kind.profiles:
        return ["", "Profiles: none"]
    own = {row.path: row.default for row in _described(kind)}
    out = ["", f"Profiles, for --as {'|'.join(kind.profiles)}:"]
    for data in (None, *dict.fromkeys(d for profile in kind.profiles.values() for d in profile.data)):
        rows = {name: (p.values if data is None else p.data.get(data, {})) for name, p in kind.profiles.items()}
        out += [] if data is None else [f"  - on {data}:"]
        for path in dict.fromkeys(path for there in rows.values() for path in there):
            out += [f"    {path}", *_cell("default", own.get(path, "as chosen"), "")]
            out += [line for name, there in rows.items() for line in _cell(name, *_value(there, path))]
    notes = (f"{name}: {profile.note}" for name, profile in kind.profiles.items() if profile.note)
    return out + [line for note in notes for line in textwrap.wrap(note, WIDTH, initial_indent="    ", subsequent_indent="    ")]


def _value(rows: Any, path: str) -> tuple[str, str]:
    """A profile's value as text, and its source."""
    return (as_text(rows[path][0]), rows[path][1]) if path in rows else ("as the default", "")


def _cell(name: str, value: str, source: str) -> list[str]:
    shown = (value if len(value) <= CUT else f"{value[:CUT]}...") or "none"
    text = f"{name:10} {shown:24} {source}".rstrip()
    return textwrap.wrap(text, WIDTH, initial_indent="      ", subsequent_indent=" " * 42, drop_whitespace=True)


def _described(kind: Any) -> list[Any]:
    """Every setting and option that has parts or a default."""
    parts = {name: part for name, hint in kind.options.items() if (part := group(hint)) is not None}
    return [*describe(kind.Settings), *(row for name, part in parts.items() for row in describe(part, f"{name}."))]


def _row(row: Any) -> list[str]:
    head = f"  {row.path} ({row.kind}) = {textwrap.shorten(row.default, 60, placeholder=' ...')}"
    return [head, *textwrap.wrap(row.about, WIDTH, initial_indent="      ", subsequent_indent="      ")]
