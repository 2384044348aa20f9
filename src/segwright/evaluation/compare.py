"""Several reports side by side, with paired bootstrap differences."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segwright.errors import InputError
from segwright.evaluation.figures import RESAMPLES, Counts, count, interval, resampled
from segwright.evaluation.named import pairs
from segwright.evaluation.named import resampled as resampled_pairs
from segwright.evaluation.report import percent
from segwright.evaluation.store import PHOTOS, parse_records, read_report

# What two runs must share for their photos to be paired; the first that differs is named.
SHARED = ("data", "split", "ids_sha256", "words", "background", "asking")


@dataclass(frozen=True)
class Difference:
    """A report's headline less the first report's, each 0..1.

    Attributes:
        value: the difference of the two figures.
        low: lower end of the 95 % interval over paired resamples of the photos.
        high: its upper end.
        above: share of the resamples in which it is above 0.
    """

    value: float
    low: float
    high: float
    above: float


@dataclass(frozen=True)
class Row:
    """One report in a comparison; ``difference`` is None for the first, and where ``note`` says why there is none."""

    name: str
    report: Mapping[str, Any]
    difference: Difference | None = None
    note: str = ""


class Comparison(list[Row]):
    """The rows of a comparison; printed, and in a notebook, it is their table."""

    def __str__(self) -> str:
        return table(self)

    __repr__ = _repr_markdown_ = __str__


def compare(reports: Sequence[str | os.PathLike[str]], measure: str | None = None) -> Comparison:
    """Reports against the first of them, on the same resampled photos; ``print`` shows the table.

    Args:
        reports: report folders, or their report.json.
        measure: "miou", "miou_per_image" ...; the first report's headline if None.

    Raises:
        InputError: no report, or one that cannot be read.
    """
    folders = [Path(path).parent if Path(path).suffix == ".json" else Path(path) for path in reports]
    contents = [read_report(folder / "report.json") for folder in folders]
    if not contents:
        raise InputError("compare needs at least one report folder")
    named = measure or str(contents[0].get("measure"))
    for folder, content in zip(folders, contents, strict=True):
        if named not in content.get("intervals", {}) or "run" not in content:
            raise InputError(f"{folder / 'report.json'} has no {named}; expected what segwright evaluate wrote")
    names = _names(folders)
    rows = Comparison([Row(names[0], contents[0])])
    for place in range(1, len(folders)):
        rows.append(_row(names[place], folders, contents, place, named))
    return rows


def _row(name: str, folders: Sequence[Path], contents: Sequence[Mapping[str, Any]], place: int, measure: str) -> Row:
    one, two = contents[0]["run"], contents[place]["run"]
    other = next((key for key in SHARED if one.get(key) != two.get(key)), None)
    if other is not None:
        return Row(name, contents[place], note=f"not paired: other {'photos' if other == 'ids_sha256' else other}")
    seed = int(contents[0]["bootstrap"]["seed"])
    before, after = (_drawn(folders[i], contents[i], seed)[measure] for i in (0, place))
    gain = after - before
    value = float(contents[place][measure]) - float(contents[0][measure])
    return Row(
        name, contents[place], Difference(value, *interval(gain, int(contents[0]["photos"]), value), float(np.nanmean(gain > 0)))
    )


def _drawn(folder: Path, content: Mapping[str, Any], seed: int) -> dict[str, Counts]:
    """A run's resampled figures; its photos in the order of their names, so that two runs pair them."""
    file = folder / PHOTOS
    if not file.is_file():
        raise InputError(f"{file} is missing; without it photos cannot be paired: evaluate again")
    records = sorted(parse_records(file.read_bytes(), file), key=lambda record: record.id)
    if len(records) != content["photos"]:
        raise InputError(f"{file} has {len(records)} photos but the report {content['photos']}; evaluate again")
    run = content["run"]
    if run["protocol"].get("unlabelled"):
        return resampled_pairs(pairs(records, len(run["words"])), RESAMPLES, seed)
    return resampled(count([r.cells for r in records], len(run["words"]) + 1, bool(run["background"])), seed=seed)


def _names(folders: Sequence[Path]) -> list[str]:
    """The folders' own names, or their paths where two are alike."""
    short = [folder.resolve().name for folder in folders]
    return short if len(set(short)) == len(short) else [str(folder) for folder in folders]


# What a comparison shows of each report, headings by name; those of the protocol "named" have other figures.
COLUMNS = {"miou": "mIoU", "miou_per_image": "per image", "pixel_accuracy": "accuracy"}
NAMED = {"iou_present": "IoU of present", "false_alarms": "false alarms", "right": "right", "average_precision": "AP"}


def table(rows: Sequence[Row]) -> str:
    """The comparison as a Markdown table."""
    columns = COLUMNS if "miou" in rows[0].report else NAMED
    first, *others = columns.values()
    heads = ["report", "method", "data", "protocol", first, "95 %", *others, "difference", "95 %", "above 0"]
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    for row in rows:
        run, report = row.report["run"], row.report
        cells = [row.name, run["method"], f"{run['data']} {run['split']}", run["protocol"]["name"]]
        figures = [percent(report.get(name)) for name in columns]
        low, high = report["intervals"].get(next(iter(columns)), (None, None))
        cells += [figures[0], f"{percent(low)} .. {percent(high)}", *figures[1:]]
        found = row.difference
        cells += ["", "", row.note] if found is None else [
            f"{100 * found.value:+.2f}", f"{100 * found.low:+.2f} .. {100 * found.high:+.2f}", f"{found.above:.1%}",
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
