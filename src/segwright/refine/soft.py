"""Hard masks as probabilities: certain inside, uncertain at the outline."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

GRID = 128  # cells a side on which masks are blurred


def is_hard(values: Tensor) -> bool:
    """Whether every score is 0 or 1."""
    return bool(((values == 0) | (values == 1)).all())


def soften(values: Tensor, width: float) -> Tensor:
    """Scores averaged over a Gaussian around each pixel; so a straight outline has 0.5 on it, and 0.16 one ``width`` off.

    Args:
        values: (M, H, W) that sum to 1 at each pixel; they still do.
        width: standard deviation as a share of the picture's sides; 0 leaves the scores as they are.

    Returns:
        (M, H, W) float32.
    """
    if width <= 0:
        return values
    height, wide = values.shape[1:]
    small = F.interpolate(values[:, None], (min(GRID, height), min(GRID, wide)), mode="area")
    blurred = _blurred(_blurred(small, width, 2), width, 3)
    found = F.interpolate(blurred, (height, wide), mode="bilinear", align_corners=False)[:, 0]
    return found / found.sum(0)


def _blurred(values: Tensor, width: float, axis: int) -> Tensor:
    """(M, 1, h, w) blurred along one axis, borders repeated."""
    sigma = width * values.shape[axis]
    reach = max(1, round(3 * sigma))
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=values.device) / sigma) ** 2)
    shape = [1, 1, 1, 1]
    shape[axis] = len(kernel)
    pad = (0, 0, reach, reach) if axis == 2 else (reach, reach, 0, 0)
    return F.conv2d(F.pad(values, pad, mode="replicate"), (kernel / kernel.sum()).view(shape))
