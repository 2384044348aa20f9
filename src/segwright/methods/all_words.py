"""DiffSegmenter's maps for all words from one U-Net pass, where the published method takes one pass a word."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from segwright.methods.diffsegmenter import DiffSegmenter, weigh, word_map
from segwright.models.heads import Heads
from segwright.models.sites import find_sites
from segwright.models.word_prompts import passes, word_prompts
from segwright.types import Image


@torch.no_grad()
def all_words(method: DiffSegmenter, image: Image, words: Sequence[str]) -> Tensor:
    """(K, n, n) float32, one map a word as ``DiffSegmenter.maps`` gives them, from one prompt that names all words.

    The prompt is the method's opening with "A and B and C" for the word, and BLIP does not go on from it. The words share
    its attention: a token's probabilities sum to 1 over the prompt, so that what is one word's is not another's. Words
    that the text encoder's context does not hold are in further passes. One word alone gives what the method without
    captions gives.
    """
    diffusion, settings = method.networks.diffusion, method.settings
    latents = diffusion.noise(diffusion.encode(diffusion.pixels([image])), settings.timestep, settings.seed)
    opening, closing = (part.strip() for part in settings.opening.split("{}"))
    longest = int(diffusion.text_encoders[0].config.max_position_embeddings)
    prompts = word_prompts(diffusion.tokenizers[0], words, longest, opening, closing=closing)
    _, _, recorded = method._recorders()
    sites = [s for s in find_sites(diffusion.unet) if s.module in recorded]
    empty, maps = diffusion.embed([""]).tokens[0], []
    for prompt, row, heads in passes(diffusion, latents, settings.timestep, prompts, sites, settings.emphasis, empty):
        cross = {
            r: _mean([heads[s] for s in sites if s.kind == "cross" and s.resolution == r], row)
            for r in sorted({s.resolution for s in sites if s.kind == "cross"})
        }
        own = [heads[s] for s in sites if s.kind == "attention"]
        cells, whole = own[0].cells, _mean(own, row) if settings.complete else None
        for spots in prompt.places:
            mixed = weigh({r: word_map(m, spots) for r, m in cross.items()}, method.weights, cells)
            maps.append(mixed if whole is None else (whole @ mixed.flatten()).view(cells, cells))
    return torch.stack(maps)


def _mean(layers: Sequence[Heads], row: int) -> Tensor:
    """(Q, K), the mean over layers and their heads."""
    total = layers[0].average(row=row)
    for layer in layers[1:]:
        total += layer.average(row=row)
    return total / len(layers)
