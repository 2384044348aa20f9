"""What the pages of word-by-word methods share: the photo's words, a row of maps for each step, the result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

from torch import Tensor

from segwright.files.html import Page, enlarged, figure, image_bytes
from segwright.files.overlay import overlay
from segwright.methods.base import Method
from segwright.models.clip_dense import min_max
from segwright.refine.g4seg.explain import heat
from segwright.types import Image, Scores, Segmentation, check_image
from segwright.words.presence import Chosen, choose
from segwright.words.vocabulary import check_words

SHOWN = 12  # words a row; the strongest
SIDE = 200  # pixels of a map


def word_page(
    image: Image,
    method: Method,
    words: Sequence[str] | None,
    title: str,
    heading: str,
    body: Callable[[Image, Chosen], tuple[str, Scores]],
) -> Page:
    """The page of a segmenter's steps: its photo and words, what ``body`` shows, the result.

    Args:
        body: photo and its words -> the steps' HTML and the coarse scores; not called where no word is believed.
    """
    photo, vocabulary = check_image(image), None if words is None else check_words(words)
    chosen = choose(method.networks, [photo], vocabulary, method.settings.candidates)[0]
    name = title or "photo"
    preset = escape(method.networks.preset.name)
    intro = f"<p>Preset <code>{preset}</code>, seed {method.settings.seed}.</p>{_photo(photo)}{_words(chosen)}"
    if not chosen.candidates:
        return Page(f"{name}: {heading}, step by step", name, f"{intro}<p>No word is left: all is background.</p>")
    shown, coarse = body(photo, chosen)
    return Page(f"{name}: {heading}, step by step", name, f"{intro}{shown}{_result(photo, coarse, method)}")


def maps_row(words: Sequence[str], maps: Tensor, order: Sequence[int], notes: Sequence[str] | None = None) -> str:
    """Figures of (K, h, w) maps, each stretched to its own range, of the words at ``order``."""
    parts = []
    for i in list(order)[:SHOWN]:
        note = f"<br>{notes[i]}" if notes else ""
        picture = image_bytes(enlarged(heat(min_max(maps[i])), SIDE))
        parts.append(figure(picture, f"<b>{escape(words[i])}</b>{note}", safe=True))
    more = f"<p>The {SHOWN} strongest of {len(order)} words.</p>" if len(order) > SHOWN else ""
    return more + "".join(parts)


def _photo(photo: Image) -> str:
    return figure(image_bytes(enlarged(photo)), f"{photo.shape[1]} x {photo.shape[0]} pixels")


def _words(chosen: Chosen) -> str:
    caption = f"<p>Caption: <q>{escape(chosen.caption)}</q></p>" if chosen.caption is not None else "<p>No caption was needed.</p>"
    names = escape(", ".join(chosen.present) or "none")
    return f"<h2>1. Words</h2>{caption}<p>Taking part: <b>{names}</b>, of {len(chosen.words)} words.</p>"


def _result(photo: Image, coarse: Scores, method: Method) -> str:
    how = method.settings.refine
    before = figure(image_bytes(overlay(photo, _segmentation(coarse))), "the result" if not how else "before refinement")
    if not how:
        return f"<h2>Result</h2>{before}"
    after = _segmentation(method.refined(photo, coarse))
    return f"<h2>Result</h2>{before}{figure(image_bytes(overlay(photo, after)), f'after refinement ({how})')}"


def _segmentation(scores: Scores) -> Segmentation:
    return Segmentation(scores.words, scores.argmax().cpu().numpy(), scores)
