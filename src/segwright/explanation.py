"""One page that shows how FreeSeg-Diff came to its result: caption, candidates, features, regions, names, refinement."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow
from torch import Tensor

from segwright.files.disk import atomic_write
from segwright.files.overlay import overlay
from segwright.methods.freeseg_diff import FreeSegDiff, Steps
from segwright.types import Image, Segmentation

SHOWN = 320  # pixels of the long side of a small picture

STYLE = """
body { font: 16px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 1100px; padding: 0 1em; color: #1c1c1c; }
h2 { margin: 1.6em 0 .4em; border-bottom: 1px solid #ccc; }
figure { display: inline-block; margin: 0 1em 1em 0; vertical-align: top; }
img { image-rendering: pixelated; max-width: 100%; border: 1px solid #ddd; } figcaption { max-width: 320px; color: #333; }
table { border-collapse: collapse; } td, th { padding: .2em .8em .2em 0; text-align: left; vertical-align: top; }
.kept { color: #14691b; } .dropped { color: #a02018; } code { background: #f2f2f2; padding: 0 .3em; }
"""


def explain(image: Image, method: FreeSegDiff, out: str | Path, words: Sequence[str] | None = None, title: str = "") -> Path:
    """Segment one photo and write the page of its steps.

    Args:
        image: (H, W, 3) uint8.
        out: the HTML file; it holds its pictures itself and opens without a network.
        words: as for the method.

    Raises:
        InputError, WeightsError: as the method.
        OutputError: the page cannot be written.
    """
    steps = method.steps([image], words)[0]
    return atomic_write(out, page(steps, method.finish(steps), method, title).encode("utf8"))


def page(steps: Steps, result: Segmentation, method: FreeSegDiff, title: str = "") -> str:
    """The page as HTML text."""
    parts = [
        _words(steps),
        _features(steps, method),
        _names(steps),
        _refinement(steps, result, method),
    ]
    name = escape(title or "photo")
    opening = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{name}: FreeSeg-Diff, step by step</title>'
    head = f"{opening}<style>{STYLE}</style>"
    photo = _figure(image_bytes(_enlarged(steps.image)), f"{steps.image.shape[1]} x {steps.image.shape[0]} pixels")
    preset = escape(method.networks.preset.name)
    intro = f"<p>Preset <code>{preset}</code>, seed {method.settings.seed}.</p>"
    return f"{head}<h1>{name}</h1>{intro}{photo}{''.join(parts)}</html>\n"


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


def _features(steps: Steps, method: FreeSegDiff) -> str:
    if method.settings.backbone == "diffusion":
        source = method.networks.diffusion.source(method.feature_settings)
    else:
        source = f"{method.settings.backbone} features"
    cells = _figure(
        image_bytes(_enlarged(principal_components(steps.features))), f"{source}: first three principal components as colours"
    )
    regions = colour_regions(steps.regions.cpu().numpy())
    outlined = _figure(image_bytes(_enlarged(regions)), f"{len(steps.named)} regions at the photo's size")
    return f"<h2>2. Features and regions</h2>{cells}{outlined}"


def _names(steps: Steps) -> str:
    figures = []
    regions = steps.regions.cpu().numpy()
    for k, (named, label) in enumerate(zip(steps.named, steps.labels, strict=True)):
        masked = np.where((regions == k)[..., None], steps.image, 0).astype(np.uint8)
        ranking = "<br>".join(f"{escape(word)} {chance:.1%}" for word, chance in named.ranking)
        verdict = f"<b>{escape(steps.chosen.words[label - 1])}</b>" if label else "<b>unlabelled</b>"
        why = "" if label or not named.ranking else f" ({escape(named.ranking[0][0])} is no candidate)"
        figures.append(_figure(image_bytes(_enlarged(masked, 220)), f"{verdict}{why}<br>{ranking}", safe=True))
    return f"<h2>3. What CLIP calls each region</h2>{''.join(figures)}"


def _refinement(steps: Steps, result: Segmentation, method: FreeSegDiff) -> str:
    before = Segmentation(steps.scores.words, steps.scores.argmax().cpu().numpy(), steps.scores)
    how = method.settings.refine or "none"
    pictures = [
        _figure(image_bytes(overlay(steps.image, before)), "before refinement"),
        _figure(image_bytes(overlay(steps.image, result)), f"after refinement ({how})"),
    ]
    return f"<h2>4. Refinement</h2>{''.join(pictures)}"


def principal_components(features: Tensor) -> Image:
    """(C, h, w) -> (h, w, 3) uint8: the first three principal components of the cells, each stretched to 0..255."""
    cells = features.float().flatten(1).T
    cells = cells - cells.mean(0)
    u, s, _ = torch.linalg.svd(cells, full_matrices=False)
    three = torch.zeros(len(cells), 3)
    three[:, : min(3, u.shape[1])] = (u * s)[:, :3].cpu()
    low, high = three.quantile(0.02, dim=0), three.quantile(0.98, dim=0)
    scaled = ((three - low) / (high - low).clamp(min=1e-9)).clamp(0, 1) * 255
    return scaled.round().to(torch.uint8).view(*features.shape[1:], 3).numpy()


def colour_regions(regions: NDArray[np.int64]) -> Image:
    """(H, W) from 0 -> (H, W, 3) uint8, one colour a region."""
    from segwright.files.colors import color

    table = np.array([color(i + 1) for i in range(int(regions.max()) + 1)], np.uint8)
    return table[regions]


def _enlarged(picture: Image, side: int = SHOWN) -> Image:
    scale = side / max(picture.shape[:2])
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    how = Pillow.Resampling.NEAREST if scale > 1 else Pillow.Resampling.LANCZOS
    return np.asarray(Pillow.fromarray(picture).resize(size, how))


def image_bytes(picture: Image) -> bytes:
    """PNG bytes of an (H, W, 3) uint8 picture."""
    stream = io.BytesIO()
    Pillow.fromarray(picture).save(stream, "PNG")
    return stream.getvalue()


def _figure(png: bytes, caption: str, safe: bool = False) -> str:
    text = caption if safe else escape(caption)
    alt = escape(text.split("<br>")[0].replace("<b>", "").replace("</b>", "")) if safe else text
    data = base64.b64encode(png).decode()
    return f'<figure><img alt="{alt}" src="data:image/png;base64,{data}"><figcaption>{text}</figcaption></figure>'
