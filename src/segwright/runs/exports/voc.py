"""Pascal VOC: the label maps NAME.png in SegmentationClass and SegmentationObject (exact), NAME.xml in Annotations, labelmap.txt.

Pixel values are the run's categories, 1..N, 0 = background; 16-bit grey where there are more than 255. Boxes are
1-based and inclusive, as VOC's development kit has them. An object's ``<polygon>``s are an extension that some
readers know (supervision, Roboflow), 1-based as well, through the outermost pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from xml.etree import ElementTree as Xml

import numpy as np

from segwright.files.masks import encode_label_map, voc_palette
from segwright.objects import Object
from segwright.runs.exports.objects import Annotated, Annotations, ExportSettings, xml_text
from segwright.runs.exports.shapes import chains

PHOTOS = "JPEGImages"


def write(run: Annotations, settings: ExportSettings) -> Iterator[tuple[str, bytes]]:
    colours = voc_palette()[: len(run.words) + 1]
    lines = [
        f"{word}:{','.join(map(str, colours[i] if i < len(colours) else (0, 0, 0)))}::\n"
        for i, word in enumerate(("background", *run.words))
    ]
    yield "labelmap.txt", "".join(lines).encode()
    yield "ImageSets/Segmentation/default.txt", "".join(f"{name}\n" for name in run.photos).encode()
    for photo in run:
        if settings.masks != "box":
            yield from _maps(photo)
        yield f"Annotations/{photo.name}.xml", _annotation(photo, settings)


def _maps(photo: Annotated) -> Iterator[tuple[str, bytes]]:
    """Which word, and which object, each pixel is of."""
    classes, things = (np.zeros(photo.size[::-1], np.int64) for _ in range(2))
    for number, one in enumerate(photo.objects, 1):
        classes[one.mask], things[one.mask] = one.category, number
    yield f"SegmentationClass/{photo.name}.png", encode_label_map(classes)
    yield f"SegmentationObject/{photo.name}.png", encode_label_map(things)


def _annotation(photo: Annotated, settings: ExportSettings) -> bytes:
    top = Xml.Element("annotation")
    _put(top, "folder", PHOTOS)
    name = PurePosixPath(photo.photo).name if not settings.copy_photos else f"{PurePosixPath(photo.name).name}{photo.suffix}"
    _put(top, "filename", name)
    size = Xml.SubElement(top, "size")
    for key, value in zip(("width", "height", "depth"), (*photo.size, 3), strict=True):
        _put(size, key, value)
    _put(top, "segmented", 0 if settings.masks == "box" else 1)
    for one in photo.objects:
        _object(top, one, settings)
    Xml.indent(top)
    return Xml.tostring(top, "utf-8") + b"\n"


def _object(top: Xml.Element, found: Object, settings: ExportSettings) -> None:
    element = Xml.SubElement(top, "object")
    for key, value in (("name", found.word), ("pose", "Unspecified"), ("truncated", 0), ("difficult", 0)):
        _put(element, key, value)
    x0, y0, x1, y1 = found.box
    box = Xml.SubElement(element, "bndbox")
    for key, number in (("xmin", x0 + 1), ("ymin", y0 + 1), ("xmax", x1), ("ymax", y1)):
        _put(box, key, number)
    for points in () if settings.masks == "box" else chains(found.mask, settings.simplify):
        polygon = Xml.SubElement(element, "polygon")
        for i, (x, y) in enumerate((points + 1).tolist(), 1):
            _put(polygon, f"x{i}", x)
            _put(polygon, f"y{i}", y)


def _put(parent: Xml.Element, key: str, value: object) -> None:
    Xml.SubElement(parent, key).text = xml_text(str(value))
