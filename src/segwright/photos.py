"""Photos in, files out: the main job, with a bad photo among good ones reported and passed over."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from segwright.errors import InputError, OutputError, SegwrightError
from segwright.files.names import plan_names
from segwright.files.save import save
from segwright.images import find_photos, read
from segwright.types import Image, Segmentation

BATCH = 4  # photos through the networks at once
Method = Callable[[Sequence[Image], Sequence[str] | None], list[Segmentation]]


@dataclass(frozen=True)
class Outcome:
    """What became of one photo: its segmentation and files, or the error that stopped it."""

    photo: Path
    segmentation: Segmentation | None = None
    files: tuple[Path, ...] = ()
    error: SegwrightError | None = None


def segment(
    photos: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    method: Method,
    out: str | os.PathLike[str],
    words: Sequence[str] | None = None,
    batch: int = BATCH,
) -> Iterator[Outcome]:
    """Segment photos and folders of photos; yields one Outcome a photo, in order, as each is written.

    Writes NAME.png (label map), NAME.overlay.png and NAME.json into ``out`` for each.

    Args:
        photos: files and folders.
        method: several photos and words -> their segmentations (``FreeSegDiff.load("mini").many``).
        out: folder, made if need be.
        words: the vocabulary, or None for open vocabulary.

    Raises:
        InputError: there is no photo at all.
        OutputError: ``out`` cannot be written, so no other photo could be either.
    """
    found = find_photos(photos)
    stems = plan_names(found, out)
    for start in range(0, len(found), batch):
        yield from _segment_batch(found[start : start + batch], stems, method, words)


def _segment_batch(
    photos: Sequence[Path], stems: dict[Path, Path], method: Method, words: Sequence[str] | None
) -> Iterator[Outcome]:
    opened: dict[Path, Image | SegwrightError] = {}
    for photo in photos:
        try:
            opened[photo] = read(photo)
        except SegwrightError as error:
            opened[photo] = error
    good = [photo for photo in photos if not isinstance(opened[photo], SegwrightError)]
    results = dict(zip(good, _run(method, [opened[p] for p in good], words), strict=True))  # type: ignore[misc]
    for photo in photos:
        image, result = opened[photo], results.get(photo)
        if isinstance(image, SegwrightError):
            yield Outcome(photo, error=image)
            continue
        if isinstance(result, SegwrightError) or result is None:
            yield Outcome(photo, error=result)
            continue
        try:
            files = save(result, f"{stems[photo]}.png", image, photo=photo)
        except OutputError:
            raise
        except SegwrightError as error:
            yield Outcome(photo, error=error)
            continue
        yield Outcome(photo, result, tuple(files))


def _run(method: Method, images: list[Image], words: Sequence[str] | None) -> list[Segmentation | SegwrightError]:
    """The batch at once, or one by one if the memory does not hold it; a photo too large by itself becomes an error."""
    if not images:
        return []
    try:
        return list(method(images, words))
    except (MemoryError, RuntimeError) as error:  # torch.OutOfMemoryError is a RuntimeError
        if not isinstance(error, MemoryError) and "memory" not in str(error):
            raise
        if len(images) > 1:
            return [result for image in images for result in _run(method, [image], words)]
        height, width = images[0].shape[:2]
        return [
            InputError(
                f"a photo of {width} x {height} pixels needs more memory than there is; make it smaller or use --refine none"
            )
        ]
