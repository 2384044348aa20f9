"""Any number of refiners, one after the other: what ``refine="g4seg,crf"`` means, for every method and for ``segwright refine``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from segwright.errors import InputError
from segwright.refine import NEED_NETWORKS, REFINERS
from segwright.types import Image, Scores
from segwright.weights import Networks

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


def refiners(networks: Networks, own: Mapping[str, Refiner] | None = None) -> dict[str, Refiner]:
    """Every refiner by name as (image, scores) -> scores: those that need networks get these, ``own`` replaces any."""
    bound = {name: partial(REFINERS[name], model=networks) for name in NEED_NETWORKS}
    return {**REFINERS, **bound, **(own or {})}


def refine(image: Image, scores: Scores, text: str | None, networks: Networks, own: Mapping[str, Refiner] | None = None) -> Scores:
    """The scores after all refiners, in the order given; scores of a single label pass unchanged.

    Args:
        text: as for ``parse_refiners``.
        networks: the method's own; g4seg runs on them. Nothing is loaded that no refiner asks for.
        own: refiners of the method's own, in place of those of the same name (FreeSeg-Diff has another CRF).

    Raises:
        InputError: an unknown refiner.
    """
    known = refiners(networks, own)
    for name in parse_refiners(text, known):
        if len(scores.labels) > 1:
            scores = known[name](image, scores)
    return scores
