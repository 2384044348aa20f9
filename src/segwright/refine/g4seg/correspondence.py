"""Semantic correspondence alignment (G4Seg, Sec. II-C2): which cell of the photo a cell of the reconstruction looks like."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK = 2048  # cells compared at a time with all others: 16,384 cells would need 1 GB at once


def nearest(original: Tensor, generated: Tensor, reach: float | None = None, block: int = BLOCK) -> Tensor:
    """Eq. 8: for every cell of the reconstruction the cell of the photo of smallest cosine distance, the first of equals.

    Args:
        original: (C, N) features of the photo, of any length, N cells of a square, row by row.
        generated: (C, N) features of the reconstruction, likewise.
        reach: how far away a cell may lie, as a share of the square's side; None: anywhere, as in the paper.
        block: cells of ``generated`` in one product; changes the memory only.

    Returns:
        (N,) int64, places in 0 .. N-1.
    """
    table = F.normalize(original.float(), dim=0)
    wanted = F.normalize(generated.float(), dim=0)
    side = round(wanted.shape[1] ** 0.5)
    place = torch.arange(wanted.shape[1], device=wanted.device)
    found = []
    for part, here in zip(wanted.split(block, 1), place.split(block), strict=True):
        alike = part.t() @ table
        if reach is not None:
            down, right = (here[:, None] // side - place // side), (here[:, None] % side - place % side)
            alike.masked_fill_(down.square() + right.square() > (reach * side) ** 2, -torch.inf)
        found.append(alike.argmax(1))
    return torch.cat(found)


def to_grid(features: Tensor, grid: int) -> Tensor:
    """(B, C, h, w) -> (B, C, grid * grid), bilinear."""
    if features.shape[2:] == (grid, grid):
        return features.flatten(2)
    return F.interpolate(features, (grid, grid), mode="bilinear", align_corners=False).flatten(2)


def difference(scores: Tensor, matches: Tensor, grid: int) -> Tensor:
    """S[delta_j] - S[j] of Eq. 9, at the photo's size.

    Taken on the grid of the matches and then interpolated: where every cell matches itself it is exactly 0, whatever
    the photo's size, so that a grid coarser than the photo blurs no outline.

    Args:
        scores: (K, H, W) foreground probabilities.
        matches: (K, grid * grid) int64, Eq. 8's delta.

    Returns:
        (K, H, W) float32.
    """
    small = F.interpolate(scores[None], (grid, grid), mode="area")[0].flatten(1)
    change = (small.gather(1, matches) - small).unflatten(1, (grid, grid))
    return F.interpolate(change[None], tuple(scores.shape[1:]), mode="bilinear", align_corners=False)[0]
