"""What OVDiff keeps of its way to a result."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from segwright.methods.ovdiff.prototypes import Prototypes
from segwright.types import Image, Scores
from segwright.words.prefilter import Filtered


@dataclass(frozen=True)
class Matching:
    """What a photo is compared with: prototypes for each label that takes part, background (label 0) first if there is one.

    Attributes:
        labels: M labels, ascending.
        owners: for each of them, the words whose prototypes it has, as places in the vocabulary.
        sets: extractor -> for each of them and each of its owners, the prototypes.
    """

    labels: tuple[int, ...]
    owners: tuple[tuple[int, ...], ...]
    sets: dict[str, tuple[tuple[Prototypes, ...], ...]]


@dataclass(frozen=True)
class Steps:
    """One photo on its way, before refinement; ``explain`` shows it."""

    image: Image
    words: tuple[str, ...]
    stuff: tuple[int, ...]  # places of the words that are stuff
    filtered: Filtered | None
    matching: Matching
    cosines: Tensor  # (M, H', W') of ``matching.labels``, at the working size
    scores: Scores
