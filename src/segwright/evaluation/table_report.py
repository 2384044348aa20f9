"""A table as Markdown and as bars: published beside measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from segwright.evaluation.report import about_intervals, percent
from segwright.evaluation.table_rows import Line, names, read_paper
from segwright.files.plot import Bar, draw_bars


def text(name: str, lines: Sequence[Line], settings: Sequence[str] = ()) -> str:
    """The table as Markdown: what was measured, published beside measured, then what is missing with its reason.

    Args:
        settings: "NAME=VALUE", as ``table`` had them.
    """
    file, key = name.split("/")
    paper, found = read_paper(file), read_paper(file)["tables"][key]
    rows = [f"# {paper['paper']}, {key}: {found['title']}", "", paper["note"], *([found["note"]] if "note" in found else []), ""]
    rows += [_about(lines, settings), ""]
    rows += ["| row | data | published | measured | 95 % | all measures | note |", "|" + " --- |" * 7]
    rows += [_shown(line) for line in lines]
    absent = [line for line in lines if line.missing]
    if absent:
        rows += ["", f"Missing, {len(absent)} of {len(lines)}:", ""]
        rows += [f"- {line.row} ({line.data}): {line.missing}" for line in absent]
    return "\n".join(rows) + "\n"


def _about(lines: Sequence[Line], settings: Sequence[str]) -> str:
    """On what the rows were measured: "Measured with preset mini on mini (val), 3 photos, --set features.timestep=100. ..."."""
    done = [line for line in lines if line.measured]
    given = "".join(f", `--set {one}`" for one in settings)
    if not done:
        return f"Nothing was measured{given}."
    presets = list(dict.fromkeys(line.preset for line in done if line.preset))
    networks = f" with preset{'s' if len(presets) > 1 else ''} {', '.join(presets)}" if presets else ""
    where = dict.fromkeys(f"{line.data} ({line.split}), {_photos(line.photos)}" for line in done)
    return f"Measured{networks} on {'; '.join(where)}{given}. {about_intervals(min(line.photos for line in done))}"


def _photos(count: int) -> str:
    return f"{count} photo{'' if count == 1 else 's'}"


def plot(name: str, lines: Sequence[Line]) -> dict[str, bytes]:
    """The measured rows as bars, published figures beside them: contents by the ending of a file, "svg" and "png".

    Empty where nothing was measured.
    """
    bars = []
    for line in lines:
        if line.measured:
            measure, value = next(iter(line.measured.items()))
            span = None if line.interval is None else (100 * line.interval[0], 100 * line.interval[1])
            bars.append(Bar(f"{line.row} ({line.data})", 100 * value, span, _comparable(line, measure)))
    if not bars:
        return {}
    known = any(bar.published is not None for bar in bars)
    return draw_bars(bars, f"{name}: {names()[name]}", "measured; diamond: published" if known else "measured")


def _comparable(line: Line, measure: str) -> float | None:
    """The published figure of the same data set and measure; None: there is none."""
    for key in (line.data, measure, ""):
        value = line.published.get(key)
        value = value.get(measure) if isinstance(value, Mapping) else value
        if isinstance(value, int | float):
            return float(value)
    return None


def _shown(line: Line) -> str:
    published = ", ".join(_published(key, value) for key, value in line.published.items()) or "-"
    cells = [line.row, line.data, published]
    if line.missing:
        return "| " + " | ".join([*cells, "missing", "", "", line.note]) + " |"
    first, *others = line.measured.items()
    between = "" if line.interval is None else f"{percent(line.interval[0])} .. {percent(line.interval[1])}"
    rest = ", ".join(f"{key} {percent(value)}" for key, value in (first, *others))
    return "| " + " | ".join([*cells, percent(first[1]), between, rest, line.note]) + " |"


def _published(key: str, value: Any) -> str:
    """ "53.27", "53.27 (voc)", "49.52 miou_per_image, 72.19 pixel_accuracy (voc)"."""
    if isinstance(value, Mapping):
        inner = ", ".join(f"{number} {measure}" for measure, number in value.items())
        return f"{inner} ({key})" if key else inner
    number = "no number" if value is None else f"{value:.2f}"
    return f"{number} ({key})" if key and key not in ("miou_per_image", "pixel_accuracy", "gain") else f"{number} {key}".strip()
