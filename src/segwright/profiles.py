"""Profiles: a method run as its paper says, or as its published code does, and for which value there is which source.

A profile is data and nothing else: it fills in settings, options and networks where the user chose nothing. Each method has
its own (``Method.profiles``), beside its code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from segwright.errors import InputError

NAMES = ("paper", "published")  # the paper's reading, and the published code's, where the two differ
Sourced = tuple[Any, str]  # a value, and where it is from


@dataclass(frozen=True)
class Profile:
    """One way to run a method.

    Attributes:
        values: what is chosen -> (value, source): settings and options of the method by their dotted names
            ("features.kind"), "preset", and single networks by their kind ("clip": "clip-b16").
        data: data set -> what differs there, likewise; and "names": the list of the classes' names that is asked for
            (``segwright.words.published``).
        note: what the profile cannot give, and why; "" if it is whole.
    """

    values: Mapping[str, Sourced] = field(default_factory=dict)
    data: Mapping[str, Mapping[str, Sourced]] = field(default_factory=dict)
    note: str = ""

    def of(self, data: str | None = None) -> dict[str, Sourced]:
        """The rows for one data set, or for no data set in particular."""
        return {**self.values, **(self.data.get(data, {}) if data is not None else {})}

    def chosen(self, data: str | None = None) -> dict[str, Any]:
        """The values, dotted names as nested dictionaries."""
        out: dict[str, Any] = {}
        for path, (value, _) in self.of(data).items():
            *before, last = path.split(".")
            inner = out
            for name in before:
                inner = inner.setdefault(name, {})
            inner[last] = value
        return out


def find_profile(profiles: Mapping[str, Profile], name: str, owner: str) -> Profile:
    """A method's profile by its name.

    Args:
        profiles: the method's.
        owner: its name, for messages.

    Raises:
        InputError: it has none of that name.
    """
    if name not in profiles:
        known = ", ".join(profiles) or "none"
        raise InputError(f"{owner} has no profile {name!r}; it has {known}: segwright methods {owner} shows them")
    return profiles[name]
