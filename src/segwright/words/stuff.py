"""Which words are stuff (grass, sky) and not things: OVDiff's published split, and what COCO-Stuff calls so."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from segwright.words.nouns import singular
from segwright.words.synonyms import names_of
from segwright.words.vocabulary import load


@cache
def published_stuff() -> tuple[str, ...]:
    """The stuff of OVDiff's published list; a class that it does not name is a thing."""
    text = files("segwright.words").joinpath("ovdiff-stuff.json").read_text(encoding="utf-8")
    return tuple(json.loads(text)["stuff"])


@cache
def _known() -> frozenset[str]:
    """Names in the singular, lower case: the published list's, and COCO-Stuff's in all their parts ("wall-brick" -> wall)."""
    coco = load("coco-stuff171")
    names = {part for word in coco.stuff for part in (word, word.partition("-")[0])} - {*coco.things}
    return frozenset(singular(name) for name in (*published_stuff(), *load("mini-stuff").words, *names))


def known_stuff(words: Sequence[str]) -> tuple[str, ...]:
    """Those of any words that are known as stuff by one of their names; the last word of a name decides ("green grass")."""
    return tuple(word for word in words if any(_is_stuff(name) for name in names_of(word)))


def _is_stuff(name: str) -> bool:
    whole = singular(name.casefold())
    return whole in _known() or singular(whole.rpartition(" ")[2]) in _known()
