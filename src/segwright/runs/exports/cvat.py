"""CVAT for images 1.1: one annotations.xml. Masks as run lengths in their box (exact), polygons along pixel edges, or boxes.

A ``<mask>`` lists the lengths of its box's runs row by row, beginning with the pixels outside. Pieces of one object
that are polygons share a ``group_id``.
"""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree import ElementTree as Xml

from segwright.files.colors import color
from segwright.objects import Object
from segwright.runs.exports.objects import Annotations, ExportSettings, xml_text
from segwright.runs.exports.shapes import outlines, run_lengths

PHOTOS = "images"


def write(run: Annotations, settings: ExportSettings) -> Iterator[tuple[str, bytes]]:
    top = Xml.Element("annotations")
    _put(top, "version", "1.1")
    labels = Xml.SubElement(Xml.SubElement(Xml.SubElement(top, "meta"), "task"), "labels")
    for i, word in enumerate(run.words, 1):
        label = Xml.SubElement(labels, "label")
        _put(label, "name", word)
        _put(label, "color", "#{:02x}{:02x}{:02x}".format(*color(i)))
        _put(label, "type", "any")
        Xml.SubElement(label, "attributes")
    for number, photo in enumerate(run):
        width, height = photo.size
        name = f"{photo.name}{photo.suffix}" if settings.copy_photos else photo.file
        image = Xml.SubElement(top, "image", id=str(number), name=xml_text(name), width=str(width), height=str(height))
        for group, found in enumerate(photo.objects, 1):
            SHAPES[settings.masks or "rle"](image, found, settings, group)
    Xml.indent(top)
    yield "annotations.xml", b'<?xml version="1.0" encoding="utf-8"?>\n' + Xml.tostring(top, "utf-8") + b"\n"


def _mask(image: Xml.Element, found: Object, settings: ExportSettings, group: int) -> None:
    x0, y0, x1, y1 = found.box
    lengths = ", ".join(map(str, run_lengths(found.mask[y0:y1, x0:x1].ravel())))
    box = {"left": x0, "top": y0, "width": x1 - x0, "height": y1 - y0}
    place = {key: str(value) for key, value in box.items()}
    Xml.SubElement(image, "mask", {**_facts(found), "rle": lengths, **place})


def _polygons(image: Xml.Element, found: Object, settings: ExportSettings, group: int) -> None:
    polygons = outlines(found.mask, settings.simplify)
    grouping = {"group_id": str(group)} if len(polygons) > 1 else {}
    for points in polygons:
        text = ";".join(f"{x:.2f},{y:.2f}" for x, y in points.tolist())
        Xml.SubElement(image, "polygon", {**_facts(found), "points": text, **grouping})


def _box(image: Xml.Element, found: Object, settings: ExportSettings, group: int) -> None:
    corners = zip(("xtl", "ytl", "xbr", "ybr"), found.box, strict=True)
    Xml.SubElement(image, "box", {**_facts(found), **{key: f"{value:.2f}" for key, value in corners}})


def _facts(found: Object) -> dict[str, str]:
    return {"label": xml_text(found.word), "source": "auto", "occluded": "0", "z_order": "0"}


def _put(parent: Xml.Element, key: str, value: str) -> None:
    Xml.SubElement(parent, key).text = xml_text(value)


SHAPES = {"rle": _mask, "polygon": _polygons, "box": _box}
