"""Regions made sharp before they are named: our own variant of FreeSeg-Diff's order.

The paper names raw clusters and sharpens the named masks. A cluster joins things that look alike and cuts across
edges, and CLIP must name that. Here a CRF first moves the clusters' outlines to the photo's edges, and each connected
part becomes a region of its own.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from segwright.refine import crf
from segwright.regions.kmeans import Clustering
from segwright.types import Image, Scores

SMALLEST = 0.01  # of the photo; smaller parts join what is nearest
MOST = 32  # parts of a photo, the largest; a ceiling on CLIP's work


def sharpen(image: Image, clustering: Clustering, settings: str = "freeseg-diff") -> Tensor:
    """Connected parts of the clusters after a CRF, (H, W) int64, numbered from 0 by size, the largest first.

    Args:
        image: (H, W, 3) uint8.
        clustering: of the same photo.
        settings: constants of the CRF (``segwright.refine.CRF_CONSTANTS``).
    """
    regions = clustering.soft((image.shape[0], image.shape[1]))
    hot = torch.nn.functional.one_hot(regions.labels, regions.count).permute(2, 0, 1).float()
    words = tuple(map(str, range(1, regions.count)))
    clusters = crf(image, Scores(words, tuple(range(regions.count)), hot), settings=settings).argmax()
    return torch.from_numpy(connected_parts(clusters.cpu().numpy())).to(regions.labels.device)


def connected_parts(clusters: NDArray[np.int64], smallest: float = SMALLEST, most: int = MOST) -> NDArray[np.int64]:
    """Connected parts (4 neighbours) of equal clusters, (H, W) int64 from 0, the largest first; small ones dissolved."""
    parts = np.zeros(clusters.shape, np.int64)
    count = 0
    for value in np.unique(clusters):
        found, number = ndimage.label(clusters == value)
        parts[found > 0] = found[found > 0] + count
        count += number
    areas = np.bincount(parts.ravel(), minlength=count + 1)
    order = np.argsort(-areas[1:], kind="stable") + 1
    kept = [p for p in order[:most] if areas[p] >= smallest * clusters.size] or [order[0]]
    place = np.full(count + 1, -1, np.int64)
    place[kept] = np.arange(len(kept))
    labels = place[parts]
    near = ndimage.distance_transform_edt(labels < 0, return_distances=False, return_indices=True)
    return labels[tuple(near)]
