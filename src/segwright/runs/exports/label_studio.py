"""Label Studio: tasks.json with predictions, and labels.xml, the labelling configuration that they fit.

Masks are brush strokes (exact) in Label Studio's run lengths, polygons in percent of the photo, or rectangles. A local photo
is named as Label Studio's local storage serves it: by its path below ``photo_root``, which is LOCAL_FILES_DOCUMENT_ROOT there
("/", or where photos are copied the export's own folder, if nothing else is said).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np

from segwright.errors import InputError
from segwright.files.colors import color
from segwright.objects import Object
from segwright.runs.exports.objects import Annotated, Annotations, ExportSettings, xml_text
from segwright.runs.exports.shapes import Mask, outlines, run_lengths

PHOTOS = "images"
SERVED = "/data/local-files/?d="  # of Label Studio's local storage
SIZES = (3, 4, 8, 16)  # bits in which a run's length may be written
TAGS = {"rle": ("brush", "BrushLabels"), "polygon": ("polygon", "PolygonLabels"), "box": ("box", "RectangleLabels")}


@dataclass(frozen=True)
class Control:
    """A labelling configuration's control that regions belong to.

    Attributes:
        name: its own.
        to: name of the image that it labels.
        masks: "rle", "polygon" or "box".
    """

    name: str
    to: str
    masks: str

    @property
    def type(self) -> str:
        """Of its regions: "brushlabels", "polygonlabels" or "rectanglelabels"."""
        return TAGS[self.masks][1].lower()


def write(run: Annotations, settings: ExportSettings) -> Iterator[tuple[str, bytes]]:
    name, tag = TAGS[settings.masks or "rle"]
    labels = "".join(
        f"    <Label value={quoteattr(xml_text(w))} background={quoteattr('#{:02x}{:02x}{:02x}'.format(*color(i)))}/>\n"
        for i, w in enumerate(run.words, 1)
    )
    inside = f'  <Image name="image" value="$image"/>\n  <{tag} name="{name}" toName="image">\n{labels}  </{tag}>\n'
    yield "labels.xml", f"<View>\n{inside}</View>\n".encode()
    version = f"segwright {run.run['versions']['segwright']}, {run.run['method']}"
    control = Control(name, "image", settings.masks or "rle")
    tasks = []
    for photo in run:
        result = regions(photo.objects, photo.size, control, settings.simplify)
        scores = [one.score for one in photo.objects if one.score is not None]
        score = {"score": sum(scores) / len(scores)} if scores else {}
        image = _address(photo, run.folder, settings)
        tasks.append({"data": {"image": image}, "predictions": [{"model_version": version, "result": result, **score}]})
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


def regions(objects: Sequence[Object], size: tuple[int, int], control: Control, simplify: float) -> list[dict[str, Any]]:
    """Label Studio's regions of a photo's objects: one an object; polygons one a piece.

    Args:
        size: (width, height) of the photo.
    """
    width, height = size
    common = {
        "from_name": control.name, "to_name": control.to, "type": control.type, "original_width": width,
        "original_height": height, "image_rotation": 0,
    }  # fmt: skip
    found = []
    for number, one in enumerate(objects, 1):
        score = {} if one.score is None else {"score": one.score}
        for piece, value in enumerate(_values(one, size, control.masks, simplify), 1):
            named = {**value, control.type: [xml_text(one.word)]}
            found.append({"id": f"{number}-{piece}", **common, **score, "value": named})
    return found


def _values(found: Object, size: tuple[int, int], masks: str, simplify: float) -> list[dict[str, Any]]:
    width, height = size
    if masks == "rle":
        return [{"format": "rle", "rle": brush(found.mask)}]
    if masks == "polygon":
        return [{"points": (100 * points / [width, height]).tolist(), "closed": True} for points in outlines(found.mask, simplify)]
    x0, y0, x1, y1 = found.box
    sides = {"width": 100 * (x1 - x0) / width, "height": 100 * (y1 - y0) / height}
    return [{"x": 100 * x0 / width, "y": 100 * y0 / height, **sides, "rotation": 0}]


def _address(photo: Annotated, folder: str, settings: ExportSettings) -> str:
    """Where Label Studio finds the photo."""
    root = settings.photo_root
    copied = f"{folder}{PHOTOS}/{photo.name}{photo.suffix}" if settings.copy_photos else None
    if root is not None and "://" in root:
        return f"{root.rstrip('/')}/{quote(copied or photo.file)}"
    if copied is not None or "://" in photo.photo:
        return photo.photo if copied is None else f"{SERVED}{quote(copied)}"
    path = os.path.abspath(photo.photo)
    below = os.path.relpath(path, os.path.abspath(root or os.sep))
    if below.startswith(os.pardir):
        raise InputError(f"{path!r} does not lie below {root!r}; give a folder that holds all photos, or copy them")
    return f"{SERVED}{quote(below.replace(os.sep, '/'))}"
