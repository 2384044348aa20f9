"""One page that shows how iSeg came to its result: prompts, cross-attention, clusters, refinement, result."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from segwright.files.html import Page
from segwright.methods.segmenter import maps_row, word_steps
from segwright.types import Image, Scores
from segwright.words.presence import Chosen


def page(image: Image, method: Any, words: Sequence[str] | None = None, title: str = "") -> Page:
    """Segment one photo; the page of its steps."""
    name = title or "photo"
    return Page(f"{name}: iSeg, step by step", name, body(image, method, words))


def body(image: Image, method: Any, words: Sequence[str] | None = None) -> str:
    """Segment one photo; its steps as HTML."""

    def steps_of(photo: Image, chosen: Chosen) -> tuple[str, Scores]:
        steps, settings = method.steps(photo, chosen), method.settings
        order = range(len(chosen.present))
        several = " The words did not fit into one prompt." if len(steps.prompts) > 1 else ""
        prompts = "".join(f"<li><q>{escape(p.text)}</q></li>" for p in steps.prompts)
        shown = (
            f"<h2>2. Cross-attention at t={settings.timestep}</h2><p>One pass for all words of a prompt, their embeddings "
            f"times {settings.emphasis:g}.{several} What the text encoder's context does not hold is cut off at the end.</p>"
            f"<ul>{prompts}</ul>{maps_row(chosen.present, steps.cross, order)}"
            f"<h2>3. Cells that attend alike share their maps</h2>{maps_row(chosen.present, steps.shared, order)}"
            f"<h2>4. {settings.iterations} rounds of refinement by self-attention</h2>"
            f"{maps_row(chosen.present, steps.refined, order)}"
        )
        return shown, method.finish(steps, photo, chosen)

    return word_steps(image, method, words, steps_of)
