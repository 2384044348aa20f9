"""Things to be labelled: all pixels of a word, its connected parts, or its instances; plain arrays in, masks and boxes out.

Specks, connected pieces of less than ``min_area``, take the label of what lies around them before anything is told apart,
so that no annotation is a handful of pixels. Pixels are neighbours where they share a side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segwright.errors import InputError
from segwright.objects.instances import instances

Mask = NDArray[np.bool_]
KINDS = ("words", "parts", "instances")
MIN_AREA = 0.001  # of the photo, ours: of 512 x 512 pixels a square with a side of 16


@dataclass(frozen=True)
class Object:
    """One thing to be labelled in one photo.

    Attributes:
        word: what it is.
        category: 1 for the first of the words.
        mask: (H, W) bool, not empty.
        area: in pixels.
        box: (x0, y0, x1, y1) in pixels, tight, with x1 and y1 just outside.
        score: 0..1, how sure it is; None where nothing is known.
    """

    word: str
    category: int
    mask: Mask
    area: int
    box: tuple[int, int, int, int]
    score: float | None = None


def find_objects(
    labels: NDArray[np.integer],
    words: Sequence[str],
    kind: str = "words",
    min_area: float = MIN_AREA,
    *,
    features: Callable[[], NDArray[Any]] | None = None,
    score: Callable[[int, Mask], float | None] = lambda label, mask: None,
) -> list[Object]:
    """The objects of a label map, in the order of the words, those of one word from the top left.

    Args:
        labels: (H, W), 0 = none, i + 1 = words[i].
        kind: of ``KINDS``.
        min_area: below 1 a share of the photo, from 1 on pixels; 0 leaves specks alone.
        features: (C, h, w) of the photo, when instances have to be told apart (``segwright.models.object_features``).
        score: what an object of a label is given.

    Raises:
        InputError: an unknown kind, a negative area, or instances without features.
    """
    check_kind(kind)
    if kind == "instances" and features is None:
        raise InputError("instances are told apart by the photo's features; give features=, or ask for parts or words")
    clean = without_specks(np.asarray(labels), least_pixels(min_area, labels.shape))
    found = []
    for label in (int(one) for one in np.unique(clean) if one):
        mask = np.asarray(clean == label)
        for piece in _split(mask, kind, features, least_pixels(min_area, labels.shape)):
            found.append(make_object(words[label - 1], label, piece, score(label, piece)))
    return found


def make_object(word: str, category: int, mask: Mask, score: float | None = None) -> Object:
    """An object of a mask that is not empty, with its area and box."""
    return Object(word, category, mask, int(mask.sum()), box_of(mask), score)


def check_kind(kind: str) -> str:
    """The kind itself.

    Raises:
        InputError: none of ``KINDS``.
    """
    if kind not in KINDS:
        raise InputError(f"objects must be one of {', '.join(KINDS)}, got {kind!r}")
    return kind


def least_pixels(min_area: float, shape: tuple[int, ...]) -> int:
    """``min_area`` in pixels of an (H, W) photo.

    Raises:
        InputError: negative, or no number.
    """
    if not 0 <= min_area < float("inf"):
        raise InputError(f"min_area must be a number from 0 up (below 1: a share of the photo), got {min_area}")
    return int(np.ceil(min_area * shape[0] * shape[1] if min_area < 1 else min_area))


def without_specks(labels: NDArray[np.integer], least: int) -> NDArray[np.integer]:
    """Connected pieces of fewer than ``least`` pixels, of any label and of none, take the nearest other piece's label.

    Where every piece is a speck the labels stay as they are.
    """
    specks = np.zeros(labels.shape, bool)
    for label in np.unique(labels) if least > 1 else ():
        parts, _ = ndimage.label(labels == label)
        specks |= (np.bincount(parts.ravel()) < least)[parts] & (parts > 0)
    if not specks.any() or specks.all():
        return labels
    near = ndimage.distance_transform_edt(specks, return_distances=False, return_indices=True)
    return np.asarray(labels[tuple(near)])


def box_of(mask: Mask) -> tuple[int, int, int, int]:
    """(x0, y0, x1, y1) of a mask that is not empty, with x1 and y1 just outside."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _split(mask: Mask, kind: str, features: Callable[[], NDArray[Any]] | None, least: int) -> list[Mask]:
    """A word's mask as the kind has it."""
    if kind == "words":
        return [mask]
    if kind == "instances" and features is not None:
        return instances(mask, features(), least)
    parts, count = ndimage.label(mask)
    return [np.asarray(parts == number) for number in range(1, count + 1)]
