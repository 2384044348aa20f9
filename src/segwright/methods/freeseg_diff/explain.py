"""One page that shows how FreeSeg-Diff came to its result: caption, candidates, features, regions, names, refinement."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from segwright.files.html import Page, colour_regions, enlarged, figure, image_bytes, principal_components
from segwright.files.overlay import overlay
from segwright.methods.freeseg_diff.steps import Steps
from segwright.types import Image, Segmentation

OVERLAP = 0.05  # of a word's pixels that a region must hold to be shown for it


def page(image: Image, method: Any, words: Sequence[str] | None = None, title: str = "") -> Page:
    """Segment one photo; the page of its steps."""
    steps = method.steps([image], words)[0]
    result = method.finish(steps)
    name = title or "photo"
    photo = figure(image_bytes(enlarged(steps.image)), f"{steps.image.shape[1]} x {steps.image.shape[0]} pixels")
    preset = escape(method.networks.preset.name)
    intro = f"<p>Preset <code>{preset}</code>, seed {method.settings.seed}.</p>"
    return Page(f"{name}: FreeSeg-Diff, step by step", name, f"{intro}{photo}{body(steps, result, method)}")


def body(steps: Steps, result: Segmentation, method: Any) -> str:
    """The steps as HTML, below the heading."""
    return _words(steps) + _features(steps, method) + _names(steps) + _refinement(steps, result, method)


def _words(steps: Steps) -> str:
    chosen = steps.chosen
    rows = []
    for i, keyword in enumerate(chosen.keywords):
        if chosen.filter is None:
            rows.append(f"<tr><td>{escape(keyword.word)}</td><td></td><td></td><td></td></tr>")
            continue
        match = chosen.filter.matches[i]
        verdict = (
            '<span class="kept">kept</span>' if match.kept else f'<span class="dropped">dropped: {escape(match.reason)}</span>'
        )
        rows.append(
            f"<tr><td>{escape(keyword.word)}</td><td>{escape(chosen.words[match.nearest])}</td>"
            f"<td>{match.distance:.3f} (at most {match.threshold:.3f})</td><td>{verdict}</td></tr>"
        )
    names = ", ".join(chosen.words[i] for i in chosen.candidates) or "none"
    table = (
        "<table><tr><th>keyword</th><th>nearest word</th><th>distance</th><th></th></tr>" + "".join(rows) + "</table>"
        if rows
        else ""
    )
    caption = f"<p>Caption: <q>{escape(chosen.caption)}</q></p>" if chosen.caption is not None else "<p>No caption was needed.</p>"
    return f"<h2>1. Words</h2>{caption}{table}<p>Candidates: <b>{escape(names)}</b> of {len(chosen.words)} words.</p>"


def _features(steps: Steps, method: Any) -> str:
    if method.settings.backbone == "diffusion":
        source = method.networks.diffusion.source(method.feature_settings)
    else:
        source = f"{method.settings.backbone} features"
    cells = figure(
        image_bytes(enlarged(principal_components(steps.features))), f"{source}: first three principal components as colours"
    )
    regions = colour_regions(steps.regions.cpu().numpy())
    outlined = figure(image_bytes(enlarged(regions)), f"{len(steps.named)} regions at the photo's size")
    return f"<h2>2. Features and regions</h2>{cells}{outlined}"


def _names(steps: Steps) -> str:
    figures = "".join(named_region(steps, k) for k in range(len(steps.named)))
    return f"<h2>3. What CLIP calls each region</h2>{figures}"


def named_region(steps: Steps, k: int) -> str:
    """One region as CLIP saw it, and the words that competed for it."""
    named, label = steps.named[k], steps.labels[k]
    masked = np.where((steps.regions.cpu().numpy() == k)[..., None], steps.image, 0).astype(np.uint8)
    ranking = "<br>".join(f"{escape(word)} {chance:.1%}" for word, chance in named.ranking)
    verdict = f"<b>{escape(steps.chosen.words[label - 1])}</b>" if label else "<b>unlabelled</b>"
    why = "" if label or not named.ranking else f" ({escape(named.ranking[0][0])} is no candidate)"
    return figure(image_bytes(enlarged(masked, 220)), f"{verdict}{why}<br>{ranking}", safe=True)


def regions_of(steps: Steps, result: Segmentation, label: int) -> str:
    """The regions below a word: what CLIP saw, and what it took it for, as HTML."""
    where, regions = np.asarray(result.labels == label), steps.regions.cpu().numpy()
    shares = np.bincount(regions[where], minlength=len(steps.named)) / max(1, where.sum())
    shown = [k for k in np.argsort(-shares, kind="stable").tolist() if shares[k] >= OVERLAP]
    figures = "".join(named_region(steps, k) for k in shown)
    return f"<p>The regions it was made from, as CLIP saw them, and what CLIP took them for:</p>{figures}"


def _refinement(steps: Steps, result: Segmentation, method: Any) -> str:
    before = Segmentation(steps.scores.words, steps.scores.argmax().cpu().numpy(), steps.scores)
    how = method.settings.refine or "none"
    pictures = [
        figure(image_bytes(overlay(steps.image, before)), "before refinement"),
        figure(image_bytes(overlay(steps.image, result)), f"after refinement ({how})"),
    ]
    return f"<h2>4. Refinement</h2>{''.join(pictures)}"
