"""The contract of a refiner: a frozen dataclass whose fields are its settings; and what every refiner asks of its input."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, ClassVar

from torch import Tensor

from segwright.errors import InputError
from segwright.files.html import Page
from segwright.types import Image, Scores, check_image
from segwright.weights import Networks


class Refiner(ABC):
    """What makes scores sharper. Subclasses are frozen dataclasses.

    Attributes:
        name: the key of ``segwright.refine.REFINERS``.
        kinds: the networks that it runs on.
        needs_words: it must know what the labels are called.
    """

    name: ClassVar[str]
    kinds: ClassVar[tuple[str, ...]] = ()
    needs_words: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, image: Image, scores: Scores, networks: Networks | None = None) -> Scores:
        """Refined scores of the same words and labels, summing to 1; the input is not modified.

        Args:
            image: (H, W, 3) uint8 RGB.
            scores: (M, H, W) not negative, of the photo's size, on the device where the work is done.
            networks: of ``kinds``; a refiner without kinds takes no notice of them.

        Raises:
            InputError: image and scores differ in size, or networks are needed and not given.
        """

    def smoothed(self, image: Image, values: Tensor) -> Tensor | None:
        """Values of any range, (M, H, W) of the photo's size, refined as they are; None: the refiner knows scores alone."""
        return None

    def identity(self, networks: Networks | None = None) -> dict[str, Any]:
        """All that the result depends on beside image and scores: name, every setting, and the networks as they would be loaded."""
        used = {} if networks is None else {f"network {kind}": networks.identity(kind) for kind in self.kinds}
        return {"name": self.name, **self.settings(), **used}

    def explain(self, image: Image, scores: Scores, networks: Networks | None = None, title: str = "") -> Page:
        """The page of a refiner's steps on one image.

        Raises:
            InputError: the refiner has no such page.
        """
        raise InputError(f"{self.name} has no page of its steps; these have one: {', '.join(with_page())}")

    def settings(self) -> dict[str, Any]:
        """Every field by its name."""
        return asdict(self)  # type: ignore[call-overload]


def with_page() -> tuple[str, ...]:
    """The names of the refiners that have a page of their steps."""
    from segwright.refine import REFINERS

    return tuple(name for name, kind in REFINERS.items() if kind.explain is not Refiner.explain)


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
