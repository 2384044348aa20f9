"""iSeg (Sun et al. 2024): cross-attention to all words in one pass, refined again and again by sharpened self-attention.

Category-enhanced cross-attention: the words' embeddings are amplified, and cells that attend to the prompt alike share
their maps. Entropy-reduced self-attention: weak entries of the self-attention are pushed to zero, so that many rounds of
refinement do not blur the maps. The published classifier (TagCLIP) names the classes of a photo; here ``candidates`` does.
Background as published: (1 - strongest map)^2, or a threshold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor

from segwright.errors import InputError
from segwright.files.html import Page
from segwright.methods.base import Trace
from segwright.methods.iseg import explain
from segwright.methods.segmenter import (
    Segmenter,
    background_words,
    check_settings,
    check_sizes,
    resized,
    to_scores,
    with_background,
)
from segwright.models.clip_dense import min_max
from segwright.models.heads import Heads, finest_up
from segwright.models.sites import RESOLUTIONS, Site, find_sites
from segwright.models.word_prompts import WordPrompt, passes, word_prompts
from segwright.refine.pipeline import Row
from segwright.types import Image, Scores
from segwright.words.presence import Chosen

WIDE = 8  # the maps are compared at this many times their cells: 512 for 64, as published
WEIGHTS = ((16, 0.7), (32, 0.3))
# The published code's choice of cross-attention layers in SD 1.x and 2.x: at 32 cells the outermost two are left out.
LAYERS = (
    "down_blocks.1.attentions.1",
    "down_blocks.2.attentions.0",
    "down_blocks.2.attentions.1",
    "up_blocks.1.attentions.0",
    "up_blocks.1.attentions.1",
    "up_blocks.1.attentions.2",
    "up_blocks.2.attentions.0",
    "up_blocks.2.attentions.1",
)
# What its prompts for VOC and Object end with; the rest of its lists (those of CLIP-ES) is not part of its prompts.
CONTEXT_9 = ("ground", "land", "grass", "tree", "building", "wall", "sky", "lake", "water")
CONTEXT_12 = (*CONTEXT_9, "river", "sea", "railway")
# Its heads for VOC, of SD 2.1's 100 at 16 cells and 30 at 32, counted over the layers of ``LAYERS`` in the order of a pass.
HEADS_VOC = (
    (
        16,
        (76, 1, 43, 17, 81, 6, 44, 27, 2, 8, 22, 20, 60, 78, 12, 83, 94, 47, 88, 96, 3, 33, 46, 52, 77, 93, 51, 58, 0, 13, 14, 19,
         34, 41, 59, 87, 16, 24, 28, 30, 32),
    ),
    (32, (22, 5, 21, 13, 8, 27, 28, 6, 25)),
)  # fmt: skip

# The published settings of a data set, as changes to the defaults.
PUBLISHED: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "voc": {"cross_heads": HEADS_VOC, "context": CONTEXT_9},
        "context": {"iterations": 5, "entropy": 0.002, "context": ()},
        "object": {"iterations": 10, "entropy": 0.2, "threshold": 0.45, "context": CONTEXT_12},
    }
)


@dataclass(frozen=True)
class ISegSettings:
    """Defaults: the published code's for VOC, but all heads of the cross-attention; ``PUBLISHED`` has those of each data set.

    Attributes:
        timestep: to which the photo is noised (published code: 100).
        opening: the prompt's beginning (published code); it is ``opening`` A ``joint`` B ... ``closing``, context words.
        joint: between two words (published code).
        closing: after the last word (published code).
        context: words that end the prompt; None: the preset's own background words, else the published nine.
        emphasis: the words' embeddings are multiplied by it (published code: 1.6).
        weights: of the cross-attention maps by resolution, in cells of a 64x64 latent; None: the preset's own, else the
            published 0.7 for 16 and 0.3 for 32. Those that a U-Net lacks are left out.
        layers: cross-attention layers (published code); a U-Net that lacks one of them gives all that it has at these resolutions.
        cross_heads: for each resolution the heads that count, numbered over its layers in the order of a pass; None: all
            (Context and Object as published; for VOC see ``HEADS_VOC``, which only fits SD 2.1).
        clusters: of the KL clustering of cells by their attention to the prompt; prototypes start on a grid of about that
            many cells (published code: 32, which is 36 of 64 x 64). 0 for no clustering.
        rounds: so many times prototypes are updated (published code: 20).
        layer: place among the decoder's finest self-attention layers (published code: 1, ``up_blocks.3.attentions.1``; see
            ``segwright.models.heads.finest_up``; the last where there are fewer).
        heads: of that layer, numbered from 0, averaged (published code: 1 and 2); () for all.
        entropy: weight of the entropy reduction (published code: VOC 0.015, Context 0.002, Object 0.2).
        iterations: of the refinement (published code: VOC 8, Context 5, Object 10).
        threshold: of the maps, in 0..1 over the photo, below which a pixel is background (published code: Object 0.45); 0: the
            background's score is (1 - strongest map)^2 (published code: VOC, Context).
        candidates: which words are in the prompt: "reference" (ours: in place of the published classifier), "paper",
            "prefilter", or "none", all (``segwright.words.presence``).
        refine: refiners, joined by commas, or None (as published).
        seed: of the noise (ours: 0, as any other).
    """

    timestep: int = 100
    opening: str = "a photograph of"
    joint: str = "and"
    closing: str = "and other object and background"
    context: tuple[str, ...] | None = None
    emphasis: float = 1.6
    weights: tuple[tuple[int, float], ...] | None = None
    layers: tuple[str, ...] = LAYERS
    cross_heads: tuple[tuple[int, tuple[int, ...]], ...] | None = None
    clusters: int = 32
    rounds: int = 20
    layer: int = 1
    heads: tuple[int, ...] = (1, 2)
    entropy: float = 0.015
    iterations: int = 8
    threshold: float = 0.0
    candidates: str = "reference"
    refine: Row = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_settings(self)
        check_sizes(rounds=self.rounds)
        if isinstance(self.context, str):
            raise InputError(f"context must be a tuple of words, got the text {self.context!r}; write ({self.context!r},)")
        if not 0 <= self.timestep <= 999 or not 0 <= self.threshold <= 1:
            raise InputError(f"timestep must lie in 0..999 and threshold in 0..1, got {self.timestep} and {self.threshold}")
        if min(self.clusters, self.iterations, self.layer) < 0 or self.entropy < 0 or self.emphasis <= 0:
            got = f"{self.clusters}, {self.iterations}, {self.layer}, {self.entropy} and {self.emphasis}"
            raise InputError(f"clusters, iterations, layer and entropy must be 0 or more and emphasis above 0, got {got}")
        if self.weights is not None and (not self.weights or any(r not in RESOLUTIONS or w <= 0 for r, w in self.weights)):
            raise InputError(f"weights must be (resolution of {RESOLUTIONS}, above 0) pairs, got {self.weights}")


@dataclass(frozen=True)
class Steps:
    """What one photo goes through. K are the words in the prompts, n the cells a side of the self-attention.

    Attributes:
        prompts: what the U-Net read; more than one where the text encoder's context did not hold all words.
        cross: (K, n, n) float32, the weighted cross-attention, each resolution's map of sum 1.
        shared: (K, n, n) float32, the same averaged within the clusters.
        refined: (K, n, n) float32, after the last iteration; each map starts at 0 and has sum 1.
    """

    prompts: tuple[WordPrompt, ...]
    cross: Tensor
    shared: Tensor
    refined: Tensor


@dataclass(frozen=True)
class ISeg(Segmenter):
    """The method with its networks.

    The paper's diffusion model is SD 2.1 base at 512 pixels; a preset's own, at its own size, stands in for it.

    >>> method = ISeg.load("mini")
    >>> segmentation = method(image, words=["dog", "sofa"])
    """

    settings: ISegSettings = field(default_factory=ISegSettings)
    name: ClassVar = "iseg"
    absent_words: ClassVar = (
        "words that the caption's nouns stand for are taken as present, and each has its strongest place in the photo"
    )
    Settings: ClassVar = ISegSettings
    needs: ClassVar = ("diffusion",)
    paper: ClassVar = "iSeg (Sun et al. 2024)"
    protocol: ClassVar = "whole"
    # Its choice of heads for VOC fits SD 2.1 alone.
    by_data: ClassVar = {
        data.replace("object", "coco-object"): {k: v for k, v in changes.items() if k != "cross_heads"}
        for data, changes in PUBLISHED.items()
    }

    def trace(self, image: Image, words: Sequence[str] | None = None) -> Trace:
        """Segment one image; its steps are made again where they are looked at."""
        return Trace(self(image, words), partial(explain.body, image, self, words))

    def explain(self, image: Image, words: Sequence[str] | None = None, title: str = "") -> Page:
        """The page of the steps on one image."""
        return explain.page(image, self, words, title)

    def scores(self, image: Image, chosen: Chosen) -> Scores:
        """Coarse scores of one photo: each word's refined map in 0..1, against the background."""
        return self.finish(self.steps(image, chosen), image, chosen)

    def noted(self, image: Image, chosen: Chosen) -> tuple[Scores, dict[str, Any]]:
        """The scores, and the prompts for the notes."""
        steps = self.steps(image, chosen)
        return self.finish(steps, image, chosen), {"prompts": [p.text for p in steps.prompts]}

    def finish(self, steps: Steps, image: Image, chosen: Chosen) -> Scores:
        """The maps at ``WIDE`` times their cells against the background."""
        side = steps.refined.shape[1] * WIDE
        values = with_background(min_max(resized(steps.refined, (side, side))), self.settings.threshold)
        return to_scores(chosen.words, [1 + i for i in chosen.candidates], values, (image.shape[0], image.shape[1]))

    @torch.no_grad()
    def steps(self, image: Image, chosen: Chosen) -> Steps:
        """One U-Net pass for all words, or as few as the text encoder's context allows; what each of them gives."""
        diffusion, settings = self.networks.diffusion, self.settings
        latents = diffusion.noise(diffusion.encode(diffusion.pixels([image])), settings.timestep, settings.seed)
        found, own, crossing = self.prompts(chosen), self._own(), self._crossing()
        cross, shared, refined = [], [], []
        for prompt, row, heads in passes(diffusion, latents, settings.timestep, found, [own, *crossing], factor=settings.emphasis):
            tokens = self._tokens({site: heads[site] for site in crossing}, row, heads[own].cells)
            alike = share(tokens, settings.clusters, settings.rounds) if settings.clusters else tokens
            cross.append(of_words(tokens, prompt))
            shared.append(of_words(alike, prompt))
            moved = transition(heads[own].average(settings.heads or None, row), settings.entropy)
            refined.append(iterate(shared[-1], moved, settings.iterations))
        return Steps(tuple(found), torch.cat(cross), torch.cat(shared), torch.cat(refined))

    def prompts(self, chosen: Chosen) -> list[WordPrompt]:
        """All words that are believed to be in the photo, then what the background may hold."""
        diffusion, settings = self.networks.diffusion, self.settings
        context = background_words(settings.context, self.networks, CONTEXT_9, chosen.words)
        closing = ", ".join(part for part in (settings.closing, *context) if part)
        longest = int(diffusion.text_encoders[0].config.max_position_embeddings)
        return word_prompts(diffusion.tokenizers[0], chosen.present, longest, settings.opening, settings.joint, closing=closing)

    @property
    def weights(self) -> dict[int, float]:
        """Resolution -> weight of its cross-attention."""
        own = self.networks.preset.defaults.cross or WEIGHTS
        return dict(own if self.settings.weights is None else self.settings.weights)

    def _own(self) -> Site:
        """The self-attention layer that refines."""
        unet, place = self.networks.diffusion.unet, self.settings.layer
        return finest_up(unet, range(place + 1))[-1]

    def _crossing(self) -> list[Site]:
        """The cross-attention layers that count, in the order of a pass."""
        here = [s for s in find_sites(self.networks.diffusion.unet) if s.kind == "cross"]
        wanted = [s for s in here if s.resolution in self.weights]
        if not wanted:
            there = sorted({s.resolution for s in here})
            raise InputError(
                f"this U-Net has no cross-attention at resolutions {sorted(self.weights)}, only at {there}; choose other weights"
            )
        named = {name: [s for s in wanted if s.name.startswith(f"{name}.")] for name in self.settings.layers}
        if all(named.values()):
            return [s for s in wanted if any(s in sites for sites in named.values())]
        if self.settings.cross_heads == HEADS_VOC:
            raise InputError("HEADS_VOC are heads of SD 2.1, and this U-Net has other layers; leave cross_heads at None for all")
        return wanted

    def _tokens(self, heads: Mapping[Site, Heads], row: int, cells: int) -> Tensor:
        """(L, cells, cells): every token's map, each resolution's of sum 1, resized and weighted."""
        total = torch.zeros(())
        for resolution in sorted({site.resolution for site in heads}):
            layers = [heads[site] for site in heads if site.resolution == resolution]
            maps = chosen_heads(layers, dict(self.settings.cross_heads or ()).get(resolution), row).T
            side = layers[0].cells
            even = (maps / maps.sum(1, keepdim=True)).unflatten(1, (side, side))
            total = total.to(even) + self.weights[resolution] * resized(even, (cells, cells))
        return total


