"""Pictures of the page as HTML that holds them itself: the photo with its regions, their legend, and before and after."""

from __future__ import annotations

import base64
import io
import itertools
from collections.abc import Collection, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from scipy.ndimage import distance_transform_cdt
from skimage.measure import find_contours

from segwright.files.colors import color, color_numbers
from segwright.files.overlay import overlay
from segwright.files.record import segments
from segwright.regions.specks import without_specks
from segwright.server.page.corrections import Corrections
from segwright.types import Image, Segmentation

LONGEST = 1200  # pixels of a shown photo's long side
SPECK = 12  # pixels: smaller parts are not drawn, an outline would be all of them; areas and files have them
NAMED = 0.004  # a region's share of the photo from which on its word is written into it
UNLABELLED = "unlabelled"
MADE = itertools.count()  # tells the page's script a new picture from one whose switches were moved


def regions_figure(
    image: Image, segmentation: Segmentation, name: str = "", picks: bool = False, changes: Corrections | None = None
) -> str:
    """The photo with named, coloured regions that light up, and a legend that switches them on and off.

    Args:
        name: the photo's, for screen readers.
        picks: a region that is clicked shows its section of the page ``why`` makes; what has no label is one, too.
        changes: a region that is clicked is dropped, and places are added to a word; these were, already. The page's script says
            what is done and takes it back.
    """
    choose = changes is not None
    dropped = frozenset() if changes is None else changes.dropped
    found = segments(segmentation)
    picture, labels = shown(image, segmentation.labels)
    smooth = without_specks(labels, SPECK)
    labels = smooth if set(np.unique(smooth)) == set(np.unique(labels)) else labels  # what is all specks is shown as it is
    height, width = labels.shape
    total = segmentation.labels.size
    rest = total - sum(s["area"] for s in found)
    entries = [(s["index"], s["word"], s["area"] / total, s["score"]) for s in sorted(found, key=lambda s: -s["area"])]
    fills = [paint(0), *map(paint, color_numbers(segmentation))]
    paths = [_region(labels == entry[0], *entry, picks=picks or choose, fill=fills[entry[0]]) for entry in entries]
    if picks and rest:
        paths.insert(0, _region(labels == 0, 0, UNLABELLED, rest / total, None, picks=True, fill=fills[0]))
    text = max(width, height) / 30
    names = [_name(labels == index, index, word, text) for index, word, share, _ in entries if share >= NAMED]
    description = f"{name or 'The photo'}: {', '.join(f'{word} {share:.0%}' for _, word, share, _ in entries) or 'nothing found'}"
    svg = (
        f'<svg viewBox="0 0 {width} {height}" role="group" aria-label="{escape(description)}" style="--text:{text:.1f}px">'
        f'<image width="{width}" height="{height}" href="{jpeg(picture)}"/>{"".join(paths)}'
        f'<g class="sw-names" aria-hidden="true">{"".join(names)}</g>{_cross(width, height) if choose else ""}</svg>'
    )
    kind = " sw-picks" if picks else " sw-choose" if choose else ""
    hint = "Choose a region." if picks else "Point at a region; click it to drop it." if choose else "Point at a region."
    steps = "" if changes is None else f' data-steps="{list(changes.steps)}"'
    hands = "" if changes is None else _hands(segmentation.words, changes)
    return (
        f'<div class="sw-figure{kind}" data-made="{next(MADE)}"{steps}><div class="sw-photo">{svg}'
        f'<p class="sw-readout" aria-live="polite">{hint}</p></div>'
        f'<div class="sw-side">{_legend(entries, rest / total, picks, dropped, fills=fills)}{_opacity()}{hands}</div></div>'
    )


def swipe(image: Image, before: Segmentation, after: Segmentation) -> str:
    """Two overlays on top of each other, and a slider between them."""
    first, second = (jpeg(shrunk(overlay(image, s, legend=False))) for s in (before, after))
    return (
        f'<div class="sw-swipe" style="--at:50%" data-made="{next(MADE)}"><div class="sw-pair">'
        f'<img alt="before refinement" src="{first}"><img alt="after refinement" class="sw-after" src="{second}">'
        '<span class="sw-tag sw-left">before</span><span class="sw-tag sw-right">after</span><span class="sw-bar"></span></div>'
        '<input type="range" class="sw-swiper" min="0" max="100" value="50" '
        'aria-label="how much of the result before refinement is shown"></div>'
    )


def picture(image: Image, alt: str, kind: str = "sw-picture") -> str:
    """One picture as it is."""
    return f'<img class="{kind}" alt="{escape(alt)}" src="{png(image)}">'


def shown(image: Image, labels: NDArray[np.integer]) -> tuple[Image, NDArray[np.integer]]:
    """Photo and labels at the size at which they are shown."""
    small = shrunk(image)
    size = (small.shape[1], small.shape[0])
    if small.shape[:2] == labels.shape:
        return small, labels
    return small, np.asarray(Pillow.fromarray(labels.astype(np.int32)).resize(size, Pillow.Resampling.NEAREST))


def shrunk(image: Image, longest: int = LONGEST) -> Image:
    """The photo, its long side at most ``longest``."""
    scale = longest / max(image.shape[:2])
    if scale >= 1:
        return image
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    return np.asarray(Pillow.fromarray(image).resize(size, Pillow.Resampling.LANCZOS))


