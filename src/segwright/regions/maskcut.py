"""MaskCut: object proposals of one picture from a self-supervised network's features, by repeated normalised cuts.

Wang et al., Cut and Learn (CutLER), CVPR 2023, Sec. 3.2, after Wang et al., TokenCut, 2022. No weights of its own.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.ndimage import label
from torch import Tensor

from segwright.errors import InputError

THRESHOLD = 0.15  # cosines above it are edges of weight 1 (CutLER Sec. 3.2)
WEAK = 1e-5  # the others' weight
OBJECTS = 3  # CutLER's masks a picture


def maskcut(features: Tensor, objects: int = OBJECTS, threshold: float = THRESHOLD) -> Tensor:
    """Proposals of one picture.

    Args:
        features: (C, h, w) floating point, keys of a ViT's last layer by preference; cost grows as (h w)^3.
        objects: at most so many.
        threshold: of the cosine between cells.

    Returns:
        (R, h, w) bool, R <= objects, disjoint and connected, on the features' device.

    Raises:
        InputError: wrong shape or count.
    """
    if features.ndim != 3 or not features.is_floating_point() or objects < 1:
        raise InputError(f"MaskCut needs (C, h, w) features and 1 or more objects, got {tuple(features.shape)} and {objects}")
    unit = F.normalize(features.float().flatten(1), dim=0)
    affinity = (unit.T @ unit).double().cpu().numpy()
    weights = np.where(affinity > threshold, 1.0, WEAK)
    shape = (features.shape[1], features.shape[2])
    free, found = np.ones(len(weights), bool), []
    for _ in range(objects):
        if free.sum() < 2:
            break
        mask = _cut(np.where(np.outer(free, free), weights, WEAK), free, shape)
        if not mask.any():
            break
        found.append(mask)
        free &= ~mask.ravel()
    masks = np.stack(found) if found else np.zeros((0, *shape), bool)
    return torch.from_numpy(masks).to(features.device)


def _cut(weights: NDArray[np.float64], free: NDArray[np.bool_], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """The object's side of the normalised cut: the connected part around the strongest cell of the second eigenvector."""
    degree = weights.sum(1)
    _, vectors = eigh(np.diag(degree) - weights, np.diag(degree), subset_by_index=[1, 1])
    second = vectors[:, 0]
    side = second > second.mean()
    seed = int(np.argmax(np.abs(second) * free))
    if not side[seed]:
        second, side = -second, ~side
    if _corners(side.reshape(shape)) > 2:  # an object does not fill three corners of the picture (TokenCut's test)
        second, side = -second, ~side
        seed = int(np.argmax(np.where(free, second, -np.inf)))
    parts, _ = label((side & free).reshape(shape))
    return np.asarray(parts == parts.flat[seed]) & (parts > 0)


def _corners(side: NDArray[np.bool_]) -> int:
    return int(side[0, 0]) + int(side[0, -1]) + int(side[-1, 0]) + int(side[-1, -1])
