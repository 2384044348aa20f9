"""labelme: NAME.json a photo. A polygon a piece; the pieces of one object share a ``group_id``."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from segwright.runs.exports.objects import ExportSettings, Object, objects
from segwright.runs.exports.shapes import chains
from segwright.runs.reading import Collection, Done

PHOTOS = ""  # beside the JSON files
VERSION = "5.5.0"  # of labelme, whose file layout this is
INSIDE = 0.25  # of a pixel; labelme's shape_to_mask cuts coordinates to whole pixels and paints the line as well


def write(run: Collection, settings: ExportSettings) -> Iterator[tuple[str, bytes]]:
    for photo in run:
        found = enumerate(objects(photo, run.words, settings.min_area))
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
    polygons = chains(found.mask, settings.simplify)
    return [
        {
            "label": found.word,
            "points": (points + INSIDE).tolist(),
            "group_id": number if len(polygons) > 1 else None,
            "description": "",
            "shape_type": "polygon",
            "flags": {},
            "mask": None,
        }
        for points in polygons
    ]


def _path(photo: Done, settings: ExportSettings) -> str:
    if settings.copy_photos:
        return PurePosixPath(photo.name).name + photo.suffix
    return photo.photo if os.path.isabs(photo.photo) or "://" in photo.photo else os.path.abspath(photo.photo)
