"""Label Studio: tasks.json with predictions, and labels.xml, the labelling configuration that they fit.

Masks are brush strokes (exact) in Label Studio's run lengths, or polygons in percent of the photo. A local photo is
named as Label Studio's local storage serves it, with ``LOCAL_FILES_DOCUMENT_ROOT=/``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np

from segwright.files.colors import color
from segwright.runs.exports.objects import ExportSettings, Object, objects, xml_text
from segwright.runs.exports.shapes import Mask, outlines, run_lengths
from segwright.runs.reading import Collection, Done

PHOTOS = "images"
SIZES = (3, 4, 8, 16)  # bits in which a run's length may be written
TAGS = {"rle": ("brush", "BrushLabels"), "polygon": ("polygon", "PolygonLabels")}


def write(run: Collection, settings: ExportSettings) -> Iterator[tuple[str, bytes]]:
    name, tag = TAGS[settings.masks or "rle"]
    labels = "".join(
        f"    <Label value={quoteattr(xml_text(w))} background={quoteattr('#{:02x}{:02x}{:02x}'.format(*color(i)))}/>\n"
        for i, w in enumerate(run.words, 1)
    )
    inside = f'  <Image name="image" value="$image"/>\n  <{tag} name="{name}" toName="image">\n{labels}  </{tag}>\n'
    yield "labels.xml", f"<View>\n{inside}</View>\n".encode()
    version = f"segwright {run.run['versions']['segwright']}, {run.run['method']}"
    tasks = []
    for photo in run:
        found = objects(photo, run.words, settings.min_area)
        result = [entry for one in found for entry in _results(photo, one, settings)]
        tasks.append({"data": {"image": _address(photo.photo)}, "predictions": [{"model_version": version, "result": result}]})
    yield "tasks.json", json.dumps(tasks, ensure_ascii=False).encode()


def brush(mask: Mask) -> list[int]:
    """A mask's bytes as Label Studio's brush has them: four equal channels of 0 or 255, run-length packed (thi.ng/rle-pack).

    32 bits: how many values; 5: bits a value, less 1; 4 times 4: the ``SIZES``, less 1. Then for each run a one, the number
    of its size (2 bits), its length less 1, and the value.
    """
    bits = [f"{4 * mask.size:032b}", f"{8 - 1:05b}", *(f"{size - 1:04b}" for size in SIZES)]
    for i, length in enumerate(run_lengths(mask.ravel())):
        left = 4 * length
        while left:
            run = min(left, 2 ** SIZES[-1])
            which = next(k for k, size in enumerate(SIZES) if run <= 2**size)
            bits.append(f"1{which:02b}{run - 1:0{SIZES[which]}b}{255 * (i % 2):08b}")
            left -= run
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return np.packbits(np.frombuffer(text.encode(), np.uint8) - ord("0")).tolist()


def _results(photo: Done, found: Object, settings: ExportSettings) -> list[dict[str, Any]]:
    width, height = photo.size
    name, tag = TAGS[settings.masks or "rle"]
    kind = tag.lower()
    common = {
        "from_name": name, "to_name": "image", "type": kind, "original_width": width, "original_height": height,
        "image_rotation": 0, **({} if found.score is None else {"score": found.score}),
    }  # fmt: skip
    if settings.masks != "polygon":
        values: list[dict[str, Any]] = [{"format": "rle", "rle": brush(found.mask)}]
    else:
        polygons = outlines(found.mask, settings.simplify)
        values = [{"points": (100 * p / [width, height]).tolist(), "closed": True} for p in polygons]
    several, word = len(values) > 1, xml_text(found.word)
    return [
        {
            "id": f"{found.category}-{i}" if several else str(found.category),
            **common,
            "value": {**value, kind: [word]},
        }
        for i, value in enumerate(values, 1)
    ]


def _address(photo: str) -> str:
    return photo if "://" in photo else f"/data/local-files/?d={quote(photo.lstrip('/'))}"
