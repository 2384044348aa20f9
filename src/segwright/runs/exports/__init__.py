"""A run's masks in the formats of other tools: one file a format, each turning a run into named files' contents."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from segwright.errors import InputError
from segwright.files.places import find_place
from segwright.runs.exports import coco, cvat, label_studio, labelme, parquet, voc, yolo
from segwright.runs.exports.objects import ExportSettings
from segwright.runs.exports.target import Target
from segwright.runs.reading import Collection, open_run
from segwright.runs.sources import file_bytes, open_signed
from segwright.runs.store import Line

Writer = Callable[[Collection, ExportSettings], Iterator[tuple[str, bytes]]]
# name -> what writes it, the kinds of masks that it holds (its own choice first), where it wants photos
FORMATS: dict[str, tuple[Writer, tuple[str, ...], str]] = {
    "coco": (coco.write, ("rle", "polygon"), coco.PHOTOS),
    "yolo": (yolo.write, ("polygon",), yolo.PHOTOS),
    "voc": (voc.write, ("polygon",), voc.PHOTOS),
    "labelme": (labelme.write, ("polygon",), labelme.PHOTOS),
    "cvat": (cvat.write, ("rle", "polygon"), cvat.PHOTOS),
    "label-studio": (label_studio.write, ("rle", "polygon"), label_studio.PHOTOS),
    "parquet": (parquet.write, ("rle",), parquet.PHOTOS),
}


def export(run: str | os.PathLike[str], format: str, out: str | os.PathLike[str], **settings: Any) -> list[str]:
    """Write a run's masks for another tool.

    Args:
        run: what ``segwright segment`` wrote, as far as it is done.
        format: one of ``FORMATS``.
        out: a folder or URL that holds no run; what an earlier export wrote there is replaced.
        settings: as ExportSettings: min_area, simplify, masks, copy_photos.

    Returns:
        The files written.

    Raises:
        InputError: no run, a run or a file of somebody else's in ``out``, an unknown format or setting, or masks of a kind
            that the format does not hold.
        OutputError: ``out`` cannot be written.
    """
    if format not in FORMATS:
        raise InputError(f"format must be one of {', '.join(FORMATS)}, got {format!r}")
    write, kinds, photos = FORMATS[format]
    chosen = ExportSettings(**settings)
    if chosen.masks not in (None, *kinds):
        raise InputError(f"{format} holds masks as {' or '.join(kinds)} only, not as {chosen.masks}")
    collection = open_run(run)
    with Target(find_place(out)) as target:
        for name, content in write(collection, replace(chosen, masks=chosen.masks or kinds[0])):
            target.write(name, content)
        for line in collection.done if chosen.copy_photos else ():
            name = os.path.join(photos, f"{line.name}{os.path.splitext(line.photo)[1]}")
            target.write(name, _photo(line))
        return target.files


def _photo(line: Line) -> bytes:
    """The photo's file, if it is still the one that was segmented."""
    content, known = open_signed(line.photo, file_bytes)
    if known != line.signature:
        raise InputError(
            f"another photo than was segmented lies at {line.photo!r} now; start segwright segment again to do it anew"
        )
    return content
