"""Attribution maps -> foreground and background masks of support pictures (OVDiff Sec. 3.3)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from segwright.errors import InputError

LOW, HIGH = 0.2, 0.5  # published code: background below, foreground above, where nothing better is known


def attribution_masks(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Thresholds by three-class multi-Otsu over all maps of a word (published code; 0.2 and 0.5 where that fails).

    Args:
        maps: (N, h, w) in 0..1.

    Returns:
        foreground and background, (N, h, w) bool each; what lies between belongs to neither.
    """
    from skimage.filters import threshold_multiotsu

    _check(maps)
    try:
        low, high = (float(v) for v in threshold_multiotsu(maps.cpu().numpy(), classes=3))
    except ValueError:  # fewer than three different values
        low, high = LOW, HIGH
    return maps > high, maps < low


def proposal_masks(maps: Tensor, proposals: Sequence[Tensor], erosion: int = 1) -> tuple[Tensor, Tensor]:
    """Eq. 1: of a picture's proposals and what they leave over, the one with the highest mean attribution is foreground, the one
    with the lowest background; the latter only where attribution is below 0.2, and eroded (published code).

    Args:
        maps: (N, h, w) in 0..1.
        proposals: for each picture (R, h', w') bool, brought to h x w by nearest neighbour.
        erosion: cells taken off the background's rim.

    Returns:
        foreground and background, (N, h, w) bool each; a picture without a proposal gets the plain thresholds 0.5 and 0.2.
    """
    _check(maps)
    if len(maps) != len(proposals):
        raise InputError(f"{len(maps)} attribution maps need as many sets of proposals, got {len(proposals)}")
    chosen = [_choose(m, p.to(maps.device), erosion) for m, p in zip(maps, proposals, strict=True)]
    return torch.stack([c[0] for c in chosen]), torch.stack([c[1] for c in chosen])


def _choose(attribution: Tensor, proposals: Tensor, erosion: int) -> tuple[Tensor, Tensor]:
    masks = _resized(proposals, attribution)
    rest = ~masks.any(0)
    masks = torch.cat([masks, rest[None]]) if rest.any() else masks
    masks = masks[masks.any((1, 2))]
    if len(masks) < 2:
        return attribution > HIGH, attribution < LOW
    mean = (masks * attribution).sum((1, 2)) / masks.sum((1, 2))
    background = masks[mean.argmin()] & (attribution < LOW)
    return masks[mean.argmax()], _eroded(background, erosion)


def _resized(masks: Tensor, like: Tensor) -> Tensor:
    if not len(masks):
        return torch.zeros(0, *like.shape, dtype=torch.bool, device=like.device)
    return F.interpolate(masks[None].float(), tuple(like.shape), mode="nearest-exact")[0].bool()


def _eroded(mask: Tensor, cells: int) -> Tensor:
    """Without the cells that touch something else; the picture's rim does not count as something else."""
    if not cells:
        return mask
    outside = F.max_pool2d((~mask)[None].float(), 2 * cells + 1, stride=1, padding=cells)[0]
    return mask & ~outside.bool()


def _check(maps: Tensor) -> None:
    if maps.ndim != 3 or not maps.is_floating_point():
        raise InputError(f"attribution maps must be (N, h, w) floating point, got {maps.dtype} {tuple(maps.shape)}")
    if not bool(np.isfinite(float(maps.sum()))):
        raise InputError("attribution maps must be finite; try float32 weights")
