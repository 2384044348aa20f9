"""Plain English captions of the miniature world, with variety, from what a scene holds."""

from __future__ import annotations

from collections.abc import Sequence

from numpy.random import Generator

OPENINGS = ("", "", "", "a good picture of ", "a picture of ", "a photo of ", "a photograph of ", "a good photo of ", "there is ")
GROUNDS = ("on {}", "on {}", "with {}", "in front of {}")
BARE_GROUNDS = ("", "", "", " on a plain background", " on a pattern", " on nothing")


def with_article(noun: str) -> str:
    """ "apple" -> "an apple"."""
    return ("an " if noun[0] in "aeio" or noun.startswith("um") else "a ") + noun


def listing(nouns: Sequence[str]) -> str:
    """["dog", "car"] -> "a dog and a car"."""
    parts = [with_article(noun) for noun in nouns]
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def caption(rng: Generator, things: Sequence[tuple[str, str | None]], stuff: str | None) -> str:
    """One caption.

    Args:
        rng: where the wording comes from.
        things: (word, colour or None) of each thing, at least one unless ``stuff`` is given.
        stuff: the named ground, or None.
    """
    opening = OPENINGS[rng.integers(len(OPENINGS))]
    if not things:
        return opening + (stuff or "nothing")
    order = rng.permutation(len(things))
    nouns = []
    for i in order:
        word, colour = things[i]
        nouns.append(f"{colour} {word}" if colour and rng.random() < 0.5 else word)
    text = opening + listing(nouns)
    if stuff is None:
        return text + BARE_GROUNDS[rng.integers(len(BARE_GROUNDS))]
    if rng.random() < 0.2:
        return text
    return text + " " + GROUNDS[rng.integers(len(GROUNDS))].format(stuff)
