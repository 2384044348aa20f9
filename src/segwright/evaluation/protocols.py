"""What a protocol changes: the photo's size, the words' names, the method's settings, void, and the headline measure.

A literal table. Nothing else differs between protocols: the truth is always at the photo's own size, and labels are
brought back to it (scores bilinearly before the argmax, where a method has scores; else labels by nearest neighbour).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from segwright.datasets.dataset import Dataset, Truth
from segwright.errors import InputError
from segwright.images import resize
from segwright.methods.base import Loaded, Method, MethodSpec, settings_known
from segwright.types import Image
from segwright.words.templates import GROUPVIT_7, IMAGENET_80

# TCL's nine prompts: GroupViT's seven and two more ("custom" in its published code; method notes: 9 templates).
TCL_9 = (*GROUPVIT_7, "a photo of many {}.", "a photo of {}s.")


@dataclass(frozen=True)
class Protocol:
    """One way to measure.

    Attributes:
        name: for people and reports.
        source: where it comes from.
        short_side: photos are resized to it before the method sees them; None: as they are.
        official: the benchmark's official names (aeroplane, pottedplant) instead of ours (airplane, potted plant).
        renamed: data set -> further our name -> its name.
        settings: settings of a method that are set where the method has them and they were left at their default.
        background: data sets whose unlabelled pixels are scored as background, though they are usually left out.
        void_as_background: pixels that are left out of the truth count as background, where background is a class.
        measure: the headline: "miou" (one confusion matrix over the split) or "miou_per_image".
        unlabelled: pixels may stay without a word even where every pixel of the data set has a class.
        given: the method is given words; else it finds its own, and those that are a class's name by letter stand for it.
    """

    name: str
    source: str
    short_side: int | None = None
    official: bool = False
    renamed: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    background: tuple[str, ...] = ()
    void_as_background: bool = False
    measure: Literal["miou", "miou_per_image"] = "miou"
    unlabelled: bool = False
    given: bool = True

    def words(self, dataset: Dataset) -> tuple[str, ...]:
        """The names by which the data set's classes are asked for, in its order."""
        names = dataset.official if self.official and dataset.official else dataset.words
        further = self.renamed.get(dataset.name, {})
        return tuple(further.get(ours, name) for ours, name in zip(dataset.words, names, strict=True))

    def scored(self, dataset: Dataset) -> Dataset:
        """The data set, with background as a class where this protocol scores it."""
        return replace(dataset, background=True) if dataset.name in self.background else dataset

    def shown(self, image: Image) -> Image:
        """The photo as the method sees it."""
        if self.short_side is None or min(image.shape[:2]) == self.short_side:
            return image
        scale = self.short_side / min(image.shape[:2])
        return resize(image, (max(1, round(image.shape[0] * scale)), max(1, round(image.shape[1] * scale))))

    def truth(self, truth: Truth, dataset: Dataset) -> Truth:
        """The truth as this protocol counts it."""
        if self.void_as_background and dataset.background:
            return np.where(truth == dataset.ignored, 0, truth)
        return truth


# SCLIP gives a class several names (television monitor, tv monitor, ...; person, person in shirt, ...); this is the first of each.
_SCLIP_VOC = {"boat": "ship", "table": "table", "monitor": "television monitor"}
OWN = Protocol("segwright", "ours: photos as they are, our names, void left out, dataset-level mIoU")
PROTOCOLS = {
    "segwright": OWN,
    "tcl": Protocol(
        "tcl", "TCL (Cha et al. 2023), its published configuration; GroupViT has the same geometry",
        short_side=448, official=True, settings={"short": 448, "window": 448, "stride": 224, "templates": TCL_9},
    ),
    "sclip": Protocol(
        "sclip", "SCLIP (Wang et al. 2024), its published configuration, but one name a class",
        short_side=336, official=True, renamed={"voc": _SCLIP_VOC, "voc20": _SCLIP_VOC},
        settings={"short": 336, "window": 224, "stride": 112, "templates": IMAGENET_80},
    ),
    # Its figures: ``segwright.evaluation.named``; its words: ``segwright.evaluation.asking``.
    "named": Protocol("named", "ours: words that are there and words that are not, all else unlabelled", unlabelled=True),
    "open": Protocol("open", "ours: no words given; names found that are no class's count as background", given=False),
}  # fmt: skip
PAPER = "paper"
# ``--protocol paper``: as the paper of the method itself measured; ``Method.protocol`` names one.
PAPERS = {
    "per-image": Protocol(
        PAPER, "published code: mean over photos of the mean IoU of the classes in them, void as background, official names",
        official=True, background=("coco27",), void_as_background=True, measure="miou_per_image",
    ),
    "whole": Protocol(PAPER, "photos as they are, dataset-level mIoU"),
    "tcl": PROTOCOLS["tcl"],
    "sclip": PROTOCOLS["sclip"],
}  # fmt: skip
NAMES = (*PROTOCOLS, PAPER)


def find_protocol(name: str, method: type[Method]) -> Protocol:
    """A protocol by name; PAPER depends on the method.

    Raises:
        InputError: there is none.
    """
    if name == PAPER:
        if method.protocol not in PAPERS:
            raise InputError(f"no paper's protocol is known for {method.__name__}; use --protocol {', '.join(PROTOCOLS)}")
        return PAPERS[method.protocol]
    if name not in PROTOCOLS:
        raise InputError(f"protocol must be one of {', '.join(NAMES)}, got {name!r}")
    return PROTOCOLS[name]


def settings_for(protocol: Protocol, source: MethodSpec | Loaded, dataset: Dataset) -> dict[str, Any]:
    """What protocol and data set add to a method's settings: those that it has and that were not chosen.

    The protocol "paper" adds what the method's paper has for this data set alone. For data sets without background,
    methods that have such settings are asked not to predict it; for others the argmax is taken over the words' scores.
    What a profile has for this very data set stays.
    """
    published = source.kind.by_data.get(dataset.name, {}) if protocol.name == PAPER else {}
    without = {} if dataset.background or protocol.unlabelled else dict(source.kind.without_background)
    wanted = dict(protocol.settings) | without | dict(published)
    kept = {*source.chosen, *source.of_profile}
    return {name: value for name, value in wanted.items() if name in settings_known(source.kind) and name not in kept}
