"""Words with several names: "sofa; couch" is one word, its first name the word's own, and every name finds it.

A method that knows of no synonyms is given all names as words of their own, and its result is joined: a pixel has the word
whose name is strongest there, and a word's score is the highest of its names'.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from segwright.types import Scores, Segmentation


class Word(str):
    """A word's own name, as a str like any other, with all its names.

    Attributes:
        names: the word itself first, then its synonyms.
    """

    names: tuple[str, ...]

    def __new__(cls, *names: str) -> Word:
        word = super().__new__(cls, names[0])
        word.names = tuple(map(str, names))
        return word

    def __getnewargs__(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.names


def names_of(word: str) -> tuple[str, ...]:
    """All names of a word, its own first."""
    return word.names if isinstance(word, Word) else (word,)


def spelled(words: Sequence[str]) -> list[str]:
    """ "sofa; couch" for a word of two names, as a user writes it."""
    return ["; ".join(names_of(word)) for word in words]


def split_names(words: Sequence[str]) -> tuple[list[str], list[int]]:
    """All names of all words, and of each the place of its word."""
    pairs = [(name, place) for place, word in enumerate(words) for name in names_of(word)]
    return [name for name, _ in pairs], [place for _, place in pairs]


def joined(result: Segmentation, words: Sequence[str]) -> Segmentation:
    """The result for all names of ``words``, as the result for the words: the strongest name of each stands for it."""
    names, owners = split_names(words)
    label_of = {name: owner + 1 for name, owner in zip(names, owners, strict=True)}
    table = np.array([0, *(label_of[name] for name in result.words)], np.int64)
    own = tuple(str(word) for word in words)
    confidence: dict[str, float] = {}
    for name, value in result.confidence.items():
        word = own[label_of[name] - 1]
        confidence[word] = max(value, confidence.get(word, 0.0))
    scores = None if result.scores is None else _joined_scores(result.scores, table.tolist(), own)
    notes = {**result.notes, "synonyms": {str(w): list(names_of(w)[1:]) for w in words if len(names_of(w)) > 1}}
    return replace(result, words=own, labels=table[result.labels], scores=scores, notes=notes, confidence=confidence)


def _joined_scores(scores: Scores, table: Sequence[int], words: tuple[str, ...]) -> Scores:
    """Each word's highest score among its names', divided by the sum: the strongest stays the strongest."""
    rows: dict[int, torch.Tensor] = {}
    for row, label in enumerate(scores.labels):
        place, values = table[label], scores.values[row]
        rows[place] = torch.maximum(rows[place], values) if place in rows else values
    labels = sorted(rows)
    kept = torch.stack([rows[label] for label in labels])
    return Scores(words, tuple(labels), kept / kept.sum(0))
