"""Read any picture a user has and refuse the rest in one sentence; resize, cut into windows, and the exact way back.

What a picture becomes: 8-bit RGB at the photo's own size, upright (EXIF orientation applied), first frame or page.
Transparent parts lie on white. 16-bit samples keep their high byte, so the format's range, not the picture's own,
becomes 0..255. CMYK is turned to RGB without its colour profile (and JPEG's inverted CMYK the right way round);
other colour profiles are not applied either.
"""

from __future__ import annotations

import io
import os
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any, BinaryIO

import numpy as np
import torch
from PIL import Image as Pillow
from PIL import UnidentifiedImageError
from torch import Tensor

from segwright.errors import InputError
from segwright.types import Image, check_image

MAX_PIXELS = 100_000_000
MAX_SIDE = 32_768
# Fewer pixels where the decoder needs more memory beside the picture; up to these, reading stays below 1 GB (docs/limits.md).
MAX_OF = {"WEBP": 40_000_000, "JPEG2000": 35_000_000, "AVIF": 60_000_000, "progressive JPEG": 70_000_000}
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "JPEG2000", "AVIF")
SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".avif", ".jp2", ".j2k"),
    *(".bmp", ".dib", ".tif", ".tiff", ".gif", ".ppm", ".pgm", ".pbm", ".pnm"),
)
KINDS = "JPEG, PNG, WebP, BMP, TIFF, GIF, PPM, JPEG 2000 or AVIF"

STRIP = 1_000_000  # pixels that are turned to RGB at once
_SIDEWAYS = (5, 6, 7, 8)
_STORED: dict[int, Callable[[Image], Image]] = {  # EXIF orientation -> the view of an upright array in which its rows are stored
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: np.rot90(upright),
    7: lambda upright: upright[::-1, ::-1].swapaxes(0, 1),
    8: lambda upright: np.rot90(upright, -1),
}
_ORIENTATION, _BITS, _PHOTOMETRIC = 0x0112, 258, 262


def read(file: str | os.PathLike[str] | BinaryIO) -> Image:
    """The picture in a file, or in an open binary file (read to its end).

    Returns:
        (H, W, 3) uint8 RGB, writable, upright, at the photo's own size.

    Raises:
        InputError: missing, empty, truncated or damaged file, a folder, no picture, an unsupported kind of pixel,
            more than ``MAX_PIXELS`` pixels (of some formats ``MAX_OF``) or a side longer than ``MAX_SIDE`` (told from the
            header, before decoding).
    """
    with opened(file) as (picture, name):
        turn, (width, height) = _orientation(picture), picture.size
        image = np.empty((width, height, 3) if turn in _SIDEWAYS else (height, width, 3), np.uint8)
        stored = _STORED.get(turn, lambda upright: upright)(image)
        rows = max(1, STRIP // width)
        for top in range(0, height, rows):  # in strips, so that a large photo is in memory twice and not six times
            strip = picture.crop((0, top, width, min(top + rows, height)))
            stored[top : top + rows] = np.asarray(_rgb(strip, name, getattr(picture, "tag_v2", {})))
        return image


def as_image(image: Any) -> Image:
    """Whatever a photo may be given as, as ``read`` gives it.

    Args:
        image: a path, an open binary file, a Pillow image, or a uint8 array: (H, W, 3) RGB as it is, (H, W) or (H, W, 1)
            grey, (H, W, 4) RGBA on white.

    Raises:
        InputError: anything else, or a file that cannot be read.
    """
    if isinstance(image, str | os.PathLike) or hasattr(image, "read"):
        return read(image)
    if isinstance(image, Pillow.Image):
        return _of_pillow(image)
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.size:
        if image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 1):
            return np.repeat(image.reshape(*image.shape[:2], 1), 3, axis=2)
        if image.ndim == 3 and image.shape[2] == 4:
            return _of_pillow(Pillow.fromarray(np.ascontiguousarray(image), "RGBA"))
    return check_image(image)


