"""Is a word in the photo at all? What the caption names, and what CLIP sees in the photo and in its crops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from segwright.methods.best.field import Field
from segwright.types import Image
from segwright.words.competitors import same

# A keyword is one of the word's names; its nearest noun of all is one; the caption does not say (ours).
NAMED, NEAREST, SILENT = 0.9, 0.7, 0.5


@dataclass(frozen=True)
class Presence:
    """What speaks for each of N words; (N,) floats in 0..1.

    Attributes:
        caption: ``NAMED``, ``NEAREST`` or ``SILENT``.
        seen: the highest share of CLIP's softmax over photo and crops.
        keyword: the caption's noun that stands for it, "" for none.
        rival: what won where the word was strongest, "" where it won itself.
        others: title -> the highest share likewise, of those that are no word of the user's.
    """

    caption: tuple[float, ...]
    seen: tuple[float, ...]
    keyword: tuple[str, ...]
    rival: tuple[str, ...]
    others: Mapping[str, float]


def crops(image: Image) -> list[Image]:
    """The photo, and nine windows of half its sides, each beginning where the one before has its middle."""
    height, width = image.shape[:2]
    high, wide = max(1, (height + 1) // 2), max(1, (width + 1) // 2)
    side = min(high, wide)
    if side < 2:
        return [image]
    places = [(y, x) for y in _starts(height, high) for x in _starts(width, wide)]
    return [image, *(image[y : y + high, x : x + wide] for y, x in places)]


def _starts(length: int, part: int) -> list[int]:
    return sorted({0, (length - part) // 2, length - part})


def measure(clip: Any, views: Tensor, field: Field, keywords: Sequence[str], templates: Sequence[str]) -> Presence:
    """Caption and CLIP against the same competitors.

    Args:
        views: (V, D) CLIP's unit vectors of the photo and its ``crops``.
        keywords: the caption's nouns.
        templates: prompts.
    """
    caption, stood = in_caption(clip, field, keywords)
    shares = field.probabilities(clip, views, templates)
    count = len(field.names)
    seen, where = shares[:, :count].max(0) if count else (torch.zeros(0), torch.zeros(0, dtype=torch.long))
    winners = shares.argmax(1).tolist()
    rivals = tuple("" if winners[k] == i else field.titles[winners[k]] for i, k in enumerate(where.tolist()))
    highest = shares[:, count:].amax(0).tolist()
    return Presence(caption, tuple(seen.tolist()), stood, rivals, dict(zip(field.others, highest, strict=True)))


def in_caption(clip: Any, field: Field, keywords: Sequence[str]) -> tuple[tuple[float, ...], tuple[str, ...]]:
    """Each word's evidence and the keyword that stands for it.

    A keyword stands for the word of which it is a name, else for that whose name is its nearest by CLIP's text embedding,
    unless one of the others is nearer.
    """
    values, stood = [SILENT] * len(field.names), [""] * len(field.names)
    owners = {same(name): i for i, names in enumerate(field.names) for name in names}
    for keyword in keywords:
        place, value = owners.get(same(keyword)), NAMED
        if place is None:
            place, value = _nearest(clip, field, keyword), NEAREST
        if place is not None and value > values[place]:
            values[place], stood[place] = value, keyword
    return tuple(values), tuple(stood)


def _nearest(clip: Any, field: Field, keyword: str) -> int | None:
    """The place of the word that is nearest to a keyword; None where another noun is."""
    flat = [(name, i) for i, names in enumerate(field.names) for name in names]
    texts: Tensor = clip.embed_texts([*(name for name, _ in flat), *field.others])
    best = int((texts @ clip.embed_texts([keyword])[0]).argmax())
    return flat[best][1] if best < len(flat) else None
