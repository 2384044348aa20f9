"""One page that shows why each word was found or not: evidence, competition, maps, fusion, outline, check."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import torch
from torch import Tensor

from segwright.files.colors import color
from segwright.files.html import Page, colour_regions, enlarged, figure, image_bytes
from segwright.files.overlay import overlay
from segwright.methods.best.presence import NAMED, NEAREST, SILENT
from segwright.methods.best.steps import Belief, Steps
from segwright.refine.g4seg.explain import heat
from segwright.types import Image, Scores, Segmentation

SIDE, SHOWN = 200, 12  # pixels of a map; maps a row


def page(image: Image, method: Any, words: Sequence[str] | None = None, title: str = "") -> Page:
    """Segment one photo; the page of its steps."""
    name = title or "photo"
    return Page(f"{name}: best, step by step", name, body(image, method.steps(image, words), method))


def body(image: Image, steps: Steps, method: Any) -> str:
    """The steps as HTML."""
    settings = method.settings
    photo = figure(image_bytes(enlarged(image)), f"{image.shape[1]} x {image.shape[0]} pixels")
    intro = f"<p>Preset <code>{escape(method.networks.preset.name)}</code>, seed {settings.seed}.</p>{photo}"
    return intro + _beliefs(steps, settings) + _competition(steps) + _maps(image, steps) + _result(image, steps, settings)


def _beliefs(steps: Steps, settings: Any) -> str:
    heads = "".join(f"<th>{name}</th>" for name in ("word", "asked as", "caption", "photo", "dense", "region", "score", ""))
    rows = "".join(_row(belief) for belief in steps.beliefs)
    return (
        f"<h2>1. Which words are there</h2><p>Caption: <q>{escape(steps.caption)}</q></p>"
        f"<table><tr>{heads}</tr>{rows}</table>"
        f"<p>A word is found if its score, its evidence pooled as mean log-odds, is at least {settings.confidence:g}. "
        f"Caption: it names the word ({NAMED:g}), names what is nearest to it ({NEAREST:g}) or is silent ({SILENT:g}). "
        "Photo: CLIP on photo and crops. "
        "Dense: its strongest cells. Region: CLIP on what was cut out. CLIP chooses among the words and "
        f"{len(steps.everyone.others)} other nouns.</p>"
    )


def _row(belief: Belief) -> str:
    cells = "".join(f"<td>{_number(belief.evidence.get(name))}</td>" for name in ("caption", "photo", "dense", "region"))
    verdict = (
        '<span class="kept">found</span>' if belief.present else f'<span class="dropped">not found: {escape(belief.why)}</span>'
    )
    asked = escape("; ".join(belief.used))
    return f"<tr><td>{escape(belief.word)}</td><td>{asked}</td>{cells}<td>{belief.score:.2f}</td><td>{verdict}</td></tr>"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _competition(steps: Steps) -> str:
    if steps.passed is None:
        return "<h2>2. Competition</h2><p>No word is believed to be in the photo: all is unlabelled.</p>"
    names = ", ".join(f"<b>{escape(t)}</b>" if i < len(steps.believed) else escape(t) for i, t in enumerate(steps.competing.titles))
    return f"<h2>2. Competition</h2><p>Words that may be there (bold), the caption's other nouns, background words: {names}.</p>"


def _maps(image: Image, steps: Steps) -> str:
    if steps.passed is None or steps.regions is None or steps.fused is None or steps.carried is None or steps.shares is None:
        return ""
    titles = steps.competing.titles
    regions = figure(image_bytes(enlarged(colour_regions(steps.regions.cpu().numpy()))), f"{len(steps.shares)} regions")
    named = "".join(_region(steps.shares[k], titles, k) for k in range(len(steps.shares)))
    prompt = f"<p>One U-Net pass with the prompt <q>{escape(steps.passed.prompt)}</q>.</p>"
    return (
        f"<h2>3. Dense evidence</h2>{prompt}{regions}<ul>{named}</ul>"
        f"{_of_cells(titles, steps.cells)}<h3>Cross-attention</h3>{_row_of(titles, steps.passed.cross)}"
        f"<h3>Fused</h3>{_row_of(titles, steps.fused)}"
        f"<h2>4. Outline</h2>{_row_of(titles, steps.carried)}"
    )


def _of_cells(titles: Sequence[str], cells: Tensor | None) -> str:
    return "" if cells is None else f"<h3>CLIP's own patches</h3>{_row_of(titles, cells)}"


def _region(shares: Tensor, titles: Sequence[str], number: int) -> str:
    order = shares.argsort(descending=True)[:3].tolist()
    swatch = '<span style="color:rgb({},{},{})">&#9632;</span>'.format(*color(number + 1))
    return f"<li>{swatch} region {number + 1}: {escape(', '.join(f'{titles[i]} {float(shares[i]):.0%}' for i in order))}</li>"


def _row_of(titles: Sequence[str], maps: Tensor) -> str:
    if not len(maps):
        return ""
    shown = [
        figure(image_bytes(enlarged(heat(m), SIDE)), escape(t), safe=True)
        for t, m in zip(titles, maps / maps.max().clamp(min=1e-6), strict=False)  # one scale, so that maps compare
    ]
    return "".join(shown[:SHOWN])


def _result(image: Image, steps: Steps, settings: Any) -> str:
    stages = (
        (steps.scores, "before refinement"),
        (steps.refined, f"refined ({settings.refine})"),
        (steps.result, "after the check"),
    )
    pictures = "".join(figure(image_bytes(overlay(image, _segmentation(scores))), text) for scores, text in stages)
    return f"<h2>5. Check and result</h2>{pictures}"


def _segmentation(scores: Scores) -> Segmentation:
    return Segmentation(scores.words, torch.as_tensor(scores.argmax()).cpu().numpy(), scores)
