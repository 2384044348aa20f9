"""A result for people: the photo with colours, outlines and a legend."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from segwright.errors import InputError
from segwright.files.colors import COUNT, color, color_numbers, label_colors
from segwright.files.legend import PAPER, Entry, draw_legend
from segwright.regions.specks import without_specks
from segwright.types import Image, Segmentation, check_image

SHORTEST, LONGEST, THINNEST = 384, 4096, 32  # pixels of the sides shown
ENLARGED = 2048  # a small photo's long side grows to this at most
SPECK = 64  # pixels of the shown picture: smaller parts have their colour and no outline, which would cover them
TEXT = (16, 80)  # smallest and largest font


def overlay(image: Image, segmentation: Segmentation, alpha: float = 0.5, legend: bool = True) -> Image:
    """The photo with every label's colour laid over it, light and dark outlines, and a legend below or beside it.

    Colours are the label's own, whatever else is in the picture (the word's where no vocabulary was given). What has no label
    is grey and dimmed. For reading, a photo is shown with a short side of at least ``SHORTEST`` pixels (its long side growing to
    ``ENLARGED`` at most), a long side of at most ``LONGEST``, and no side thinner than ``THINNEST`` (a strip is then stretched).

    Args:
        image: (H, W, 3) uint8.
        segmentation: of the same H and W.
        alpha: how much of the colour covers the photo, 0..1.

    Returns:
        (H', W', 3) uint8 RGB, the legend included.

    Raises:
        InputError: photo and labels differ in size, or alpha is outside 0..1.
    """
    if check_image(image).shape[:2] != segmentation.labels.shape:
        raise InputError(f"the photo is {image.shape[:2]} but the label map is {segmentation.labels.shape} pixels")
    if not 0 <= alpha <= 1:
        raise InputError(f"alpha must lie in 0..1, got {alpha}")
    height, width = display_size(*image.shape[:2])
    shown = _resized(image, (height, width), Pillow.Resampling.LANCZOS)
    labels = _resized(segmentation.labels.astype(np.int32), (height, width), Pillow.Resampling.NEAREST)
    numbers = np.array([0, *color_numbers(segmentation)])[labels]
    painted = _outlined(_filled(shown, numbers, alpha), without_specks(labels, SPECK))
    return _with_legend(painted, entries(segmentation)) if legend else painted


def encode_overlay(image: Image, segmentation: Segmentation) -> bytes:
    """A PNG file's bytes of ``overlay(image, segmentation)``."""
    stream = io.BytesIO()
    Pillow.fromarray(overlay(image, segmentation)).save(stream, "PNG", compress_level=3)  # half the default's time
    return stream.getvalue()


def display_size(height: int, width: int) -> tuple[int, int]:
    """The height and width at which a photo is shown."""
    short, long = min(height, width), max(height, width)
    scale = min(max(1.0, min(SHORTEST / short, ENLARGED / long)), LONGEST / long)
    return max(THINNEST, round(height * scale)), max(THINNEST, round(width * scale))


def entries(segmentation: Segmentation) -> list[Entry]:
    """The legend's lines: words by area, the largest first, and what has no label at the end."""
    labels, counts = np.unique(segmentation.labels, return_counts=True)
    shares = {int(label): int(count) / segmentation.labels.size for label, count in zip(labels, counts, strict=True)}
    unlabelled = [Entry(None, "unlabelled", shares.pop(0))] if 0 in shares else []
    largest = sorted(shares, key=lambda label: (-shares[label], label))
    numbers = color_numbers(segmentation)
    return [Entry(color(numbers[at - 1]), segmentation.words[at - 1], shares[at]) for at in largest] + unlabelled


def _resized(values: NDArray[np.generic], size: tuple[int, int], how: Pillow.Resampling) -> NDArray[np.uint8]:
    picture = Pillow.fromarray(np.ascontiguousarray(values))
    return np.array(picture.resize((size[1], size[0]), how))


def _filled(image: Image, labels: NDArray[np.integer], alpha: float) -> Image:
    """Colour over photo; grey and dimmed where there is no label."""
    cycled = (labels - 1) % COUNT
    photo = Pillow.fromarray(image)
    colors = Pillow.fromarray(label_colors()[cycled])
    grey = np.array(photo.convert("L").point([round(0.6 * value) + 20 for value in range(256)]))
    return np.where((labels == 0)[..., None], grey[..., None], np.array(Pillow.blend(photo, colors, alpha)))


def _outlined(image: Image, labels: NDArray[np.integer]) -> Image:
    """A dark line with a light one on either side wherever the label changes."""
    edge = np.zeros(labels.shape, bool)
    edge[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    edge[:-1] |= labels[:-1] != labels[1:]
    dark = max(labels.shape) // 1500
    out = image.copy()
    out[_grown(edge, 2 * dark + 1)] = (255, 255, 255)
    out[_grown(edge, dark)] = (0, 0, 0)
    return out


def _grown(mask: NDArray[np.bool_], by: int) -> NDArray[np.bool_]:
    """``mask`` with everything up to ``by`` pixels around it, diagonals included."""
    for axis in (0, 1):
        wide = np.moveaxis(mask.copy(), axis, 0)
        narrow = np.moveaxis(mask, axis, 0)
        for step in range(1, min(by, len(narrow) - 1) + 1):
            wide[step:] |= narrow[:-step]
            wide[:-step] |= narrow[step:]
        mask = np.moveaxis(wide, 0, axis)
    return mask


def _with_legend(image: Image, lines: list[Entry]) -> Image:
    """Below a wide photo, to the right of a tall one."""
    height, width = image.shape[:2]
    text = int(np.clip(round(max(height, width) / 50), *TEXT))
    wide = width >= height
    legend = draw_legend(lines, text, width=width) if wide else draw_legend(lines, text, height=height)
    size = (max(width, legend.width), height + legend.height) if wide else (width + legend.width, legend.height)
    page = Pillow.new("RGB", size, PAPER)
    page.paste(Pillow.fromarray(image), (0, 0))
    page.paste(legend, (0, height) if wide else (width, 0))
    return np.array(page)
