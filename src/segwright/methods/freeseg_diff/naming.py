"""Name regions by CLIP: which word is nearest to what a region shows (FreeSeg-Diff, Sec. 3.1.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from segwright.types import Scores


@dataclass(frozen=True)
class Named:
    """What one region is called.

    Attributes:
        label: 0 = unlabelled, else 1 + place of the word.
        nearest: place of the nearest word of all that competed.
        ranking: (word, probability) of the five nearest, for people.
    """

    label: int
    nearest: int
    ranking: tuple[tuple[str, float], ...]


def name_regions(
    regions: Tensor, texts: Tensor, words: Sequence[str], candidates: Sequence[int], scale: float, *, restrict: bool = False
) -> list[Named]:
    """The nearest word of each region; unlabelled unless it is a candidate.

    Args:
        regions: (K, D) unit-length embeddings of the masked photo.
        texts: (P, D) unit-length embeddings of everything that competes, P >= N: the N words, then background prompts.
        words: names of all P.
        candidates: places of the words that are believed to be in the photo.
        scale: CLIP's logit scale, for the probabilities.
        restrict: let only candidates (and background prompts) compete: the published implementation's reading.
    """
    logits = scale * regions @ texts.T
    if restrict:
        barred = torch.ones(len(words), dtype=torch.bool, device=logits.device)
        barred[list(candidates)] = False
        logits = logits.masked_fill(barred, -torch.inf)
    probabilities = torch.nan_to_num(logits.softmax(1)).cpu().numpy()
    allowed = set(candidates)
    named = []
    for row in probabilities:
        order = np.argsort(-row, kind="stable")
        nearest = int(order[0])
        ranking = tuple((words[i], round(float(row[i]), 4)) for i in order[:5])
        named.append(Named(nearest + 1 if nearest in allowed else 0, nearest, ranking))
    return named


def keep_best_region(named: Sequence[Named], probabilities: Sequence[float]) -> list[int]:
    """Labels when each word may keep its most probable region only (the published implementation; not in the paper)."""
    labels = [n.label for n in named]
    for word in set(labels) - {0}:
        held = [k for k, label in enumerate(labels) if label == word]
        best = max(held, key=lambda k: probabilities[k])
        labels = [0 if label == word and k != best else label for k, label in enumerate(labels)]
    return labels


def paint(regions: Tensor, labels: Sequence[int], words: Sequence[str]) -> Scores:
    """Hard scores from regions at the photo's size, (H, W) int64, and the label of each region."""
    present = tuple(sorted({0, *labels}))
    row = torch.tensor([present.index(label) for label in labels], device=regions.device)
    values = torch.nn.functional.one_hot(row[regions], len(present)).permute(2, 0, 1).float()
    return Scores(tuple(words), present, values)
