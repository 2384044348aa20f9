"""What methods give beside a segmentation: a trace of its steps, and how sure they were of each word."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from segwright.types import Scores, Segmentation


@dataclass(frozen=True)
class Trace:
    """A segmentation, and how it came about, as HTML made when it is asked for.

    Attributes:
        body: the method's steps; "" where there is no page of them.
        region: label -> what decided its pixels.
        has_maps: scores say where a word is likely, not only which region it has.
    """

    segmentation: Segmentation
    body: Callable[[], str] = lambda: ""
    region: Callable[[int], str] = lambda label: ""
    has_maps: bool = True


def mean_scores(coarse: Scores, labels: NDArray[np.integer]) -> dict[str, float]:
    """How sure a method was of each word found before refiners sharpened it: its mean coarse score over the pixels that it has.

    Args:
        labels: (H, W), of the final result.
    """
    rows = {label: coarse.values[row].detach().cpu().double() for row, label in enumerate(coarse.labels) if label}
    there = [int(label) for label in np.unique(labels) if int(label) in rows]
    return {coarse.words[label - 1]: float(rows[label][torch.from_numpy(labels == label)].mean()) for label in there}
