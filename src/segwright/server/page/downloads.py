"""A result as files to take away: label map, overlay, COCO JSON, cut-outs with transparency."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from segwright.files.disk import write_all
from segwright.files.masks import encode_label_map
from segwright.files.overlay import encode_overlay
from segwright.files.places import Local
from segwright.files.record import segments, versions
from segwright.runs.exports.coco import write as write_coco
from segwright.runs.exports.objects import ExportSettings, list_annotations
from segwright.runs.reading import Collection, Done
from segwright.types import Image, Segmentation


@dataclass(frozen=True)
class _Single(Collection):
    """A run of one photo that lies nowhere."""

    photo: Done | None = None

    def __iter__(self) -> Iterator[Done]:
        if self.photo is not None:
            yield self.photo


def write_files(image: Image, segmentation: Segmentation, photo: str, folder: Path) -> list[Path]:
    """The four files of a result in ``folder``: label map, overlay, COCO JSON, cut-outs.

    Raises:
        OutputError: they cannot be written.
    """
    stem = Path(photo).stem[:80] or "photo"
    contents = {
        folder / f"{stem}.png": encode_label_map(segmentation.labels),
        folder / f"{stem}.overlay.png": encode_overlay(image, segmentation),
        folder / f"{stem}.coco.json": coco(segmentation, photo),
        folder / f"{stem}.cutouts.zip": cutouts(image, segmentation),
    }
    return write_all(dict(contents))


def coco(segmentation: Segmentation, photo: str) -> bytes:
    """What ``segwright export --format coco`` writes for a run of this photo."""
    found = tuple(segments(segmentation))
    one = Done(photo, photo, Path(photo).stem, segmentation.words, segmentation.labels.astype(np.int64), found)
    run = _Single(Local(Path()), {"versions": versions()}, segmentation.words, (), (), "", photo=one)
    return next(content for _, content in write_coco(list_annotations(run, ExportSettings()), ExportSettings()))


def cutouts(image: Image, segmentation: Segmentation) -> bytes:
    """A ZIP of one RGBA PNG a word, cut to its box, transparent outside its pixels."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for found in segments(segmentation):
            x0, y0, x1, y1 = found["box"]
            alpha = np.where(segmentation.labels[y0:y1, x0:x1] == found["index"], 255, 0).astype(np.uint8)
            part = io.BytesIO()
            Pillow.fromarray(np.dstack([image[y0:y1, x0:x1], alpha])).save(part, "PNG")
            name = re.sub(r"[^\w-]+", "_", found["word"])[:60]
            archive.writestr(f"{found['index']:03}-{name}.png", part.getvalue())
    return stream.getvalue()
