"""How alike two maps are, how well a map finds a mask, how blurred it is, how apart clusters lie; and paired tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from segwright.models.clip_dense import min_max

SIDE = 64  # cells a side at which maps are held against masks


def correlation(a: Tensor, b: Tensor) -> float:
    """Pearson's r of two maps of one size; 0 where one of them is flat."""
    x, y = (v.flatten().double() - v.double().mean() for v in (a, b))
    norm = float(x.norm() * y.norm())
    return float(x @ y) / norm if norm > 0 else 0.0


def above(values: Tensor, threshold: float) -> Tensor:
    """Where a map, stretched to 0..1, is above the threshold."""
    return min_max(values) > threshold


def mask_iou(a: Tensor, b: Tensor) -> float:
    """Intersection over union of two bool masks of one size; 1 where both are empty."""
    union = int((a | b).sum())
    return int((a & b).sum()) / union if union else 1.0


def entropy(values: Tensor) -> float:
    """Shannon's, of a map taken as shares of its sum, over that of a flat one: 0 one cell, 1 flat. The measure of blur."""
    shares = values.flatten().double()
    shares = shares / shares.sum()
    return float(-(shares * shares.clamp(min=1e-300).log()).sum() / np.log(len(shares)))


def auc(values: Tensor, mask: Tensor) -> float:
    """Share of (inside, outside) pairs of cells in which the one inside is higher: the area under the ROC curve.

    NaN where the mask is empty or everything.
    """
    inside = mask.flatten().cpu().numpy()
    count = int(inside.sum())
    if count in (0, len(inside)):
        return float("nan")
    ranks = stats.rankdata(values.flatten().cpu().numpy())
    return float((ranks[inside].sum() - count * (count + 1) / 2) / (count * (len(inside) - count)))


def found(values: Tensor, mask: NDArray[np.bool_], threshold: float) -> tuple[float, float]:
    """(AUC, IoU above the threshold) of a map (n, n) against a mask (H, W), both brought to ``SIDE`` cells a side."""
    wide = resized(values)
    cells = F.adaptive_avg_pool2d(torch.from_numpy(mask)[None, None].float(), SIDE)[0, 0] > 0.5
    return auc(wide, cells), mask_iou(above(wide, threshold).cpu(), cells)


def resized(values: Tensor, side: int = SIDE) -> Tensor:
    """(h, w) -> (side, side), bilinear."""
    return F.interpolate(values[None, None].float(), (side, side), mode="bilinear", align_corners=False)[0, 0]


def silhouette(features: Tensor, labels: Tensor) -> float:
    """Mean silhouette of all cells (Rousseeuw 1987), Euclidean; 0 for a cell alone in its cluster and for one cluster.

    Args:
        features: (C, h, w).
        labels: (h, w) int64.
    """
    points, own = features.float().flatten(1).T, labels.flatten()
    hot = F.one_hot(own).float()
    sizes = hot.sum(0)
    if int((sizes > 0).sum()) < 2:
        return 0.0
    sums = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist") @ hot  # (cells, clusters)
    mine = sizes[own]
    within = sums.gather(1, own[:, None])[:, 0] / (mine - 1).clamp(min=1)
    means = (sums / sizes.clamp(min=1)).masked_fill((hot > 0) | (sizes == 0), float("inf"))
    between = means.amin(1)
    value = (between - within) / torch.maximum(between, within).clamp(min=1e-12)
    return float(torch.where(mine > 1, value, torch.zeros_like(value)).mean())


@dataclass(frozen=True)
class Paired:
    """The second measurement less the first, on the same things.

    Attributes:
        count: pairs.
        first: mean of the first measurement.
        second: mean of the second.
        difference: mean of the differences.
        low: lower end of the 95 % interval, bootstrap over pairs.
        high: its upper end.
        p: Wilcoxon's signed-rank test, two-sided; 1 where all pairs are equal.
        lower: share of pairs in which the second is lower.
    """

    count: int
    first: float
    second: float
    difference: float
    low: float
    high: float
    p: float
    lower: float


def paired(first: Sequence[float], second: Sequence[float], seed: int = 0) -> Paired:
    """Pairs in which either is NaN are left out; at least one must remain, else every figure is NaN."""
    a, b = np.asarray(first, float), np.asarray(second, float)
    kept = ~(np.isnan(a) | np.isnan(b))
    a, b = a[kept], b[kept]
    if not len(a):
        return Paired(0, *[float("nan")] * 7)
    d = b - a
    draws = np.random.default_rng(seed).integers(0, len(d), (1000, len(d)))
    low, high = np.quantile(d[draws].mean(1), [0.025, 0.975])
    p = float(stats.wilcoxon(d).pvalue) if np.any(d != 0) else 1.0
    return Paired(len(d), float(a.mean()), float(b.mean()), float(d.mean()), float(low), float(high), p, float(np.mean(d < 0)))
