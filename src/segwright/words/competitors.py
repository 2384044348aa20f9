"""What a user's words compete with: common nouns, and how a phrase is used."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache

from segwright.words import english
from segwright.words.nouns import known_names, singular
from segwright.words.synonyms import names_of

_ARTICLE = re.compile(r"^(?:a|an|the|my|your|his|her|our|their|some|any)\s+", re.I)
_PLACES = "|".join(sorted(english.PLACE_WORDS))
# "on the left", "in the background": where a thing is, which no network here can tell.
_WHERE = re.compile(rf"\s+(?:on|in|at|to|near|behind|of)\s+(?:the\s+)?(?:far\s+)?(?:{_PLACES}|foreground|background)\b.*$", re.I)


@cache
def common_nouns() -> tuple[str, ...]:
    """The names of all benchmarks' classes, and compounds that captions use: some 400 nouns, sorted."""
    return tuple(sorted(known_names()))


def used_part(phrase: str) -> str:
    """The part of a phrase that networks are asked for: "the red apple" -> "red apple", "person on the left" -> "person"."""
    short = _WHERE.sub("", _ARTICLE.sub("", phrase.strip())).strip()
    return short or phrase


def same(word: str) -> str:
    """By what two names are the same: lower case, the last word in the singular."""
    *head, last = word.casefold().split() or [""]
    return " ".join([*head, singular(last)])


def others(nouns: Iterable[str], names: Sequence[str]) -> tuple[str, ...]:
    """The nouns that are none of the names, each once."""
    taken = {same(name) for name in names}
    kept: dict[str, str] = {}
    for noun in nouns:
        if same(noun) not in taken:
            kept.setdefault(same(noun), noun)
    return tuple(kept.values())


def unknown(words: Iterable[str], nouns: Iterable[str]) -> list[str]:
    """The words of which no name holds one of the nouns, as "red car" holds "car". ``nouns``: all that networks were taught."""
    taught = {same(noun) for noun in nouns}
    return [str(word) for word in words if not any(_parts(name) & taught for name in names_of(word))]


def _parts(name: str) -> set[str]:
    """Every run of words in a name: "red potted plants" -> "red", "red potted", ..., "plant"."""
    tokens = used_part(name).split()
    return {same(" ".join(tokens[i:j])) for i in range(len(tokens)) for j in range(i + 1, len(tokens) + 1)}
