"""A bank as a contact sheet: every word's support pictures, outlined where the word is, dark where its background is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch.nn.functional as F
from scipy.ndimage import binary_erosion
from torch import Tensor

from segwright.errors import InputError
from segwright.files.grid import grid
from segwright.images import resize
from segwright.methods.ovdiff.bank import Bank, Entry
from segwright.methods.ovdiff.support import SIDES, read_pictures
from segwright.types import Image

SIDE = 96  # pixels of a picture
OUTLINE = (255, 40, 200)


def bank_sheet(bank: Bank, words: Sequence[str] | None = None) -> Image:
    """One row a word.

    Args:
        words: None: all of the bank.

    Raises:
        InputError: the bank is empty, lacks a word, or is damaged.
    """
    known = bank.entries()
    wanted = list(known) if words is None else list(words)
    missing = [word for word in wanted if bank.get(word) is None]
    if missing or not wanted:
        raise InputError(
            f"the bank {str(bank.folder)!r} has no {missing[0]!r}" if missing else f"the bank {str(bank.folder)!r} is empty"
        )
    entries = [entry for word in wanted if (entry := bank.get(word)) is not None]
    count = int(bank.settings["support"]["pictures"])
    return grid([_row(bank, entry, count) for entry in entries], [e.word for e in entries])


def _row(bank: Bank, entry: Entry, count: int) -> list[Image]:
    pictures, _ = read_pictures(entry.folder, count)
    masks = bank.tensors(entry, "masks.safetensors")
    return [_shown(picture, *(masks[side][i] for side in SIDES)) for i, picture in enumerate(pictures)]


def _shown(picture: Image, foreground: Tensor, background: Tensor) -> Image:
    small = resize(picture, (SIDE, SIDE)).astype(np.float32)
    fore, back = (F.interpolate(m[None, None].float(), (SIDE, SIDE))[0, 0].numpy() > 0 for m in (foreground, background))
    small[back] *= 0.35
    small[fore & ~binary_erosion(fore)] = OUTLINE
    return small.astype(np.uint8)
