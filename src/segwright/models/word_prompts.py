"""Prompts that name several words at once, as few as the text encoder's context allows, and each word's places in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from segwright.models.diffusion import BATCH, Diffusion, Embedding
from segwright.models.heads import Heads, attend
from segwright.models.sites import Site


@dataclass(frozen=True)
class WordPrompt:
    """One prompt.

    Attributes:
        text: what the text encoder reads.
        words: places of the words in it among those that were given, ascending.
        places: of each of these words, the places of its tokens; () where the context ends before it.
    """

    text: str
    words: tuple[int, ...]
    places: tuple[tuple[int, ...], ...]


def word_prompts(
    tokenizer: Any, words: Sequence[str], context: int, opening: str, joint: str = "and", *, closing: str = ""
) -> list[WordPrompt]:
    """``opening`` A ``joint`` B ``joint`` C ... ``closing``, parted by blanks.

    All words stand in one prompt where the encoder's context holds them, else in several, one after the other. The closing
    is not counted: where it does not fit it is cut, as the published codes' tokenizers do. A word that does not fit beside
    the opening alone is cut too.

    Args:
        tokenizer: a CLIP tokenizer; it parts its text at blanks, so that a word has the same tokens wherever it stands.
        context: tokens that the encoder reads, the first and last of them special (77).
    """
    sizes = [len(_tokens(tokenizer, word)) for word in words]
    start, gap, end = 1 + len(_tokens(tokenizer, opening)), len(_tokens(tokenizer, joint)), context - 1
    groups: list[list[tuple[int, int]]] = []  # (word, first token)
    at = end
    for word, size in enumerate(sizes):
        if groups and at + gap + size <= end:
            at += gap
            groups[-1].append((word, at))
        else:
            at = start
            groups.append([(word, at)])
        at += size
    return [_prompt(words, group, sizes, end, (opening, f" {joint} ", closing)) for group in groups]


def _prompt(
    words: Sequence[str], group: Sequence[tuple[int, int]], sizes: Sequence[int], end: int, parts: tuple[str, str, str]
) -> WordPrompt:
    opening, joint, closing = parts
    named = joint.join(words[word] for word, _ in group)
    places = tuple(tuple(i for i in range(first, first + sizes[word]) if i < end) for word, first in group)
    return WordPrompt(" ".join(p for p in (opening, named, closing) if p), tuple(word for word, _ in group), places)


def _tokens(tokenizer: Any, text: str) -> list[int]:
    special = set(tokenizer.all_special_ids)
    return [i for i in tokenizer(text).input_ids if i not in special]


def embed_words(diffusion: Diffusion, prompts: Sequence[WordPrompt], factor: float, origin: Tensor | None = None) -> Embedding:
    """The prompts' embeddings, at the words' places z0 + factor (z - z0).

    Args:
        origin: z0, (L, D); None for zero, so that the embeddings are multiplied by the factor.
    """
    found = diffusion.embed([p.text for p in prompts])
    tokens = found.tokens.clone()
    zero = torch.zeros_like(tokens[0]) if origin is None else origin
    for row, prompt in enumerate(prompts):
        for i in (i for spots in prompt.places for i in spots):
            tokens[row, i] = zero[i] + factor * (tokens[row, i] - zero[i])
    return replace(found, tokens=tokens)


def passes(
    diffusion: Diffusion,
    latents: Tensor,
    timestep: int,
    prompts: Sequence[WordPrompt],
    sites: Sequence[Site],
    *,
    factor: float = 1.0,
    origin: Tensor | None = None,
) -> Iterator[tuple[WordPrompt, int, Mapping[Site, Heads]]]:
    """Each prompt, its row in the heads' batch, and the heads of ``sites`` in the pass that read it.

    Args:
        latents: (1, 4, h, w) of one photo, noised already. Up to ``BATCH`` prompts go through the U-Net at once.
        factor: as for ``embed_words``.
        origin: as for ``embed_words``.
    """
    for i in range(0, len(prompts), BATCH):
        some = prompts[i : i + BATCH]
        embedding = embed_words(diffusion, some, factor, origin)
        heads = attend(diffusion, latents.expand(len(some), -1, -1, -1), timestep, embedding, sites)
        yield from ((prompt, row, heads) for row, prompt in enumerate(some))
