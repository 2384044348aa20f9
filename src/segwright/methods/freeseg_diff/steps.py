"""What FreeSeg-Diff keeps of its way to a result."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from segwright.methods.freeseg_diff.naming import Named
from segwright.regions.kmeans import Clustering
from segwright.types import Image, Scores
from segwright.words.presence import Chosen


@dataclass(frozen=True)
class Steps:
    """One photo on its way through the pipeline, before refinement; ``explain`` shows it."""

    image: Image
    chosen: Chosen
    features: Tensor
    clustering: Clustering
    regions: Tensor  # (H, W) int64
    named: tuple[Named, ...]
    labels: tuple[int, ...]
    scores: Scores
