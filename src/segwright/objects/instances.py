"""Things of one word told apart: normalized cuts of the word's mask by how alike its cells are and how near (Shi and Malik 2000).

The mask's cells on a coarse grid are a graph. An edge weighs exp(-(1 - c) - NEARNESS d^2), with c the cosine of two cells'
features less their mean over the mask, and d their distance
in sides of a square as large as the mask. The best normalized cut (Shi and Malik, Eqs. 2
and 11) is made, and each side is cut again, as long as its value is at most CUT and no piece gets smaller than SHARE of the mask.
Pieces that are no neighbours but alike stay one thing, as behind a lamp post; things that touch are parted, if they are not alike.

The constants are ours, chosen on 110 training scenes of the second miniature world (docs/howto/exports.md).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.linalg import eigh
from scipy.spatial import cKDTree

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]
NEARNESS = 3.5
CUT = 0.4
SHARE = 0.12
COVERED = 0.3  # of a cell's pixels are the mask's, for the cell to count
STEPS = 17  # places along the second eigenvector at which a cut is tried


def instances(mask: Mask, features: NDArray[Any], least: int = 0) -> list[Mask]:
    """The things in a word's mask, from the top left; together they are the mask.

    Args:
        mask: (H, W) bool, not empty.
        features: (C, h, w) of the photo.
        least: things of fewer pixels go to the nearest other one.
    """
    cells = _cells(mask, (features.shape[1], features.shape[2]))
    weights = _weights(cells, features)
    pixels = _pixels(mask, cells, _cut(weights), features.shape[1:])
    return _ordered(_merged(pixels, least))


def _cells(mask: Mask, grid: tuple[int, int]) -> NDArray[np.int64]:
    """(K, 2) rows and columns of the grid's cells that are the mask's; at least one."""
    rows = (np.arange(mask.shape[0]) * grid[0]) // mask.shape[0]
    columns = (np.arange(mask.shape[1]) * grid[1]) // mask.shape[1]
    place = rows[:, None] * grid[1] + columns[None]
    count = np.bincount(place.ravel(), minlength=grid[0] * grid[1])
    inside = np.bincount(place[mask], minlength=grid[0] * grid[1])
    covered = inside >= COVERED * np.maximum(count, 1)
    chosen = np.flatnonzero(covered & (inside > 0))
    if not len(chosen):
        chosen = np.flatnonzero(inside)
    return np.stack(np.divmod(chosen, grid[1]), 1)


def _weights(cells: NDArray[np.int64], features: NDArray[Any]) -> Floats:
    """(K, K) the graph's edges."""
    values = features[:, cells[:, 0], cells[:, 1]].T.astype(np.float64)
    values = values - values.mean(0)
    values /= np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-9)
    places = (cells + 0.5) / features.shape[1:]
    share = len(cells) / (features.shape[1] * features.shape[2])
    apart = ((places[:, None] - places[None]) ** 2).sum(-1) / share
    return np.asarray(np.exp(values @ values.T - 1 - NEARNESS * apart))


def _cut(weights: Floats) -> NDArray[np.int64]:
    """(K,) the number of each cell's thing."""
    total = len(weights)
    found, waiting, count = np.zeros(total, np.int64), [np.arange(total)], 0
    while waiting:
        group = waiting.pop()
        side = _best_cut(weights[np.ix_(group, group)], SHARE * total)
        if side is None:
            found[group], count = count, count + 1
        else:
            waiting += [group[side], group[~side]]
    return found


def _best_cut(weights: Floats, least: float) -> Mask | None:
    """(K,) one side of the best normalized cut with sides of ``least`` cells or more; None if it costs more than ``CUT``."""
    if len(weights) < max(4, 2 * least):
        return None
    degree = weights.sum(1)
    root = np.sqrt(degree)
    normal = weights / root[:, None] / root[None]
    _, vectors = eigh(normal, subset_by_index=[len(weights) - 2, len(weights) - 2])
    line = vectors[:, 0] / root
    best, chosen = CUT, None
    for place in np.quantile(line, np.linspace(0.1, 0.9, STEPS)):
        side = line > place
        if min(side.sum(), (~side).sum()) < least:
            continue
        cut = weights[side][:, ~side].sum()
        value = cut / degree[side].sum() + cut / degree[~side].sum()
        if value <= best:
            best, chosen = value, side
    return chosen


def _pixels(mask: Mask, cells: NDArray[np.int64], things: NDArray[np.int64], grid: tuple[int, ...]) -> NDArray[np.int64]:
    """(H, W) from 1: each pixel of the mask has the thing of the nearest cell, 0 elsewhere."""
    rows, columns = np.nonzero(mask)
    tree = cKDTree((cells + 0.5) / grid)
    _, nearest = tree.query((np.stack([rows, columns], 1) + 0.5) / mask.shape)
    found = np.zeros(mask.shape, np.int64)
    found[rows, columns] = things[nearest] + 1
    return found


def _merged(things: NDArray[np.int64], least: int) -> NDArray[np.int64]:
    """Things of fewer than ``least`` pixels go, pixel by pixel, to the nearest other one; where all are so small they are one."""
    areas = np.bincount(things.ravel())
    areas[0] = 0
    small = (areas < least) & (areas > 0)
    if not small.any():
        return things
    if not (areas >= least)[1:].any():
        return (things > 0).astype(np.int64)
    lost = small[things]
    near = ndimage.distance_transform_edt(lost | (things == 0), return_distances=False, return_indices=True)
    return np.asarray(np.where(lost, things[tuple(near)], things))


def _ordered(things: NDArray[np.int64]) -> list[Mask]:
    """The masks, in the order of their first pixel."""
    numbers, first = np.unique(things, return_index=True)
    return [np.asarray(things == numbers[i]) for i in np.argsort(first) if numbers[i]]
