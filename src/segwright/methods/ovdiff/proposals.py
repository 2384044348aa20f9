"""Class-agnostic object proposals of support pictures, for OVDiff's Eq. 1 (the paper: CutLER, whose weights are non-commercial)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from segwright.methods.ovdiff.extractors import NETWORK, extract
from segwright.presets import Preset
from segwright.regions.maskcut import maskcut
from segwright.types import Image
from segwright.weights import Networks

# name -> the networks that it needs beside the extractors'
PROPOSALS: dict[str, tuple[str, ...]] = {"attention": (), "maskcut": (), "sam": ("sam",)}


def proposal_networks(name: str, preset: Preset) -> tuple[str, ...]:
    """The networks that proposals need: MaskCut DINO where the preset has it, else its first extractor's."""
    if name != "maskcut":
        return PROPOSALS[name]
    extractor = _cut_by(preset)
    return (NETWORK.get(extractor, extractor),)


def _cut_by(preset: Preset) -> str:
    return "dino" if "dino" in preset.extractors else preset.extractors[0]


MASKCUT_SIDE = 32  # cells; its cost grows with the sixth power of the side


def propose(name: str, networks: Networks, images: Sequence[Image]) -> list[Tensor]:
    """(R, h, w) bool proposals of each picture, by "maskcut" (DINO's keys; the preset's first extractor where it has no DINO)
    or "sam" (Segment Anything)."""
    return GENERATORS[name](networks, images)


def _maskcut(networks: Networks, images: Sequence[Image]) -> list[Tensor]:
    name = _cut_by(networks.preset)
    found = []
    for image in images:
        features = extract(name, networks, [image], support=True)
        side = min(MASKCUT_SIDE, features.shape[2])
        found.append(maskcut(torch.nn.functional.adaptive_avg_pool2d(features, side)[0]))
    return found


def _sam(networks: Networks, images: Sequence[Image]) -> list[Tensor]:
    return [networks.sam.proposals(image) for image in images]


GENERATORS: dict[str, Callable[[Networks, Sequence[Image]], list[Tensor]]] = {"maskcut": _maskcut, "sam": _sam}
