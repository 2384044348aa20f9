"""The report: sections of text, tables, plots and pictures, as one HTML page and files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from segwright.files.colors import color
from segwright.files.html import document, enlarged, figure, image_bytes
from segwright.files.plot import draw_lines
from segwright.models.clip_dense import min_max
from segwright.types import Image

# Black, purple, red, orange, pale yellow: lightness rises evenly, so that it reads in grey, too.
HEAT = np.array([(0, 0, 4), (66, 10, 104), (147, 38, 103), (221, 81, 58), (252, 165, 10), (252, 255, 164)], float)
NOWRAP = '<span style="white-space: nowrap">'  # opens a group of pictures that stay on one line; close it with </span>


Series = dict[str, list[tuple[float, float]]]


@dataclass(frozen=True)
class Shot:
    """A picture of the report: file name without ending, (H, W, 3) uint8, caption."""

    name: str
    picture: Image
    caption: str


@dataclass(frozen=True)
class Plot:
    """Lines of the report: file name without ending, title, names of the axes, name of a line -> its points."""

    name: str
    title: str
    x_label: str
    y_label: str
    series: Series


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        name: one of ``PARTS``.
        title: heading.
        parts: HTML text, pictures and plots, in order.
    """

    name: str
    title: str
    parts: tuple[str | Shot | Plot, ...]

    def html(self) -> str:
        shown = [part if isinstance(part, str) else _shown(part) for part in self.parts]
        return f"<h2>{escape(self.title)}</h2>{''.join(shown)}"


def _shown(part: Shot | Plot) -> str:
    if isinstance(part, Plot):
        return line_plot(part.title, part.x_label, part.y_label, part.series)
    return figure(image_bytes(part.picture), part.caption)


def page(title: str, intro: str, sections: Iterable[Section]) -> str:
    """The whole page; ``intro`` is HTML."""
    return document(title, title, intro + "".join(s.html() for s in sections))


def picture_files(folder: Path, sections: Iterable[Section]) -> dict[Path, bytes]:
    """Every picture of the report as a PNG file in ``folder``, plots as SVG, too."""
    parts = [(f"{s.name}-{p.name}", p) for s in sections for p in s.parts if not isinstance(p, str)]
    return {folder / f"{_plain(name)}.{kind}": content for name, part in parts for kind, content in _files(part).items()}


def _files(part: Shot | Plot) -> dict[str, bytes]:
    if isinstance(part, Plot):
        return draw_lines(part.series, part.title, part.x_label, part.y_label)
    return {"png": image_bytes(part.picture)}


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name)[:150]


def heat(values: Tensor, side: int) -> Image:
    """(h, w) -> (side', side', 3) uint8, stretched to its own range, cells as squares."""
    shares = min_max(values.float().cpu()).numpy()
    place = np.arange(len(HEAT)) / (len(HEAT) - 1)
    colours = np.stack([np.interp(shares, place, HEAT[:, c]) for c in range(3)], -1)
    return enlarged(colours.round().astype(np.uint8), side)


def heat_over(image: Image, values: Tensor, side: int) -> Image:
    """A map, bilinear, over the grey photo."""
    photo = enlarged(image, side)
    wide = F.interpolate(values[None, None].float().cpu(), photo.shape[:2], mode="bilinear", align_corners=False)[0, 0]
    grey = photo.mean(2, keepdims=True)
    return (0.45 * grey + 0.55 * heat(wide, side).astype(float)).round().astype(np.uint8)


def cut_out(image: Image, where: NDArray[np.bool_], side: int) -> Image:
    """The photo where ``where`` is true, dark and grey elsewhere."""
    dim = image.mean(2, keepdims=True).repeat(3, 2) * 0.3
    return enlarged(np.where(where[..., None], image, dim).astype(np.uint8), side)


