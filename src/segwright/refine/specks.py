"""Parts of a few pixels take the label around them: what a CRF leaves as speckle along outlines. No paper has it; it is ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from segwright.errors import InputError
from segwright.refine.base import Refiner, check_pair
from segwright.regions.specks import without_specks
from segwright.types import Image, Scores
from segwright.weights import Networks

SMALLEST = 16  # pixels; a word's part of so few is no region that anybody would draw
EDGE = 1e-6  # by which a pixel's new label is ahead where two were equal


@dataclass(frozen=True)
class Specks(Refiner):
    """``without_specks`` as a refiner.

    Attributes:
        smallest: pixels, >= 1: parts of fewer go. 16 is ours: too small for an object, larger than the CRF's speckle.
    """

    smallest: int = SMALLEST
    name: ClassVar = "specks"

    def __post_init__(self) -> None:
        if isinstance(self.smallest, bool) or not isinstance(self.smallest, int) or self.smallest < 1:
            raise InputError(f"smallest must be a whole number of pixels, 1 or more, got {self.smallest!r}; 1 changes nothing")

    def __call__(self, image: Image, scores: Scores, networks: Networks | None = None) -> Scores:
        """A pixel that takes another label exchanges the two labels' scores; all others stay as they are."""
        check_pair(image, scores)
        before = scores.values.argmax(0)
        after = torch.from_numpy(without_specks(before.cpu().numpy(), self.smallest)).to(before.device)
        y, x = torch.nonzero(before != after, as_tuple=True)
        old, new = before[y, x], after[y, x]
        values = scores.values.clone()
        values[old, y, x], values[new, y, x] = scores.values[new, y, x], scores.values[old, y, x] + EDGE
        return Scores(scores.words, scores.labels, values)


def with_smallest(row: Sequence[Refiner], smallest: int) -> tuple[Refiner, ...]:
    """Refiners with ``specks`` of that size as the last, in place of any before; for 0 without it."""
    kept = tuple(refiner for refiner in row if not isinstance(refiner, Specks))
    return (*kept, Specks(smallest)) if smallest else kept
