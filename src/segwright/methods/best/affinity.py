""" "This too": the region of the affinity map at a place of a photo, to be added to a word.

The affinity is the decoder's finest self-attention (``dense.carry``): how much of what a cell looks at lies at the place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, label
from torch import Tensor

from segwright.errors import InputError
from segwright.methods.best import dense
from segwright.methods.segmenter import resized
from segwright.models.heads import Heads
from segwright.types import Segmentation

Place = Sequence[float]  # (x, y), or the box (x0, y0, x1, y1), x1 and y1 just outside; pixels
MASS = 0.6  # share of a point's affinity that its region holds (DINO, Caron et al. 2021, Fig. 4)
ROUNDS = 2  # of a point's affinity (ours: of 1 and 2 on 16 training scenes of the miniature world)


def check_place(place: Place, size: tuple[int, int]) -> tuple[float, ...]:
    """The place itself, if it lies in a photo of ``size`` = (H, W).

    Raises:
        InputError: neither a point nor a box, outside the photo, or a box without a pixel.
    """
    numbers = all(isinstance(v, int | float) and math.isfinite(v) for v in place)
    if not numbers or len(place) not in (2, 4):
        raise InputError(f"a place must be a point (x, y) or a box (x0, y0, x1, y1) in pixels, got {place!r}")
    height, width = size
    x0, y0, *end = given = tuple(float(v) for v in place)
    x1, y1 = end or (x0 + 1, y0 + 1)
    if not (0 <= x0 < width and 0 <= y0 < height and (not end or (x0 < x1 <= width and y0 < y1 <= height))):
        what = ", ".join(f"{v:g}" for v in given)
        raise InputError(
            f"the place ({what}) must lie in the photo, which has {width}x{height} pixels, a box with x0 < x1 and y0 < y1"
        )
    return given


def cells_of(place: Place, size: tuple[int, int], cells: int) -> Tensor:
    """(n, n) float32 of 0 and 1: the cell that holds a point; those with their centres in a box, or that of its middle."""
    (height, width), (x0, y0, *end) = size, place
    marked = torch.zeros(cells, cells)
    if end:
        centres = (torch.arange(cells) + 0.5) / cells
        rows = (centres * height >= y0) & (centres * height < end[1])
        columns = (centres * width >= x0) & (centres * width < end[0])
        marked[rows[:, None] & columns] = 1.0
        x0, y0 = (x0 + end[0]) / 2, (y0 + end[1]) / 2
    if not marked.any():
        marked[int(y0 * cells / height), int(x0 * cells / width)] = 1.0
    return marked


def belonging(own: Heads, place: Place, size: tuple[int, int]) -> Tensor:
    """(n, n) float32 in 0..1, from 0.5 on where a cell belongs to the place.

    Of a box: the share of what a cell looks at that lies in it. Of a point: its affinity a, carried ``ROUNDS`` times, as
    a / (a + t), where t is the least that the cells with ``MASS`` of it have.
    """
    marked = cells_of(place, size, own.cells).to(own.device)[None]
    if len(place) == 4:
        return dense.carry(marked, own, 1)[0]
    affinity = dense.carry(marked, own, ROUNDS)[0]
    ordered = affinity.flatten().sort(descending=True).values
    held = ordered.cumsum(0) / ordered.sum()
    least = ordered[int((held < MASS).sum())]
    return affinity / (affinity + least).clamp(min=1e-12)


def coarse(values: Tensor, size: tuple[int, int]) -> NDArray[np.bool_]:
    """(n, n) -> (H, W) bool: where ``belonging``, bilinear, is above 0.5."""
    return np.asarray((resized(values[None], size)[0] > 0.5).cpu().numpy())


def region(where: NDArray[np.bool_], place: Place) -> NDArray[np.bool_]:
    """(H, W) bool: of a box what lies in it, of a point the connected part that holds it, or the nearest one."""
    x0, y0, *end = (int(v) for v in place)
    if end:
        kept = np.zeros_like(where)
        box = np.s_[y0 : math.ceil(place[3]), x0 : math.ceil(place[2])]
        kept[box] = where[box]
        return kept
    parts, count = label(where)
    if not count:
        return where
    near = distance_transform_edt(~where, return_distances=False, return_indices=True)
    return np.asarray(parts == parts[tuple(near[:, y0, x0])])


def added(found: Segmentation, word: str, place: Place, where: NDArray[np.bool_]) -> Segmentation:
    """The segmentation, with what is unlabelled in a region given to a word; the notes say so, scores stay the method's.

    Args:
        where: (H, W) bool.

    Raises:
        InputError: the word is not in the vocabulary, or the sizes differ.
    """
    found.mask(word)
    if where.shape != found.labels.shape:
        raise InputError(f"the region is {where.shape} but the label map is {found.labels.shape} pixels")
    labels = np.where(where & (found.labels == 0), found.words.index(word) + 1, found.labels)
    added = [*found.notes.get("added", ()), {"word": word, "place": list(place)}]
    return replace(found, labels=labels, notes={**found.notes, "added": added})
