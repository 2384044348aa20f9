"""The category pre-filter against a plain enumeration, with a made-up text encoder."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import pytest
import torch

from segwright.errors import InputError
from segwright.words.prefilter import prefilter

WORDS = ("cat", "dog", "sofa", "tree", "boat")


def embed(texts: Sequence[str]) -> torch.Tensor:
    """Each word is an axis; a prompt is the unit vector of its words' sum."""
    rows = torch.stack([torch.tensor([float(f"a {w}" in t) for w in WORDS]) for t in texts])
    return torch.nn.functional.normalize(rows, dim=1)


def test_the_prompt_nearest_to_the_photo_decides() -> None:
    image = torch.nn.functional.normalize(torch.tensor([0.1, 0.9, 0.8, 0.0, 0.05]), dim=0)
    found = prefilter(image, WORDS, embed)
    singles = (embed([f"a {w}" for w in WORDS]) @ image).softmax(0)
    likely = [i for i in range(5) if singles[i] >= 1 / 5]
    every = [c for n in range(1, len(likely) + 1) for c in combinations(likely, n)]
    best = max(every, key=lambda c: float(embed([" and ".join(f"a {WORDS[i]}" for i in c)])[0] @ image))
    assert found.kept == best == (1, 2)
    assert found.prompts[0][0] == "a dog and a sofa"
    assert found.probabilities == pytest.approx(singles.tolist())


def test_a_word_below_its_share_is_out_whatever_the_prompts_say() -> None:
    image = torch.nn.functional.normalize(torch.tensor([1.0, 0.3, 0.0, 0.0, 0.0]), dim=0)
    probabilities = (embed([f"a {w}" for w in WORDS]) @ image).softmax(0)
    found = prefilter(image, WORDS, embed)
    assert all(probabilities[i] >= 1 / 5 for i in found.kept)


def test_at_most_eta_words() -> None:
    image = torch.full((5,), 5**-0.5)
    assert prefilter(image, WORDS, embed).kept == (0, 1, 2, 3, 4)
    assert len(prefilter(image, WORDS, embed, most=2).kept) == 2
    assert prefilter(image, WORDS[:1], embed).kept == (0,)


def test_bad_numbers_are_refused() -> None:
    with pytest.raises(InputError, match="needs words"):
        prefilter(torch.ones(5), (), embed)
    with pytest.raises(InputError, match="at most"):
        prefilter(torch.ones(5), WORDS, embed, most=17)
