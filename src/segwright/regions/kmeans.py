"""Seeded k-means with k-means++ starts and restarts, batched over photos and restarts, on the features' own device.

Distances come from one matrix product, M = P P' A, where P (N, C) are the points and the columns of A are clusters as
averages of points: |p - c|^2 = |p|^2 - 2 M + a' M. With more channels than cells (6400 against 1024) the N x N matrix
P P' is made once and the channels are never touched again; that is exact, not a reduction of dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from segwright.errors import InputError
from segwright.types import Regions

CLUSTERS = 4  # FreeSeg-Diff Sec. 4.4 and Table 4: 4 for Pascal VOC; 5 is slightly better on COCO
RESTARTS = 10  # fewer land in local optima; scikit-learn's n_init of old. The paper says nothing.
ITERATIONS = 100
TINY = 1e-6  # squared distances below this share of the largest norm count as zero


@dataclass(frozen=True)
class Clustering:
    """One photo's clusters, numbered in the order in which they are met, row by row.

    Attributes:
        regions: (h, w) labels; every region has at least one cell.
        distances: (K, h, w) float32, squared distance of each cell to each centroid.
        inertia: sum of squared distances to the own centroid.
    """

    regions: Regions
    distances: Tensor
    inertia: float

    def nearest(self, size: tuple[int, int]) -> Regions:
        """Labels at (H, W), nearest neighbour (FreeSeg-Diff Sec. 4.1)."""
        labels = self.regions.labels[None, None].float()
        return Regions(F.interpolate(labels, size, mode="nearest-exact")[0, 0].long(), self.regions.count)

    def soft(self, size: tuple[int, int]) -> Regions:
        """Labels at (H, W) from distances interpolated bilinearly: smooth outlines. Not in the paper.

        Squared distances to two centroids differ by an affine function of the feature, so this is exactly
        assigning bilinearly interpolated features to their nearest centroid. A small region may lose all its pixels.
        """
        wide = F.interpolate(self.distances[None], size, mode="bilinear", align_corners=False)[0]
        return Regions(wide.argmin(0), self.regions.count)


def kmeans(
    features: Tensor,
    clusters: int = CLUSTERS,
    restarts: int = RESTARTS,
    iterations: int = ITERATIONS,
    seed: int = 0,
    *,
    normalise: bool = False,
) -> list[Clustering]:
    """Cluster each photo's cells on their own; of the restarts the one with least inertia is kept.

    A photo's result does not depend on the photos beside it: every photo draws the same random numbers.

    Args:
        features: (B, C, h, w) or (C, h, w) floating point.
        clusters: K; fewer regions come back where a photo has fewer different cells.
        normalise: bring cells to unit length first (cosine k-means). The published FreeSeg-Diff does not.

    Returns:
        one Clustering a photo.

    Raises:
        InputError: K larger than the cells or below 1, no restart, wrong shape, or features that are not finite.
    """
    if features.ndim not in (3, 4) or not features.is_floating_point():
        raise InputError(f"k-means needs (B, C, h, w) floating point features, got {features.dtype} {tuple(features.shape)}")
    batch = features if features.ndim == 4 else features[None]
    cells = batch.shape[2] * batch.shape[3]
    if not 1 <= clusters <= cells:
        raise InputError(f"clusters must lie in 1..{cells}, the number of feature cells, got {clusters}")
    if restarts < 1 or iterations < 1:
        raise InputError(f"k-means needs at least one restart and one iteration, got {restarts} and {iterations}")
    if not len(batch):
        return []
    product, norms = _products(batch.flatten(2).transpose(1, 2).float(), normalise)
    tries = 2 + int(math.log(clusters))
    draws = torch.rand(restarts, clusters, tries, generator=torch.Generator().manual_seed(seed)).to(batch.device)
    labels = _seeds(product, norms, draws)
    for _ in range(iterations):
        distances = _distances(product, norms, _averages(labels, clusters, norms))
        new = distances.argmin(2)
        _fill_empty(new, distances, norms)
        if torch.equal(new, labels):
            break
        labels = new
    distances = _distances(product, norms, _averages(labels, clusters, norms))
    return [_best(d, lab, (batch.shape[2], batch.shape[3])) for d, lab in zip(distances, labels, strict=True)]


Product = Callable[[Tensor], Tensor]


def _products(points: Tensor, normalise: bool) -> tuple[Product, Tensor]:
    """Points (B, N, C) -> A (B, N, M) |-> P P' A, and their squared norms (B, N), after centring."""
    if normalise:
        points = F.normalize(points, dim=2)
    points = points - points.mean(1, keepdim=True)  # distances stay, cancellation in them shrinks
    norms = points.square().sum(2)
    if not bool(torch.isfinite(norms).all()):
        raise InputError("features must be finite and of moderate size; float16 weights may overflow, try float32 or bfloat16")
    if points.shape[2] <= points.shape[1]:
        return lambda a: points @ (points.transpose(1, 2) @ a), norms
    gram = torch.stack([p @ p.T for p in points])  # one by one: the same bits whatever the batch
    return lambda a: gram @ a, norms


