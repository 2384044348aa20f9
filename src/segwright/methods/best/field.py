"""Who competes: the user's words with all their names, the caption's other nouns, background words, common nouns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Field:
    """The rows of a competition: N words, then M others.

    Attributes:
        names: of each word, as the networks are asked for it.
        others: all that is no word of the user's.
    """

    names: tuple[tuple[str, ...], ...]
    others: tuple[str, ...]

    @property
    def titles(self) -> tuple[str, ...]:
        """One a row."""
        return (*(names[0] for names in self.names), *self.others)

    def only(self, places: Sequence[int]) -> Field:
        """With some of the words."""
        return Field(tuple(self.names[i] for i in places), self.others)

    def embed(self, clip: Any, templates: Sequence[str]) -> Tensor:
        """(F + M, D) unit vectors of the words' F names, one word's after the other's, and of the others."""
        flat = [name for names in self.names for name in names]
        vectors: Tensor = clip.embed_texts((*flat, *self.others), templates)
        return vectors

    def shares(self, logits: Tensor) -> Tensor:
        """(K, F + M) logits -> (K, N + M): a softmax over the rows, a word's logit the highest of its names'."""
        counts = [len(names) for names in self.names]
        parts = logits[:, : sum(counts)].split(counts, 1) if counts else ()
        rows = [part.amax(1, keepdim=True) for part in parts]
        return torch.cat([*rows, logits[:, sum(counts) :]], 1).softmax(1)

    def probabilities(self, clip: Any, seen: Tensor, templates: Sequence[str]) -> Tensor:
        """(K, D) pictures -> (K, N + M)."""
        return self.shares(clip.logit_scale * seen @ self.embed(clip, templates).T)
