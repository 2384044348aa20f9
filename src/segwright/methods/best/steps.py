"""What ``best`` keeps of its way to a result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from segwright.methods.best.dense import Pass
from segwright.methods.best.field import Field
from segwright.types import Scores


@dataclass(frozen=True)
class Belief:
    """What became of one word.

    Attributes:
        word: its own name.
        used: what the networks were asked for, each of its names.
        present: it was found.
        score: 0..1, pooled of ``evidence``.
        evidence: "caption", "photo" (CLIP on photo and crops), "dense" (its strongest cells), "region" (the check).
        why: one sentence.
    """

    word: str
    used: tuple[str, ...]
    present: bool
    score: float
    evidence: Mapping[str, float]
    why: str


@dataclass(frozen=True)
class Steps:
    """One photo on its way; ``explain`` shows it.

    Attributes:
        caption: the photo's.
        words: N.
        everyone: the words against caption, background and common nouns.
        competing: the believed words against the caption's other nouns and background words.
        believed: their places among the words.
        passed: of the U-Net; None where no word was believed.
        regions: (n, n) int64.
        shares: (K, rows) what CLIP takes each region for.
        cells: (rows, n, n) what CLIP takes each cell for; None where the part is left out.
        fused: (rows, n, n).
        carried: (rows, m, m).
        scores: coarse.
        refined: after the refiners.
        beliefs: one a word.
        result: labels and scores after the check.
    """

    caption: str
    words: tuple[str, ...]
    everyone: Field
    competing: Field
    believed: tuple[int, ...]
    passed: Pass | None
    regions: Tensor | None
    shares: Tensor | None
    cells: Tensor | None
    fused: Tensor | None
    carried: Tensor | None
    scores: Scores
    refined: Scores
    beliefs: tuple[Belief, ...]
    result: Scores
