"""Where a word is: regions that CLIP names, and cross-attention to the words, from one U-Net pass; carried by self-attention."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from segwright.methods.best.field import Field
from segwright.methods.diffsegmenter import WEIGHTS, weigh, word_map
from segwright.methods.segmenter import resized
from segwright.models.diffusion import Diffusion, FeatureSettings
from segwright.models.heads import Heads, finest_up
from segwright.models.sites import Site, find_sites
from segwright.models.word_prompts import passes, word_prompts
from segwright.regions.kmeans import kmeans
from segwright.types import Image
from segwright.weights import Networks

OPENING = "a photograph of"


@dataclass(frozen=True)
class Pass:
    """What one U-Net pass gives.

    Attributes:
        features: (C, n, n) float32, FreeSeg-Diff's.
        cross: (P, m, m) float32 in 0..1, DiffSegmenter's maps of the first P titles, those that the prompt held.
        own: the self-attention that carries maps.
        prompt: what the U-Net read.
    """

    features: Tensor
    cross: Tensor
    own: Heads
    prompt: str


@torch.no_grad()
def one_pass(networks: Networks, image: Image, titles: Sequence[str], timestep: int, seed: int) -> Pass:
    """One pass over the noised photo with one prompt that names as many titles as its encoder reads."""
    diffusion, settings = networks.diffusion, networks.preset.features
    latents = diffusion.noise(diffusion.encode(diffusion.pixels([image])), timestep, seed)
    longest = int(diffusion.text_encoders[0].config.max_position_embeddings)
    prompt = word_prompts(diffusion.tokenizers[0], titles, longest, OPENING)[0] if titles else None
    weights = dict(networks.preset.defaults.cross or WEIGHTS)
    crossing = [s for s in find_sites(diffusion.unet) if s.kind == "cross" and s.resolution in weights]
    own = finest_up(diffusion.unet, (0, 1, 2))[-1]
    prompts = [prompt] if prompt else word_prompts(diffusion.tokenizers[0], ["photo"], longest, "a")
    taken: dict[Site, Tensor] = {}
    with ExitStack() as stack:
        wanted = _feature_sites(diffusion, settings, own)
        for site in wanted:
            stack.callback(_kept(site, taken, settings.size))
        its, row, heads = next(iter(passes(diffusion, latents, timestep, prompts, [own, *crossing])))
    by_resolution = {r: [heads[s] for s in crossing if s.resolution == r] for r in sorted({s.resolution for s in crossing})}
    layers = {r: torch.stack([h.average(row=row) for h in found]).mean(0) for r, found in by_resolution.items()}
    cells = heads[own].cells
    held = [spots for spots in its.places if spots] if prompt else []
    maps = [weigh({r: word_map(m, spots) for r, m in layers.items()}, weights, cells) for spots in held]
    cross = torch.stack(maps) if maps else torch.zeros(0, cells, cells, device=latents.device)
    return Pass(torch.cat([taken[s] for s in wanted])[:, :, :], cross, heads[own], its.text)


def _feature_sites(diffusion: Diffusion, settings: FeatureSettings, last: Site) -> list[Site]:
    """FreeSeg-Diff's residual blocks; of a preset that takes other features, those of the paper."""
    found = [s for s in find_sites(diffusion.unet) if s.kind == "resblock" and s.resolution in settings.resolutions]
    return [s for s in found if s.layer in settings.layers and s.order <= last.order]


def _kept(site: Site, taken: dict[Site, Tensor], size: int) -> Callable[[], None]:
    """Keeps the first photo's map of a site at ``size`` cells in each pass; returns what ends that."""

    def keep(_module: Any, _inputs: Any, output: Tensor) -> None:
        taken[site] = F.interpolate(output[:1].float(), (size, size), mode="bilinear", align_corners=False)[0]

    hook: RemovableHandle = site.module.register_forward_hook(keep)
    return hook.remove


def regions_of(features: Tensor, clusters: int, seed: int) -> Tensor:
    """(C, n, n) -> (n, n) int64 by k-means."""
    clustering = kmeans(features[None], clusters, seed=seed)[0]
    return clustering.nearest((features.shape[1], features.shape[2])).labels


def name_regions(clip: Any, image: Image, regions: Tensor, field: Field, templates: Sequence[str]) -> Tensor:
    """What CLIP takes each region (n, n) for, (K, N + M): masked frame and crop, half and half."""
    return named(clip, image, F.one_hot(regions).permute(2, 0, 1).bool(), field, templates)


def named(clip: Any, image: Image, masks: Tensor, field: Field, templates: Sequence[str]) -> Tensor:
    """(K, h, w) bool -> (K, N + M): the mean of CLIP's probabilities for the masked photo and for the masks' crops."""
    views = [clip.embed_masked([image], [masks], crop=crop)[0] for crop in (False, True)]
    shares: Tensor = torch.stack([field.probabilities(clip, view, templates) for view in views]).mean(0)
    return shares


def fuse(regions: Tensor, shares: Tensor, cross: Tensor | None, mix: float) -> Tensor:
    """(N + M, n, n) not negative, sums to 1: the region's names, and each title's share of the cross-attention beside them.

    Titles that the prompt did not hold have no cross-attention: there the regions decide.
    """
    by_region = shares.T[:, regions]
    if cross is None or not len(cross):
        return by_region
    wide = resized(cross, (regions.shape[0], regions.shape[1]))
    share = wide / wide.sum(0).clamp(min=1e-6)
    held = by_region[: len(share)].sum(0)
    mixed = torch.cat([(1 - mix) * by_region[: len(share)] + mix * held * share, by_region[len(share) :]])
    return mixed / mixed.sum(0).clamp(min=1e-12)


def carry(values: Tensor, own: Heads, rounds: int) -> Tensor:
    """(R, n, n) -> (R, m, m): multiplied by the self-attention, mean over its heads, ``rounds`` times."""
    cells = own.cells
    flat = resized(values, (cells, cells)).flatten(1).T
    if rounds:
        matrix = own.average()
        for _ in range(rounds):
            flat = matrix @ flat
    return flat.T.unflatten(1, (cells, cells)).contiguous()
