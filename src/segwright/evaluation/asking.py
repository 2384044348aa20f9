"""Which words each photo is asked for: all, those in its truth, or those and some that are not, drawn by the seed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from segwright.datasets.dataset import Dataset, Truth
from segwright.errors import InputError

Which = Literal["all", "present", "named", "absent", "one", "open"]


@dataclass(frozen=True)
class Asking:
    """How each photo's words are picked.

    Attributes:
        which: "all": every word of the data set; "open": none; "present": those in the photo's truth; "named": those and
            ``absent`` words that are not in it; "absent": the latter only; "one": a single word, present or absent with
            equal chance.
        absent: words a photo that are not in its truth.
        seed: of the draw.
    """

    which: Which = "all"
    absent: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.which in ("named", "absent") and self.absent < 1:
            raise InputError(f"absent must be 1 or more, got {self.absent}; with none, use present_only")

    @property
    def alike(self) -> bool:
        """All photos are asked for the same words, or for none."""
        return self.which in ("all", "open")

    def labels(self, name: str, truth: Truth, dataset: Dataset) -> tuple[int, ...]:
        """The labels of one photo's words, ascending; the draw depends on seed, photo and words, and on nothing else.

        A word's key is the SHA-256 of "SEED:PHOTO:WORD" in UTF-8, as lower-case hexadecimal digits: the absent words with
        the smallest keys are asked for. For "one", the word is present if the key of the empty word begins with 0 to 7, and
        again the one of its kind with the smallest key.

        Args:
            name: the photo's id.
            truth: (H, W) int64.
        """
        there = [int(label) for label in np.unique(truth) if label not in (0, dataset.ignored)]
        if self.alike:
            return tuple(range(1, len(dataset.words) + 1))
        missing = [label for label in range(1, len(dataset.words) + 1) if label not in there]
        drawn = self._smallest(name, missing, dataset.words)[: max(1, self.absent)]
        if self.which == "one":
            wanted = self._key(name, "") < "8"
            kind = self._smallest(name, there, dataset.words) if (wanted and there) or not drawn else drawn
            return tuple(kind[:1])
        chosen = {"present": there, "named": there + drawn, "absent": drawn}[self.which]
        return tuple(sorted(chosen))

    def _smallest(self, name: str, labels: Sequence[int], words: Sequence[str]) -> list[int]:
        return sorted(labels, key=lambda label: self._key(name, words[label - 1]))

    def _key(self, name: str, word: str) -> str:
        return hashlib.sha256(f"{self.seed}:{name}:{word}".encode()).hexdigest()
