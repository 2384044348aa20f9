"""The rows of the papers' tables as data (``published/PAPER.json``), and one figure of a row, published and measured.

A row has its name, what was published (percent, by data set), and a method with settings, or why it is "missing". On the
miniature world a row's "mini" part replaces parts of it, and the paper's holds settings that rows have there where they do not
say others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

FILES = ("freeseg-diff", "ovdiff", "g4seg", "critical-look")


@dataclass(frozen=True)
class Line:
    """One figure of a table.

    Attributes:
        row: the row's name in the paper.
        data: the data set of the published figure; several where the miniature world stands for all of them.
        published: measure -> percent, or None where the paper prints no number; empty for a row of ours.
        measured: measure -> 0..1; empty where it is missing.
        interval: 95 %, of the first measure.
        missing: why it was not measured, or "".
        note: what differs from the paper.
        preset: whose networks were measured.
        split: of the data set that was measured.
        photos: how many of its photos.
    """

    row: str
    data: str
    published: Mapping[str, Any]
    measured: Mapping[str, float]
    interval: tuple[float, float] | None = None
    missing: str = ""
    note: str = ""
    preset: str = ""
    split: str = ""
    photos: int = 0


def names() -> dict[str, str]:
    """Every table's name, as "freeseg-diff/2", -> its title."""
    return {f"{file}/{key}": t["title"] for file in FILES for key, t in read_paper(file)["tables"].items()}


@cache
def read_paper(file: str) -> dict[str, Any]:
    """A paper's name, note and tables; ``file``: one of ``FILES``."""
    content: dict[str, Any] = json.loads(
        resources.files("segwright.evaluation").joinpath("published", f"{file}.json").read_text("utf8")
    )
    return content


def common_of(paper: Mapping[str, Any]) -> dict[str, Any]:
    """What all rows of a paper's tables have."""
    return {key: paper[key] for key in ("preset", "protocol", "refined_on", "refiners", "by_profile") if key in paper}
