"""Are scores probabilities? Maps fitted on labelled photos, the expected calibration error, reliability diagrams.

An object is right if its IoU with the truth of its word is at least ``RIGHT``; a word that is not in the photo has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from tqdm import tqdm

from segwright.errors import InputError
from segwright.files.colors import OKABE_ITO
from segwright.files.plot import encode_figure
from segwright.methods.base import Method
from segwright.objects.calibration import RIGHT, Calibration, logit
from segwright.types import Image

BINS = 10  # of equal width; Guo et al. 2017, Sec. 5, have 15 and thousands of photos more
BLUE, GREY = ("#{:02x}{:02x}{:02x}".format(*OKABE_ITO[1])), "#999999"
Values = NDArray[np.float64]
Right = NDArray[np.bool_]


@dataclass(frozen=True)
class Judged:
    """The words that a method found in some photos; (n,) each.

    Attributes:
        mean: the final score's mean over the region, as refiners leave it.
        confidence: as the method has it, not calibrated.
        right: the region's IoU with the truth of its word is at least ``RIGHT``.
        photo: place of the photo.
    """

    mean: Values
    confidence: Values
    right: Right
    photo: NDArray[np.int64]


def judge(method: Method, scenes: Iterable[tuple[Image, NDArray[np.integer]]], words: Sequence[str]) -> Judged:
    """Ask a method for the same words in each labelled photo.

    Args:
        scenes: photos, (H, W, 3) uint8, and their truths, (H, W) with i + 1 for words[i]; 0 and what is above: none of them.
        words: what is asked for.

    Raises:
        InputError: a method without scores, or one that finds nothing.
    """
    rows = []
    for place, (image, truth) in enumerate(tqdm(scenes, desc=method.name, unit="photo", leave=False)):
        result = method.many([image], words)[0]
        for label in (int(one) for one in np.unique(result.labels) if one):
            mask, true = np.asarray(result.labels == label), truth == label
            mean = result.mean_score(label, mask)
            if mean is None:
                raise InputError(f"{method.name} has no scores that could be calibrated")
            right = (mask & true).sum() >= RIGHT * (mask | true).sum()
            rows.append((mean, result.confidence.get(result.words[label - 1], mean), right, place))
    if not rows:
        raise InputError(f"{method.name} found none of the words in these photos; there is nothing to calibrate")
    table = np.array(rows, np.float64).T
    return Judged(table[0], table[1], table[2] > 0, table[3].astype(np.int64))


def fit(confidence: Values, right: Right, source: str = "", networks: Mapping[str, str] | None = None) -> Calibration:
    """The map of highest likelihood, its targets drawn in as Platt 1999, Sec. 2.2, does, so that it stays finite.

    Args:
        confidence: (n,) 0..1.
        right: (n,).
        source: on what, for people.
        networks: as ``Calibration`` has them.

    Raises:
        InputError: all are right or none is.
    """
    good, bad = int(right.sum()), int((~right).sum())
    if not good or not bad:
        raise InputError(f"a map needs right and wrong regions to be fitted on, got {good} and {bad}; take more photos")
    z = np.array([logit(float(one)) for one in confidence])
    target = np.where(right, (good + 1) / (good + 2), 1 / (bad + 2))

    def loss(given: Values) -> tuple[float, Values]:
        value = given[0] * z + given[1]
        wrong = 1 / (1 + np.exp(-value)) - target
        return float((np.logaddexp(0, value) - target * value).sum()), np.array([(wrong * z).sum(), wrong.sum()])

    found = minimize(loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B", bounds=[(0, None), (None, None)])
    return Calibration(round(float(found.x[0]), 6), round(float(found.x[1]), 6), dict(networks or {}), source)


@dataclass(frozen=True)
class Bin:
    """Objects of about one score.

    Attributes:
        count: of them.
        score: their mean.
        right: share of them that is right.
    """

    count: int
    score: float
    right: float


def reliability(scores: Values, right: Right, bins: int = BINS) -> list[Bin]:
    """The bins of a reliability diagram (Guo et al. 2017, Eqs. 1 and 2) that hold anything, rising; (i / bins, (i + 1) / bins].

    Args:
        scores: (n,) 0..1.
        right: (n,).
        bins: how many, of equal width.
    """
    place = np.clip(np.ceil(scores * bins).astype(int) - 1, 0, bins - 1)
    held = [place == i for i in range(bins) if (place == i).any()]
    return [Bin(int(of.sum()), float(scores[of].mean()), float(right[of].mean())) for of in held]


def calibration_error(scores: Values, right: Right, bins: int = BINS) -> float:
    """The expected calibration error, 0..1: the bins' mean distance of score and share right, by count (Guo et al. 2017, Eq. 3).

    Args:
        scores: (n,) 0..1.
        right: (n,).
        bins: how many, of equal width.
    """
    found = reliability(scores, right, bins)
    return sum(one.count * abs(one.right - one.score) for one in found) / max(1, len(scores))


def ranking(scores: Values, right: Right) -> float:
    """The probability that a right object has a higher score than a wrong one (area under the ROC curve); NaN if one is lacking.

    Args:
        scores: (n,).
        right: (n,).
    """
    good, bad = scores[right], scores[~right]
    if not len(good) or not len(bad):
        return float("nan")
    return float((good[:, None] > bad).mean() + (good[:, None] == bad).mean() / 2)


def draw_reliability(rows: Sequence[tuple[str, Values, Right]], title: str) -> dict[str, bytes]:
    """Reliability diagrams side by side: {"svg": ..., "png": ...}, the contents of two files.

    Args:
        rows: name, (n,) scores and (n,) whether right, of each diagram.
        title: of all.
    """

    def draw(figure: Any) -> None:
        figure.suptitle(title, fontsize=10)
        for axes, (name, scores, right) in zip(figure.subplots(1, len(rows), squeeze=False, sharey=True)[0], rows, strict=True):
            found = reliability(scores, right)
            axes.plot((0, 1), (0, 1), color=GREY, linewidth=1)
            axes.plot([one.score for one in found], [one.right for one in found], color=BLUE, linewidth=1)
            sizes = [12 + 200 * one.count / len(scores) for one in found]
            axes.scatter([one.score for one in found], [one.right for one in found], s=sizes, color=BLUE)
            error = 100 * calibration_error(scores, right)
            axes.set_title(f"{name}\nECE {error:.1f} %, {len(scores)} objects", fontsize=8)
            axes.set(xlim=(-0.03, 1.03), ylim=(-0.05, 1.05), aspect="equal")
            axes.set_xlabel("score", fontsize=8)
            axes.tick_params(labelsize=7)
        figure.axes[0].set_ylabel("share right", fontsize=8)

    return encode_figure(draw, (2.6 * len(rows), 3.4))
