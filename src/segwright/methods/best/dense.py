"""Where a word is: regions that CLIP names, CLIP's own patches, and cross-attention to the words, from one U-Net pass.

All of it is carried by the pass's self-attention.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from segwright.methods.best.field import Field
from segwright.methods.diffsegmenter import WEIGHTS, weigh, word_map
from segwright.methods.segmenter import resized, sliding
from segwright.models.clip_dense import dense_features
from segwright.models.diffusion import Diffusion, FeatureSettings
from segwright.models.heads import Heads, finest_up
from segwright.models.sites import Site, find_sites
from segwright.models.word_prompts import passes, word_prompts
from segwright.regions.kmeans import kmeans
from segwright.types import Image
from segwright.weights import Networks

OPENING = "a photograph of"
# CLIP sees the photo at its own size, in windows along the longer side (ours: of SCLIP's 336 in windows of 224, 336 whole
# and this the best on 80 training scenes).
SHORT, WINDOW, STRIDE = 224, 224, 112


@dataclass(frozen=True)
class Pass:
    """What one U-Net pass gives.

    Attributes:
        features: (C, n, n) float32, self-attention at FreeSeg-Diff's resolution: how much a cell looks at each of C cells.
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
    looking = _looking(diffusion, settings, own)
    prompts = [prompt] if prompt else word_prompts(diffusion.tokenizers[0], ["photo"], longest, "a")
    its, row, heads = next(iter(passes(diffusion, latents, timestep, prompts, [own, *looking, *crossing])))
    by_resolution = {r: [heads[s] for s in crossing if s.resolution == r] for r in sorted({s.resolution for s in crossing})}
    layers = {r: torch.stack([h.average(row=row) for h in found]).mean(0) for r, found in by_resolution.items()}
    cells = heads[own].cells
    held = [spots for spots in its.places if spots] if prompt else []
    maps = [weigh({r: word_map(m, spots) for r, m in layers.items()}, weights, cells) for spots in held]
    cross = torch.stack(maps) if maps else torch.zeros(0, cells, cells, device=latents.device)
    features = torch.cat([_rows(heads[site], row, settings.size) for site in looking])
    return Pass(features, cross, heads[own], its.text)


def _looking(diffusion: Diffusion, settings: FeatureSettings, last: Site) -> list[Site]:
    """Self-attention at the resolution of the preset's features, as far as the pass goes; where there is none, the last."""
    found = [s for s in find_sites(diffusion.unet) if s.kind == "attention" and s.resolution in settings.resolutions]
    return [last if s.order == last.order else s for s in found if s.order <= last.order] or [last]


def _rows(heads: Heads, row: int, size: int) -> Tensor:
    """(n * n, size, size): each cell's row of probabilities, mean over heads."""
    return resized(heads.average(row=row).T.unflatten(1, (heads.cells, heads.cells)), (size, size))


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


@torch.no_grad()
def name_cells(networks: Networks, image: Image, field: Field, templates: Sequence[str], size: int) -> Tensor:
    """(N + M, size, size) probabilities: what CLIP takes each cell for, its last attention as SCLIP has it."""
    clip, texts = networks.clip, field.embed(networks.clip, templates)

    def logits_of(windows: Tensor) -> Tensor:
        features = dense_features(clip, windows, "correlative", networks.preset.defaults.residual).features
        return clip.logit_scale * torch.einsum("bdhw,td->bthw", features, texts)

    logits = sliding(clip, image, SHORT, WINDOW, STRIDE, logits_of=logits_of)
    shares = field.shares(logits.flatten(1).T).T.unflatten(1, (logits.shape[1], logits.shape[2]))
    return F.interpolate(shares[None], (size, size), mode="area")[0]


def fuse(named: Tensor, cells: Tensor | None, share: float, cross: Tensor | None, mix: float) -> Tensor:
    """(N + M, n, n) not negative, sums to 1: regions' and cells' names, and each title's share of the cross-attention beside them.

    Titles that the prompt did not hold have no cross-attention: there the names decide.

    Args:
        named: (N + M, n, n), the names of the region of each place.
        cells: likewise, of ``name_cells``; None: the regions alone.
        share: of ``cells``, 0..1.
        mix: share of the cross-attention among the titles that it has, 0..1.
    """
    names = named if cells is None else (1 - share) * named + share * cells
    if cross is None or not len(cross):
        return names
    wide = resized(cross, (named.shape[1], named.shape[2]))
    part = wide / wide.sum(0).clamp(min=1e-6)
    held = names[: len(part)].sum(0)
    mixed = torch.cat([(1 - mix) * names[: len(part)] + mix * held * part, names[len(part) :]])
    return mixed / mixed.sum(0).clamp(min=1e-12)


def favour(fused: Tensor, count: int, odds: float, sharpness: float) -> Tensor:
    """(N + M, n, n) that sums to 1: ``fused`` to the power ``sharpness``, the first ``count`` rows times ``odds``, normalised.

    Who names a word says that it is likelier than what merely competes; a power above 1 lets what is well evidenced decide.
    """
    values = fused**sharpness
    values = torch.cat([odds * values[:count], values[count:]])
    return values / values.sum(0).clamp(min=1e-12)


def carry(values: Tensor, own: Heads, rounds: int) -> Tensor:
    """(R, n, n) -> (R, m, m): multiplied by the self-attention, mean over its heads, ``rounds`` times."""
    cells = own.cells
    flat = resized(values, (cells, cells)).flatten(1).T
    if rounds:
        matrix = own.average()
        for _ in range(rounds):
            flat = matrix @ flat
    return flat.T.unflatten(1, (cells, cells)).contiguous()
