"""Confusion matrix -> IoU, mIoU, accuracy; and the best match of unnamed regions to the truth."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from segwright.errors import InputError

IGNORED = 255
Labels = NDArray[np.integer]
Matrix = NDArray[np.int64]


def confusion(truth: Labels, predicted: Labels, classes: int, ignored: int = IGNORED) -> Matrix:
    """(classes, classes) counts of pixels; rows = truth, columns = prediction; ``ignored`` pixels of the truth left out.

    Raises:
        InputError: sizes differ, or a label lies outside 0 .. classes-1.
    """
    if truth.shape != predicted.shape:
        raise InputError(f"truth {truth.shape} and prediction {predicted.shape} must have one size; resize the prediction")
    kept = truth != ignored
    rows, columns = truth[kept].astype(np.int64), predicted[kept].astype(np.int64)
    for name, values in (("truth", rows), ("prediction", columns)):
        if values.size and not 0 <= values.min() <= values.max() < classes:
            raise InputError(f"labels of the {name} must lie in 0..{classes - 1}, got {values.min()}..{values.max()}")
    return np.bincount(rows * classes + columns, minlength=classes**2).reshape(classes, classes)


def iou(matrix: Matrix) -> NDArray[np.float64]:
    """(classes,) intersection over union in 0..1, NaN where a class is neither in the truth nor predicted."""
    hit = np.diag(matrix).astype(np.float64)
    union = matrix.sum(0) + matrix.sum(1) - hit
    return np.divide(hit, union, out=np.full(len(hit), np.nan), where=union > 0)


def miou(matrix: Matrix) -> float:
    """Mean IoU over the classes that occur, 0..1: the dataset-level figure when the matrix sums over the data set."""
    return float(np.nanmean(iou(matrix)))


def miou_per_image(matrices: Iterable[Matrix]) -> float:
    """Mean over photos of the mean IoU over the classes in that photo's truth (FreeSeg-Diff's published measure)."""
    means = []
    for matrix in matrices:
        present = matrix.sum(1) > 0
        if present.any():
            means.append(np.mean(iou(matrix)[present]))
    return float(np.mean(means))


def pixel_accuracy(matrix: Matrix) -> float:
    """Share of counted pixels that are right, 0..1."""
    return float(np.trace(matrix) / matrix.sum())


def best_match_iou(truth: Labels, regions: Labels, ignored: int = IGNORED) -> list[float]:
    """IoU of each true segment of one photo with the region matched to it one to one (Hungarian), 0 if none is left."""
    kept = truth != ignored
    ids, rows = np.unique(truth[kept], return_inverse=True)
    names, columns = np.unique(regions[kept], return_inverse=True)
    counts = np.bincount(rows * len(names) + columns, minlength=len(ids) * len(names)).reshape(len(ids), len(names))
    union = counts.sum(1, keepdims=True) + counts.sum(0, keepdims=True) - counts
    table = counts / union
    scores = np.zeros(len(ids))
    matched = linear_sum_assignment(-table)
    scores[matched[0]] = table[matched]
    return [float(s) for s in scores]
