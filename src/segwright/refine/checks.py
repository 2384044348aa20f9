"""What every refiner asks of its input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from segwright.errors import InputError
from segwright.types import Image, Scores, check_image


def check_pair(image: Any, scores: Any) -> tuple[Image, Scores]:
    """A photo and its scores, if they are that, and of one size.

    Raises:
        InputError: anything else.
    """
    photo = check_image(image)
    if not isinstance(scores, Scores):
        raise InputError(f"a refiner needs Scores, got {type(scores).__name__}; pass a segmentation's scores")
    if photo.shape[:2] != tuple(scores.values.shape[1:]):
        height, width = scores.values.shape[1:]
        raise InputError(
            f"photo and scores must be of one size, got {photo.shape[1]}x{photo.shape[0]} and {width}x{height} pixels; "
            "resize the scores to the photo"
        )
    return photo, scores


def check_pairs(images: Sequence[Image], scores: Sequence[Scores]) -> list[tuple[Image, Scores]]:
    """Photos and their scores, one by one.

    Raises:
        InputError: the lists differ in length, or a pair is refused by ``check_pair``.
    """
    if not isinstance(images, list | tuple) or not isinstance(scores, list | tuple):
        raise InputError("a batch takes a list of photos and a list of Scores; for one photo call crf or pamr")
    if len(images) != len(scores):
        raise InputError(f"a batch needs one Scores a photo, got {len(images)} photos and {len(scores)} Scores")
    return [check_pair(photo, item) for photo, item in zip(images, scores, strict=True)]


def check_count(name: str, value: Any) -> int:
    """A whole number of at least 1.

    Raises:
        InputError: anything else.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"{name} must be a whole number of at least 1, got {value!r}; 10 is usual")
    return value
