"""What comes from a browser: files of bounded bytes and pixels, refused in one sentence with the name that the person knows."""

from __future__ import annotations

import io
import math
import os
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from segwright.errors import InputError
from segwright.images import FORMATS, read
from segwright.types import Image
from segwright.untrusted import read_bounded

ROOM = 4  # times the limit of pixels: so much is made smaller, and more refused, since it must be decoded first
_decoding = threading.Lock()  # one large photo at a time


@dataclass(frozen=True)
class Limits:
    """How large an upload may be.

    Attributes:
        megabytes: of a file, at most; 1 is a million bytes.
        megapixels: that are worked on, at most; a photo of 16 needs some 2 GB with ten words. Photos of up to ``ROOM`` times as
            many are made smaller.
    """

    megabytes: float = 20.0
    megapixels: float = 16.0

    def __post_init__(self) -> None:
        if not (0 < self.megabytes < 10_000 and 0 < self.megapixels <= 100):
            got = f"{self.megabytes:g} and {self.megapixels:g}"
            raise InputError(f"uploads need megabytes above 0 and megapixels in 0..100, got {got}")


class Named(io.BytesIO):
    """A file's bytes under its own name, without the temporary folder in which it lies."""

    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self.name = name


def read_upload(path: str | os.PathLike[str] | None, limits: Limits) -> Image:
    """The (H, W, 3) uint8 photo in an uploaded file, made smaller where it has more pixels than the limit.

    Raises:
        InputError: none, too many bytes, ``ROOM`` times too many pixels (told from its header, before decoding), or no readable
            picture.
    """
    if path is None:
        raise InputError("there is no photo yet; drop one on the page, or take a sample")
    file = open_upload(Path(path), limits)
    width, height = check_pixels(file, limits, ROOM)
    most = limits.megapixels * 1e6
    if width * height <= most:
        return read(file)
    with _decoding:
        return _smaller(read(file), most)


def check_pixels(file: Named, limits: Limits, room: float = 1) -> tuple[int, int]:
    """Width and height, as the header says.

    Raises:
        InputError: more than ``room`` times the pixels of the limit.
    """
    width, height = header_size(file)
    if width * height > room * limits.megapixels * 1e6:
        raise InputError(
            f"{file.name!r} has {width}x{height} pixels; this page takes {room * limits.megapixels:g} megapixels at most: "
            "make it smaller"
        )
    return width, height


def too_large(path: Path, limits: Limits) -> str:
    """What to say of a photo that ``read_upload`` makes smaller; "" of any other."""
    width, height = header_size(open_upload(path, limits))
    if width * height <= limits.megapixels * 1e6:
        return ""
    return f"{path.name} has {width}x{height} pixels, and this page works on {limits.megapixels:g} megapixels at most."


def _smaller(image: Image, most: float) -> Image:
    """The photo with at most so many pixels."""
    height, width = image.shape[:2]
    scale = math.sqrt(most / (width * height))
    size = max(1, math.floor(width * scale)), max(1, math.floor(height * scale))
    return np.asarray(Pillow.fromarray(image).resize(size, Pillow.Resampling.LANCZOS))


def open_upload(path: Path, limits: Limits) -> Named:
    """The bytes of an uploaded file.

    Raises:
        InputError: it is gone, or has too many bytes.
    """
    try:
        size = path.stat().st_size
        if size > limits.megabytes * 1e6:
            raise InputError(
                f"{path.name!r} has {size / 1e6:.1f} MB; this page takes {limits.megabytes:g} MB at most: make it smaller"
            )
        return Named(read_bounded(path, int(limits.megabytes * 1e6)), path.name)
    except OSError as error:
        raise InputError(f"the upload {path.name!r} is no longer there ({error.strerror}); upload it again") from error


def header_size(file: Named) -> tuple[int, int]:
    """(width, height) as the header says; (0, 0) where there is none that can be read: ``read`` says what is wrong then."""
    try:
        with Pillow.open(file, formats=[kind for kind in FORMATS if kind in Pillow.OPEN]) as picture:
            return picture.size
    except Exception:  # decoders of damaged data raise nearly anything
        return 0, 0
    finally:
        file.seek(0)
