"""OVDiff's feature extractors: photos -> one vector a cell, from networks trained for something else (Sec. 4.1, Table 2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from segwright.errors import InputError
from segwright.types import Image
from segwright.weights import Networks

MATCHED, DRAWN = 448 / 512, 1.0  # CLIP's and ViT's picture beside the diffusion model's: of photos, of support pictures
LONG = 800 / 512  # likewise a photo's longest side for DINO
Shape = tuple[int, int]


def _sd(networks: Networks, images: Sequence[Image], seed: int, support: bool) -> Tensor:
    """Queries of cross-attention at t=200 with an empty prompt."""
    diffusion = networks.diffusion
    return diffusion.features(diffusion.pixels(images), networks.preset.matching, seed=seed)


def _clip(networks: Networks, images: Sequence[Image], seed: int, support: bool) -> Tensor:
    """Keys of the last layer but one."""
    return networks.clip.keys(images, -2, _square(networks, _patch(networks.clip), support))


def _clip_tokens(networks: Networks, images: Sequence[Image], seed: int, support: bool) -> Tensor:
    """Tokens after the last layer but one (Table 2's weaker variant)."""
    return networks.clip.patch_features(images, -2, _square(networks, _patch(networks.clip), support))


def _dino(networks: Networks, images: Sequence[Image], seed: int, support: bool) -> Tensor:
    """Keys of the last layer; a photo keeps its shape, and a window of at most 448 pixels its size."""
    patch = int(networks.dino.model.config.patch_size)
    if support:
        return networks.dino.keys(images, -1, _square(networks, patch, True))
    size = networks.preset.image_size
    return networks.dino.keys(images, -1, kept_shape(images[0].shape[:2], size * MATCHED, size * LONG, patch))


def _mae(networks: Networks, images: Sequence[Image], seed: int, support: bool) -> Tensor:
    """Keys of the last layer."""
    return networks.mae.keys(images, -1, _square(networks, int(networks.mae.model.config.patch_size), support))


def _patch(clip: Any) -> int:
    return int(clip.model.config.vision_config.patch_size)


def _square(networks: Networks, patch: int, support: bool) -> int:
    """448 pixels for photos and 512 for support pictures, of a diffusion model of 512, in whole patches."""
    return max(1, round(networks.preset.image_size * (DRAWN if support else MATCHED) / patch)) * patch


def kept_shape(shape: Shape, side: float, longest: float, patch: int) -> Shape:
    """(height, width) at which DINO sees a photo or window: as it is if neither side is above ``side``; else the short side at
    ``side``, the long one at most at ``longest``; whole patches, rounded down (published code)."""
    height, width = shape
    scale = 1.0
    if max(height, width) > side:
        scale = min(side / min(height, width), longest / max(height, width))
    return max(1, int(height * scale + 1e-6) // patch) * patch, max(1, int(width * scale + 1e-6) // patch) * patch


EXTRACTORS: dict[str, Callable[[Networks, Sequence[Image], int, bool], Tensor]] = {
    "sd": _sd, "clip": _clip, "clip-tokens": _clip_tokens, "dino": _dino, "mae": _mae,
}  # fmt: skip

NETWORK = {"sd": "diffusion", "clip-tokens": "clip"}  # the networks' kinds, where they are not called like the extractor


def extract(name: str, networks: Networks, images: Sequence[Image], seed: int = 0, *, support: bool = False) -> Tensor:
    """(B, D, h, w) float32 features of photos of one size, each squeezed to the network's square; DINO keeps a photo's shape.

    Sizes are the published code's. It normalises CLIP's pixels by ImageNet's mean and spread; here they are CLIP's own.

    Args:
        name: one of ``EXTRACTORS``.
        support: they are support pictures, which CLIP, DINO and MAE see larger than photos.
        seed: of the diffusion noise; the same for support pictures and photos.

    Raises:
        InputError: an unknown extractor.
        WeightsError: the preset lacks its network.
    """
    check_extractors((name,))
    return EXTRACTORS[name](networks, images, seed, support)


def check_extractors(names: Sequence[str]) -> None:
    """Raises:
    InputError: none, an unknown or a repeated extractor.
    """
    unknown = [name for name in names if name not in EXTRACTORS]
    if not names or unknown or len(set(names)) < len(names):
        raise InputError(f"extractors must be of {', '.join(EXTRACTORS)}, each at most once, got {', '.join(names) or 'none'}")
