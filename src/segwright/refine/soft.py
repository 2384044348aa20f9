"""Hard masks as probabilities: certain inside, uncertain at the outline."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

GRID = 128  # cells a side on which masks are blurred
SURE = 0.75  # a pixel with a score of this has no doubt about its label
MARGIN = 1e-3  # by which a label that a blur would take from a pixel stays ahead


def is_hard(values: Tensor) -> bool:
    """Whether every pixel of (M, H, W) scores that sum to 1 is sure of its label, or of none (void: all labels alike)."""
    top = values.amax(0)
    return bool(((top >= SURE) | (top - values.amin(0) < 1e-6)).all())


def soften(values: Tensor, width: float) -> Tensor:
    """Hard masks with uncertain outlines: ``blur``, but no pixel changes its strongest label.

    Where a blur would change it (thin parts, corners), that label is put level with the new one: it is then as uncertain as can be,
    and a refiner decides.

    Args:
        values: (M, H, W) that sum to 1 at each pixel; they still do.
        width: as for ``blur``.

    Returns:
        (M, H, W) float32.
    """
    if width <= 0:
        return values
    found, label = blur(values, width), values.argmax(0, keepdim=True)
    own, top = found.gather(0, label), found.amax(0, keepdim=True)
    lost = found.argmax(0, keepdim=True) != label
    found = found.scatter(0, label, torch.where(lost, top * (1 + MARGIN), own))
    return found / found.sum(0)


def blur(values: Tensor, width: float) -> Tensor:
    """Scores averaged over a Gaussian around each pixel; so a straight outline has 0.5 on it, and 0.16 one ``width`` off.

    Args:
        values: (M, H, W) that sum to 1 at each pixel; they still do.
        width: standard deviation as a share of the picture's sides, above 0.

    Returns:
        (M, H, W) float32.
    """
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
