"""labelme: NAME.json a photo. A polygon a piece, or a rectangle an object; the pieces of one object share a ``group_id``."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from segwright.objects import Object
from segwright.runs.exports.objects import Annotated, Annotations, ExportSettings
from segwright.runs.exports.shapes import chains

PHOTOS = ""  # beside the JSON files
VERSION = "5.5.0"  # of labelme, whose file layout this is
INSIDE = 0.25  # of a pixel; labelme's shape_to_mask cuts coordinates to whole pixels and paints the line as well


def write(run: Annotations, settings: ExportSettings) -> Iterator[tuple[str, bytes]]:
    for photo in run:
        found = enumerate(photo.objects)
        content: dict[str, Any] = {
            "version": VERSION,
            "flags": {},
            "shapes": [shape for number, one in found for shape in _shapes(number, one, settings)],
            "imagePath": _path(photo, settings),
            "imageData": None,
            "imageHeight": photo.size[1],
            "imageWidth": photo.size[0],
        }
        yield f"{photo.name}.json", (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def _shapes(number: int, found: Object, settings: ExportSettings) -> list[dict[str, Any]]:
    if settings.masks == "box":
        x0, y0, x1, y1 = found.box
        return [_shape(found, [[x0, y0], [x1, y1]], None, "rectangle")]
    polygons = chains(found.mask, settings.simplify)
    group = number if len(polygons) > 1 else None
    return [_shape(found, (points + INSIDE).tolist(), group, "polygon") for points in polygons]


def _shape(found: Object, points: list[Any], group: int | None, kind: str) -> dict[str, Any]:
    return {
        "label": found.word,
        "points": points,
        "group_id": group,
        "description": "" if found.score is None else f"score {found.score:.4f}",
        "shape_type": kind,
        "flags": {},
        "mask": None,
    }


def _path(photo: Annotated, settings: ExportSettings) -> str:
    if settings.copy_photos:
        return PurePosixPath(photo.name).name + photo.suffix
    return photo.photo if os.path.isabs(photo.photo) or "://" in photo.photo else os.path.abspath(photo.photo)
