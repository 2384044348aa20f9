"""Attribution maps -> foreground and background masks of support pictures (OVDiff Sec. 3.3)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from segwright.errors import InputError

SIDE = 512
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


def proposal_masks(maps: Tensor, proposals: Sequence[Tensor], side: int = SIDE) -> tuple[Tensor, Tensor]:
    """Eq. 1: of a picture's proposals and what they leave over, the one with the highest mean attribution is foreground, the one
    with the lowest background.

    As published: where masks overlap, a pixel belongs to the one of higher mean; background only where attribution is below
    0.2, and without its outermost pixel. All at the pictures' own resolution.

    Args:
        maps: (N, h, w) in 0..1, resized bilinearly and brought to 0..1 again.
        proposals: for each picture (R, h', w') bool, brought to the resolution by nearest neighbour.
        side: of the pictures, in pixels (512: published code).

    Returns:
        foreground and background, (N, side, side) bool each; a picture without a proposal gets the plain thresholds 0.5 and 0.2.
    """
    _check(maps)
    if len(maps) != len(proposals):
        raise InputError(f"{len(maps)} attribution maps need as many sets of proposals, got {len(proposals)}")
    chosen = [_choose(_at(m, side), p.to(maps.device)) for m, p in zip(maps, proposals, strict=True)]
    return torch.stack([c[0] for c in chosen]), torch.stack([c[1] for c in chosen])


def _at(attribution: Tensor, side: int) -> Tensor:
    wide = F.interpolate(attribution[None, None].float(), (side, side), mode="bilinear", align_corners=False)[0, 0]
    return (wide - wide.min()) / (wide.max() - wide.min()).clamp(min=1e-6)


def _choose(attribution: Tensor, proposals: Tensor) -> tuple[Tensor, Tensor]:
    masks = _resized(proposals, attribution)
    rest = ~masks.any(0)
    masks = torch.cat([rest[None], masks]) if rest.any() else masks
    masks = masks[masks.any((1, 2))]
    if len(masks) < 2:
        return attribution > HIGH, attribution < LOW
    mean = (masks * attribution).sum((1, 2)) / masks.sum((1, 2))
    order = mean.argsort(descending=True, stable=True)
    owner = (masks[order] * mean[order, None, None]).argmax(0)  # a pixel in several masks has the best of them
    background = (owner == owner.max()) & (attribution < LOW)
    return owner == 0, _eroded(background)


def _resized(masks: Tensor, like: Tensor) -> Tensor:
    if not len(masks):
        return torch.zeros(0, *like.shape, dtype=torch.bool, device=like.device)
    return F.interpolate(masks[None].float(), tuple(like.shape), mode="nearest-exact")[0].bool()


def _eroded(mask: Tensor) -> Tensor:
    """Without the pixels one of whose four neighbours is something else; the picture's rim does not count as something else."""
    return torch.from_numpy(ndimage.binary_erosion(mask.cpu().numpy(), border_value=1)).to(mask.device)


def _check(maps: Tensor) -> None:
    if maps.ndim != 3 or not maps.is_floating_point():
        raise InputError(f"attribution maps must be (N, h, w) floating point, got {maps.dtype} {tuple(maps.shape)}")
    if not bool(np.isfinite(float(maps.sum()))):
        raise InputError("attribution maps must be finite; try float32 weights")
