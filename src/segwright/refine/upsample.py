"""Labels of a reduced photo brought to the photo's own size along the photo's edges, tile by tile.

Kopf, Cohen, Lischinski and Uyttendaele 2007, "Joint Bilateral Upsampling", Eq. 3; the neighbours' colours are the reduced photo's.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow
from torch import Tensor

from segwright.errors import InputError
from segwright.types import Image, Scores, Segmentation

TILE = 512  # pixels a side; memory is of one tile, whatever the photo
REACH = 2  # reduced pixels to either side: 5 x 5 neighbours
NEAR, ALIKE = 0.5, 0.1  # deviations in reduced pixels and in colours of 0..1 (ours: half a pixel is about a bilinear's)


def upsample(image: Image, reduced: Image, scores: Scores) -> NDArray[np.int32]:
    """(H, W) labels in the numbering of ``scores.words``.

    A tile whose neighbours all have one strongest label gets that label at once: no weights could change it.

    Args:
        image: (H, W, 3) uint8.
        reduced: the same photo made smaller, (h, w, 3) uint8.
        scores: of the reduced photo.

    Raises:
        InputError: scores of another size than the reduced photo's.
    """
    small = tuple(reduced.shape[:2])
    if tuple(scores.values.shape[1:]) != small:
        raise InputError(f"scores must be of the reduced photo's size {small}, got {tuple(scores.values.shape[1:])}")
    values, names = scores.values.detach().float().cpu(), np.asarray(scores.labels, np.int32)
    strongest = values.argmax(0).numpy()
    colours = torch.from_numpy(reduced.copy())
    out = np.empty(image.shape[:2], np.int32)
    (height, width), (h, w) = image.shape[:2], reduced.shape[:2]
    for top in range(0, height, TILE):
        rows = _places(top, min(top + TILE, height), height, h)
        for left in range(0, width, TILE):
            columns = _places(left, min(left + TILE, width), width, w)
            part = (slice(top, top + TILE), slice(left, left + TILE))
            near = strongest[_within(rows, h), _within(columns, w)]
            if (near == near.flat[0]).all():
                out[part] = names[near.flat[0]]
            else:
                out[part] = names[_tile(torch.from_numpy(image[part].copy()), colours, values, rows, columns).numpy()]
    return out


def _places(begin: int, end: int, size: int, small: int) -> Tensor:
    """Pixels ``begin`` .. ``end`` of ``size`` in coordinates of the reduced side, float32."""
    return (torch.arange(begin, end, dtype=torch.float64).add_(0.5).mul_(small / size).sub_(0.5)).float()


def _within(places: Tensor, small: int) -> slice:
    """All reduced pixels that the places' neighbours can be."""
    first, last = int(places[0].round()) - REACH, int(places[-1].round()) + REACH
    return slice(max(0, first), min(small, last + 1))


def _tile(photo: Tensor, colours: Tensor, values: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """(y, x) int64: the row of ``values`` that is strongest at each pixel of a tile (y, x, 3) uint8."""
    photo = photo.float() / 255
    total = torch.zeros(len(values), *photo.shape[:2])
    for down in range(-REACH, REACH + 1):
        row, high = _neighbour(rows, down, colours.shape[0])
        for right in range(-REACH, REACH + 1):
            column, wide = _neighbour(columns, right, colours.shape[1])
            apart = (photo - colours[row][:, column].float() / 255).square_().sum(2)
            weight = apart.mul_(-0.5 / ALIKE**2).exp_().mul_(high[:, None]).mul_(wide[None])
            total += values[:, row][:, :, column] * (weight + torch.finfo(torch.float32).tiny)  # colours like none: all far
    return total.argmax(0)


def _neighbour(places: Tensor, offset: int, small: int) -> tuple[Tensor, Tensor]:
    """The reduced pixel ``offset`` from each place's nearest, and its weight by distance; beyond the rim the rim's."""
    wanted = places.round() + offset
    return wanted.long().clamp(0, small - 1), (-0.5 * ((places - wanted) / NEAR) ** 2).exp()


def shrunk(image: Image, largest: float) -> Image:
    """The photo itself, or if it has more than ``largest`` megapixels a copy of that many, of the same shape to a pixel."""
    height, width = image.shape[:2]
    scale = math.sqrt(largest * 1e6 / (height * width))
    if scale >= 1:
        return image
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.array(Pillow.fromarray(image).resize(size, Pillow.Resampling.BICUBIC))


def hard_scores(found: Segmentation) -> Scores:
    """Scores of 1 where a label is."""
    present = tuple(sorted({0, *np.unique(found.labels).tolist()}))
    rows = torch.from_numpy(np.searchsorted(present, found.labels))
    return Scores(found.words, present, torch.nn.functional.one_hot(rows, len(present)).permute(2, 0, 1).float())
