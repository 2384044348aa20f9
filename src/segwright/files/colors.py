"""One fixed colour a label, or a word, chosen to stay apart for every kind of colour vision."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from segwright.types import Segmentation

COUNT = 255
OKABE_ITO = (  # Okabe & Ito, "Color Universal Design" (2008), without black; the first labels' colours
    (230, 159, 0),
    (0, 114, 178),
    (0, 158, 115),
    (204, 121, 167),
    (240, 228, 66),
    (86, 180, 233),
    (213, 94, 0),
)
_SIGHT = np.array(  # linear RGB as seen normally and in full protan-, deuter- and tritanopia (Machado et al. 2009)
    [
        [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    ]
)
_LMS = np.array(  # Oklab (Ottosson 2020): linear RGB -> cones -> lightness and two opponent colours
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def color_numbers(found: Segmentation) -> tuple[int, ...]:
    """For each word of a result the number that ``color`` takes: its label, or its own where no vocabulary was given."""
    return word_numbers(found.words) if found.own_words else tuple(range(1, len(found.words) + 1))


def word_numbers(words: Sequence[str]) -> tuple[int, ...]:
    """For each word a number that ``color`` takes, the same wherever the word comes.

    Where two of the words have the same, the later one takes the next that is free: of five words that happens in one photo of 26.
    """
    numbers: list[int] = []
    for word in words:
        number = zlib.crc32(word.casefold().encode("utf8", "backslashreplace")) % COUNT + 1
        while number in numbers and len(numbers) < COUNT:
            number = number % COUNT + 1
        numbers.append(number)
    return tuple(numbers)


def color(label: int) -> tuple[int, int, int]:
    """The 8-bit RGB colour of a label from 1 on, the same in every picture; they repeat after ``COUNT``."""
    red, green, blue = label_colors()[(label - 1) % COUNT]
    return int(red), int(green), int(blue)


@cache
def label_colors() -> NDArray[np.uint8]:
    """(COUNT, 3) uint8, row i for label i + 1: Okabe and Ito's seven, then always the colour whose nearest chosen
    one is farthest, measured in Oklab and for the least able of four kinds of sight.
    """
    levels = np.arange(0, 256, 17)
    cube = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1).reshape(-1, 3)
    lab = _seen(cube)[0]
    vivid = (np.hypot(lab[:, 1], lab[:, 2]) > 0.08) & (lab[:, 0] > 0.35) & (lab[:, 0] < 0.95)  # no greys, no near-black
    candidates = np.concatenate([np.array(OKABE_ITO), cube[vivid]])
    seen = _seen(candidates)
    chosen = list(range(len(OKABE_ITO)))
    distance = np.min([_distance(seen, index) for index in chosen], axis=0)
    while len(chosen) < COUNT:
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, _distance(seen, chosen[-1]))
    return candidates[chosen].astype(np.uint8)


def _distance(seen: NDArray[np.float64], index: int) -> NDArray[np.float64]:
    """(n,): how far colour ``index`` is from each colour, for the sight that tells them apart worst."""
    return np.asarray(np.linalg.norm(seen - seen[:, index : index + 1], axis=2).min(0))


def _seen(colors: NDArray[np.integer]) -> NDArray[np.float64]:
    """(4, n, 3): Oklab of (n, 3) 8-bit sRGB for each kind of sight."""
    value = colors / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    cones = np.clip(np.einsum("sij,nj->sni", _SIGHT, linear), 0, 1) @ _LMS.T
    return np.asarray(np.cbrt(cones) @ _LAB.T)
