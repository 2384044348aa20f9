"""Name regions by CLIP: which word is nearest to what a region shows (FreeSeg-Diff, Sec. 3.1.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from segwright.types import Scores

NAMINGS = ("paper", "published")


@dataclass(frozen=True)
class Named:
    """What one region is called.

    Attributes:
        label: 0 = unlabelled, else 1 + place of the word.
        nearest: place of the nearest word of all that competed.
        ranking: (word, probability) of the five nearest, for people.
        share: the probability of its own word, 0 where it is unlabelled.
    """

    label: int
    nearest: int
    ranking: tuple[tuple[str, float], ...]
    share: float = 0.0


def name_regions(
    regions: Tensor, texts: Tensor, words: Sequence[str], candidates: Sequence[int], scale: float, *, naming: str = "paper"
) -> list[Named]:
    """The word of each region.

    Args:
        regions: (K, D) unit-length embeddings of the masked photo.
        texts: (P, D) unit-length embeddings of everything that competes, P >= N: the N words, then background prompts.
        words: names of all P.
        candidates: places of the words that are believed to be in the photo.
        scale: CLIP's logit scale, for the probabilities.
        naming: "paper": the nearest of all; unlabelled if that is no candidate. "published": ``best_of_each``.
    """
    probabilities = (scale * regions @ texts.T).softmax(1)
    nearest = probabilities.argmax(1).tolist()
    allowed = set(candidates)
    labels = [n + 1 if n in allowed else 0 for n in nearest]
    if naming == "published":
        labels = best_of_each(probabilities, candidates)
    rows = probabilities.cpu().numpy()
    order = np.argsort(-rows, axis=1, kind="stable")[:, :5]
    rankings = [tuple((words[i], float(row[i])) for i in first) for row, first in zip(rows, order, strict=True)]
    shares = [float(row[label - 1]) if label else 0.0 for row, label in zip(rows, labels, strict=True)]
    return [Named(*found) for found in zip(labels, nearest, rankings, shares, strict=True)]


def best_of_each(probabilities: Tensor, candidates: Sequence[int]) -> list[int]:
    """Labels of K regions by the published code's rule (not in the paper).

    The softmax is over all P texts; then only candidates count. Each of them keeps the one region that is most probable as it
    (several if they are equal), whatever else that region may be; a region takes the most probable of the candidates that
    keep it, and is unlabelled if none does.

    Args:
        probabilities: (K, P).
        candidates: places of the words that are believed to be in the photo.
    """
    kept = torch.zeros_like(probabilities)
    chosen = sorted(candidates)
    kept[:, chosen] = probabilities[:, chosen]
    kept = torch.where(kept < kept.amax(0, keepdim=True), 0.0, kept)
    best, places = kept.max(1)
    return [place + 1 if value > 0 else 0 for value, place in zip(best.tolist(), places.tolist(), strict=True)]


def paint(regions: Tensor, labels: Sequence[int], words: Sequence[str]) -> Scores:
    """Hard scores from regions at the photo's size, (H, W) int64, and the label of each region."""
    present = tuple(sorted({0, *labels}))
    row = torch.tensor([present.index(label) for label in labels], device=regions.device)
    values = torch.nn.functional.one_hot(row[regions], len(present)).permute(2, 0, 1).float()
    return Scores(tuple(words), present, values)
