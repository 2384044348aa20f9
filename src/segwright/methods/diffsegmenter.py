"""DiffSegmenter (Wang et al. 2023): a diffusion model's cross-attention to a class's word, completed by its self-attention.

The published category filter keeps the classes that BLIP and CLIP find in the photo; here ``candidates`` does that.
Background as published: one threshold. A pixel where no word's map, in 0..1 over the photo, exceeds ``threshold`` is
background. The published code takes the threshold that is best on each benchmark; the default here is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from segwright.errors import InputError
from segwright.methods.segmenter import Segmenter, check_settings, resized, to_scores
from segwright.models.attention import Recorder, attached
from segwright.models.clip_dense import min_max
from segwright.models.diffusion import BATCH, Embedding
from segwright.models.heads import Heads
from segwright.models.sites import RESOLUTIONS, find_sites
from segwright.models.tokens import word_places
from segwright.models.word_prompts import passes, word_prompts
from segwright.presets import Preset
from segwright.refine.pipeline import Row
from segwright.types import Image, Scores
from segwright.words.presence import Chosen

OPENING = "a photograph of {}"
WEIGHTS = ((8, 0.3), (16, 0.5), (32, 0.1), (64, 0.1))


@dataclass(frozen=True)
class DiffSegmenterSettings:
    """Defaults: the published code's.

    Attributes:
        timestep: to which the photo is noised (published code: 100).
        opening: how a class's prompt begins; BLIP continues it (published: "a photograph of {}").
        caption: let BLIP continue (published code); else the prompt is the opening alone.
        emphasis: the class word's embedding is moved away from the empty prompt's by this factor (published: "++" of the
            library compel, which is 1.1 squared).
        weights: of the cross-attention maps by resolution, in cells of a 64x64 latent; None: the preset's own, else the
            published 0.3, 0.5, 0.1, 0.1 for 8, 16, 32, 64. Those that a U-Net lacks are left out and the rest rescaled
            to a sum of 1.
        complete: multiply by the finest self-attention (once, as published).
        threshold: of the maps, below which a pixel is background (ours: the best of 0.30 to 0.50 on training scenes of
            preset mini; the published code takes the best of 0.30 to 0.74 on each benchmark).
        candidates: which words get a pass: "reference" (ours: in place of the published filter), "paper", "prefilter", or "none",
            all (``segwright.words.presence``).
        refine: refiners, joined by commas, or None (as published).
        seed: of the noise (ours: 0, as any other).
    """

    timestep: int = 100
    opening: str = OPENING
    caption: bool = True
    emphasis: float = 1.21
    weights: tuple[tuple[int, float], ...] | None = None
    complete: bool = True
    threshold: float = 0.35
    candidates: str = "reference"
    refine: Row = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_settings(self)
        if not 0 <= self.timestep <= 999 or not 0 <= self.threshold <= 1:
            raise InputError(f"timestep must lie in 0..999 and threshold in 0..1, got {self.timestep} and {self.threshold}")
        if self.opening.count("{}") != 1:
            raise InputError(f"opening needs {{}} once where the word goes, got {self.opening!r}")
        if self.weights is not None and (not self.weights or any(r not in RESOLUTIONS or w <= 0 for r, w in self.weights)):
            raise InputError(f"weights must be (resolution of {RESOLUTIONS}, above 0) pairs, got {self.weights}")


@dataclass(frozen=True)
class DiffSegmenter(Segmenter):
    """The method with its networks.

    The paper's captioner is BLIP large: ``DiffSegmenter(segwright.weights.load("sd15", captioner="blip-large"))``.

    >>> method = DiffSegmenter.load("mini")
    >>> segmentation = method(image, words=["dog", "sofa"])
    """

    settings: DiffSegmenterSettings = field(default_factory=DiffSegmenterSettings)
    name: ClassVar = "diffsegmenter"
    absent_words: ClassVar = (
        "words that the caption's nouns stand for are taken as present, and each has its strongest place in the photo"
    )
    Settings: ClassVar = DiffSegmenterSettings
    needs: ClassVar = ("diffusion",)
    paper: ClassVar = "DiffSegmenter (Wang et al. 2023)"
    protocol: ClassVar = "whole"

    @classmethod
    def asks_for(cls, preset: Preset, settings: DiffSegmenterSettings, words: bool) -> tuple[str, ...]:
        """As every segmenter, and the captioner, which continues the prompts."""
        return (*super().asks_for(preset, settings, words), *(("captioner",) if settings.caption else ()))

    def scores(self, image: Image, chosen: Chosen) -> Scores:
        """Coarse scores of one photo: each word's map at the model's size, and the threshold as the background's score."""
        side = self.networks.diffusion.image_size
        maps = min_max(resized(self.maps(image, chosen.present), (side, side)))
        values = torch.cat([torch.full_like(maps[:1], self.settings.threshold), maps])
        return to_scores(chosen.words, [1 + i for i in chosen.candidates], values, (image.shape[0], image.shape[1]))

    @torch.no_grad()
    def maps(self, image: Image, words: Sequence[str]) -> Tensor:
        """(K, n, n) float32, one a word, n cells a side of the finest self-attention: A_self @ sum of weighted A_cross."""
        diffusion, settings = self.networks.diffusion, self.settings
        latents = diffusion.noise(diffusion.encode(diffusion.pixels([image])), settings.timestep, settings.seed)
        texts = [self.prompt(image, word) for word in words]
        parts = []
        for i in range(0, len(words), BATCH):
            parts.append(self._pass(latents, words[i : i + BATCH], texts[i : i + BATCH]))
        return torch.cat(parts)

    @property
    def weights(self) -> dict[int, float]:
        """Resolution -> weight of its cross-attention."""
        own = self.networks.preset.defaults.cross or WEIGHTS
        return dict(own if self.settings.weights is None else self.settings.weights)

    def prompt(self, image: Image, word: str) -> str:
        """The opening with the word, and the captioner's continuation."""
        opening = self.settings.opening.replace("{}", word)
        if not self.settings.caption:
            return opening
        continued = self.networks.captioner.caption([image], opening)[0]
        return opening + continued[len(opening) :] if continued.lower().startswith(opening.lower()) else opening

    def _pass(self, latents: Tensor, words: Sequence[str], texts: Sequence[str]) -> Tensor:
        """One batch through the U-Net, (k, n, n)."""
        diffusion, settings = self.networks.diffusion, self.settings
        longest = diffusion.text_encoders[0].config.max_position_embeddings
        found = [word_places(diffusion.tokenizers[0], text, word) for text, word in zip(texts, words, strict=True)]
        places = [tuple(i for i in spots if i < longest) for spots in found]  # long prompts are cut
        cross, whole, by_module = self._recorders()
        with attached(by_module):
            diffusion.predict(latents.expand(len(words), -1, -1, -1), settings.timestep, self.embed(texts, places))
        cells = round(whole.mean.shape[1] ** 0.5)
        maps = []
        for row, spots in enumerate(places):
            mixed = weigh({r: word_map(c.mean[row], spots) for r, c in cross.items()}, self.weights, cells)
            maps.append((whole.mean[row] @ mixed.flatten()).view(cells, cells) if settings.complete else mixed)
        return torch.stack(maps)

    @torch.no_grad()
    def all_words(self, image: Image, words: Sequence[str]) -> Tensor:
        """(K, n, n) float32, as ``maps`` gives them, but from one pass whose prompt names all words (ours).

        The prompt is the opening with "A and B and C" for the word, and BLIP does not continue it. The words share its
        attention: a token's probabilities sum to 1 over the prompt, so that what is one word's is not another's. Words
        that the text encoder's context does not hold are in further passes. One word alone gives what the method without
        captions gives.
        """
        diffusion, settings = self.networks.diffusion, self.settings
        latents = diffusion.noise(diffusion.encode(diffusion.pixels([image])), settings.timestep, settings.seed)
        opening, closing = (part.strip() for part in settings.opening.split("{}"))
        longest = int(diffusion.text_encoders[0].config.max_position_embeddings)
        prompts = word_prompts(diffusion.tokenizers[0], words, longest, opening, closing=closing)
        recorded = self._recorders()[2]
        sites = [s for s in find_sites(diffusion.unet) if s.module in recorded]
        empty, maps = diffusion.embed([""]).tokens[0], []
        for prompt, row, heads in passes(
            diffusion, latents, settings.timestep, prompts, sites, factor=settings.emphasis, origin=empty
        ):
            cross = {
                r: mean_of_layers([heads[s] for s in sites if s.kind == "cross" and s.resolution == r], row)
                for r in sorted({s.resolution for s in sites if s.kind == "cross"})
            }
            own = [heads[s] for s in sites if s.kind == "attention"]
            cells, whole = own[0].cells, mean_of_layers(own, row) if settings.complete else None
            for spots in prompt.places:
                mixed = weigh({r: word_map(m, spots) for r, m in cross.items()}, self.weights, cells)
                maps.append(mixed if whole is None else (whole @ mixed.flatten()).view(cells, cells))
        return torch.stack(maps)

    def _recorders(self) -> tuple[dict[int, Recorder], Recorder, dict[nn.Module, Recorder]]:
        """One for the cross-attention of each wanted resolution, one for the finest self-attention, and where they go.

        Layers share a recorder, so its mean is over heads and layers.
        """
        sites = find_sites(self.networks.diffusion.unet)
        wanted = set(self.weights)
        crossing = [s for s in sites if s.kind == "cross" and s.resolution in wanted]
        if not crossing:
            here = sorted({s.resolution for s in sites if s.kind == "cross"})
            raise InputError(
                f"this U-Net has no cross-attention at resolutions {sorted(wanted)}, only at {here}; choose other weights"
            )
        finest = max(s.resolution for s in sites if s.kind == "attention")
        cross = {s.resolution: Recorder(keep=True) for s in crossing}
        whole = Recorder(keep=True)
        own: dict[nn.Module, Recorder] = {s.module: whole for s in sites if s.kind == "attention" and s.resolution == finest}
        return cross, whole, {s.module: cross[s.resolution] for s in crossing} | own

    def embed(self, texts: Sequence[str], places: Sequence[tuple[int, ...]]) -> Embedding:
        """The prompts' embeddings, at the words' places moved away from the empty prompt's: z0 + emphasis (z - z0)."""
        diffusion = self.networks.diffusion
        found, empty = diffusion.embed(texts), diffusion.embed([""]).tokens[0]
        tokens = found.tokens.clone()
        for row, spots in enumerate(places):
            for i in spots:
                tokens[row, i] = empty[i] + self.settings.emphasis * (tokens[row, i] - empty[i])
        return replace(found, tokens=tokens)


def mean_of_layers(layers: Sequence[Heads], row: int) -> Tensor:
    """(Q, K), the mean over layers and their heads."""
    total = layers[0].average(row=row)
    for layer in layers[1:]:
        total += layer.average(row=row)
    return total / len(layers)


def word_map(attention: Tensor, places: tuple[int, ...]) -> Tensor:
    """(cells, tokens) -> (n, n), the mean over a word's tokens; nothing for a word that the prompt lost."""
    side = round(len(attention) ** 0.5)
    return attention[:, list(places)].mean(1).view(side, side) if places else attention.new_zeros(side, side)


def weigh(maps: dict[int, Tensor], weights: dict[int, float], cells: int) -> Tensor:
    """(cells, cells): each resolution's map resized, brought to 0..1 and weighted; the weights of those there sum to 1."""
    total = sum(weights[resolution] for resolution in maps)
    parts = [weights[r] / total * min_max(resized(m[None], (cells, cells)))[0] for r, m in maps.items()]
    return torch.stack(parts).sum(0)
