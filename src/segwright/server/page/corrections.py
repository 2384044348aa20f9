"""What a person changes of a result by hand: words dropped, places added; each step can be taken back."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segwright.errors import InputError
from segwright.methods.best.affinity import added
from segwright.types import Segmentation

ADDITION = 0  # in a row of steps; the other numbers are labels that were switched on or off
STEPS = 1000  # that are kept, at most
ADDITIONS = 50  # of one result


@dataclass(frozen=True)
class Added:
    """A region that was added to a word.

    Attributes:
        label: the word's.
        place: as for ``Best.also``.
        bits: the region, an (H, W) bool array as ``numpy.packbits`` packs it.
        size: (H, W).
    """

    label: int
    place: tuple[float, ...]
    bits: NDArray[np.uint8]
    size: tuple[int, int]

    @property
    def region(self) -> NDArray[np.bool_]:
        """(H, W) bool."""
        return np.unpackbits(self.bits, count=self.size[0] * self.size[1]).reshape(self.size).astype(bool)


@dataclass(frozen=True)
class Corrections:
    """All that was changed, in order.

    Attributes:
        steps: ``ADDITION`` or the label of a word that was switched.
        added: one for each ``ADDITION``.
        word: label of the word to which places were added last, 0: none.
    """

    steps: tuple[int, ...] = ()
    added: tuple[Added, ...] = ()
    word: int = 0

    @property
    def dropped(self) -> frozenset[int]:
        """The labels that were switched off and not on again."""
        return frozenset(label for label in self.steps if label != ADDITION and self.steps.count(label) % 2)

    def after(self, steps: Sequence[int]) -> Corrections:
        """With other steps; additions that are no longer among them are gone."""
        return replace(self, steps=tuple(steps), added=self.added[: list(steps).count(ADDITION)])

    def with_added(self, one: Added) -> Corrections:
        """With one more addition.

        Raises:
            InputError: there are too many.
        """
        if len(self.added) >= ADDITIONS:
            raise InputError(f"{ADDITIONS} additions to one result are as many as this page takes")
        return Corrections((*self.steps, ADDITION), (*self.added, one), one.label)

    def corrected(self, found: Segmentation) -> Segmentation:
        """The segmentation as it goes into files: without what was dropped, with what was added."""
        result = without(found, self.dropped)
        for one in self.added:
            if one.label not in self.dropped:
                result = added(result, found.words[one.label - 1], one.place, one.region)
        return result

    def drawn(self, found: Segmentation) -> Segmentation:
        """The segmentation as it is drawn: what was dropped is there, to be switched on again."""
        result = self.corrected(found)
        hidden = (result.labels == 0) & np.isin(found.labels, list(self.dropped))
        return replace(result, labels=np.where(hidden, found.labels, result.labels))


def without(found: Segmentation, labels: Collection[int]) -> Segmentation:
    """A result in which what had some labels has none."""
    return replace(found, labels=np.where(np.isin(found.labels, list(labels)), 0, found.labels)) if labels else found


def read_steps(sent: Any) -> tuple[int, ...]:
    """The steps in what the page's script tells; others are left out."""
    given = sent.get("steps") if isinstance(sent, Mapping) else None
    return tuple(step for step in given[:STEPS] if type(step) is int) if isinstance(given, list) else ()


def read_place(sent: Any, found: Segmentation) -> tuple[int, tuple[int, ...]]:
    """The label and the place in pixels in what the page's script tells: {"label": 1, "place": [0.5, 0.25]}, shares of the photo.

    Raises:
        InputError: no such word, or no place in the photo.
    """
    label, place = (sent.get("label"), sent.get("place")) if isinstance(sent, Mapping) else (None, None)
    if type(label) is not int or not 1 <= label <= len(found.words):
        raise InputError("choose the word to which the place is to be added")
    shares = place if isinstance(place, list) and len(place) in (2, 4) else []
    if not shares or not all(type(v) in (int, float) and 0 <= v <= 1 for v in shares):
        raise InputError("that is no place in the photo")
    height, width = found.labels.shape
    x0, y0, *end = (v * side for v, side in zip(shares, (width, height) * 2, strict=False))
    first = min(int(x0), width - 1), min(int(y0), height - 1)
    last = tuple(max(at + 1, math.ceil(v)) for at, v in zip(first, end, strict=False))
    return label, (*first, *last)
