"""Scores that mean the same in every photo: Platt scaling of how sure a method is (Platt 1999; Guo et al. 2017, Sec. 4.1).

Raw scores of regions say little: refiners push them to 0.99 whatever the region shows. A map from a method's confidence to the
probability that the region is right, IoU with the word's truth of at least ``RIGHT``, is fitted on labelled photos
(``segwright.evaluation.calibration``) and kept beside the networks, which it holds for and no others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

FILE = "calibration.json"  # in a preset's folder: {method: Calibration}
RIGHT = 0.5  # IoU; of Pascal VOC's detection task (Everingham et al. 2010, Sec. 4.2)
LEAST = 1e-4  # confidences are brought into LEAST .. 1 - LEAST before their logit is taken (ours)


@dataclass(frozen=True)
class Calibration:
    """P(right) = 1 / (1 + exp(-(slope z + offset))), z the confidence's logit; it never turns an order around.

    Attributes:
        slope: 0 or more.
        offset: of the logit.
        networks: kind -> ``segwright.weights.Networks.identity`` of those that it was fitted with.
        source: on what it was fitted.
    """

    slope: float
    offset: float
    networks: dict[str, str] = field(default_factory=dict)
    source: str = ""

    def __post_init__(self) -> None:
        if not (0 <= self.slope < math.inf and math.isfinite(self.offset)):
            raise ValueError(f"a calibration's slope must be 0 or more and its offset a number, got {self.slope}, {self.offset}")

    def __call__(self, confidence: float) -> float:
        """0..1 for 0..1."""
        z = self.slope * logit(confidence) + self.offset
        return 1 / (1 + math.exp(-z)) if z > 0 else math.exp(z) / (1 + math.exp(z))


def logit(confidence: float) -> float:
    """log(p / (1 - p)), finite for 0 and 1 too."""
    held = min(max(confidence, LEAST), 1 - LEAST)
    return math.log(held / (1 - held))