def wide_mask(values: Tensor, size: tuple[int, int], threshold: float) -> NDArray[np.bool_]:
    """(h, w) map -> (H, W) bool: bilinear to the photo's size, stretched to 0..1, above the threshold."""
    wide = F.interpolate(values[None, None].float(), size, mode="bilinear", align_corners=False)[0, 0]
    return np.asarray((min_max(wide) > threshold).cpu().numpy())


def to_picture(pixels: Tensor) -> Image:
    """(3, H, W) in 0..1 -> (H, W, 3) uint8."""
    return np.asarray((pixels.float() * 255).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).cpu().numpy())


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """An HTML table; numbers with three digits."""
    top = "".join(f"<th>{escape(h)}</th>" for h in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(shown(c))}</td>" for c in row) + "</tr>" for row in rows)
    return f"<table><tr>{top}</tr>{body}</table>"


def markdown(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """The same in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(shown(c) for c in line) + " |" for line in lines) + "\n"


def shown(value: object) -> str:
    """A cell's text."""
    if isinstance(value, float):
        return "-" if np.isnan(value) else f"{value:.1e}" if 0 < abs(value) < 5e-4 else f"{value:.3f}"
    return str(value)


WIDTH, HEIGHT, LEFT, BELOW, ABOVE, KEY = 620, 300, 58, 44, 28, 200  # pixels of a plot and of its margins


def line_plot(title: str, x_label: str, y_label: str, series: Series) -> str:
    """An SVG of lines with points, axes from data to data, a key at the right."""
    points = [p for line in series.values() for p in line if not np.isnan(p[1])]
    if not points:
        return ""
    xs, ys = sorted({p[0] for p in points}), [p[1] for p in points]
    low, high = _span(min(ys), max(ys))
    wide, tall = WIDTH - LEFT - KEY, HEIGHT - BELOW - ABOVE

    def at(x: float, y: float) -> tuple[float, float]:
        across = (x - xs[0]) / (xs[-1] - xs[0]) if len(xs) > 1 else 0.5
        return LEFT + across * wide, ABOVE + (high - y) / (high - low) * tall

    parts = [f'<text x="{LEFT}" y="16" font-weight="bold">{escape(title)}</text>']
    for y in np.linspace(low, high, 5):
        height = at(xs[0], float(y))[1]
        parts.append(f'<line x1="{LEFT}" x2="{LEFT + wide}" y1="{height:.1f}" y2="{height:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{height + 4:.1f}" text-anchor="end">{y:.2f}</text>')
    for x in xs:
        parts.append(f'<text x="{at(x, low)[0]:.1f}" y="{HEIGHT - BELOW + 18}" text-anchor="middle">{x:g}</text>')
    parts.append(f'<text x="{LEFT + wide / 2}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x_label)}</text>')
    middle = ABOVE + tall / 2
    parts.append(f'<text transform="translate(14 {middle}) rotate(-90)" text-anchor="middle">{escape(y_label)}</text>')
    for i, (name, line) in enumerate(series.items()):
        parts.append(_line(name, [at(*p) for p in line if not np.isnan(p[1])], i))
    style = 'font-family="system-ui, sans-serif" font-size="12"'
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
    return f"{opening} {style}><title>{escape(title)}</title>{''.join(parts)}</svg>"


def _line(name: str, points: list[tuple[float, float]], index: int) -> str:
    paint = "rgb({}, {}, {})".format(*color(index + 1))
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{paint}"/>' for x, y in points)
    x, y = WIDTH - KEY + 14, ABOVE + 8 + 18 * index
    key = f'<rect x="{x}" y="{y - 8}" width="14" height="4" fill="{paint}"/><text x="{x + 20}" y="{y}">{escape(name)}</text>'
    return f'<polyline points="{path}" fill="none" stroke="{paint}" stroke-width="2"/>{dots}{key}'


def _span(low: float, high: float) -> tuple[float, float]:
    margin = 0.06 * (high - low) or 0.05
    return low - margin, high + margin