def _distances(product: Product, norms: Tensor, averages: Tensor) -> Tensor:
    """Squared distances (B, R, K, N) to clusters given as averages of points, (B, R, K, N) rows summing to 1."""
    a = averages.flatten(1, 2).transpose(1, 2)
    m = product(a)
    squared = norms[:, None] - 2 * m.transpose(1, 2) + (a * m).sum(1)[..., None]
    return squared.clamp(min=0).view(averages.shape)


def _averages(labels: Tensor, clusters: int, norms: Tensor) -> Tensor:
    """Labels (B, R, N) -> (B, R, K, N): 1 / size where the cell belongs to the cluster."""
    hot = F.one_hot(labels, clusters).transpose(2, 3).to(norms)
    return hot / hot.sum(3, keepdim=True).clamp(min=1)


def _seeds(product: Product, norms: Tensor, draws: Tensor) -> Tensor:
    """Greedy k-means++ (Arthur and Vassilvitskii 2007, Sec. 5; scikit-learn's): of several next centres, each drawn by its
    squared distance, the one that leaves the least sum of distances. Draws (R, K, tries) in 0..1; labels (B, R, N)."""
    count, cells = norms.shape
    restarts, clusters, tries = draws.shape
    wide = torch.float32 if norms.device.type == "mps" else torch.float64
    nearest = torch.ones(count, restarts, cells, device=norms.device)
    labels = torch.zeros(count, restarts, cells, dtype=torch.long, device=norms.device)
    for k in range(clusters):
        sums = nearest.to(wide).cumsum(2)
        aim = draws[:, k].to(wide)[None] * sums[..., -1:]
        chosen = torch.searchsorted(sums, aim, right=True).clamp(max=cells - 1)  # (B, R, tries)
        one = torch.zeros(count, restarts, tries, cells, device=norms.device).scatter_(3, chosen[..., None], 1.0)
        found = _distances(product, norms, one.flatten(1, 2)[:, :, None])[:, :, 0].view_as(one)
        left = torch.minimum(found, nearest[:, :, None]) if k else found
        best = left.sum(3).argmin(2) if k else torch.zeros_like(chosen[..., 0])
        distance = found.gather(2, best[..., None, None].expand(-1, -1, 1, cells))[:, :, 0]
        closer = distance < nearest if k else torch.ones_like(labels, dtype=torch.bool)
        labels = torch.where(closer, k, labels)
        nearest = torch.where(closer, distance, nearest)
    return labels


def _fill_empty(labels: Tensor, distances: Tensor, norms: Tensor) -> None:
    """Give each empty cluster the cell farthest from its centroid, in place; clusters of equal cells stay empty."""
    clusters = distances.shape[2]
    empty = F.one_hot(labels, clusters).sum(2) == 0
    if not bool(empty.any()):
        return
    own = distances.gather(2, labels[:, :, None])[:, :, 0]
    for b, r, k in empty.nonzero().tolist():
        far = int(own[b, r].argmax())
        if float(own[b, r, far]) > TINY * float(norms[b].max()):
            labels[b, r, far] = k
            own[b, r, far] = 0


def _best(distances: Tensor, labels: Tensor, shape: tuple[int, int]) -> Clustering:
    """The restart (of R, K, N and R, N) with least inertia, empty clusters left out."""
    inertia = distances.gather(1, labels[:, None])[:, 0].sum(1)
    best = int(inertia.argmin())
    kept = list(dict.fromkeys(labels[best].tolist()))
    place = torch.full((distances.shape[1],), -1, dtype=torch.long, device=labels.device)
    place[torch.tensor(kept, device=labels.device)] = torch.arange(len(kept), device=labels.device)
    regions = Regions(place[labels[best]].view(shape), len(kept))
    return Clustering(regions, distances[best, kept].view(len(kept), *shape), float(inertia[best]))
