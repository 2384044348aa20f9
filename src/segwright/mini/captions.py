"""Plain English captions of the miniature world, with variety: number, colour, position, some that leave a thing out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from numpy.random import Generator

OPENINGS = ("", "", "", "a good picture of ", "a picture of ", "a photo of ", "a photograph of ", "a good photo of ", "there is ")
GROUNDS = ("on {}", "on {}", "with {}", "in front of {}")
BARE_GROUNDS = ("", "", "", " on a plain background", " on a pattern", " on nothing")
PLACES = ("left", "right", "top", "bottom")
RELATIONS = ("left of", "right of", "above", "below")
NUMBERS = {2: "two", 3: "three", 4: "four"}
SAME_IN_PLURAL = ("sheep",)
SOMETHING = "something"


class Named(NamedTuple):
    """A drawn thing as captions see it: its word, its colour or None, its middle (x, y) in 0..1."""

    word: str
    colour: str | None = None
    middle: tuple[float, float] = (0.5, 0.5)


def with_article(noun: str) -> str:
    """ "apple" -> "an apple"."""
    return ("an " if noun[0] in "aeio" or noun.startswith("um") else "a ") + noun


def plural(word: str) -> str:
    """ "bus" -> "buses"."""
    if word in SAME_IN_PLURAL:
        return word
    return word + ("es" if word.endswith(("s", "ch", "x")) else "s")


def counted(nouns: Sequence[str], number: int) -> str:
    """ "two red cars" of (colour and) words that are all alike."""
    return f"{NUMBERS[number]} {plural(nouns[0])}"


def listing(nouns: Sequence[str]) -> str:
    """["dog", "car"] -> "a dog and a car"; a noun that comes twice is counted: "two dogs"."""
    parts = [counted([noun], nouns.count(noun)) if nouns.count(noun) > 1 else with_article(noun) for noun in dict.fromkeys(nouns)]
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def _noun(rng: Generator, thing: Named, share: float = 0.5) -> str:
    return f"{thing.colour} {thing.word}" if thing.colour and rng.random() < share else thing.word


def _placed(rng: Generator, things: Sequence[Named]) -> str | None:
    """ "a dog left of a car", or "a dog on the left", where the places leave no doubt."""
    if len(things) == 2 and things[0].word != things[1].word:
        a, b = (things[i] for i in rng.permutation(2))
        right, down = a.middle[0] - b.middle[0], a.middle[1] - b.middle[1]
        if max(abs(right), abs(down)) < 0.2:
            return None
        sideways = abs(right) >= abs(down)
        relation = RELATIONS[(0 if right < 0 else 1) if sideways else (2 if down < 0 else 3)]
        return f"{with_article(_noun(rng, a))} {relation} {with_article(_noun(rng, b))}"
    if len(things) == 1:
        x, y = things[0].middle
        if max(abs(x - 0.5), abs(y - 0.5)) < 0.18:
            return None
        place = PLACES[(0 if x < 0.5 else 1) if abs(x - 0.5) >= abs(y - 0.5) else (2 if y < 0.5 else 3)]
        return (
            f"{with_article(_noun(rng, things[0]))} on the {place}"
            if place in PLACES[:2]
            else f"{with_article(_noun(rng, things[0]))} at the {place}"
        )
    return None


def caption(rng: Generator, things: Sequence[Named], stuff: Sequence[str] = (), clutter: bool = False) -> str:
    """One caption.

    Args:
        rng: where the wording comes from.
        things: what is drawn; one may be left out.
        stuff: the named grounds, from the top down.
        clutter: whether other shapes lie about; "something" may then be said.
    """
    opening = OPENINGS[rng.integers(len(OPENINGS))]
    shown = [things[i] for i in rng.permutation(len(things))]
    if len(shown) > 1 and rng.random() < 0.1:
        shown = shown[:-1]
    if not shown:
        return opening + (" and ".join(stuff) or "nothing")
    text = _placed(rng, shown) if rng.random() < 0.25 else None
    nouns = [_noun(rng, thing) for thing in shown]
    if clutter and rng.random() < 0.15:
        nouns.append(SOMETHING)
    text = opening + (text or listing(nouns).replace(f"a {SOMETHING}", SOMETHING))
    if not stuff:
        return text + BARE_GROUNDS[rng.integers(len(BARE_GROUNDS))]
    if rng.random() < 0.2:
        return text
    ground = " and ".join(stuff) if rng.random() < 0.5 else stuff[-1]
    return text + " " + GROUNDS[rng.integers(len(GROUNDS))].format(ground)


def good_caption(rng: Generator, word: str, colour: str | None, stuff: Sequence[str]) -> str:
    """Of a clear picture of one thing: "a good picture of a red car on sand"."""
    text = f"a good picture of {with_article(_noun(rng, Named(word, colour), 0.2))}"
    return f"{text} on {stuff[-1]}" if stuff and rng.random() < 0.4 else text
