"""OVDiff's feature extractors: photos -> one vector a cell, from networks trained for something else (Sec. 4.1, Table 2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from segwright.errors import InputError
from segwright.types import Image
from segwright.weights import Networks

SIDE = 448 / 512  # CLIP's and DINO's picture beside the diffusion model's (published code)


def _sd(networks: Networks, images: Sequence[Image], seed: int) -> Tensor:
    """Queries of cross-attention at t=200 with an empty prompt."""
    diffusion = networks.diffusion
    return diffusion.features(diffusion.pixels(images), networks.preset.matching, seed=seed)


def _clip(networks: Networks, images: Sequence[Image], seed: int) -> Tensor:
    """Keys of the last layer but one."""
    patch = int(networks.clip.model.config.vision_config.patch_size)
    return networks.clip.keys(images, -2, _side(networks, patch))


def _dino(networks: Networks, images: Sequence[Image], seed: int) -> Tensor:
    """Keys of the last layer."""
    return networks.dino.keys(images, -1, _side(networks, int(networks.dino.model.config.patch_size)))


def _mae(networks: Networks, images: Sequence[Image], seed: int) -> Tensor:
    """Tokens of the last layer."""
    return networks.mae.features(images, -1, _side(networks, int(networks.mae.model.config.patch_size)))


def _side(networks: Networks, patch: int) -> int:
    """448 pixels for a diffusion model of 512, in whole patches."""
    return max(1, round(networks.preset.image_size * SIDE / patch)) * patch


EXTRACTORS: dict[str, Callable[[Networks, Sequence[Image], int], Tensor]] = {"sd": _sd, "clip": _clip, "dino": _dino, "mae": _mae}

NETWORK = {"sd": "diffusion"}  # the networks' kinds, where they are not called like the extractor


def extract(name: str, networks: Networks, images: Sequence[Image], seed: int = 0) -> Tensor:
    """(B, D, h, w) float32 features of photos of any sizes, each squeezed to the network's square.

    Args:
        name: one of ``EXTRACTORS``.
        seed: of the diffusion noise; the same for support pictures and photos.

    Raises:
        InputError: an unknown extractor.
        WeightsError: the preset lacks its network.
    """
    check_extractors((name,))
    return EXTRACTORS[name](networks, images, seed)


def check_extractors(names: Sequence[str]) -> None:
    """Raises:
    InputError: none, an unknown or a repeated extractor.
    """
    unknown = [name for name in names if name not in EXTRACTORS]
    if not names or unknown or len(set(names)) < len(names):
        raise InputError(f"extractors must be of {', '.join(EXTRACTORS)}, each at most once, got {', '.join(names) or 'none'}")