def outline(mask: NDArray[np.bool_]) -> str:
    """An SVG path around an (H, W) bool mask, half-way between pixels; holes by the even-odd rule; no points on straight lines."""
    parts = []
    for contour in find_contours(np.pad(mask, 1).astype(np.float32), 0.5):
        points = contour[:-1, ::-1] - 0.5  # x, y; +1 of the padding and -0.5 of pixel centres undone
        before, after = points - np.roll(points, 1, 0), np.roll(points, -1, 0) - points
        corners = points[np.abs(before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]) > 1e-9]
        parts.append("M" + " ".join(f"{x:g} {y:g}" for x, y in corners.tolist()) + "Z")
    return "".join(parts)


def jpeg(image: Image) -> str:
    """A data URI."""
    stream = io.BytesIO()
    Pillow.fromarray(image).save(stream, "JPEG", quality=90)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"


def png(image: Image) -> str:
    """A data URI."""
    stream = io.BytesIO()
    Pillow.fromarray(image).save(stream, "PNG", compress_level=3)
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"


def _region(mask: NDArray[np.bool_], index: int, word: str, share: float, score: float | None, *, picks: bool, fill: str) -> str:
    description = escape(_described(word, share, score))
    role = "button" if picks else "img"
    return (
        f'<path class="sw-region" tabindex="0" role="{role}" data-label="{index}" aria-label="{description}" '
        f'data-description="{description}" '
        f'style="--fill:{fill}" fill-rule="evenodd" d="{outline(mask)}"><title>{description}</title></path>'
    )


def _described(word: str, share: float, score: float | None) -> str:
    return f"{word}: {percent(share)} of the photo" + (f", score {score:.2f}" if score is not None else "")


def percent(share: float) -> str:
    """0.1234 -> "12.3 %"."""
    return f"{100 * share:.1f} %" if share >= 0.001 or not share else "<0.1 %"


def paint(number: int) -> str:
    """A colour in CSS, by its number; grey for none."""
    return "rgb({} {} {})".format(*color(number)) if number else "rgb(120 120 120)"


def _name(mask: NDArray[np.bool_], index: int, word: str, text: float) -> str:
    """The word at the region's innermost pixel, kept inside the photo's sides."""
    depth = distance_transform_cdt(np.pad(mask, 1), "chessboard")[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    text = min(text, mask.shape[1] / (0.62 * max(1, len(word))))  # a long word is written smaller, not cut
    half = 0.31 * text * len(word)
    x_inside = min(max(float(x), half), max(half, mask.shape[1] - half))
    y_inside = min(max(float(y) + text / 3, text), mask.shape[0] - text / 3)
    return f'<text x="{x_inside:.0f}" y="{y_inside:.0f}" style="--text:{text:.1f}px" data-label="{index}">{escape(word)}</text>'


def _hands(words: Sequence[str], changes: Corrections) -> str:
    """To add places to a word, and to take back what was done."""
    options = "".join(
        f'<option value="{label}"{" selected" if label == changes.word else ""}>{escape(word)}</option>'
        for label, word in enumerate(words, 1)
    )
    off = "" if changes.word else " selected"
    help = "Click what belongs to it, or draw a box around it; by the keyboard, move the cross with the arrows and press Enter."
    also = (
        f'<label class="sw-range">This too is <select class="sw-also"><option value="0"{off}>...</option>{options}</select></label>'
        f'<p class="sw-note sw-help">{help}</p>'
    )
    return f'{also if words else ""}<button type="button" class="sw-undo" disabled>Undo</button>'


def _cross(width: int, height: int) -> str:
    """What the keyboard moves over the photo, and the box that is drawn."""
    arm = max(width, height) / 40
    return (
        f'<g class="sw-cross" tabindex="0" role="button" aria-label="place to add" data-x="0.5" data-y="0.5" '
        f'transform="translate({width / 2:g} {height / 2:g})"><path d="M{-arm:g} 0H{arm:g}M0 {-arm:g}V{arm:g}"/></g>'
        '<rect class="sw-box" width="0" height="0"/>'
    )


def _legend(
    entries: list[tuple[int, str, float, float | None]], rest: float, picks: bool, dropped: Collection[int], *, fills: Sequence[str]
) -> str:
    rows = "".join(_row(*entry, picks, on=entry[0] not in dropped, fill=fills[entry[0]]) for entry in entries)
    unlabelled = _row(0, UNLABELLED, rest, None, picks, on=True, fill=fills[0]) if rest else ""
    head = '<thead><tr><th scope="col">word</th><th scope="col">area</th><th scope="col">score</th></tr></thead>'
    note = "" if entries else '<p class="sw-note">Nothing was found.</p>'
    return f'{note}<table class="sw-legend">{head}<tbody>{rows}{unlabelled}</tbody></table>'


def _row(index: int, word: str, share: float, score: float | None, picks: bool, *, on: bool, fill: str) -> str:
    swatch = f'<span class="sw-swatch{"" if index else " sw-none"}" style="--fill:{fill}"></span>'
    if picks:
        name = f'<button type="button" class="sw-pick" data-label="{index}">{swatch}{escape(word)}</button>'
    elif index:
        state = " checked" if on else ""
        name = f'<label><input type="checkbox" class="sw-switch" data-label="{index}"{state}>{swatch}{escape(word)}</label>'
    else:
        name = f'<span class="sw-plain">{swatch}{escape(word)}</span>'
    shown = "" if score is None else f"{score:.2f}"
    return f'<tr data-label="{index}"><th scope="row">{name}</th><td>{percent(share)}</td><td>{shown}</td></tr>'


def _opacity() -> str:
    return (
        '<label class="sw-range">Opacity <input type="range" class="sw-opacity" min="0" max="1" step="0.05" value="0.5"></label>'
        '<label class="sw-check"><input type="checkbox" class="sw-labels" checked> words in the picture</label>'
    )
