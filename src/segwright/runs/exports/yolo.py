"""YOLO: labels/NAME.txt and data.yaml. Classes 0..N-1; a line a piece: the class, then
x y x y ... in 0..1, or a box's middle and sides.

A line is one polygon: parts of an object become lines of their own, and a part with a hole is cut in two or more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from segwright.objects import Object
from segwright.runs.exports.objects import Annotations, ExportSettings, yaml_text
from segwright.runs.exports.shapes import chains

PHOTOS = "images"
INSIDE = 0.25  # of a pixel, so that readers that cut and readers that round both arrive at the pixel


def write(run: Annotations, settings: ExportSettings) -> Iterator[tuple[str, bytes]]:
    if not run.folder:  # splits have one for all of them, above
        yield "data.yaml", head(run.words, {"train": PHOTOS, "val": PHOTOS})
    for photo in run:
        lines = [line for found in photo.objects for line in _lines(found, photo.size, settings)]
        yield f"labels/{photo.name}.txt", "".join(lines).encode()


def head(words: Sequence[str], places: Mapping[str, str]) -> bytes:
    """data.yaml: the words, and the folder of each split's photos.

    Without "path", which Ultralytics takes relative to where it is started; then these are relative to the file itself.
    """
    names = "".join(f"  {i}: {yaml_text(word)}\n" for i, word in enumerate(words))
    folders = "".join(f"{name}: {place}\n" for name, place in places.items())
    return f"{folders}nc: {len(words)}\nnames:\n{names}".encode()


def above(words: Sequence[str], splits: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """What stands beside the splits' folders. Trainers want a "train" and a "val"; where one is missing it is the first or last
    other split, or the only one."""
    places = {name: f"{name}/{PHOTOS}" for name in splits}
    first = next((name for name in splits if name != "val"), splits[0])
    last = next((name for name in reversed(splits) if name != "train"), splits[-1])
    wanted = {"train": f"{first}/{PHOTOS}", "val": f"{last}/{PHOTOS}"}
    yield "data.yaml", head(words, {**wanted, **places})


def _lines(found: Object, size: tuple[int, int], settings: ExportSettings) -> list[str]:
    if settings.masks == "box":
        (x0, y0, x1, y1), (width, height) = found.box, size
        values = ((x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height)
        return [_line(found.category - 1, values)]
    chained = chains(found.mask, settings.simplify)
    return [_line(found.category - 1, ((points + INSIDE) / size).ravel()) for points in chained]


def _line(category: int, values: Iterable[float]) -> str:
    return f"{category} {' '.join(f'{value:.8g}' for value in values)}\n"
