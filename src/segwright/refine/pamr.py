"""Pixel-adaptive mask refinement: every pixel takes the labels of those neighbours that look like it.

Araslanov and Roth 2020, "Single-Stage Semantic Segmentation from Image Labels", section 3.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag, pad

from segwright.errors import InputError
from segwright.refine.base import Refiner, check_count, check_pairs
from segwright.types import Image, Scores, check_image
from segwright.weights import Networks

DILATIONS = (1, 2, 4, 8, 12, 24)
STEPS = tuple((dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx)
SHARPNESS = 0.1  # the published code divides by 0.1 sigma; the paper prints sigma^2
TINY = 1e-8  # published code: keeps flat neighbourhoods finite
BAND = 1 << 15  # pixels done at a time, in whole rows: their 48 neighbours each stay in the cache
LANES = 8  # rows of a multiple of 8 floats keep the vector units full


@dataclass(frozen=True)
class PAMR(Refiner):
    """``pamr`` as a refiner.

    Attributes:
        iterations: >= 1. 10 as published.
        dilations: distances in pixels, >= 1. (1, 2, 4, 8, 12, 24) as published.
    """

    iterations: int = 10
    dilations: tuple[int, ...] = DILATIONS
    name: ClassVar = "pamr"

    def __call__(self, image: Image, scores: Scores, networks: Networks | None = None) -> Scores:
        return pamr(image, scores, iterations=self.iterations, dilations=self.dilations)

    def smoothed(self, image: Image, values: Tensor) -> Tensor:
        """Weighted means of any values, as OVDiff's published code takes them of cosines."""
        return _averaged(check_image(image), values.detach(), self.iterations, self.dilations)


def pamr(image: Image, scores: Scores, *, iterations: int = 10, dilations: Sequence[int] = DILATIONS) -> Scores:
    """Refine scores with local, image-adaptive averages.

    Pixel i looks at its 8 neighbours j at each dilation (the border repeated outside), and weighs them by
    softmax over j of -mean over colours of |I_i - I_j| / (0.1 sigma_i), with sigma_i the standard deviation of the
    3x3 neighbourhoods of all dilations around i, for each colour. Then the scores of each pixel become that
    weighted mean, again and again. The divisor is the published code's, with which the published figures were
    made; the paper's text has sigma_i^2.

    Args:
        image: (H, W, 3) uint8 RGB.
        scores: (M, H, W), the photo's size, on the device where the work is done. Not modified.
        iterations: >= 1. 10 as published.
        dilations: distances in pixels, >= 1. (1, 2, 4, 8, 12, 24) as published.

    Returns:
        Scores of the same words and labels, summing to 1.

    Raises:
        InputError: image and scores differ in size, or a setting cannot be used.
    """
    return pamr_batch([image], [scores], iterations=iterations, dilations=dilations)[0]


def pamr_batch(
    images: Sequence[Image],
    scores: Sequence[Scores],
    *,
    iterations: int = 10,
    dilations: Sequence[int] = DILATIONS,
) -> list[Scores]:
    """``pamr`` of many photos, with the same results.

    Raises:
        InputError: as ``pamr``; or the lists differ in length.
    """
    check_count("iterations", iterations)
    if isinstance(dilations, str) or not isinstance(dilations, Sequence) or not dilations:
        raise InputError(f"dilations must be a list of distances in pixels, got {dilations!r}; {DILATIONS} is usual")
    for dilation in dilations:
        check_count("every dilation", dilation)
    pairs = check_pairs(images, scores)
    return [replace(item, values=_refine(photo, item.values.detach(), iterations, dilations), totals=None) for photo, item in pairs]


def _refine(image: Image, values: Tensor, iterations: int, dilations: Sequence[int]) -> Tensor:
    """(M, H, W) -> (M, H, W), summing to 1."""
    wide = _averaged(image, values, iterations, dilations)
    return (wide / wide.sum(0)).contiguous()


def _averaged(image: Image, values: Tensor, iterations: int, dilations: Sequence[int]) -> Tensor:
    """(M, H, W) -> (M, H, W)."""
    count, height, width = values.shape
    distances = [min(dilation, max(height, width)) for dilation in dilations]  # beyond it the border repeats anyway
    weights = _affinity(torch.from_numpy(image.copy()).to(values.device), distances)
    rows = pad(values.flatten(1).t(), (0, -count % LANES)).contiguous()
    for _ in range(iterations):
        rows = _average(rows, weights, height, width, distances)
    return rows[:, :count].t().reshape(count, height, width)


