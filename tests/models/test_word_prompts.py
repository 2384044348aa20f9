"""Prompts of many words: every token stands where it is caption to, all words once, and no prompt is longer than it may be."""

from __future__ import annotations

import pytest
import torch

from segwright.mini.scenes import THINGS
from segwright.models.diffusion import Diffusion
from segwright.models.word_prompts import embed_words, passes, word_prompts
from segwright.weights import load


@pytest.fixture(scope="module")
def diffusion() -> Diffusion:
    return load("mini", "cpu").diffusion


@pytest.mark.parametrize("context", [32, 77])
def test_places_are_those_of_the_words_tokens(diffusion: Diffusion, context: int) -> None:
    tokenizer = diffusion.tokenizers[0]
    words = [*THINGS, "zebra crossing", "dog", "Red Car", "person in red", "person"]
    found = word_prompts(tokenizer, words, context, "a photograph of", closing="and background, sky")
    assert [w for p in found for w in p.words] == list(range(len(words)))
    assert (len(found) > 2) == (context == 32)
    for prompt in found:
        assert prompt.text.startswith("a photograph of ")
        assert prompt.text.endswith(" and background, sky")
        ids = tokenizer(prompt.text).input_ids
        ends = 0
        for word, spots in zip(prompt.words, prompt.places, strict=True):
            assert [ids[i] for i in spots] == list(tokenizer(words[word]).input_ids)[1:-1]
            assert spots[0] > ends
            ends = spots[-1]
            assert ends < context - 1


def test_as_many_words_as_fit_and_no_more(diffusion: Diffusion) -> None:
    """mini's tokenizer has one token for each of these; start, opening (3), n words, n - 1 joints, end: 32 hold 14 words."""
    words = ["dog", "cat", "car", "bus"] * 7
    found = word_prompts(diffusion.tokenizers[0], words, 32, "a photograph of")
    assert [len(p.words) for p in found] == [14, 14]
    assert found[0].places[-1] == (30,)


def test_a_word_longer_than_the_context_is_cut(diffusion: Diffusion) -> None:
    long = " ".join(["dog"] * 50)
    found = word_prompts(diffusion.tokenizers[0], ["cat", long, "car"], 32, "a photograph of")
    assert [p.words for p in found] == [(0,), (1,), (2,)]
    assert found[1].places == (tuple(range(4, 31)),)
    assert word_prompts(diffusion.tokenizers[0], [], 32, "a") == []


def test_only_the_words_embeddings_are_moved(diffusion: Diffusion) -> None:
    prompts = word_prompts(diffusion.tokenizers[0], ["dog", "potted plant"], 32, "a photograph of")
    plain, empty = diffusion.embed([prompts[0].text]).tokens[0], diffusion.embed([""]).tokens[0]
    spots = [i for p in prompts[0].places for i in p]
    others = [i for i in range(32) if i not in spots]
    louder = embed_words(diffusion, prompts, 1.6).tokens[0]
    away = embed_words(diffusion, prompts, 1.5, empty).tokens[0]
    torch.testing.assert_close(louder[spots], 1.6 * plain[spots])
    torch.testing.assert_close(away[spots], 1.5 * plain[spots] - 0.5 * empty[spots])
    assert torch.equal(louder[others], plain[others])
    assert torch.equal(away[others], plain[others])


def test_prompts_in_company_see_what_they_see_alone(diffusion: Diffusion) -> None:
    """Six prompts go through in two batches."""
    from segwright.models.heads import finest_up

    prompts = word_prompts(diffusion.tokenizers[0], ["dog", "cat", "car", "bus", "sofa", "boat"], 6, "a photograph of")
    assert len(prompts) == 6
    latents = torch.randn(1, 4, 32, 32, generator=torch.Generator().manual_seed(0))
    sites = finest_up(diffusion.unet, [1])
    every = [(p, heads[sites[0]].average(row=row)) for p, row, heads in passes(diffusion, latents, 100, prompts, sites)]
    assert [p for p, _ in every] == prompts
    for prompt, its in every:
        ((_, row, heads),) = passes(diffusion, latents, 100, [prompt], sites)
        torch.testing.assert_close(heads[sites[0]].average(row=row), its, rtol=1e-4, atol=1e-6)
