"""YOLO segmentation: labels/NAME.txt and data.yaml. Classes 0..N-1; a line a piece: the class, then x y x y ... in 0..1.

A line is one polygon: parts of an object become lines of their own, and a part with a hole is cut in two or more.
"""

from __future__ import annotations

from collections.abc import Iterator

from segwright.runs.exports.objects import ExportSettings, objects, yaml_text
from segwright.runs.exports.shapes import Points, chains
from segwright.runs.reading import Collection

PHOTOS = "images"
INSIDE = 0.25  # of a pixel, so that readers that cut and readers that round both arrive at the pixel


def write(run: Collection, settings: ExportSettings) -> Iterator[tuple[str, bytes]]:
    names = "".join(f"  {i}: {yaml_text(word)}\n" for i, word in enumerate(run.words))
    yield "data.yaml", f"path: .\ntrain: images\nval: images\nnc: {len(run.words)}\nnames:\n{names}".encode()
    for photo in run:
        lines = [
            _line(found.category - 1, points, photo.size)
            for found in objects(photo, run.words, settings.min_area)
            for points in chains(found.mask, settings.simplify)
        ]
        yield f"labels/{photo.name}.txt", "".join(lines).encode()


def _line(category: int, points: Points, size: tuple[int, int]) -> str:
    scaled = (points + INSIDE) / size
    return f"{category} {' '.join(f'{value:.8g}' for value in scaled.ravel())}\n"
