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


def test_prompts_follow_falling_probability_when_more_than_eta_pass() -> None:
    """Published: torch.topk's order names the words of a prompt; within eta, the vocabulary's order does."""
    vectors = {"a w0": 0.1, "a w1": 0.9, "a w2": 0.5, "a w3": 0.7}
    asked: list[str] = []

    def embed(texts: Sequence[str]) -> torch.Tensor:
        asked.extend(texts)
        return torch.tensor([[vectors.get(text, 0.0) + 2 * (text.count("and") == 1 and "w1" in text), 0.0] for text in texts])

    words = ["w0", "w1", "w2", "w3"]
    found = prefilter(torch.tensor([1.0, 0.0]), words, embed, most=1)
    assert found.kept == (1,)
    asked.clear()
    assert prefilter(torch.tensor([1.0, 0.0]), [f"w{i}" for i in range(4)], embed, most=2).kept == (1, 3)
    passed = sum(p >= 1 / 4 for p in found.probabilities)
    assert "a w1 and a w3" in asked
    assert passed == 2
    vectors |= {"a w0": 0.85, "a w3": 0.84}
    asked.clear()
    kept = prefilter(torch.tensor([1.0, 0.0]), words, embed, most=2).kept
    assert "a w1 and a w0" in asked
    assert "a w0 and a w1" not in asked
    assert kept == (0, 1)
