"""CLIP-ES (Lin et al., CVPR 2023): Grad-CAM of CLIP with a softmax over present words and background words, then attention.

CLIP-ES is weakly supervised: image-level labels say which classes a photo holds. Here the words that ``candidates``
believes to be in the photo stand for these labels; with ``candidates="none"`` the words given are the photo's labels themselves.

Background as published: 25 background words compete in the softmax that is differentiated, and take gradient from words
that only look like them; the background's score is what the strongest word leaves, (1 - max map) ^ ``power``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from scipy import ndimage
from torch import Tensor

from segwright.errors import InputError
from segwright.methods.segmenter import Segmenter, background_words, check_settings, check_sizes, prompts, resized, to_scores
from segwright.models.clip_dense import grad_cam, min_max, patch, pixels, scaled
from segwright.refine.pipeline import Row
from segwright.types import Image, Scores
from segwright.words.presence import Chosen

# The published code's list for VOC.
BACKGROUND_25 = (
    "ground", "land", "grass", "tree", "building", "wall", "sky", "lake", "water", "river", "sea", "railway", "railroad",
    "keyboard", "helmet", "cloud", "house", "mountain", "ocean", "road", "rock", "street", "valley", "bridge", "sign",
)  # fmt: skip
ORIGAMI = ("a clean origami {}.",)  # the paper's sharpest prompt
NEIGHBOURS = ((1, 1, 1), (1, 1, 1), (1, 1, 1))


@dataclass(frozen=True)
class CLIPESSettings:
    """Defaults: the published code's for VOC. Sizes are for a network of 224 pixels, and scale with it.

    Attributes:
        long: side of the photo's long edge as the network sees it, brought to whole patches (published: the photo's own
            size, which is 500 in VOC; a larger photo would be too much for its attention).
        templates: prompts; None: the preset's own, else the published one.
        layers: attention maps of that many last layers are averaged (paper: 8).
        box: cells above this share of a map's maximum make the boxes inside which it may spread (published code: 0.4 for VOC, 0.7
            for COCO).
        rounds: of Sinkhorn's normalisation (published code: 3).
        walks: times that the affinity is multiplied by itself, plus one (published code: 2); 0: the map stays as Grad-CAM gave it.
        power: of what is left for the background (the published code takes the better of 1 and 2 where no CRF follows, and
            1 before its CRF; on training scenes of preset mini that is 2).
        background: words that stand for background; None: the preset's own, else the published 25; () for none.
        candidates: stands for the image-level labels, which the paper is given: "reference" (ours: from the caption), "paper",
            "prefilter", or "none": all words are the photo's labels (``segwright.words.presence``).
        refine: refiners, joined by commas, or None. The published pseudo masks are after a CRF
            (``segwright.refine.CRF_CONSTANTS`` has its constants).
        seed: recorded; nothing is drawn at random (ours: 0, as any other).
    """

    long: int = 500
    templates: tuple[str, ...] | None = None
    layers: int = 8
    box: float = 0.4
    rounds: int = 3
    walks: int = 2
    power: float = 2.0
    background: tuple[str, ...] | None = None
    candidates: str = "reference"
    refine: Row = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_settings(self)
        check_sizes(long=self.long, layers=self.layers, rounds=self.rounds)
        if not 0 <= self.box < 1 or self.walks < 0 or self.power <= 0:
            got = f"{self.box}, {self.walks} and {self.power}"
            raise InputError(f"box must lie in 0..1, walks be 0 or more and power above 0, got {got}")


@dataclass(frozen=True)
class CLIPES(Segmenter):
    """The method with its networks.

    The paper's CLIP is ViT-B/16: ``CLIPES(segwright.weights.load("sd15", clip="clip-b16"))``.

    >>> method = CLIPES.load("mini")
    >>> segmentation = method(image, words=["dog", "sofa"])
    """

    settings: CLIPESSettings = field(default_factory=CLIPESSettings)
    name: ClassVar = "clip-es"
    absent_words: ClassVar = (
        "words that the caption's nouns stand for are taken as present, and each has its strongest place in the photo"
    )
    Settings: ClassVar = CLIPESSettings
    needs: ClassVar = ("clip",)
    paper: ClassVar = "CLIP-ES (Lin et al., CVPR 2023)"
    protocol: ClassVar = "whole"

    def scores(self, image: Image, chosen: Chosen) -> Scores:
        """Coarse scores of one photo: Grad-CAM, affinity, background from what is left."""
        size = self.size(image)
        maps = resized(min_max(self.maps(image, chosen, size)), size)
        rest = (1 - maps.amax(0, keepdim=True)).clamp(min=0) ** self.settings.power
        labels = [1 + i for i in chosen.candidates]
        return to_scores(chosen.words, labels, torch.cat([rest, maps]), (image.shape[0], image.shape[1]))

    def size(self, image: Image) -> tuple[int, int]:
        """(height, width) that the network sees: the long edge at ``long``, both in whole patches, rounded up."""
        clip, cell = self.networks.clip, patch(self.networks.clip)
        scale = scaled(clip, self.settings.long) / max(image.shape[:2])
        height, width = (max(1, -int(-side * scale // cell)) * cell for side in image.shape[:2])
        return height, width

    def maps(self, image: Image, chosen: Chosen, size: tuple[int, int]) -> Tensor:
        """(K, h, w), each present word's map, not negative: Grad-CAM, spread along the attention."""
        settings, clip = self.settings, self.networks.clip
        back = background_words(settings.background, self.networks, BACKGROUND_25, chosen.words)
        texts = clip.embed_texts((*chosen.present, *back), prompts(settings.templates, self.networks, ORIGAMI))
        seen = pixels(clip, image, size)
        words = range(len(chosen.candidates))
        found = grad_cam(clip, seen, texts, words, "patches", score="softmax", layers=settings.layers)
        maps = min_max(found.maps[0])
        if not settings.walks or found.attention is None:
            return maps
        return spread(maps, affinity(found.attention[0], settings.rounds, settings.walks), settings.box)


def affinity(attention: Tensor, rounds: int, walks: int) -> Tensor:
    """Attention (n, n) as a symmetric affinity: columns and rows normalised in turn (Sinkhorn), its mean with its transpose,
    to the power of ``walks``."""
    for _ in range(rounds):
        attention = attention / attention.sum(0, keepdim=True)
        attention = attention / attention.sum(1, keepdim=True)
    return torch.linalg.matrix_power((attention + attention.T) / 2, walks)


def spread(maps: Tensor, affinity: Tensor, box: float) -> Tensor:
    """(K, h, w) maps in 0..1, each carried along the affinity (h * w, h * w) from the cells inside its own boxes."""
    inside = torch.stack([boxes(m, box) for m in maps]).flatten(1)
    return ((maps.flatten(1) * inside) @ affinity.T).view_as(maps)


def boxes(scores: Tensor, share: float) -> Tensor:
    """(h, w) float32, 1 inside the boxes around connected parts (8 neighbours) above ``share`` of the maximum."""
    mask = torch.zeros_like(scores)
    parts, _ = ndimage.label((scores > share * scores.max()).cpu().numpy(), NEIGHBOURS)
    for place in ndimage.find_objects(parts):
        mask[place] = 1
    return mask
