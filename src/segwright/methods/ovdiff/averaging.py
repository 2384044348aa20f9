"""Support features and masks -> prototypes: the mean of a word, of each picture, and of each part (OVDiff Sec. 3.3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from segwright.errors import InputError
from segwright.methods.ovdiff.prototypes import INSTANCE, PART, WHOLE, Prototypes
from segwright.regions.kmeans import kmeans

PARTS = 32  # K, published code
POINTS = 16_384  # cells that k-means sees at most, evenly spread over all


def build(features: Tensor, masks: Tensor, parts: int = PARTS, seed: int = 0) -> Prototypes:
    """Prototypes of one side of a word's support set (Eqs. 2 and 3).

    Args:
        features: (N, D, h, w) float32 of the support pictures.
        masks: (N, H, W) bool at any resolution, brought to the features' by nearest neighbour.
        parts: K of k-means over all masked cells; fewer where there are fewer cells.
        seed: of k-means.

    Returns:
        at least no prototype at all: where the masks are empty there is nothing to take a mean of.
    """
    if features.ndim != 4 or masks.ndim != 3 or len(features) != len(masks):
        raise InputError(f"support features {tuple(features.shape)} and masks {tuple(masks.shape)} do not belong together")
    inside = F.interpolate(masks[:, None].float(), features.shape[2:], mode="nearest-exact")[:, 0] > 0.5
    sizes = inside.sum((1, 2)).float()
    there = (sizes > 0).nonzero().flatten()
    cells = torch.full(tuple(inside.shape), -1, dtype=torch.long, device=features.device)
    if not len(there):
        none = cells.new_zeros(0)
        return Prototypes(features.new_zeros(0, features.shape[1]).float(), none, none, cells)
    sums = torch.stack([(features[i].float() * inside[i]).sum((1, 2)) for i in there.tolist()])
    instances = sums / sizes[there, None]
    whole = sums.sum(0, keepdim=True) / sizes.sum()  # the instances' mean, weighted by mask size
    points = features.permute(0, 2, 3, 1)[inside].float()
    centroids, nearest = _parts(points, parts, seed)
    cells[inside] = nearest
    kinds = [WHOLE] + [INSTANCE] * len(there) + [PART] * len(centroids)
    sources = torch.cat([there.new_zeros(1), there, torch.arange(len(centroids), device=there.device)])
    return Prototypes(torch.cat([whole, instances, centroids]), torch.tensor(kinds, device=there.device), sources, cells)


def _parts(points: Tensor, parts: int, seed: int) -> tuple[Tensor, Tensor]:
    """(n, D) -> centroids (K, D) and each point's own (n,)."""
    seen = points[:: -(-len(points) // POINTS)]
    clustering = kmeans(seen.T[:, :, None], min(parts, len(seen)), restarts=1, seed=seed)[0]
    labels = clustering.regions.labels.flatten()
    hot = F.one_hot(labels, clustering.regions.count).float()
    centroids = (hot.T @ seen) / hot.sum(0)[:, None]
    nearest = torch.cat([torch.cdist(some, centroids).argmin(1) for some in points.split(POINTS)])
    return centroids, nearest
