"""Figures of a report as bars, with their intervals and what was published, and lines: SVG and PNG, the same bytes every time."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from segwright.files.colors import OKABE_ITO, color

OURS, THEIRS = ("#{:02x}{:02x}{:02x}".format(*OKABE_ITO[i]) for i in (1, 0))  # blue, orange
WIDTH, ROW, RIM = 7.0, 0.28, 1.4  # inches: of a picture, of a bar, and what title and axis take
TALL = 3.2  # inches of a picture of lines
LONGEST = 48  # letters of a bar's name
DPI = 110


@dataclass(frozen=True)
class Bar:
    """One figure, in percent.

    Attributes:
        value: None: there is none, and the place stays empty.
        interval: (low, high).
        published: what a paper has.
    """

    name: str
    value: float | None
    interval: tuple[float, float] | None = None
    published: float | None = None


def draw_bars(bars: Sequence[Bar], title: str, axis: str) -> dict[str, bytes]:
    """A picture of the bars, the first one on top: {"svg": ..., "png": ...}, the contents of two files."""

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        places = range(len(bars))
        axes.barh(places, [_number(bar.value) for bar in bars], color=OURS, height=0.62, label="measured")
        for place, span in ((place, bar.interval) for place, bar in enumerate(bars) if bar.interval is not None):
            axes.plot(span, (place, place), color="black", linewidth=1.3, solid_capstyle="butt")
        known = [(place, bar.published) for place, bar in enumerate(bars) if bar.published is not None]
        if known:
            axes.plot([v for _, v in known], [p for p, _ in known], "D", color=THEIRS, markeredgecolor="black", label="published")
            figure.legend(loc="outside lower center", ncols=2, fontsize=8, frameon=False)
        axes.set_yticks(places, [_short(bar.name) for bar in bars], fontsize=9)
        axes.invert_yaxis()
        axes.set_xlabel(axis)
        axes.set_title(title, fontsize=10, wrap=True)
        axes.grid(axis="x", alpha=0.35)
        axes.set_axisbelow(True)

    return encode_figure(draw, (WIDTH, RIM + ROW * max(1, len(bars))))


def encode_figure(draw: Callable[[Any], None], size: tuple[float, float]) -> dict[str, bytes]:
    """What ``draw`` does to a Matplotlib figure of (width, height) inches: {"svg": ..., "png": ...}, the contents of two files."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.hashsalt": "segwright", "svg.fonttype": "none", "font.family": "DejaVu Sans"}):
        figure = Figure(size, layout="constrained")
        draw(figure)
        return {kind: _encoded(figure, kind) for kind in ("svg", "png")}


def draw_lines(series: Mapping[str, Sequence[tuple[float, float]]], title: str, x_axis: str, y_axis: str) -> dict[str, bytes]:
    """A picture of lines with points, {"svg": ..., "png": ...}, the contents of two files; none where there is no point.

    Args:
        series: name -> (x, y); a y that is NaN is left out.
    """
    known = {name: [(x, y) for x, y in points if not math.isnan(y)] for name, points in series.items()}
    if not any(known.values()):
        return {}

    def lines(figure: Any) -> None:
        axes = figure.subplots()
        for number, (name, points) in enumerate(known.items(), 1):
            paint = "#{:02x}{:02x}{:02x}".format(*color(number))
            axes.plot([x for x, _ in points], [y for _, y in points], "o-", color=paint, markersize=4, label=_short(name))
        axes.set_xticks(sorted({x for points in known.values() for x, _ in points}))
        axes.set_xlabel(x_axis)
        axes.set_ylabel(y_axis)
        axes.set_title(title, fontsize=10, wrap=True)
        axes.grid(alpha=0.35)
        figure.legend(loc="outside right upper", fontsize=8, frameon=False)

    return encode_figure(lines, (WIDTH, TALL))


def _encoded(figure: Any, kind: str) -> bytes:
    stream = io.BytesIO()
    about = {"Date": None} if kind == "svg" else {"Software": None}
    figure.savefig(stream, format=kind, dpi=DPI, metadata=about)
    return stream.getvalue()


def _number(value: float | None) -> float:
    return 0.0 if value is None or math.isnan(value) else value


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else name[: LONGEST - 3] + "..."