def chosen_heads(layers: list[Heads], chosen: tuple[int, ...] | None, row: int) -> Tensor:
    """(Q, L), the mean over heads that are numbered over all layers of one resolution; over all heads if None.

    Raises:
        InputError: a head that is not there.
    """
    places = [(layer, index) for layer in layers for index in range(layer.count)]
    wanted = range(len(places)) if chosen is None else chosen
    if not wanted or any(not 0 <= i < len(places) for i in wanted):
        raise InputError(
            f"cross_heads must be of 0..{len(places) - 1} here, got up to {max(wanted, default=None)}; "
            "the published choice is of SD 2.1's heads, leave cross_heads at None for all"
        )
    maps = (places[i][0].head(places[i][1], row) for i in wanted)
    return sum(maps, torch.zeros(())) / len(wanted)


def of_words(tokens: Tensor, prompt: WordPrompt) -> Tensor:
    """(L, n, n) -> (K, n, n): the mean over each word's tokens; nothing for a word that the prompt lost."""
    return torch.stack([tokens[list(spots)].mean(0) if spots else torch.zeros_like(tokens[0]) for spots in prompt.places])


def share(tokens: Tensor, clusters: int, rounds: int) -> Tensor:
    """(L, n, n) -> (L, n, n): each cell gets the mean of the cells in its cluster.

    Cells are clustered by their L values: the nearest prototype in the symmetric Kullback-Leibler divergence, prototypes the
    means of their cells. They start on a grid of every floor(n / sqrt(clusters))-th row and column; empty ones vanish.
    """
    side = tokens.shape[1]
    points = tokens.flatten(1).T
    points = torch.where(points == 0, 1e-6, points)
    at = torch.arange(0, side, max(1, int(side // clusters**0.5)), device=tokens.device)
    prototypes = points[(at[:, None] * side + at[None]).flatten()]
    nearest = torch.zeros(len(points), dtype=torch.long, device=tokens.device)
    for _ in range(rounds):
        nearest = torch.stack([_divergence(p, points) for p in prototypes]).argmin(0).unique(return_inverse=True)[1]
        prototypes = _means(points, nearest)
    return _means(tokens.flatten(1).T, nearest)[nearest].T.view_as(tokens)


def _divergence(prototype: Tensor, points: Tensor) -> Tensor:
    """(L,), (N, L) -> (N,): half the sum of (p - q) log(p / q), that is the mean of the two divergences; 1e-5 is added to all."""
    p, q = prototype + 1e-5, points + 1e-5
    return ((p - q) * (p.log() - q.log())).sum(1) / 2


def _means(points: Tensor, cluster: Tensor) -> Tensor:
    """(N, L) -> (clusters, L)."""
    count = int(cluster.max()) + 1
    totals = points.new_zeros(count, points.shape[1]).index_add_(0, cluster, points)
    return totals / torch.bincount(cluster, minlength=count)[:, None]


def transition(attention: Tensor, entropy: float) -> Tensor:
    """(N, N), rows the cells that look -> the matrix that refines: over its columns' maxima, entropy reduced, rows of sum 1.

    T += entropy * log10(e T) where T is not 0, one step down the gradient of the entropy; then T is cut off at 0.
    """
    moved = attention / attention.amax(0, keepdim=True)
    step = torch.where(moved == 0, 0, entropy * torch.log10(torch.e * moved))
    moved = moved.add_(step).clamp_(min=0)
    return moved.div_(moved.sum(1, keepdim=True).clamp(min=1e-12))


def iterate(maps: Tensor, moved: Tensor, iterations: int) -> Tensor:
    """(K, n, n): c = T c, ``iterations`` times; before the first and after each the least is taken off and the sum made 1."""
    values = _settled(maps.flatten(1).T)
    for _ in range(iterations):
        values = _settled(moved @ values)
    return values.T.unflatten(1, maps.shape[1:]).contiguous()


def _settled(values: Tensor) -> Tensor:
    """(N, K): a map of one value becomes 0."""
    lifted = values - values.amin(0, keepdim=True)
    return lifted / lifted.sum(0, keepdim=True).clamp(min=1e-12)
