"""GroupViT (Xu et al., CVPR 2022): learned groups of patches, each named by the nearest word, in sliding windows.

Background as published: what no word is sure of is background. A pixel whose group's best probability is below
``threshold`` (or below the photo's best, where that is lower) gets the background.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from segwright.errors import InputError
from segwright.methods.segmenter import Segmenter, check_settings, check_sizes, sliding, to_scores
from segwright.models.groupvit import Groups
from segwright.refine.pipeline import Row
from segwright.types import Image, Scores
from segwright.words.presence import Chosen
from segwright.words.templates import GROUPVIT_7


@dataclass(frozen=True)
class GroupViTSettings:
    """Defaults: the published code's for VOC. Sizes are for a network of 224 pixels, and scale with it.

    Attributes:
        short: side of the resized photo's short edge (published code: 448).
        window: side of the sliding windows (published code: 448).
        stride: from one window to the next (published code: 224).
        templates: prompts, their embeddings averaged (the published code's seven).
        most: words that may win in one window, the nearest to it as a whole (published code: 5).
        threshold: probabilities below it are background (published code: 0.95 for VOC and COCO, 0.35 for Context).
        candidates: which words may win: "none", all (published); "paper", "reference", "prefilter": those believed to be
            in the photo (``segwright.words.presence``).
        refine: refiners, joined by commas, or None (as published).
        seed: recorded; nothing is drawn at random (ours: 0, as any other).
    """

    short: int = 448
    window: int = 448
    stride: int = 224
    templates: tuple[str, ...] = GROUPVIT_7
    most: int = 5
    threshold: float = 0.95
    candidates: str = "none"
    refine: Row = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_settings(self)
        check_sizes(short=self.short, window=self.window, stride=self.stride, most=self.most)
        if self.stride > self.window:
            raise InputError(f"stride must be at most the window ({self.window}), got {self.stride}")


@dataclass(frozen=True)
class GroupViT(Segmenter):
    """The method with its networks. Preset ``mini`` has none of this kind.

    >>> method = GroupViT.load("sd15")
    >>> segmentation = method(image, words=["dog", "sofa"])
    """

    settings: GroupViTSettings = field(default_factory=GroupViTSettings)
    name: ClassVar = "groupvit"
    absent_words: ClassVar = (
        "every word competes in every photo, and a group takes its nearest word unless the threshold leaves it to background"
    )
    Settings: ClassVar = GroupViTSettings
    needs: ClassVar = ("groupvit",)
    paper: ClassVar = "GroupViT (Xu et al., CVPR 2022)"
    protocol: ClassVar = "tcl"

    def scores(self, image: Image, chosen: Chosen) -> Scores:
        """Coarse scores of one photo: the mean of its windows' shares."""
        settings, network = self.settings, self.networks.groupvit
        texts = network.embed_texts(chosen.present, settings.templates)

        def logits_of(windows: Tensor) -> Tensor:
            size = (windows.shape[2], windows.shape[3])
            return shares(network.groups(windows), texts, network.logit_scale, settings.most, settings.threshold, size=size)

        values = sliding(network, image, settings.short, settings.window, settings.stride, logits_of=logits_of)
        return to_scores(chosen.words, [1 + i for i in chosen.candidates], values, (image.shape[0], image.shape[1]))


def shares(groups: Groups, texts: Tensor, scale: float, most: int, threshold: float, *, size: tuple[int, int]) -> Tensor:
    """(B, 1 + N, H, W): background (0 or 1) and each word's score at ``size``.

    A group's score for a word is its softmax over the ``most`` words nearest to the window, times its softmax over all.
    A pixel takes the scores of the group that is strongest there; the assignment is resized first.
    """
    logits = scale * groups.vectors @ texts.T
    nearest = (groups.images @ texts.T).topk(min(most, len(texts)), dim=1).indices
    out = torch.ones(len(logits), len(texts), dtype=torch.bool, device=logits.device).scatter(1, nearest, False)
    scores = logits.masked_fill(out[:, None], -torch.inf).softmax(2) * logits.softmax(2)
    wide = F.interpolate(groups.assignment, size, mode="bilinear", align_corners=False)
    owner = wide.argmax(1).flatten(1)
    words = scores.gather(1, owner[:, :, None].expand(-1, -1, len(texts)))
    least = scores.amax((1, 2)).clamp(max=threshold)
    unsure = words.amax(2) < least[:, None]
    return torch.cat([unsure[:, :, None].float(), words], 2).transpose(1, 2).unflatten(2, size)
