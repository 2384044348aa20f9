"""CLIPer (Sun et al., ICCV 2025): CLIP's layers fused into coherent maps, then sharpened by a diffusion model's self-attention.

Early-layer fusion: ``segwright.models.clip_layers``. Fine-grained compensation: the self-attention of two layers of one
U-Net pass, every head thinned out, all heads multiplied one after the other, carries the maps. Background as published:
background words and the mean of the words compete in CLIP's softmax; a word whose map nowhere gets strong is out; what no
map reaches ``threshold`` with is background. Every word of the vocabulary competes; ``candidates`` narrows that.
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
from segwright.images import stitch, windows
from segwright.methods.base import Trace
from segwright.methods.clip_es import BACKGROUND_25
from segwright.methods.cliper import explain
from segwright.methods.segmenter import (
    LONGEST,
    Segmenter,
    all_background,
    background_words,
    check_settings,
    check_sizes,
    prompts,
    resized,
    to_scores,
    with_background,
)
from segwright.models.clip_dense import min_max, patch, pixels, scaled
from segwright.models.clip_layers import layer_cosines
from segwright.models.heads import Heads, attend, finest_up
from segwright.profiles import Profile
from segwright.refine.pipeline import Row
from segwright.types import Image, Scores
from segwright.words.presence import Chosen
from segwright.words.templates import IMAGENET_80

TINY = 1e-5  # added to what maps and attention are divided by (published code)
WIDE = 8  # the maps are compared at this many times their cells: 512 for 64, as published
WINDOWS = 4  # through CLIP at once: each brings its attention, head by head

# The published configurations for CLIP ViT-L/14, with sliding windows where they give their figure with them (notes of the
# configurations: VOC 72.2, Context 39.5, Object 44.7, VOC-20 89.8). "object" has two background words less than VOC.
PUBLISHED: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "voc": {},
        "context": {
            "window": 224,
            "least": 0.2,
            "score": 0.2,
            "threshold": 0.2,
            "stretch": False,
            "background": ("background",),
        },
        "object": {
            "window": 224,
            "score": 0.4,
            "threshold": 0.4,
            "stretch": False,
            "background": tuple(word for word in BACKGROUND_25 if word not in ("keyboard", "sign")),
        },
        "voc20": {"layer": -1, "scale": 0.7, "least": 0.2, "score": 0.1, "threshold": 1e-4, "stretch": False},
    }
)


@dataclass(frozen=True)
class CLIPerSettings:
    """Defaults: the published configuration for VOC with CLIP ViT-L/14; ``PUBLISHED`` has the others.

    Sizes are for a network of 224 pixels, and scale with it.

    Attributes:
        short: side of the resized photo's short edge, both sides in whole patches (published code: 336).
        window: side of the sliding windows that are averaged with the whole photo, half and half; 0 for none (published code:
            336; Context and Object 224). With none the published configurations say 0.3 for ``score`` and ``threshold`` on
            Context, 0.5 on Object.
        stride: from one window to the next (published code: 112).
        templates: prompts, their embeddings averaged; None: the preset's own, else CLIP's 80 (published for Context and
            Object; the file that the VOC configuration names is not in the published code).
        scale: cosines are multiplied by it times CLIP's own logit scale before the softmax (published: 50 with OpenAI's 100
            for ViT-L/14; 100 for ViT-B/16; VOC without background 70).
        background: words that stand for background; None: the preset's own, else the published 25; () for none.
        rounds: of normalising columns and rows of the summed attention; None: once more for each layer, as the published
            code does in effect; 1: once.
        layer: whose maps are smoothed by the fused attention (published code: -2; ViT-B/16 and VOC without background -1).
        least: cells of these maps, and entries of the self-attention, below this share of their maximum become zero (published
            code: 0.1; Context 0.2).
        timestep: to which the photo is noised (published code: 101, step 45 of 50 of SD 2.1's scheduler).
        attentions: places among the decoder's finest self-attention layers, in the order of the matrix product (published code:
            ``up_blocks.3.attentions.1``, then ``0``; see ``segwright.models.heads.finest_up``).
        score: a word whose score is not above it is out (published code: 0.5; Context 0.3 without windows).
        threshold: of the maps, below which a pixel is background (published code: 0.4); 0: its score is (1 - strongest map)^2,
            as in an earlier published configuration.
        stretch: bring each map to 0..1 before that (published code: VOC yes; Context and Object no).
        candidates: which words may win: "none", all (published); "paper", "reference", "prefilter": those believed to be
            in the photo (``segwright.words.presence``).
        refine: refiners, joined by commas, or None (as published).
        seed: of the noise (ours: 0, as any other).
    """

    short: int = 336
    window: int = 336
    stride: int = 112
    templates: tuple[str, ...] | None = None
    scale: float = 0.5
    background: tuple[str, ...] | None = None
    rounds: int | None = None
    layer: int = -2
    least: float = 0.1
    timestep: int = 101
    attentions: tuple[int, ...] = (1, 0)
    score: float = 0.5
    threshold: float = 0.4
    stretch: bool = True
    candidates: str = "none"
    refine: Row = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_settings(self)
        check_sizes(short=self.short, stride=self.stride, rounds=1 if self.rounds is None else self.rounds)
        if self.window < 0 or (self.window and self.stride > self.window):
            raise InputError(f"window must be 0 (none) or at least the stride ({self.stride}), got {self.window}")
        if not 0 <= self.timestep <= 999 or self.scale <= 0 or self.layer >= 0:
            got = f"{self.timestep}, {self.scale} and {self.layer}"
            raise InputError(f"timestep must lie in 0..999, scale be above 0 and layer count from the last (-1), got {got}")
        if not 0 <= self.least < 1 or not 0 <= self.threshold <= 1 or self.score < 0:
            got = f"{self.least}, {self.threshold} and {self.score}"
            raise InputError(f"least must lie in 0..1, threshold in 0..1 and score be 0 or more, got {got}")
        if not self.attentions or min(self.attentions) < 0:
            raise InputError(f"attentions must be places from 0, at least one, got {self.attentions}")


@dataclass(frozen=True)
class Steps:
    """What one photo goes through. K are the words that compete.

    Attributes:
        early: (K, h, w) float32, CLIP's maps after early-layer fusion, not negative, at CLIP's cells.
        fine: (K, n, n) float32, carried by the diffusion model's self-attention, n cells a side.
        scores: (K,) float32, half the maximum of either map.
        kept: places of the words whose score is high enough.
    """

    early: Tensor
    fine: Tensor
    scores: Tensor
    kept: tuple[int, ...]


@dataclass(frozen=True)
class CLIPer(Segmenter):
    """The method with its networks.

    The paper's are CLIP ViT-L/14 and SD 2.1 base at 512 pixels; a preset's own CLIP and diffusion model, at its own size,
    stand in for them.

    >>> method = CLIPer.load("mini")
    >>> segmentation = method(image, words=["dog", "sofa"])
    """

    settings: CLIPerSettings = field(default_factory=CLIPerSettings)
    name: ClassVar = "cliper"
    absent_words: ClassVar = "every word competes in every photo, and one that is nowhere strong enough is out"
    Settings: ClassVar = CLIPerSettings
    needs: ClassVar = ("diffusion", "clip")
    paper: ClassVar = "CLIPer (Sun et al., ICCV 2025)"
    protocol: ClassVar = "whole"
    weak_with: ClassVar = ("mini",)  # IoU 0.12 on the eight drawn scenes of ``segwright check``
    # Its configuration for VOC without background.
    without_background: ClassVar = {"score": 0.0, "threshold": 1e-4, "stretch": False}
    by_data: ClassVar = {data.replace("object", "coco-object"): changes for data, changes in PUBLISHED.items()}
    profiles: ClassVar = {
        "published": Profile(
            {"preset": ("sd21", "published code: SD 2.1"), "clip": ("clip-l14", "published code: ViT-L/14")},
            {data: {k: (v, "published code's configuration") for k, v in changes.items()} for data, changes in by_data.items()},
            "Values for no data set are the defaults, the published configuration for VOC. SD 2.1 runs at 768 pixels here.",
        )
    }

    def trace(self, image: Image, words: Sequence[str] | None = None) -> Trace:
        """Segment one image; its steps are made again where they are looked at."""
        return Trace(self(image, words), partial(explain.body, image, self, words))

    def explain(self, image: Image, words: Sequence[str] | None = None, title: str = "") -> Page:
        """The page of the steps on one image."""
        return explain.page(image, self, words, title)

    def scores(self, image: Image, chosen: Chosen) -> Scores:
        """Coarse scores of one photo, for the words that are strong enough somewhere."""
        return self.finish(self.steps(image, chosen), image, chosen)

    def noted(self, image: Image, chosen: Chosen) -> tuple[Scores, dict[str, Any]]:
        """The scores, and each word's score for the notes."""
        steps = self.steps(image, chosen)
        return self.finish(steps, image, chosen), {"word_scores": dict(zip(chosen.present, steps.scores.tolist(), strict=True))}

    def steps(self, image: Image, chosen: Chosen) -> Steps:
        """Early-layer fusion, fine-grained compensation, scores."""
        early = self.early(image, chosen)
        fine = self.compensate(image, early)
        scores = (early.amax((1, 2)) + fine.amax((1, 2))) / 2
        kept = tuple(i for i, score in enumerate(scores.tolist()) if score > self.settings.score)
        return Steps(early, fine, scores, kept)

    def finish(self, steps: Steps, image: Image, chosen: Chosen) -> Scores:
        """The kept words' maps against the background."""
        size = (image.shape[0], image.shape[1])
        if not steps.kept:
            return all_background(chosen.words, size)
        kept, side = list(steps.kept), steps.fine.shape[1] * WIDE
        wide = resized(steps.fine[kept], (side, side))
        maps = wide / (wide.amax((1, 2), keepdim=True) + TINY) * steps.scores[kept, None, None]
        values = with_background(min_max(maps) if self.settings.stretch else maps, self.settings.threshold)
        return to_scores(chosen.words, [1 + chosen.candidates[i] for i in kept], values, size)

    def early(self, image: Image, chosen: Chosen) -> Tensor:
        """(K, h, w): the mean over layers of the words' probabilities, plus one layer's, smoothed by the fused attention."""
        settings, clip, words = self.settings, self.networks.clip, chosen.present
        back = background_words(settings.background, self.networks, BACKGROUND_25, chosen.words)
        texts = clip.embed_texts((*words, *back), prompts(settings.templates, self.networks, IMAGENET_80))
        texts = torch.cat([texts, torch.nn.functional.normalize(texts[: len(words)].mean(0, keepdim=True), dim=1)])
        seen = pixels(clip, image, self.size(image))
        logits, attention = self._logits(seen, texts)
        probabilities = logits[0].softmax(1)[:, : len(words)]
        if settings.window:
            probabilities = (probabilities + self._slide(seen, texts).softmax(1)[:, : len(words)]) / 2
        if -settings.layer > len(probabilities):
            raise InputError(f"layer must be -1 (the last) .. {-len(probabilities)} for this CLIP, got {settings.layer}")
        picked = probabilities[settings.layer]
        thinned = picked * (picked >= settings.least * picked.amax((1, 2), keepdim=True))
        mean = probabilities.mean(0) + (thinned - picked) / len(probabilities)  # the published code thins the layer in the mean too
        return (thinned.flatten(1) @ attention[0]).view_as(picked) + mean

    def size(self, image: Image) -> tuple[int, int]:
        """(height, width) that CLIP sees: the short edge at ``short``, the long one at most ``LONGEST``, in whole patches."""
        clip, cell, sides = self.networks.clip, patch(self.networks.clip), image.shape[:2]
        scale = min(scaled(clip, self.settings.short) / min(sides), scaled(clip, LONGEST) / max(sides))
        height, width = (max(1, int(side * scale / cell + 0.5)) * cell for side in sides)
        return height, width

    def _logits(self, seen: Tensor, texts: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N, T, h, w) and the attention (B, h * w, h * w)."""
        clip, settings = self.networks.clip, self.settings
        cosines, attention = layer_cosines(clip, seen, texts, settings.rounds)
        return settings.scale * clip.logit_scale * cosines, attention

    def _slide(self, seen: Tensor, texts: Tensor) -> Tensor:
        """(N, T, h, w): logits averaged over windows, then carried by the windows' attention, put together."""
        clip, settings, cell = self.networks.clip, self.settings, patch(self.networks.clip)
        height, width = seen.shape[2] // cell, seen.shape[3] // cell
        side, stride = (scaled(clip, size) // cell for size in (settings.window, settings.stride))
        places = windows(height, width, side, stride)
        whole = seen.new_zeros(height, width, height, width, dtype=torch.float32)
        count = torch.zeros_like(whole)
        parts: list[Tensor] = []
        for i in range(0, len(places), WINDOWS):
            some = places[i : i + WINDOWS]
            cut = [seen[:, :, y * cell : (y + h) * cell, x * cell : (x + w) * cell] for y, x, h, w in some]
            logits, attention = self._logits(torch.cat(cut), texts)
            parts.extend(logits)
            for (y, x, h, w), its in zip(some, attention, strict=True):
                whole[y : y + h, x : x + w, y : y + h, x : x + w] += its.view(h, w, h, w)
                count[y : y + h, x : x + w, y : y + h, x : x + w] += 1
        joined = (whole / (count + TINY)).view(height * width, height * width)
        joined = joined / joined.sum(1, keepdim=True).clamp(min=1e-12)
        return (stitch(parts, places, (height, width)).flatten(2) @ joined).unflatten(2, (height, width))

    def compensate(self, image: Image, maps: Tensor) -> Tensor:
        """(K, h, w) -> (K, n, n): the maps, carried by the product of all heads of the chosen self-attention layers.

        One U-Net pass with the empty prompt. The product is never made: the last head's matrix is applied first.
        """
        diffusion, settings = self.networks.diffusion, self.settings
        latents = diffusion.noise(diffusion.encode(diffusion.pixels([image])), settings.timestep, settings.seed)
        sites = finest_up(diffusion.unet, settings.attentions)
        heads = attend(diffusion, latents, settings.timestep, diffusion.embed([""]), sites)
        return carried(maps, [heads[site] for site in sites], settings.least)


def carried(maps: Tensor, layers: Sequence[Heads], least: float) -> Tensor:
    """(K, h, w) -> (K, n, n): A_1 A_2 ... A_m times each map at n x n cells, the A_i all heads of the layers in their order."""
    cells = layers[0].cells
    values = resized(maps, (cells, cells)).flatten(1).T
    for layer in reversed(layers):
        for index in reversed(range(layer.count)):
            values = thin(layer.head(index), least) @ values
    return values.T.unflatten(1, (cells, cells)).contiguous()


def thin(attention: Tensor, least: float) -> Tensor:
    """(n, n) over its columns' maxima, zero below ``least``, rows brought to a sum of 1; changes ``attention`` itself."""
    attention /= attention.amax(0, keepdim=True) + TINY
    attention.masked_fill_(attention < least, 0)
    attention /= attention.sum(1, keepdim=True) + TINY
    return attention
