"""Vocabularies: the benchmarks' class lists, and words that a user gives, checked."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from segwright.errors import InputError
from segwright.untrusted import read_bounded
from segwright.words.synonyms import Word, names_of

NAMES = ("voc", "context59", "coco-object", "coco-stuff171", "coco27", "ade20k", "cityscapes", "mini", "mini-stuff")
ALIASES = {
    "coco": "coco-object",
    "coco-stuff": "coco-stuff171",
    "coco-27": "coco27",
    "context": "context59",
    "ade": "ade20k",
    "pascal-voc": "voc",
}
LONGEST_WORD = 200
LARGEST_FILE = 1_000_000


@dataclass(frozen=True)
class Vocabulary:
    """One benchmark's classes.

    Attributes:
        name: one of ``NAMES``.
        words: N class names, in the benchmark's own order; label i + 1 of a result is words[i].
        kinds: N times "thing" (countable) or "stuff" (ground, sky ...).
        background: the benchmark has pixels of no class and scores them as a class of their own.
        source: where the list and its order come from.
        terms: under what terms.
        renamed: official name -> ours, where they differ.
        groups: N names of the ``coco27`` class that each belongs to, for the two COCO lists; else empty.
    """

    name: str
    words: tuple[str, ...]
    kinds: tuple[str, ...]
    background: bool
    source: str
    terms: str
    renamed: tuple[tuple[str, str], ...] = ()
    groups: tuple[str, ...] = ()

    @property
    def things(self) -> tuple[str, ...]:
        """The words that are things."""
        return tuple(word for word, kind in zip(self.words, self.kinds, strict=True) if kind == "thing")

    @property
    def stuff(self) -> tuple[str, ...]:
        """The words that are stuff."""
        return tuple(word for word, kind in zip(self.words, self.kinds, strict=True) if kind == "stuff")


def load(name: str) -> Vocabulary:
    """The vocabulary of that name or alias, upper or lower case.

    Raises:
        InputError: there is none of that name.
    """
    key = name.strip().lower()
    key = ALIASES.get(key, key)
    if key not in NAMES:
        known = ", ".join((*NAMES, *ALIASES))
        raise InputError(f"expected the name of a vocabulary, got {name!r}; use one of {known}, or give the words themselves")
    return _read(key)


@cache
def _read(name: str) -> Vocabulary:
    text = files("segwright.words").joinpath("vocabularies", f"{name}.json").read_text(encoding="utf-8")
    data: dict[str, Any] = json.loads(text)
    classes = data["classes"]
    return Vocabulary(
        name=name,
        words=tuple(c["name"] for c in classes),
        kinds=tuple(c["kind"] for c in classes),
        background=data["background"],
        source=data["source"],
        terms=data["terms"],
        renamed=tuple(data["renamed"].items()),
        groups=tuple(c["group"] for c in classes if "group" in c),
    )


def parse_words(text: str) -> tuple[str, ...]:
    """`dog, sofa; couch` -> ("dog", Word("sofa", "couch")), checked as ``check_words`` does; "Apple, APPLE" is one word."""
    each: dict[str, str] = {}
    for part in text.split(",") if text.strip() else ():
        each.setdefault(unicodedata.normalize("NFC", " ".join(part.split())).casefold(), part)
    return check_words(each.values())


def read_words_file(path: str | Path) -> tuple[str, ...]:
    """The words of a UTF-8 text file: one a line, or several with commas, synonyms with semicolons; empty
    lines and lines that start with # are skipped.

    Raises:
        InputError: the file cannot be read, is no text, is over a megabyte, or its words fail ``check_words``.
    """
    path = Path(path)
    try:
        if path.is_file() and path.stat().st_size > LARGEST_FILE:
            raise InputError(f"{path}: expected a list of words, got a file over {LARGEST_FILE} bytes; one word a line is enough")
        text = read_bounded(path, LARGEST_FILE).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path}: expected UTF-8 text with one word a line, got other bytes; save it as UTF-8 text") from None
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{path}: expected a text file with one word a line, but it cannot be read ({reason})") from None
    lines = [line.strip() for line in text.splitlines()]
    words = [word for line in lines if line and not line.startswith("#") for word in line.split(",")]
    try:
        return check_words(words)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def check_words(words: Iterable[str]) -> tuple[str, ...]:
    """The words without surrounding and doubled spaces, in their order; "sofa; couch" is one of two names.

    A name that a word has twice ("sofa; Sofa") counts once.

    Returns:
        str, or ``segwright.words.synonyms.Word`` for a word of several names.

    Raises:
        InputError: a string instead of a list, no word at all, an empty one, a name that two words have (upper and lower
            case count as the same), one over 200 characters, or one with control characters.
    """
    if isinstance(words, str):
        raise InputError(f"expected a list of words, got the string {_short(words)}; write [{_short(words)}], or use parse_words")
    checked: list[str] = []
    known: dict[str, str] = {}
    for place, raw in enumerate(words, 1):
        names = _check_names(raw, place)
        for key, name in names.items():
            if key in known:
                raise InputError(f"expected each word once, got {_short(known[key])} and {_short(name)}; leave one of them out")
        known |= names
        checked.append(Word(*names.values()) if len(names) > 1 else next(iter(names.values())))
    if not checked:
        raise InputError("expected at least one word, got none; name what to look for, for example 'dog, sofa; couch'")
    return tuple(checked)


def _check_names(raw: Any, place: int) -> dict[str, str]:
    """A word's names by how they are compared, each once."""
    parts = [part for name in names_of(raw) for part in name.split(";")] if isinstance(raw, str) else [raw]
    names: dict[str, str] = {}
    for part in parts:
        name = _check_word(part, place)
        names.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
    return names


def _check_word(raw: Any, place: int) -> str:
    if not isinstance(raw, str):
        raise InputError(f"expected words as strings, got {type(raw).__name__} as word {place}; put it in quotes")
    word = raw.strip()
    if not word:
        raise InputError(f"expected a word, got an empty one as word {place}; look for a comma too many and take it out")
    if len(word) > LONGEST_WORD:
        raise InputError(f"expected words of at most {LONGEST_WORD} characters, got {len(word)} in {_short(word)}; shorten it")
    if any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") or ord(letter) & 0xFFFE == 0xFFFE for letter in word):
        raise InputError(f"expected words without control characters, got {_short(word)} as word {place}; retype it")
    return " ".join(word.split())


def _short(word: str) -> str:
    return ascii(word) if len(word) <= 40 else ascii(word[:37]) + "..."
