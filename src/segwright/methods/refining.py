"""Any number of refiners, one after the other: what ``refine="pamr,crf"`` means, for every method and for ``segwright refine``."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from segwright.errors import InputError
from segwright.refine import REFINERS
from segwright.types import Image, Scores

Refiner = Callable[..., Scores]


def parse_refiners(text: str | None, known: Mapping[str, object] = REFINERS) -> tuple[str, ...]:
    """ "pamr,crf" -> ("pamr", "crf"); None -> ().

    Raises:
        InputError: an unknown refiner.
    """
    names = tuple(name.strip() for name in text.split(",")) if text is not None else ()
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InputError(f"refine must be of {', '.join(known)}, several joined by commas, or None, got {unknown[0]!r}")
    return names


def refine(image: Image, scores: Scores, text: str | None, refiners: Mapping[str, Refiner] = REFINERS) -> Scores:
    """The scores after all refiners, in the order given; scores of a single label pass unchanged."""
    for name in parse_refiners(text, refiners):
        if len(scores.labels) > 1:
            scores = refiners[name](image, scores)
    return scores