def _of_pillow(picture: Pillow.Image) -> Image:
    _check_size(picture, "the picture")
    turn, (width, height) = _orientation(picture), picture.size
    image = np.empty((width, height, 3) if turn in _SIDEWAYS else (height, width, 3), np.uint8)
    _STORED.get(turn, lambda upright: upright)(image)[:] = np.asarray(_rgb(picture, "the picture", {}))
    return image


@contextmanager
def opened(file: str | os.PathLike[str] | BinaryIO) -> Iterator[tuple[Pillow.Image, str]]:
    """A decoded Pillow image of permitted size, with a name for messages; whatever fails inside is an InputError.

    Python's warnings are silenced meanwhile (as ``warnings.catch_warnings`` does, for the whole process).
    """
    name = _shown(file)
    with _stream(file, name) as stream, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            Pillow.init()
            with Pillow.open(stream, formats=[kind for kind in FORMATS if kind in Pillow.OPEN]) as picture:
                _check_size(picture, name)
                _mend_transparency(picture)
                picture.load()
                _check_size(picture, name)
                yield picture, name
        except InputError:
            raise
        except Exception as error:  # decoders of damaged data raise nearly anything, MemoryError included
            raise InputError(_reason(error, name)) from error


def find_photos(paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[Path]:
    """The photos meant by some files and folders, each once, in the order given.

    A file stays, whatever its suffix and even if it is missing: ``read`` says what is wrong with it, and the others
    can continue. A folder is searched with all its sub-folders for ``SUFFIXES`` in natural order (2 before 10); hidden
    files and folders are left out, and so are segwright's own results (``X.overlay.png``, and ``X.png`` beside it).
    A folder without photos stays in the list as itself, to be refused by ``read``, if there is anything else.

    Raises:
        InputError: there is nothing but folders without photos, or no path at all.
    """
    given = [Path(paths)] if isinstance(paths, str | os.PathLike) else [Path(path) for path in paths]
    searched = [(path, _photos_below(path) if os.path.isdir(path) else [path]) for path in given]
    if not any(photos for _, photos in searched):
        where = ", ".join(repr(str(path)) for path in given) or "an empty list"
        raise InputError(f"no photos in {where}; expected files or folders with {KINDS} files")
    found: dict[str, Path] = {}
    for path, photos in searched:
        for photo in photos or [path]:
            found.setdefault(os.path.abspath(photo), photo)
    return list(found.values())


def to_tensor(image: Image) -> Tensor:
    """(3, H, W) float32 in 0..1, on the CPU, of an (H, W, 3) uint8 photo."""
    return torch.tensor(check_image(image)).permute(2, 0, 1).to(torch.float32).div_(255).contiguous()


def resize(image: Image, size: tuple[int, int]) -> Image:
    """(h, w, 3) uint8: the (H, W, 3) photo at ``size`` = (h, w), bicubic with antialiasing (Pillow's).

    Raises:
        InputError: not a photo, or a side below 1.
    """
    height, width = size
    if min(size) < 1:
        raise InputError(f"a photo cannot be resized to {height}x{width}; both sides must be 1 or more")
    picture = Pillow.fromarray(np.ascontiguousarray(check_image(image)))
    return np.array(picture.resize((width, height), Pillow.Resampling.BICUBIC))


def windows(height: int, width: int, side: int, stride: int) -> list[tuple[int, int, int, int]]:
    """Square windows (y, x, h, w) that cover height x width pixels, row by row, the last ones flush with the edge.

    A window is ``side`` pixels wide and high, less only where the picture itself is smaller.

    Raises:
        InputError: ``stride`` is not in 1..side (there would be gaps), or a size is below 1.
    """
    if min(height, width, side) < 1 or not 1 <= stride <= side:
        got = f"{height}x{width} pixels, side {side}, stride {stride}"
        raise InputError(f"windows need sizes of 1 or more and 1 <= stride <= side, got {got}")
    tall, wide = min(side, height), min(side, width)
    return [(y, x, tall, wide) for y in _starts(height, tall, stride) for x in _starts(width, wide, stride)]


def stitch(parts: Sequence[Tensor], places: Sequence[tuple[int, int, int, int]], size: tuple[int, int]) -> Tensor:
    """(..., H, W): the mean of all windows over each pixel of ``size`` = (H, W); undoes ``windows``.

    Args:
        parts: for each place a (..., h, w) floating point tensor, all of one device and leading shape.
        places: (y, x, h, w) each, together covering every pixel.

    Raises:
        InputError: parts and places do not fit each other, or leave a pixel uncovered.
    """
    if not parts or len(parts) != len(places):
        raise InputError(f"got {len(parts)} parts for {len(places)} windows; give one part a window, and at least one")
    total = parts[0].new_zeros(*parts[0].shape[:-2], *size)
    count = torch.zeros(size)
    for part, (y, x, h, w) in zip(parts, places, strict=True):
        if part.shape[-2:] != (h, w) or y + h > size[0] or x + w > size[1]:
            raise InputError(f"a part of shape {tuple(part.shape)} does not fit window {(y, x, h, w)} of {size}")
        total[..., y : y + h, x : x + w] += part
        count[y : y + h, x : x + w] += 1
    if not bool((count > 0).all()):
        raise InputError(f"{len(places)} windows do not cover {size[0]}x{size[1]} pixels; make them with windows()")
    return total / count.to(total)


def _starts(length: int, side: int, stride: int) -> list[int]:
    return [*range(0, length - side, stride), length - side]


def _shown(file: Any) -> str:
    """A file's name for a message: quoted, on one line, printable, and of bearable length."""
    name = file if isinstance(file, str | os.PathLike) else getattr(file, "name", None)
    text = repr(os.fspath(name)) if isinstance(name, str | os.PathLike) else "the picture"
    return text if len(text) <= 300 else f"{text[:140]}...{text[-140:]}"


def _stream(file: Any, name: str) -> BinaryIO:
    """A seekable stream that is not empty, the caller's to close."""
    if hasattr(file, "read"):
        return _buffered(file, name)
    if not isinstance(file, str | os.PathLike):
        raise InputError(f"a picture must be a path or a file open for reading bytes, got {type(file).__name__}")
    try:
        _check_ordinary(Path(file), name)
        return open(file, "rb")
    except InputError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{name} cannot be opened: {reason}; check its name and that you may read it") from error


def _buffered(file: Any, name: str) -> BinaryIO:
    try:
        data = file.read()
    except (OSError, ValueError) as error:
        raise InputError(f"{name} cannot be read: {error}") from error
    if not isinstance(data, bytes):
        raise InputError(f"{name} was opened as text; open it for reading bytes, mode 'rb'")
    if not data:
        raise InputError(f"{name} is empty; expected a picture ({KINDS})")
    return io.BytesIO(data)


def _check_ordinary(path: Path, name: str) -> None:
    if path.is_dir():
        raise InputError(f"{name} is a folder without photos; expected a picture ({KINDS})")
    if not path.exists():
        raise InputError(f"there is no file or folder {name}; check its name and where it lies")
    if not path.is_file():
        raise InputError(f"{name} is a device or pipe; expected a picture file ({KINDS})")
    if path.stat().st_size == 0:
        raise InputError(f"{name} is an empty file; expected a picture ({KINDS})")


def _check_size(picture: Pillow.Image, name: str) -> None:
    (width, height), kind = picture.size, picture.format or ""
    if min(picture.size) < 1:
        raise InputError(f"{name} claims to be {width}x{height} pixels; expected at least one")
    if max(picture.size) > MAX_SIDE:
        raise InputError(f"{name} is {width}x{height} pixels; no side may be longer than {MAX_SIDE:,}: cut it up")
    if width * height > MAX_PIXELS:
        raise InputError(f"{name} is {width}x{height} pixels; at most {MAX_PIXELS:,} are read: make it smaller")
    kind = "progressive JPEG" if kind in ("JPEG", "MPO") and picture.info.get("progressive") else kind
    if width * height > (most := MAX_OF.get(kind, MAX_PIXELS)):
        advice = "make it smaller, or save it as PNG or ordinary JPEG"
        raise InputError(f"{name} is {width}x{height} pixels; of {kind} at most {most:,} are read, for its memory: {advice}")


def _reason(error: Exception, name: str) -> str:
    """One sentence for what a decoder raised."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, UnidentifiedImageError):
        return f"{name} is not a picture that can be read; expected {KINDS}: save it as one of these"
    if isinstance(error, Pillow.DecompressionBombError):
        return f"{name} has too many pixels; at most {MAX_PIXELS:,} are read: make it smaller"
    if isinstance(error, MemoryError):
        return f"{name} does not fit into memory; make it smaller, or it is damaged"
    if "truncated" in text.lower():
        return f"{name} is cut short; expected a whole picture: copy or download it again"
    return f"{name} is damaged and cannot be decoded ({text}); copy or save it again"


def _mend_transparency(picture: Pillow.Image) -> None:
    """PNG keeps a 16-bit transparent colour in 16 bits, but Pillow its pixels in 8."""
    colour = picture.info.get("transparency")
    if picture.mode == "RGB" and isinstance(colour, tuple) and max(colour) > 255:
        picture.info["transparency"] = tuple(value >> 8 for value in colour)


def _rgb(picture: Pillow.Image, name: str, tags: Any) -> Pillow.Image:
    """``tags``: those of TIFF."""
    mode = picture.mode
    if mode == "I" or mode.startswith("I;16"):
        picture = _from_16_bit(picture, name, tags)
    elif mode not in {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"}:
        raise InputError(f"{name} has {mode} pixels; expected 8/16-bit grey, palette, RGB or CMYK: save it as RGB")
    if picture.has_transparency_data:
        clear = picture.convert("RGBA")
        picture = Pillow.alpha_composite(Pillow.new("RGBA", clear.size, "white"), clear)
    return picture.convert("RGB")


def _from_16_bit(picture: Pillow.Image, name: str, tags: Any) -> Pillow.Image:
    """8-bit grey of 9 to 16-bit grey: the high byte, as Pillow itself does for 16-bit colours."""
    values = np.asarray(picture).astype(np.int64)
    top = 2 ** min(16, max(8, int(tags.get(_BITS, (16,))[0]))) - 1
    if values.min() < 0 or values.max() > top:
        raise InputError(f"{name} has grey values {values.min()}..{values.max()}; expected 0..{top}: save it as 8-bit")
    grey = values * 256 // (top + 1)
    if tags.get(_PHOTOMETRIC) == 0:
        grey = 255 - grey
    clear = picture.info.get("transparency")
    grey = np.where(values == clear, 255, grey) if isinstance(clear, int) else grey
    return Pillow.fromarray(grey.astype(np.uint8))


def _orientation(picture: Pillow.Image) -> int:
    """EXIF orientation 1..8; 1 where there is none, or where the EXIF data are damaged."""
    try:
        return int(picture.getexif().get(_ORIENTATION, 1))
    except Exception:  # a photo with broken EXIF is still a photo
        return 1


def _photos_below(folder: Path) -> list[Path]:
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        beside = set(names)
        found += [Path(parent, name) for name in names if is_photo(name, beside)]
    return sorted(found, key=natural)


def is_photo(name: str, beside: set[str]) -> bool:
    """Whether a file of that name is taken for a photo; ``beside``: all names in its folder."""
    stem, suffix = os.path.splitext(name)
    result = name.endswith(".overlay.png") or (suffix == ".png" and {f"{stem}.overlay.png", f"{stem}.json"} <= beside)
    return suffix.lower() in SUFFIXES and not name.startswith(".") and not result


def natural(path: PurePath) -> tuple[Any, ...]:
    """A key to sort by: 2 before 10, upper and lower case alike."""

    def key(part: str) -> list[tuple[int, int, str]]:
        pieces = re.split(r"(\d+)", part.casefold())
        return [(1, int(piece), "") if piece.isdecimal() else (2, 0, piece) for piece in pieces if piece]

    return ([key(part) for part in path.parent.parts], key(path.name), str(path))
