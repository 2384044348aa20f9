"""A result's files: NAME.png, NAME.overlay.png and NAME.json, all of them or none."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from segwright.errors import InputError
from segwright.files.disk import write_all
from segwright.files.masks import encode_label_map
from segwright.files.overlay import encode_overlay
from segwright.files.record import encode_record, record
from segwright.types import Image, Segmentation


def save(
    segmentation: Segmentation,
    path: str | os.PathLike[str],
    image: Image | None = None,
    *,
    photo: str | os.PathLike[str] | None = None,
    preset: str | None = None,
    settings: Any = None,
    seed: int | None = None,
) -> list[Path]:
    """Write the label map to ``path`` and the record beside it, with the photo also the overlay.

    Args:
        path: NAME.png; the others are NAME.json and NAME.overlay.png. Missing folders are made.
        image: the (H, W, 3) uint8 photo of the label map's size, or None for no overlay.
        photo: where it came from, for the record.
        preset: of the networks, for the record.
        settings: the method's, a dataclass, for the record.
        seed: for the record.

    Returns:
        The files written: label map, overlay if any, record.

    Raises:
        InputError: ``path`` does not end in .png, or photo, labels and scores differ in size.
        OutputError: a file cannot be written; none is left behind.
    """
    stem, suffix = os.path.splitext(os.fspath(path))
    if suffix.lower() != ".png":
        raise InputError(f"{os.fspath(path)!r} does not end in .png; label maps are written as PNG")
    content = encode(segmentation, image, photo=photo, preset=preset, settings=settings, seed=seed)
    return write_all({Path(path) if ending == ".png" else Path(f"{stem}{ending}"): data for ending, data in content.items()})


def encode(segmentation: Segmentation, image: Image | None = None, **facts: Any) -> dict[str, bytes]:
    """The contents of a result's files by their endings: ".png", ".overlay.png" (with a photo) and ".json".

    Args:
        facts: photo, preset, settings, seed: for the record, see ``record``.

    Raises:
        InputError: photo, labels and scores differ in size.
    """
    files = {".png": encode_label_map(segmentation.labels)}
    if image is not None:
        files[".overlay.png"] = encode_overlay(image, segmentation)
    return files | {".json": encode_record(record(segmentation, **facts))}
