"""Which classes to expect in a photo, from its caption's keywords (FreeSeg-Diff, Sec. 3.1.1).

A keyword need not be worded as a class is ("couch", "sofa"): each is taken to its nearest class by text embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from segwright.errors import InputError

Rule = Literal["paper", "reference"]
SLACK = 1e-9  # a distance that equals its threshold up to rounding is not above it


@dataclass(frozen=True)
class Match:
    """What became of one keyword.

    Attributes:
        nearest: place of the nearest class (the first of equals).
        distance: to that class; cosine distance by the paper's rule, correlation distance by the reference's, 0..2.
        threshold: the largest distance with which this keyword stays.
        kept: distance <= threshold.
        reason: why it was dropped, one sentence; "" if it was kept.
    """

    nearest: int
    distance: float
    threshold: float
    kept: bool
    reason: str = ""


@dataclass(frozen=True)
class Candidates:
    """The classes that the keywords stand for.

    Attributes:
        classes: places of the chosen classes, ascending, each once.
        matches: one a keyword, in their order.
    """

    classes: tuple[int, ...]
    matches: tuple[Match, ...]


def candidates(
    keyword_embeddings: torch.Tensor | NDArray[Any],
    class_embeddings: torch.Tensor | NDArray[Any],
    rule: Rule = "paper",
    keywords: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
) -> Candidates:
    """The nearest class of each keyword, unless the keyword is too far from it.

    "paper" (Sec. 3.1.1, the default): cosine distance; "if the distance is above the average distances (to all classes) the
    keyword is ignored", read as: dropped if its distance to its nearest class is above the mean of its own distances to all N
    classes. Taken so literally it never drops a keyword, as no minimum is above the mean it is part of: every keyword adds its
    nearest class. No other reading is stated in the paper.

    "reference" (the published implementation): correlation distance (cosine distance of the embeddings less their own mean
    over D), and kept if the distance to the nearest class is at most the mean of all k keywords' distances to their nearest.
    It drops the worst part of every caption, and never all of it.

    Args:
        keyword_embeddings: (k, D), any length and dtype, k may be 0.
        class_embeddings: (N, D), N at least 1.
        rule: "paper" or "reference".
        keywords: k names, for the reasons only.
        classes: N names, for the reasons only.

    Raises:
        InputError: shapes that do not fit, no class, values that are not finite, embeddings without direction, another rule.
    """
    if rule not in ("paper", "reference"):
        raise InputError(f"expected the rule 'paper' or 'reference', got {rule!r}; leave it out for the paper's")
    words, targets = _rows(keyword_embeddings, "keyword"), _rows(class_embeddings, "class")
    if not len(targets):
        raise InputError("expected at least one class embedding, got none; give the vocabulary's")
    if not len(words):
        return Candidates((), ())
    if words.shape[1] != targets.shape[1]:
        raise InputError(f"keywords have {words.shape[1]} dimensions, classes {targets.shape[1]}; embed both with one text encoder")
    for names, rows, what in ((keywords, words, "keywords"), (classes, targets, "classes")):
        if names is not None and len(names) != len(rows):
            raise InputError(f"expected {len(rows)} names of {what}, one an embedding, got {len(names)}")
    distances = correlation_distances(words, targets) if rule == "reference" else cosine_distances(words, targets)
    smallest = distances.min(1)
    thresholds = distances.mean(1) if rule == "paper" else np.full(len(words), smallest.mean())
    nearest = distances.argmin(1)
    measured = zip(nearest.tolist(), smallest.tolist(), thresholds.tolist(), strict=True)
    matches = tuple(_match(i, *row, rule, keywords=keywords, classes=classes) for i, row in enumerate(measured))
    return Candidates(tuple(sorted({m.nearest for m in matches if m.kept})), matches)


def cosine_distances(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """(k, D), (N, D) -> (k, N): 1 - cosine, 0..2."""
    return np.clip(1.0 - _unit(a) @ _unit(b).T, 0.0, 2.0)


def correlation_distances(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """(k, D), (N, D) -> (k, N): 1 - Pearson's correlation over D, 0..2."""
    return cosine_distances(a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True))


def _unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths: NDArray[np.float64] = np.linalg.norm(rows, axis=1, keepdims=True)
    if (lengths < 1e-12).any():
        raise InputError(f"expected embeddings with a direction, got row {int(lengths.argmin())} without one; embed its word again")
    return rows / lengths


def _rows(values: torch.Tensor | NDArray[Any], what: str) -> NDArray[np.float64]:
    array = values.detach().cpu().double().numpy() if isinstance(values, torch.Tensor) else np.asarray(values, np.float64)
    if array.ndim != 2:
        raise InputError(f"expected {what} embeddings of shape (rows, dimensions), got {array.shape}; stack one row a word")
    if not np.isfinite(array).all():
        raise InputError(f"expected finite {what} embeddings, got nan or infinity; embed again in float32")
    return array


def _match(
    place: int,
    nearest: int,
    distance: float,
    threshold: float,
    rule: Rule,
    *,
    keywords: Sequence[str] | None,
    classes: Sequence[str] | None,
) -> Match:
    if distance <= threshold + SLACK:
        return Match(nearest, distance, threshold, True)
    keyword = repr(keywords[place]) if keywords is not None else f"keyword {place}"
    name = repr(classes[nearest]) if classes is not None else f"class {nearest}"
    what = "its mean distance to all classes" if rule == "paper" else "the keywords' mean distance to their nearest classes"
    return Match(nearest, distance, threshold, False, f"{keyword} is {distance:.3f} from {name}, above {what} ({threshold:.3f})")
