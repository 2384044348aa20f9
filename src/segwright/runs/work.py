"""Photos -> contents of files: read ahead, batched through the networks, encoded. Every engine works with this."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from segwright.errors import InputError, SegwrightError, is_out_of_memory
from segwright.files.record import segments
from segwright.files.save import encode
from segwright.methods.base import Method
from segwright.runs.sources import Photo, open_photo, open_signed
from segwright.types import Image, Segmentation

Many = Callable[[Sequence[Image], Sequence[str] | None], list[Segmentation]]


@dataclass(frozen=True)
class Made:
    """What became of one photo, ready to be sent from one process to another.

    Attributes:
        files: contents by ending; empty if it failed.
        facts: ``size`` [width, height], ``segments`` as in NAME.json, ``caption``, ``not_found`` (a text a word); empty if
            it failed.
        reason: why it failed.
        segmentation: in the process that made it only.
        signature: of the photo's file (``segwright.runs.sources.signature``).
    """

    photo: Photo
    files: dict[str, bytes] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    reason: str | None = None
    segmentation: Segmentation | None = None
    signature: str | None = None


def make(
    method: Method,
    photos: Sequence[Photo],
    words: Sequence[str] | None,
    batch: int,
    keep: bool = False,
    *,
    facts: Mapping[str, Any] | None = None,
) -> Iterator[list[Made]]:
    """``batch`` photos at a time, while the next ones are read in a thread.

    Args:
        keep: the results with their segmentations.
        facts: as for ``make_batch``.
    """
    groups = [photos[start : start + batch] for start in range(0, len(photos), batch)]
    for opened in _ahead(groups):
        yield make_batch(method.many, opened, words, keep, facts=facts)


Opened = tuple[Photo, Image | SegwrightError, float, str | None]  # photo, image, seconds, signature


def open_all(photos: Sequence[Photo]) -> list[Opened]:
    """Each photo, or the error that stopped it, the seconds that it took, and its signature."""
    opened: list[Opened] = []
    for photo in photos:
        begun = time.perf_counter()
        try:
            image, known = open_signed(photo, _image)
        except SegwrightError as error:  # one that changes all the time has no signature
            image, known = error, None
        opened.append((photo, image, time.perf_counter() - begun, known))
    return opened


def _image(photo: Photo) -> Image | SegwrightError:
    try:
        return open_photo(photo)
    except SegwrightError as error:
        return error


def make_batch(
    many: Many,
    opened: Sequence[Opened],
    words: Sequence[str] | None,
    keep: bool = False,
    *,
    facts: Mapping[str, Any] | None = None,
) -> list[Made]:
    """Some photos through the networks at once. What is wrong with one photo stops no other.

    Args:
        facts: what is known of the run; a method's own notes go before.
    """
    images = [image for _, image, _, _ in opened if not isinstance(image, SegwrightError)]
    begun = time.perf_counter()
    results = iter(run_method(many, images, words))
    share = (time.perf_counter() - begun) / max(1, len(images))
    made = []
    for photo, image, seconds, known in opened:
        if isinstance(image, SegwrightError):
            made.append(Made(photo, seconds=seconds, reason=str(image), signature=known))
        else:
            made.append(replace(_encoded(photo, image, _noted(next(results), facts), seconds + share, keep), signature=known))
    return made


def run_method(many: Many, images: list[Image], words: Sequence[str] | None) -> list[Segmentation | SegwrightError]:
    """The batch at once, or one by one if the memory does not hold it; a photo too large by itself becomes an error."""
    if not images:
        return []
    try:
        return list(many(images, words))
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
    if len(images) > 1:
        return [result for image in images for result in run_method(many, [image], words)]
    height, width = images[0].shape[:2]
    return [
        InputError(f"a photo of {width} x {height} pixels needs more memory than there is; make it smaller or use --refine none")
    ]


def _noted(result: Segmentation | SegwrightError, facts: Mapping[str, Any] | None) -> Segmentation | SegwrightError:
    """With what the method itself did not note."""
    if isinstance(result, SegwrightError) or not facts:
        return result
    missing = {name: value for name, value in facts.items() if result.notes.get(name) is None}
    return replace(result, notes={**result.notes, **missing}) if missing else result


def _encoded(photo: Photo, image: Image, result: Segmentation | SegwrightError, seconds: float, keep: bool) -> Made:
    if isinstance(result, SegwrightError):
        return Made(photo, seconds=seconds, reason=str(result))
    begun = time.perf_counter()
    try:
        files = encode(result, image, photo=photo)
    except SegwrightError as error:
        return Made(photo, seconds=seconds, reason=str(error))
    height, width = result.labels.shape
    facts = {"size": [width, height], "segments": segments(result), "caption": result.notes.get("caption")}
    facts["not_found"] = list(result.notes.get("not_found", ()))
    return Made(photo, files, facts, seconds + time.perf_counter() - begun, segmentation=result if keep else None)


def _ahead(groups: Sequence[Sequence[Photo]]) -> Iterator[list[Opened]]:
    """Each group opened, the next one already while this one is worked on."""
    with ThreadPoolExecutor(1, "segwright-reader") as reader:
        waiting: deque[Future[list[Opened]]] = deque()
        try:
            for group in groups:
                waiting.append(reader.submit(open_all, group))
                if len(waiting) > 1:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
