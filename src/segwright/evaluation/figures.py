"""Per-photo confusion matrices, kept sparse, -> the report's figures and their bootstrap intervals."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from segwright.metrics import Matrix, iou, miou, miou_per_image, pixel_accuracy

RESAMPLES, LEVEL = 1000, 0.95
ROUGH = 30  # photos below which an interval is called rough; the simulation: it covers 0.89 at 10 photos, 0.90 at 30, 0.94 at 100
CHUNK = 100  # resamples at once: memory stays at CHUNK x photos
Counts = NDArray[np.float64]


@dataclass(frozen=True)
class Cells:
    """The cells of one photo's confusion matrix that are not 0: (n,) rows (truth), columns (prediction), pixels."""

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    pixels: NDArray[np.int64]

    @classmethod
    def of(cls, matrix: Matrix) -> Cells:
        """Those of a dense matrix that are not 0."""
        rows, columns = np.nonzero(matrix)
        return cls(rows, columns, matrix[rows, columns])

    def matrix(self, classes: int) -> Matrix:
        """(classes, classes) again."""
        full = np.zeros((classes, classes), np.int64)
        full[self.rows, self.columns] = self.pixels
        return full


@dataclass(frozen=True)
class Counted:
    """What every measure needs of P photos and C classes.

    Attributes:
        hit: (P, C) float64 pixels that are right, of each class in each photo.
        true: (P, C) float64 pixels in the truth, likewise.
        predicted: (P, C) float64 pixels predicted, likewise.
        per_image: (P,) mean IoU over the classes in the photo's truth; NaN where nothing counts.
        background: class 0 is background and one of the classes; else it has no truth and its IoU is not averaged.
    """

    hit: Counts
    true: Counts
    predicted: Counts
    per_image: Counts
    background: bool


def count(cells: Sequence[Cells], classes: int, background: bool) -> Counted:
    """The vectors of all photos; one dense matrix exists at a time."""
    hit, true, predicted = (np.zeros((len(cells), classes)) for _ in range(3))
    for i, one in enumerate(cells):
        right = one.rows == one.columns
        hit[i, one.rows[right]] = one.pixels[right]
        np.add.at(true[i], one.rows, one.pixels)
        np.add.at(predicted[i], one.columns, one.pixels)
    per_image = np.array([photo_score(one, classes) for one in cells])
    return Counted(hit, true, predicted, per_image, background)


def photo_score(cells: Cells, classes: int) -> float:
    """Mean IoU over the classes in this photo's truth; NaN where every pixel is left out."""
    return miou_per_image([cells.matrix(classes)]) if len(cells.rows) else float("nan")


def total(cells: Sequence[Cells], classes: int) -> Matrix:
    """(classes, classes): the confusion matrix of the whole split."""
    full = np.zeros((classes, classes), np.int64)
    for one in cells:
        np.add.at(full, (one.rows, one.columns), one.pixels)
    return full


def headline(matrix: Matrix, background: bool) -> float:
    """Dataset-level mIoU over the classes that occur, background among them where it is a class; NaN if none does."""
    if background:
        return miou(matrix) if matrix.any() else float("nan")
    return mean_iou(iou(matrix)[1:])


def mean_iou(values: NDArray[np.float64]) -> float:
    """The mean over the classes that occur; NaN if none does."""
    return float(np.nanmean(values)) if not np.isnan(values).all() else float("nan")


def summary(cells: Sequence[Cells], counted: Counted, classes: int) -> dict[str, float]:
    """The four figures, each 0..1; ``miou`` as the protocol of the data set counts background, the second never."""
    matrix = total(cells, classes)
    return {
        "miou": headline(matrix, counted.background),
        "miou_without_background": mean_iou(iou(matrix)[1:]),
        "miou_per_image": mean_iou(counted.per_image),
        "pixel_accuracy": pixel_accuracy(matrix) if matrix.any() else float("nan"),
    }


def resampled(counted: Counted, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Counts]:
    """The four figures of ``resamples`` draws of as many photos with replacement, (resamples,) each.

    The draws depend on the seed and on the number of photos alone, so those of two reports on the same photos are
    paired. A class that a draw has no pixel of is left out of that draw's mean.
    """
    parts = [_figures(counted, drawn) for drawn in weights(len(counted.hit), resamples, seed)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def weights(photos: int, resamples: int, seed: int) -> Iterator[Counts]:
    """(chunk, photos) each: how often each photo is drawn, in draws of as many with replacement."""
    draw = np.random.default_rng(seed)
    for start in range(0, resamples, CHUNK):
        yield draw.multinomial(photos, np.full(photos, 1 / photos), min(CHUNK, resamples - start)).astype(np.float64)


def _figures(counted: Counted, weights: Counts) -> dict[str, Counts]:
    hit, true, predicted = (weights @ part for part in (counted.hit, counted.true, counted.predicted))
    union = true + predicted - hit
    each = np.divide(hit, union, out=np.full_like(hit, np.nan), where=union > 0)
    seen = ~np.isnan(counted.per_image)
    return {
        "miou": row_means(each if counted.background else each[:, 1:]),
        "miou_without_background": row_means(each[:, 1:]),
        "miou_per_image": _ratio(weights[:, seen] @ counted.per_image[seen], weights[:, seen].sum(1)),
        "pixel_accuracy": _ratio(hit.sum(1), true.sum(1)),
    }


def row_means(values: Counts) -> Counts:
    """(R, C) -> (R,), over what is not NaN."""
    there = ~np.isnan(values)
    return _ratio(np.where(there, values, 0).sum(1), there.sum(1).astype(np.float64))


def _ratio(above: Counts, below: Counts) -> Counts:
    return np.divide(above, below, out=np.full_like(below, np.nan), where=below > 0)


def interval(values: Counts, photos: int, estimate: float, level: float = LEVEL) -> tuple[float, float]:
    """The expanded percentile interval of bootstrap values (Hesterberg 2015, section 5.2), widened to hold the estimate.

    Draws of P photos spread too little, by sqrt((P - 1) / P), and a percentile stands for a normal deviate where Student's is
    due; the tails are moved out by both. The simulation of tests/evaluation/test_coverage.py has this and BCa and the basic
    interval, which correct for a bias of dataset-level mIoU that draws overstate where words are rare: 10 photos cover the
    truth in 0.89 of the samples against 0.73 and 0.67, 30 in 0.90 against 0.89 and 0.87, 100 in 0.94 against 0.93 and 0.94.

    Args:
        values: of the draws; NaN where a draw has nothing that counts.
        photos: P.
        estimate: of all photos.

    Returns:
        NaN twice where there is nothing.
    """
    kept = values[~np.isnan(values)]
    if not kept.size:
        return float("nan"), float("nan")
    reach = stats.t.ppf((1 + level) / 2, max(1, photos - 1)) * math.sqrt(photos / max(1, photos - 1))
    low, high = np.quantile(kept, stats.norm.cdf([-reach, reach]))
    return min(float(low), estimate), max(float(high), estimate)
