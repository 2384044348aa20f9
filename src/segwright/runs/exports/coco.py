"""COCO: one annotations.json. Categories 1..N; an annotation an object.

Masks are compressed run lengths (exact, ``iscrowd`` 0), polygons along pixel edges, which pycocotools fills, or none (boxes).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from segwright.objects import Object
from segwright.runs.exports.objects import Annotations, ExportSettings
from segwright.runs.exports.shapes import coco_rle, outlines

PHOTOS = "images"


def write(run: Annotations, settings: ExportSettings) -> Iterator[tuple[str, bytes]]:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, photo in enumerate(run, 1):
        width, height = photo.size
        file = f"{photo.name}{photo.suffix}" if settings.copy_photos else photo.file
        images.append({"id": number, "file_name": file, "width": width, "height": height})
        for found in photo.objects:
            annotations.append({"id": len(annotations) + 1, "image_id": number, **_annotation(found, settings)})
    content = {
        "info": {"description": "made with segwright", "photos": run.root, "version": run.run["versions"]["segwright"]},
        "licenses": [],
        "images": images,
        "categories": [{"id": i, "name": word, "supercategory": ""} for i, word in enumerate(run.words, 1)],
        "annotations": annotations,
    }
    yield "annotations.json", json.dumps(content, ensure_ascii=False).encode()


def _annotation(found: Object, settings: ExportSettings) -> dict[str, Any]:
    x0, y0, x1, y1 = found.box
    score = {} if found.score is None else {"score": found.score}
    return {
        "category_id": found.category,
        "segmentation": _shape(found, settings),
        "area": found.area,
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "iscrowd": 0,
        **score,
    }


def _shape(found: Object, settings: ExportSettings) -> Any:
    if settings.masks == "box":
        return []
    if settings.masks == "polygon":
        return [points.ravel().tolist() for points in outlines(found.mask, settings.simplify)]
    return coco_rle(found.mask)
