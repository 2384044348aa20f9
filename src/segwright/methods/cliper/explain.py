"""One page that shows how CLIPer came to its result: fused maps of CLIP, maps carried by self-attention, scores, result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from segwright.files.html import Page
from segwright.methods.segmenter import maps_row, word_steps
from segwright.models.heads import finest_up
from segwright.types import Image, Scores
from segwright.words.presence import Chosen


def page(image: Image, method: Any, words: Sequence[str] | None = None, title: str = "") -> Page:
    """Segment one photo; the page of its steps."""
    name = title or "photo"
    return Page(f"{name}: CLIPer, step by step", name, body(image, method, words))


def body(image: Image, method: Any, words: Sequence[str] | None = None) -> str:
    """Segment one photo; its steps as HTML."""

    def steps_of(photo: Image, chosen: Chosen) -> tuple[str, Scores]:
        steps, settings = method.steps(photo, chosen), method.settings
        order = steps.scores.argsort(descending=True).tolist()
        marks = [
            f'score {score:.2f}<br><span class="{"kept" if i in steps.kept else "dropped"}">'
            f"{'kept' if i in steps.kept else f'out: not above {settings.score:g}'}</span>"
            for i, score in enumerate(steps.scores.tolist())
        ]
        sites = ", ".join(s.name for s in finest_up(method.networks.diffusion.unet, settings.attentions))
        cells, fine = "x".join(str(n) for n in steps.early.shape[1:]), steps.fine.shape[1]
        shown = (
            f"<h2>2. CLIP's layers, fused</h2><p>{cells} cells; a map is shown from its own least to its own most.</p>"
            f"{maps_row(chosen.present, steps.early, order)}"
            f"<h2>3. Carried by the diffusion model's self-attention</h2><p>{fine}x{fine} cells, all heads of "
            f"<code>{sites}</code> at t={settings.timestep}.</p>{maps_row(chosen.present, steps.fine, order, marks)}"
        )
        return shown, method.finish(steps, photo, chosen)

    return word_steps(image, method, words, steps_of)
