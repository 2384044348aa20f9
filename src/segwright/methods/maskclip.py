"""MaskCLIP (Zhou, Loy and Dai, ECCV 2022): CLIP's last attention replaced by its value path, cell by cell.

Background: the paper has none of its own. Its benchmarks name everything (Context 59, COCO-Stuff) or leave background
pixels out (VOC 20). Here, where a photo may hold what no word names, SCLIP's background words compete as one class;
``background=()`` is the paper's own reading, in which every pixel gets a word. Every word competes, as published.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from segwright.errors import InputError
from segwright.methods.segmenter import (
    BACKGROUND_26,
    Segmenter,
    background_words,
    check_settings,
    check_sizes,
    fitted,
    prompts,
    sharp_scores,
    strongest,
    to_scores,
)
from segwright.models.clip import Clip
from segwright.models.clip_dense import dense_features, pixels
from segwright.profiles import Profile
from segwright.refine.pipeline import Row
from segwright.types import Image, Scores
from segwright.words.presence import Chosen
from segwright.words.templates import IMAGENET_80, MASKCLIP_85

OUT = -1e4  # a logit that no softmax knows any more, and that can be interpolated


_BOTH = {
    "preset": ("sd15", "any: the method uses CLIP alone"),
    "clip": ("clip-b16", "paper: ViT-B/16"),
    "short": (512, "published code: test scale (2048, 512), whole photos"),
    "residual": (True, "published code"),
    "background": ((), "the paper has no background class"),
    "candidates": ("none", "every class competes"),
    "refine": (None, "the paper has no refinement"),
}
PROFILES = {
    "paper": Profile(
        _BOTH
        | {
            "templates": (MASKCLIP_85, "paper: 85 prompts, as ViLD"),
            "key_smoothing": (1.0, "paper: KS"),
            "prompt_denoising": (0.5, "paper: PD, t = 0.5"),
        },
        note="With both of its refinements, its best row without training.",
    ),
    "published": Profile(
        _BOTH
        | {
            "templates": (MASKCLIP_85, "published code: 85 templates"),
            "key_smoothing": (0.0, "published code's default configuration"),
            "prompt_denoising": (0.0, "published code's default configuration"),
        },
        note="The figures that later papers print for VOC with background are those of TCL's and SCLIP's reruns.",
    ),
}


@dataclass(frozen=True)
class MaskCLIPSettings:
    """Defaults: the published code's. Sizes are for a network of 224 pixels, and scale with it.

    Attributes:
        short: side of the resized photo's short edge; the photo is seen whole (published code: 512).
        templates: prompts, their embeddings averaged; None: the preset's own, else CLIP's 80 for ImageNet (the published
            code adds five about a scene, ``segwright.words.templates.MASKCLIP_85``).
        residual: keep the last block's residual path; None: as the preset has it, which is the published code's way except
            for ``mini`` (``segwright.models.clip_dense.dense_features``).
        key_smoothing: cells whose best probability is below it take their neighbours' scores by key similarity (published:
            1.0, which means all cells); 0, the published code's default, is off.
        prompt_denoising: words whose best probability over the photo is below it are out (published: 0.5); 0 is off.
        background: words that stand for background; None: the preset's own, else SCLIP's 26 (ours: without any, every pixel gets a
            word, which is the paper's reading); () for none.
        candidates: which words may win: "none", all (published); "paper", "reference", "prefilter": those believed to be
            in the photo (``segwright.words.presence``).
        refine: refiners, joined by commas, or None (as published).
        seed: recorded; nothing is drawn at random (ours: 0, as any other).
    """

    short: int = 512
    templates: tuple[str, ...] | None = None
    residual: bool | None = None
    key_smoothing: float = 0.0
    prompt_denoising: float = 0.0
    background: tuple[str, ...] | None = None
    candidates: str = "none"
    refine: Row = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_settings(self)
        check_sizes(short=self.short)
        if not 0 <= self.key_smoothing <= 1 or not 0 <= self.prompt_denoising <= 1:
            got = f"{self.key_smoothing} and {self.prompt_denoising}"
            raise InputError(f"key_smoothing and prompt_denoising are probabilities in 0..1 (0 is off), got {got}")


@dataclass(frozen=True)
class MaskCLIP(Segmenter):
    """The method with its networks.

    The paper's CLIP is ViT-B/16: ``MaskCLIP(segwright.weights.load("sd15", clip="clip-b16"))``.

    >>> method = MaskCLIP.load("mini")
    >>> segmentation = method(image, words=["dog", "sofa"])
    """

    settings: MaskCLIPSettings = field(default_factory=MaskCLIPSettings)
    name: ClassVar = "maskclip"
    absent_words: ClassVar = "every word competes in every photo, and each pixel takes the strongest or background"
    Settings: ClassVar = MaskCLIPSettings
    needs: ClassVar = ("clip",)
    paper: ClassVar = "MaskCLIP (Zhou, Loy and Dai, ECCV 2022)"
    protocol: ClassVar = "tcl"
    profiles: ClassVar = PROFILES
    without_background: ClassVar = {"background": ()}

    def scores(self, image: Image, chosen: Chosen) -> Scores:
        """Coarse scores of one photo: cosines of every cell, the two optional refinements, softmax at the photo's size."""
        settings, clip = self.settings, self.networks.clip
        words = chosen.present
        back = background_words(settings.background, self.networks, BACKGROUND_26, chosen.words)
        texts = clip.embed_texts((*words, *back), prompts(settings.templates, self.networks, IMAGENET_80))
        residual = self.networks.preset.defaults.residual if settings.residual is None else settings.residual
        dense = dense_features(clip, pixels(clip, image, fitted(clip, image, settings.short)), "value", residual)
        logits = clip.logit_scale * torch.einsum("dhw,td->thw", dense.features[0], texts)
        logits = denoise(logits, settings.prompt_denoising)
        size, labels = (image.shape[0], image.shape[1]), [1 + i for i in chosen.candidates]
        if not settings.key_smoothing:
            return sharp_scores(chosen.words, labels, logits, size, count=len(words))
        mixed = smooth(logits.softmax(0), projected(clip, dense.keys[0]), settings.key_smoothing)
        return to_scores(chosen.words, labels, strongest(mixed, len(words)), size)


def denoise(logits: Tensor, least: float) -> Tensor:
    """Prompt denoising: (T, h, w) logits, very low for texts that are nowhere as probable as ``least``; all stay if none is."""
    best = logits.softmax(0).flatten(1).amax(1)
    out = best < least
    return logits if bool(out.all()) else logits.masked_fill(out[:, None, None], OUT)


@torch.no_grad()
def projected(clip: Clip, keys: Tensor) -> Tensor:
    """(C, h, w) keys after the attention's output projection, through which the published code sends them."""
    attn = clip.model.vision_model.encoder.layers[-1].self_attn
    cells = keys.flatten(1).T.to(attn.out_proj.weight.dtype)
    return attn.out_proj(cells).float().T.view_as(keys)


def smooth(probabilities: Tensor, keys: Tensor, least: float) -> Tensor:
    """Key smoothing: pred(x_i) = sum over j of cos(k_i, k_j) pred(x_j), for cells with no probability of ``least`` or more.

    Args:
        probabilities: (T, h, w).
        keys: (C, h, w), of the last attention layer (``projected``).

    Returns:
        (T, h, w), not negative, at no particular scale.
    """
    unit = F.normalize(keys.flatten(1), dim=0)
    flat = probabilities.flatten(1)
    mixed = flat @ (unit.T @ unit)
    unsure = flat.amax(0) < least
    return torch.where(unsure, mixed, flat).clamp(min=0).view_as(probabilities)
