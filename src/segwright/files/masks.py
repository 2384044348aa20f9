"""Label maps as PNG: palette colours as in Pascal VOC, or 16-bit grey where 8 bits do not suffice."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from segwright.errors import InputError
from segwright.files.disk import atomic_write
from segwright.images import opened


def voc_palette() -> NDArray[np.uint8]:
    """(256, 3) uint8, Pascal VOC's colours: bits 0, 3, 6 ... of the index are red from the highest bit down,
    bits 1, 4, 7 green, bits 2, 5 blue.
    """
    index = np.arange(256)[:, None] >> np.arange(3)
    bits = [((index >> 3 * k) & 1) << (7 - k) for k in range(3)]
    return np.asarray(bits[0] | bits[1] | bits[2]).astype(np.uint8)


def encode_label_map(labels: NDArray[np.integer]) -> bytes:
    """A PNG file's bytes for (H, W) integers: 8-bit palette up to label 255, 16-bit grey for larger ones.

    Raises:
        InputError: not (H, W) integers in 0..65535 with at least one pixel.
    """
    if labels.ndim != 2 or not labels.size or not np.issubdtype(labels.dtype, np.integer):
        raise InputError(f"a label map must be (H, W) integers, got {labels.dtype} {labels.shape}")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high > 65535:
        raise InputError(f"a label map holds 0..65535, got {low}..{high}; use fewer words")
    picture = Pillow.fromarray(np.ascontiguousarray(labels, dtype=np.uint8 if high < 256 else np.uint16))
    if high < 256:
        picture.putpalette(voc_palette().tobytes())
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


def write_label_map(path: str | os.PathLike[str], labels: NDArray[np.integer]) -> Path:
    """Write ``encode_label_map(labels)``, whole or not at all.

    Raises:
        InputError: the labels do not fit.
        OutputError: the file cannot be written.
    """
    return atomic_write(path, encode_label_map(labels))


def read_label_map(file: str | os.PathLike[str] | BinaryIO) -> NDArray[np.int64]:
    """(H, W) int64 of a palette or grey PNG (or other lossless picture), as stored: no orientation, no scaling.

    Raises:
        InputError: no such picture, or its pixels are colours instead of labels.
    """
    with opened(file) as (picture, name):
        if picture.mode not in {"1", "L", "P", "I"} and not picture.mode.startswith("I;16"):
            raise InputError(f"{name} has {picture.mode} pixels; a label map must be a palette or grey PNG")
        return np.asarray(picture).astype(np.int64)