def _average(rows: Tensor, weights: Tensor, height: int, width: int, dilations: Sequence[int]) -> Tensor:
    """(P, M) -> (P, M), the weighted mean of each pixel's neighbours. ``weights`` (P, 8D)."""
    moves = torch.tensor([(d * dy, d * dx) for d in dilations for dy, dx in STEPS], device=rows.device)
    # One table for the way down and one for the way right. Their outer sum, which takes 8D integers a pixel, is made
    # for a band at a time.
    down = (torch.arange(height, device=rows.device)[:, None] + moves[:, 0]).clamp_(0, height - 1) * width
    right = (torch.arange(width, device=rows.device)[:, None] + moves[:, 1]).clamp_(0, width - 1)
    down, right = down.int(), right.int()
    out = torch.empty_like(rows)
    for top, bottom in _bands(height, width):
        near = (down[top:bottom, None] + right).reshape(-1, len(moves))
        part = slice(top * width, bottom * width)
        out[part] = embedding_bag(near, rows, mode="sum", per_sample_weights=weights[part])
    return out


def _affinity(image: Tensor, dilations: Sequence[int]) -> Tensor:
    """(H, W, 3) uint8 -> (P, 8D) float32, each pixel's weights of its neighbours, summing to 1."""
    height, width, _ = image.shape
    reach = max(dilations)
    y = torch.arange(-reach, height + reach, device=image.device).clamp_(0, height - 1)
    x = torch.arange(-reach, width + reach, device=image.device).clamp_(0, width - 1)
    around = image[y][:, x].permute(2, 0, 1).contiguous()
    out = torch.empty(height * width, len(STEPS) * len(dilations), dtype=torch.float32, device=image.device)
    for top, bottom in _bands(height, width):
        band = around[:, top : bottom + 2 * reach]
        out[top * width : bottom * width] = _band_affinity(band, reach, dilations).flatten(1).t()
    return out


def _band_affinity(band: Tensor, reach: int, dilations: Sequence[int]) -> Tensor:
    """(3, h + 2 reach, w + 2 reach) uint8 -> (8D, h, w) float32."""
    divisor = SHARPNESS * _deviation(band, reach, dilations) + TINY
    sharpness = (-1 / len(band)) / divisor
    values = band.float()
    here = _moved(values, 0, 0, reach)
    apart = torch.empty_like(here)
    found = here.new_empty(len(STEPS) * len(dilations), *here.shape[1:])
    moves = [(d * dy, d * dx) for d in dilations for dy, dx in STEPS]
    for row, (down, right) in zip(found, moves, strict=True):
        torch.sub(_moved(values, down, right, reach), here, out=apart)
        torch.sum(apart.abs_().mul_(sharpness), 0, out=row)
    return found.softmax(0)


def _deviation(band: Tensor, reach: int, dilations: Sequence[int]) -> Tensor:
    """(3, h, w) float32, standard deviation (n - 1) of the 3x3 neighbourhoods of all dilations, centres included.

    Sums are of integers, so that a flat neighbourhood has exactly 0.
    """
    values = band.int()
    both = torch.cat([values, values * values])
    total = torch.zeros_like(_moved(both, 0, 0, reach))
    for d in dilations:
        rows = both[:, reach - d : both.shape[1] - reach - d] + both[:, reach : both.shape[1] - reach]
        rows += both[:, reach + d : both.shape[1] - reach + d]
        for right in (-d, 0, d):
            total += rows[:, :, reach + right : rows.shape[2] - reach + right]
    sums, squares = total.double().chunk(2)
    count = 9 * len(dilations)
    return ((squares - sums * sums / count) / (count - 1)).clamp_(min=0).sqrt_().float()


def _moved(padded: Tensor, down: int, right: int, reach: int) -> Tensor:
    """The (C, h, w) window of (C, h + 2 reach, w + 2 reach) that lies ``down`` and ``right`` of its centre."""
    height, width = padded.shape[1] - 2 * reach, padded.shape[2] - 2 * reach
    return padded[:, reach + down : reach + down + height, reach + right : reach + right + width]


def _bands(height: int, width: int) -> list[tuple[int, int]]:
    """(top, bottom) of bands of rows of about BAND pixels."""
    rows = max(1, BAND // width)
    return [(top, min(top + rows, height)) for top in range(0, height, rows)]
