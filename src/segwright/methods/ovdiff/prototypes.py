"""Prototypes: what a word looks like and what surrounds it, as feature vectors; and matching photos against them (OVDiff)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from segwright.errors import InputError

WHOLE, INSTANCE, PART = 0, 1, 2  # kinds of prototypes


@dataclass(frozen=True)
class Prototypes:
    """One word's prototypes of one side, foreground or background (Eq. 3).

    Attributes:
        vectors: (P, D) float32: the mean over all pictures, then one a picture, then one a part; not normalised.
        kinds: (P,) int64: ``WHOLE``, ``INSTANCE`` or ``PART``.
        sources: (P,) int64: an instance's picture, a part's number, 0 for the whole.
        cells: (N, h, w) int64: the part that each cell of each support picture went into, -1 for none.
    """

    vectors: Tensor
    kinds: Tensor
    sources: Tensor
    cells: Tensor

    def __post_init__(self) -> None:
        count = len(self.vectors)
        if self.vectors.ndim != 2 or self.vectors.dtype != torch.float32:
            raise InputError(f"prototypes must be (P, D) float32, got {self.vectors.dtype} {tuple(self.vectors.shape)}")
        if self.kinds.shape != (count,) or self.sources.shape != (count,) or self.cells.ndim != 3:
            raise InputError(f"{count} prototypes need as many kinds and sources, and (N, h, w) cells")
        if not bool(torch.isfinite(self.vectors).all()):
            raise InputError("prototypes must be finite; float16 weights may overflow, try float32 or bfloat16")

    def only(self, kinds: Sequence[int]) -> Prototypes:
        """Those of some kinds."""
        return self.keep(torch.isin(self.kinds, torch.tensor(list(kinds), device=self.kinds.device)))

    def keep(self, which: Tensor) -> Prototypes:
        """Those where ``which`` (P,) is true."""
        return Prototypes(self.vectors[which], self.kinds[which], self.sources[which], self.cells)


def match(features: Tensor, sets: Sequence[Tensor]) -> Tensor:
    """Each cell's cosine to the nearest prototype of every set, as one matrix product (Eq. 4).

    Args:
        features: (B, D, h, w).
        sets: C tensors (P_c, D), none empty.

    Returns:
        (B, C, h, w) float32 in -1..1.
    """
    if not sets or any(not len(s) for s in sets):
        raise InputError("matching needs at least one prototype for every class")
    stacked = F.normalize(torch.cat(list(sets)).float(), dim=1)
    if features.shape[1] != stacked.shape[1]:
        got = f"features have {features.shape[1]} channels and prototypes {stacked.shape[1]}"
        raise InputError(f"{got}; both must come from the same network")
    cells = F.normalize(features.float().flatten(2), dim=1)
    cosines = torch.stack([stacked @ one for one in cells])  # one by one: the same bits whatever the batch
    nearest = [part.amax(1) for part in cosines.split([len(s) for s in sets], dim=1)]
    return torch.stack(nearest, 1).unflatten(2, (features.shape[2], features.shape[3]))


def standardised(cosines: Sequence[Tensor]) -> list[Tensor]:
    """Each extractor's (M, H', W') with the mean and spread that they have on average."""
    means, spreads = torch.stack([c.mean() for c in cosines]), torch.stack([c.std() for c in cosines]).clamp(min=1e-6)
    return [(c - m) / s * spreads.mean() + means.mean() for c, m, s in zip(cosines, means, spreads, strict=True)]


def without_stuff(background: Prototypes, stuff: Sequence[Tensor], threshold: float) -> Prototypes:
    """The stuff filter (Sec. 3.4): background prototypes that resemble a stuff word's foreground are dropped.

    Args:
        stuff: (P, D) foreground prototypes of the stuff words.
        threshold: cosines above it count as resembling (0.85: published code).
    """
    if not stuff or not len(background.vectors):
        return background
    cosines = F.normalize(background.vectors, dim=1) @ F.normalize(torch.cat(list(stuff)), dim=1).T
    return background.keep(cosines.amax(1) <= threshold)
