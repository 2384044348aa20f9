"""Support features and masks -> prototypes: the mean of a word, of each picture, and of each part (OVDiff Sec. 3.3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from segwright.errors import InputError
from segwright.methods.ovdiff.prototypes import INSTANCE, PART, WHOLE, Prototypes
from segwright.regions.kmeans import kmeans

PARTS = 32  # K, published code
POINTS = 16_384  # cells that k-means sees at most, evenly spread over all


class Features(Protocol):
    """Support features, (D, h, w) float32 a picture, made when they are asked for: all at once would be gigabytes."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Tensor: ...


def build(features: Features, masks: Tensor, parts: int = PARTS, seed: int = 0) -> Prototypes:
    """Prototypes of one side of a word's support set; see ``build_sides``."""
    return build_sides(features, {"": masks}, parts, seed)[""]


def build_sides(features: Features, sides: Mapping[str, Tensor], parts: int = PARTS, seed: int = 0) -> dict[str, Prototypes]:
    """Prototypes of each side of a word's support set (Eqs. 2 and 3), from one pass over the features.

    Where more than ``POINTS`` cells are masked there is a second pass, which says which part each cell belongs to.

    Args:
        features: N of (D, h, w) float32.
        sides: name -> (N, H, W) bool at any resolution, brought to the features' by nearest neighbour.
        parts: K of k-means over all masked cells; fewer where there are fewer cells.
        seed: of k-means.

    Returns:
        at least no prototype at all: where the masks are empty there is nothing to take a mean of.
    """
    for masks in sides.values():
        if masks.ndim != 3 or len(features) != len(masks):
            raise InputError(f"{len(features)} support features and masks {tuple(masks.shape)} do not belong together")
    found: dict[str, _Side] = {}
    for i in range(len(features)):
        one = features[i].float()
        if one.ndim != 3:
            raise InputError(f"support features must be (D, h, w) a picture, got {tuple(one.shape)}")
        for name, masks in sides.items():
            found.setdefault(name, _Side(masks, one)).take(i, one)
        del one  # a picture's features keep those made with it; they go before the next are made
    made = {name: side.parts(parts, seed) for name, side in found.items()}
    if any(side.count > len(side.points) for side in found.values()):
        for i in range(len(features)):
            one = features[i].float()
            for name, side in found.items():
                side.assign(i, one, made[name][0])
            del one
    return {name: side.prototypes(*made[name]) for name, side in found.items()}


class _Side:
    """What is gathered of one side."""

    def __init__(self, masks: Tensor, like: Tensor) -> None:
        self.inside = F.interpolate(masks[:, None].to(like.device).float(), like.shape[1:], mode="nearest-exact")[:, 0] > 0.5
        self.sizes = self.inside.sum((1, 2)).float()
        self.count = int(self.sizes.sum())
        self.step = max(1, -(-self.count // POINTS))
        self.sums: list[Tensor] = []
        self.points = like.new_zeros(-(-self.count // self.step), len(like))
        self.before = self.filled = 0
        self.cells = torch.full(tuple(self.inside.shape), -1, dtype=torch.long, device=like.device)

    def take(self, index: int, features: Tensor) -> None:
        """One picture's sum, and every ``step``-th of all masked cells."""
        self.sums.append((features * self.inside[index]).sum((1, 2)))
        seen = features.permute(1, 2, 0)[self.inside[index]][-self.before % self.step :: self.step]
        self.points[self.filled : self.filled + len(seen)] = seen
        self.filled += len(seen)
        self.before += int(self.sizes[index])

    def parts(self, parts: int, seed: int) -> tuple[Tensor, Tensor]:
        """Centroids (K, D), and the part of each gathered point."""
        if not self.count:
            return self.points, self.points.new_zeros(0, dtype=torch.long)
        clustering = kmeans(self.points.T[:, :, None], min(parts, len(self.points)), restarts=1, seed=seed)[0]
        labels = clustering.regions.labels.flatten()
        hot = F.one_hot(labels, clustering.regions.count).float()
        centroids = (hot.T @ self.points) / hot.sum(0)[:, None]
        if self.count == len(self.points):
            self.cells[self.inside] = torch.cdist(self.points, centroids).argmin(1)
        return centroids, labels

    def assign(self, index: int, features: Tensor, centroids: Tensor) -> None:
        """Each masked cell's nearest part."""
        if self.count > len(self.points):
            points = features.permute(1, 2, 0)[self.inside[index]]
            self.cells[index][self.inside[index]] = torch.cdist(points, centroids).argmin(1)

    def prototypes(self, centroids: Tensor, labels: Tensor) -> Prototypes:
        there = (self.sizes > 0).nonzero().flatten()
        if not len(there):
            none = self.cells.new_zeros(0)
            return Prototypes(centroids[:0], none, none, self.cells)
        sums = torch.stack(self.sums)
        instances = sums[there] / self.sizes[there, None]
        whole = sums[there].sum(0, keepdim=True) / self.sizes.sum()  # the instances' mean, weighted by mask size
        kinds = [WHOLE] + [INSTANCE] * len(there) + [PART] * len(centroids)
        numbers = torch.arange(len(centroids), device=there.device)
        sources = torch.cat([there.new_zeros(1), there, numbers])
        return Prototypes(torch.cat([whole, instances, centroids]), torch.tensor(kinds, device=there.device), sources, self.cells)
