"""Methods around something else: a method with refiners behind it, one for large photos, a function."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from segwright.errors import InputError
from segwright.files.record import plain
from segwright.methods.base.contract import Method, NoSettings, Progress
from segwright.refine.base import Refiner
from segwright.refine.pipeline import refine
from segwright.refine.upsample import hard_scores, shrunk, upsample
from segwright.types import Image, Segmentation, check_image
from segwright.weights import Networks


@dataclass(frozen=True)
class _Around(Method):
    """What a method around another one takes from it."""

    method: Method

    @property
    def networks(self) -> Networks:  # type: ignore[override]
        return self.method.networks

    @property
    def settings(self) -> Any:
        return self.method.settings

    @property
    def takes_synonyms(self) -> bool:  # type: ignore[override]
        return self.method.takes_synonyms

    def prepare(self, words: Sequence[str], progress: Progress | None = None) -> None:
        self.method.prepare(words, progress)

    def made_for(self, words: Sequence[str] | None) -> dict[str, str]:
        return self.method.made_for(words)


@dataclass(frozen=True)
class Then(_Around):
    """A method with refiners put behind it, after its own.

    Attributes:
        other: the networks that the refiners run on; None: the method's.
    """

    row: tuple[Refiner, ...]
    other: Networks | None = None
    name: ClassVar = "then"

    def many(self, images: Sequence[Image], words: Sequence[str] | None = None) -> list[Segmentation]:
        """As the method's own, each result's scores through the refiners.

        Raises:
            InputError: a result without scores, which cannot be refined.
        """
        return [self._refined(image, result) for image, result in zip(images, self.method.many(images, words), strict=True)]

    def identity(self, words: bool | None = None) -> dict[str, Any]:
        networks = self.other or self.networks
        kinds = sorted({kind for refiner in self.row for kind in refiner.kinds})
        behind = {"then": [plain(r.identity(networks)) for r in self.row], "then_on": {k: networks.identity(k) for k in kinds}}
        return self.method.identity(words) | behind

    def _refined(self, image: Image, result: Segmentation) -> Segmentation:
        if result.scores is None:
            raise InputError("a method without scores cannot be refined; leave the refiners out")
        scores = refine(image, result.scores, self.row, self.other or self.networks)
        return replace(result, labels=scores.argmax().cpu().numpy(), scores=scores)


@dataclass(frozen=True)
class Reduced(_Around):
    """A method whose photos above ``largest`` megapixels are worked on at that size; smaller ones are the method's own business.

    Results of larger photos have no scores: these would take gigabytes.
    """

    largest: float
    name: ClassVar = "reduced"

    def __post_init__(self) -> None:
        if not (isinstance(self.largest, int | float) and 0.01 <= self.largest < math.inf):
            raise InputError(f"largest must be megapixels, 0.01 or more, got {self.largest!r}; 4 is usual")

    def many(self, images: Sequence[Image], words: Sequence[str] | None = None) -> list[Segmentation]:
        photos = [check_image(image) for image in images]
        small = [shrunk(photo, self.largest) for photo in photos]
        return [_whole(*row) for row in zip(photos, small, self.method.many(small, words), strict=True)]

    def identity(self, words: bool | None = None) -> dict[str, Any]:
        return self.method.identity(words) | {"largest": self.largest}


def _whole(photo: Image, small: Image, found: Segmentation) -> Segmentation:
    if small is photo:
        return found
    scores = found.scores or hard_scores(found)
    return replace(found, labels=upsample(photo, small, scores), scores=None)


@dataclass(frozen=True)
class FunctionMethod(Method):
    """A function of images and words as a method; nothing is known of what its results depend on but its name."""

    function: Callable[..., list[Segmentation]]
    settings: NoSettings = field(default_factory=NoSettings)

    def many(self, images: Sequence[Image], words: Sequence[str] | None = None) -> list[Segmentation]:
        return list(self.function(images, words))

    def identity(self, words: bool | None = None) -> dict[str, Any]:
        name = getattr(self.function, "__qualname__", type(self.function).__name__)
        return {"method": name}
