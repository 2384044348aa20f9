"""How published codes call the benchmarks' classes: other names, and several for one class, which then takes the strongest."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from segwright.errors import InputError
from segwright.words.synonyms import Word

_FILES = (file.name for file in files("segwright.words").joinpath("names").iterdir())
LISTS = tuple(sorted(name.removesuffix(".json") for name in _FILES if name.endswith(".json")))


def class_names(listed: str | None, data: str, words: Sequence[str], otherwise: Sequence[str]) -> tuple[str, ...]:
    """A data set's classes as one of ``LISTS`` calls them, ``Word`` where there are several names.

    Args:
        listed: the list; None: ``otherwise`` for all.
        data: the data set.
        words: N classes by our names.
        otherwise: N names of those that the list does not rename, or has no name for (``unasked``).

    Raises:
        InputError: an unknown list.
    """
    known = {} if listed is None else published_names(listed).get(data, {})
    pairs = ((known.get(word), name) for word, name in zip(words, otherwise, strict=True))
    return tuple(name if not names else Word(*names) if len(names) > 1 else names[0] for names, name in pairs)


def unasked(listed: str | None, data: str) -> tuple[str, ...]:
    """The classes, by our names, that a published code never asks for, so that it can find none of them.

    Raises:
        InputError: an unknown list.
    """
    known = {} if listed is None else published_names(listed).get(data, {})
    return tuple(word for word, names in known.items() if not names)


@cache
def published_names(listed: str) -> dict[str, dict[str, list[str]]]:
    """Data set -> our name of a class -> its names, where they differ.

    Raises:
        InputError: an unknown list.
    """
    if listed not in LISTS:
        raise InputError(f"expected a list of published names of {', '.join(LISTS)}, got {listed!r}")
    text = files("segwright.words").joinpath("names", f"{listed}.json").read_text(encoding="utf-8")
    content: dict[str, Any] = json.loads(text)
    return {data: dict(names) for data, names in content["names"].items()}
