"""Which words of a vocabulary are in a photo at all: CLIP as a multi-label classifier (OVDiff Sec. 3.4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import compress, product

import torch
from torch import Tensor

from segwright.errors import InputError

MOST = 10  # eta, published code
TEMPLATE = "a {}"  # published code


@dataclass(frozen=True)
class Filtered:
    """What the pre-filter decided.

    Attributes:
        kept: places of the words that are believed to be in the photo, ascending.
        probabilities: N values, a softmax over cosines without temperature; words below 1 / N are out at once.
        prompts: the best multi-label prompts with their cosines, best first.
    """

    kept: tuple[int, ...]
    probabilities: tuple[float, ...]
    prompts: tuple[tuple[str, float], ...]


def prefilter(image: Tensor, words: Sequence[str], embed: Callable[[Sequence[str]], Tensor], most: int = MOST) -> Filtered:
    """Single words first, then every combination of those that are left, as "a X and a Y".

    Args:
        image: (D,) unit vector of the photo.
        words: N words.
        embed: texts -> (n, D) unit vectors, remembered by the caller.
        most: eta; at most 2 ** eta combinations are compared.

    Raises:
        InputError: no word, or ``most`` outside 1..16.
    """
    if not words or not 1 <= most <= 16:
        raise InputError(f"the category pre-filter needs words and 1..16 of them at most, got {len(words)} and {most}")
    cosines = embed([TEMPLATE.format(word) for word in words]) @ image
    probabilities = cosines.softmax(0)
    order = probabilities.argsort(descending=True, stable=True).tolist()
    passed = [i for i in order if float(probabilities[i]) >= (1 - 1e-6) / len(words)]
    likely = passed[:most] if len(passed) > most else sorted(passed)  # the published code's order of the prompts' words
    sets = [tuple(compress(likely, bits)) for bits in product((True, False), repeat=len(likely)) if any(bits)]
    prompts = [" and ".join(TEMPLATE.format(words[i]) for i in chosen) for chosen in sets]
    fit = embed(prompts) @ image
    ranking = torch.argsort(fit, descending=True, stable=True)[:5].tolist()
    best = tuple((prompts[i], float(fit[i])) for i in ranking)
    return Filtered(tuple(sorted(sets[ranking[0]])), tuple(probabilities.tolist()), best)
