"""SCLIP (Wang, Mei and Yuille, ECCV 2024): CLIP's dense features with correlative self-attention, in sliding windows.

Background as published for VOC: 26 words of background ("sky", "wall", "tree" ...) compete as one class, whose score is
the strongest of them; what no class reaches ``threshold`` with is background too, and so is a class that covers too
little of the foreground. Every word of the vocabulary competes, as published; ``candidates`` narrows that.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from segwright.errors import InputError
from segwright.methods.segmenter import (
    BACKGROUND_26,
    Segmenter,
    background_words,
    by_word,
    check_settings,
    check_sizes,
    named,
    prompts,
    sliding,
    strongest,
    to_scores,
)
from segwright.models.clip_dense import dense_features
from segwright.profiles import Profile
from segwright.refine.pipeline import Row
from segwright.types import Image, Scores
from segwright.words.presence import Chosen
from segwright.words.templates import IMAGENET_80

_PAPER = {
    "preset": ("sd15", "any: the method uses CLIP alone"),
    "clip": ("clip-b16", "paper: ViT-B/16"),
    "short": (336, "paper"),
    "window": (224, "paper"),
    "stride": (112, "paper"),
    "attention": ("correlative", "paper"),
    "templates": (IMAGENET_80, "paper"),
    "residual": (True, "published code"),
    "candidates": ("none", "every class competes"),
    "refine": (None, "the figures are without PAMR, paper"),
}
_CODE = "published code's configuration"
_NAMES = ("sclip", f"{_CODE}: its class list, several names a class")
_WITHOUT = {"scale": (0.4, f"{_CODE}: 40"), "background": ((), "no background"), "threshold": (0.0, _CODE), "area": (0.0, _CODE)}
PROFILES = {
    "paper": Profile(_PAPER, {"cityscapes": {"short": (560, "paper")}}, "The paper states no threshold; the defaults stay."),
    "published": Profile(
        _PAPER
        | {
            "scale": (0.65, f"{_CODE} for VOC: 65"),
            "background": (BACKGROUND_26, f"{_CODE} for VOC"),
            "threshold": (0.1, f"{_CODE} for VOC"),
            "area": (0.1, f"{_CODE} for VOC"),
        },
        {
            "voc": {"names": _NAMES},
            "context": {
                "names": _NAMES,
                "scale": (0.5, f"{_CODE}: 50"),
                "background": (("background",), f"{_CODE}: one word"),
                "area": (0.0, f"{_CODE}: none"),
            },
            "coco-object": {"names": _NAMES, "scale": (0.5, f"{_CODE}: 50"), "area": (0.0, f"{_CODE}: none")},
            "voc20": {"names": _NAMES} | _WITHOUT,
            "context59": {"names": _NAMES} | _WITHOUT,
            "coco-stuff": {"short": (448, _CODE)} | _WITHOUT,
            "ade20k": dict(_WITHOUT),
            "cityscapes": {"short": (560, _CODE)} | _WITHOUT,
        },
        "Values for no data set are VOC's.",
    ),
}


@dataclass(frozen=True)
class SCLIPSettings:
    """Defaults: the published code's for VOC with background. Sizes are for a network of 224 pixels, and scale with it.

    Attributes:
        short: side of the resized photo's short edge (paper: 336; 560 for Cityscapes).
        window: side of the sliding windows (paper: 224).
        stride: from one window to the next (paper: 112).
        attention: of the last layer; "correlative" is the paper's, "value" and "plain" its ablation.
        templates: prompts, their embeddings averaged; None: the preset's own, else the paper's, CLIP's 80 for ImageNet.
        residual: keep the last block's residual path; None: as the preset has it, which is the published code's way except
            for ``mini`` (``segwright.models.clip_dense.dense_features``).
        scale: cosines are multiplied by it times CLIP's own logit scale before the softmax (published code: 65 with
            OpenAI's 100 for VOC; 40 elsewhere).
        background: words that stand for background; None: the preset's own, else the published 26; () for none.
        threshold: a pixel whose strongest class is less probable is background (published code for VOC: 0.1).
        area: a class on less than this share of the foreground is background (published code for VOC: 0.1).
        candidates: which words may win: "none", all (published); "paper", "reference", "prefilter": those believed to be
            in the photo (``segwright.words.presence``).
        refine: refiners, joined by commas, or None (the paper's figures are without).
        seed: recorded; nothing is drawn at random (ours: 0, as any other).
    """

    short: int = 336
    window: int = 224
    stride: int = 112
    attention: str = "correlative"
    templates: tuple[str, ...] | None = None
    residual: bool | None = None
    scale: float = 0.65
    background: tuple[str, ...] | None = None
    threshold: float = 0.1
    area: float = 0.1
    candidates: str = "none"
    refine: Row = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_settings(self)
        check_sizes(short=self.short, window=self.window, stride=self.stride)
        if self.stride > self.window:
            raise InputError(f"stride must be at most the window ({self.window}), got {self.stride}")


@dataclass(frozen=True)
class SCLIP(Segmenter):
    """The method with its networks.

    The paper's CLIP is ViT-B/16: ``SCLIP(segwright.weights.load("sd15", clip="clip-b16"))``.

    >>> method = SCLIP.load("mini")
    >>> segmentation = method(image, words=["dog", "sofa"])
    """

    settings: SCLIPSettings = field(default_factory=SCLIPSettings)
    name: ClassVar = "sclip"
    absent_words: ClassVar = "every word competes in every photo, and each pixel takes the strongest or background"
    Settings: ClassVar = SCLIPSettings
    needs: ClassVar = ("clip",)
    paper: ClassVar = "SCLIP (Wang, Mei and Yuille, ECCV 2024)"
    protocol: ClassVar = "sclip"
    takes_synonyms: ClassVar = True  # a class's area counts all its names
    profiles: ClassVar = PROFILES
    without_background: ClassVar = {"background": (), "threshold": 0.0, "area": 0.0}

    def scores(self, image: Image, chosen: Chosen) -> Scores:
        """Coarse scores of one photo: windows, softmax over words and background words, the two thresholds."""
        settings, clip = self.settings, self.networks.clip
        names, owners = named(chosen)
        back = background_words(settings.background, self.networks, BACKGROUND_26, chosen.words)
        texts = clip.embed_texts((*names, *back), prompts(settings.templates, self.networks, IMAGENET_80))
        residual = self.networks.preset.defaults.residual if settings.residual is None else settings.residual

        def logits_of(windows: Tensor) -> Tensor:
            return torch.einsum("bdhw,td->bthw", dense_features(clip, windows, settings.attention, residual).features, texts)

        cosines = sliding(clip, image, settings.short, settings.window, settings.stride, logits_of=logits_of)
        count = len(chosen.present)
        probabilities = strongest(by_word((settings.scale * clip.logit_scale * cosines).softmax(0), owners, count), count)
        kept = demote(probabilities, settings.threshold, settings.area)
        return to_scores(chosen.words, [1 + i for i in chosen.candidates], kept, (image.shape[0], image.shape[1]))


def demote(probabilities: Tensor, threshold: float, area: float) -> Tensor:
    """(1 + K, h, w) with background first: classes on too small an area lose their scores, unsure cells become background.

    A class is small if it wins ``area`` of all cells that any class wins, or less. A cell is unsure if nothing in it
    reaches ``threshold``.
    """
    won = torch.nn.functional.one_hot(probabilities.argmax(0), len(probabilities)).sum((0, 1))[1:]
    large = (won > area * won.sum()).to(probabilities)
    kept = torch.cat([probabilities[:1], probabilities[1:] * large[:, None, None]])
    unsure = kept.amax(0) < threshold
    back = torch.zeros_like(kept)
    back[0] = 1
    return torch.where(unsure, back, kept)
