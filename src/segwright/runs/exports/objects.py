"""What every format writes: one object a word a photo, cleaned of specks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from segwright.errors import InputError
from segwright.runs.exports.shapes import Mask, box_of, without_specks
from segwright.runs.reading import Done

SIMPLIFY = 0.4  # pixels, ours: the largest at which every mask of the miniature world comes back with an IoU above 0.98
MASKS = ("rle", "polygon")


@dataclass(frozen=True)
class ExportSettings:
    """How a run's masks are written.

    Attributes:
        min_area: parts of fewer pixels are left out.
        simplify: how far a polygon may lie from the mask's edge, in pixels; 0: exact.
        masks: "rle" or "polygon", where a format has both; None: the format's own choice.
        copy_photos: put the photos beside their labels, where the format expects them.
    """

    min_area: int = 0
    simplify: float = SIMPLIFY
    masks: str | None = None
    copy_photos: bool = False

    def __post_init__(self) -> None:
        if self.min_area < 0 or self.simplify < 0:
            raise InputError(f"min_area and simplify must be 0 or more, got {self.min_area} and {self.simplify}")
        if self.masks not in (None, *MASKS):
            raise InputError(f"masks must be {' or '.join(MASKS)}, got {self.masks!r}")


@dataclass(frozen=True)
class Object:
    """All pixels of one word in one photo.

    Attributes:
        category: 1 for the first of the run's words.
        box: (x0, y0, x1, y1) in pixels, with x1 and y1 just outside.
        score: mean over the word's pixels, before specks were taken out; None where the method has none.
    """

    word: str
    category: int
    mask: Mask
    area: int
    box: tuple[int, int, int, int]
    score: float | None


def objects(photo: Done, words: tuple[str, ...], min_area: int) -> Iterator[Object]:
    """A photo's objects in the order of its words.

    Args:
        words: the run's, for the categories.
    """
    for segment in photo.segments:
        mask = without_specks(np.asarray(photo.labels == segment["index"]), min_area)
        if mask.any():
            word = str(segment["word"])
            yield Object(word, words.index(word) + 1, mask, int(mask.sum()), box_of(mask), segment["score"])
