"""What every annotation tool wants: several pictures and words in, each picture's objects out, or why there are none."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from segwright.errors import InputError, SegwrightError
from segwright.methods import DEFAULT
from segwright.methods.base import MethodSpec
from segwright.objects import MIN_AREA, Object, check_kind
from segwright.runs.segment import BATCH
from segwright.server.page.workspace import Workspace
from segwright.server.tools.pictures import Allowed, open_picture
from segwright.types import Image
from segwright.words.vocabulary import check_words

WAITING = 8  # requests at once; more are refused for now


class BusyError(InputError):
    """Too many requests wait already."""


@dataclass(frozen=True)
class Ask:
    """What is wanted of each picture.

    Attributes:
        words: as methods take them.
        method: by name.
        objects: as ``Segmentation.objects`` takes it.
        min_area: likewise.
        confidence: objects with a lower score are left out.
    """

    words: tuple[str, ...]
    method: str = DEFAULT
    objects: str = "words"
    min_area: float = MIN_AREA
    confidence: float = 0.0

    def __post_init__(self) -> None:
        check_words(self.words)
        check_kind(self.objects)
        if not 0 <= self.confidence <= 1:
            raise InputError(f"confidence must lie in 0..1, got {self.confidence}")


@dataclass(frozen=True)
class Answer:
    """One picture's objects, with its (width, height); or the error that stopped it."""

    size: tuple[int, int] = (0, 0)
    objects: tuple[Object, ...] = ()
    error: SegwrightError | None = None


@dataclass
class Segmenter:
    """The page's networks behind the protocols; one request at a time uses them."""

    workspace: Workspace
    allowed: Allowed
    _turn: threading.Lock = field(default_factory=threading.Lock)
    _places: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(WAITING))

    def __call__(self, addresses: Sequence[str], ask: Ask) -> list[Answer]:
        """Each picture's answer, in order; ``BATCH`` pictures are in memory at once.

        Raises:
            SegwrightError: no such method, or networks that cannot be loaded.
            BusyError: too many wait.
        """
        if not self._places.acquire(blocking=False):
            raise BusyError(f"{WAITING} requests wait already; ask again later")
        try:
            answers: list[Answer] = []
            for start in range(0, len(addresses), BATCH):
                answers += self._batch(addresses[start : start + BATCH], ask)
            return answers
        finally:
            self._places.release()

    def _batch(self, addresses: Sequence[str], ask: Ask) -> list[Answer]:
        answers = [self._opened(address) for address in addresses]
        images = [one for one in answers if not isinstance(one, Answer)]
        with self._turn:
            made = iter(self._segmented(images, ask))
        return [one if isinstance(one, Answer) else next(made) for one in answers]

    def _opened(self, address: str) -> Image | Answer:
        try:
            return open_picture(address, self.allowed)
        except SegwrightError as error:
            return Answer(error=error)

    def _segmented(self, images: Sequence[Image], ask: Ask) -> list[Answer]:
        if not images:
            return []
        known = self.workspace
        spec = MethodSpec(ask.method, known.preset, known.device, known.dtype, extras=known.single)
        method = known.method(spec)
        method.prepare(ask.words)
        answers = []
        for image, result in zip(images, method.many(images, ask.words), strict=True):
            features = lambda image=image: method.object_features(image)  # noqa: E731
            found = replace(result, features=features).objects(ask.objects, ask.min_area)
            kept = tuple(one for one in found if one.score is None or one.score >= ask.confidence)
            answers.append(Answer((image.shape[1], image.shape[0]), kept))
        return answers


def plain_score(score: float | None) -> Any:
    """A score as protocols have it: a number, 1 where nothing is known."""
    return 1.0 if score is None else float(score)
