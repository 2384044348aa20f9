"""CLIP's image tower opened up: patch features in the joint space of pictures and words, attention maps, Grad-CAM.

Pictures come as normalised pixels (B, 3, H, W) of any height and width (``pixels`` makes them); positions are then
interpolated. h = H // patch and w = W // patch cells; what is left over at the right and at the bottom is not seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from segwright.errors import InputError
from segwright.models.clip import Clip
from segwright.models.pixels import Pixels, as_tensor, resize
from segwright.types import Image

ATTENTIONS = ("plain", "value", "correlative")
POOLS = ("class", "patches")
SCORES = ("logit", "softmax")
NATIVE = 224  # pixels a side of the networks that the papers' sizes are given for (OpenAI's CLIP ViT-B/16)


@dataclass(frozen=True)
class Dense:
    """Patch features of pictures.

    Attributes:
        features: (B, D, h, w) float32, unit vectors in the joint space: compare them with ``Clip.embed_texts``.
        keys: (B, C, h, w) float32, keys of the last attention layer, all heads joined.
    """

    features: Tensor
    keys: Tensor


@dataclass(frozen=True)
class GradCam:
    """Where a text's score comes from.

    Attributes:
        maps: (B, K, h, w) float32, not negative, one a target, not normalised (``min_max`` does that).
        scores: (B, T) float32, what was differentiated, for all texts.
        attention: (B, h * w, h * w) float32, the mean of the last layers' maps, or None where none was asked for.
    """

    maps: Tensor
    scores: Tensor
    attention: Tensor | None = None


class VisionNetwork(Protocol):
    """What sizes are reckoned by: a Clip, or another network with patches."""

    model: Any
    pixels: Pixels

    @property
    def device(self) -> torch.device: ...


def patch(clip: VisionNetwork) -> int:
    """Pixels a side of one cell."""
    return int(clip.model.config.vision_config.patch_size)


def scaled(clip: VisionNetwork, size: int) -> int:
    """A paper's size for a network of 224 pixels, in this network's pixels: in whole cells, at least one."""
    return max(1, round(size * clip.pixels.side / NATIVE / patch(clip))) * patch(clip)


def pixels(clip: VisionNetwork, image: Image | Tensor, size: tuple[int, int] | None = None) -> Tensor:
    """One photo, (H, W, 3) uint8 or (3, H, W) uint8, at ``size`` = (height, width) -> (1, 3, height, width), normalised.

    Raises:
        InputError: not a photo.
    """
    photo = as_tensor(image)[None].to(clip.device)
    small = photo if size is None else resize(photo, size, clip.pixels.mode)
    return clip.pixels.normalise(small.float() / 255)


@torch.no_grad()
def dense_features(clip: Clip, pixels: Tensor, attention: str = "value", residual: bool = True) -> Dense:
    """Every patch token through the last block and the projection, with the last attention as it is or replaced.

    Args:
        pixels: (B, 3, H, W) normalised, both sides at least one patch.
        attention: "plain": softmax(q k^T / sqrt(d)), CLIP's own; "value": the identity, so that each cell keeps its own
            value (MaskCLIP, Zhou et al. 2022); "correlative": softmax(q q^T / sqrt(d)) + softmax(k k^T / sqrt(d)), rows
            summing to 2 (SCLIP, Wang et al. 2023).
        residual: keep the last block's residual path beside its attention, as both published codes do. Without it a cell
            is what the attention made of it, as MaskCLIP's equations have it for CLIP's ResNets. The MLP and its own
            residual path stay in either case.

    Raises:
        InputError: another attention, or pixels of another shape.
    """
    if attention not in ATTENTIONS:
        raise InputError(f"attention must be one of {', '.join(ATTENTIONS)}, got {attention!r}")
    tower = clip.model.vision_model
    before, size, _ = _before_last(clip, pixels)
    layer = tower.encoder.layers[-1]
    beside = before if residual else torch.zeros_like(before)
    after, keys = _last(layer, beside, layer.layer_norm1(before), attention)
    vectors = clip.model.visual_projection(tower.post_layernorm(after[:, 1:])).float()
    return Dense(_grid(F.normalize(vectors, dim=-1), size), _grid(keys[:, 1:].float(), size))


@torch.no_grad()
def attention_maps(clip: Clip, pixels: Tensor, layers: int) -> Tensor:
    """(B, h * w, h * w) float32: attention from patch to patch, the mean over heads and over the last ``layers`` layers.

    The class token is left out, so rows sum to less than 1. A network of fewer layers gives all that it has.

    Raises:
        InputError: ``layers`` below 1, or pixels of another shape.
    """
    if layers < 1:
        raise InputError(f"layers must be at least 1, got {layers}")
    before, _, kept = _before_last(clip, pixels, layers - 1)
    return torch.stack([*kept, _map(clip.model.vision_model.encoder.layers[-1], before)]).mean(0)


def grad_cam(
    clip: Clip,
    pixels: Tensor,
    texts: Tensor,
    targets: Sequence[int] | None = None,
    pool: str = "class",
    *,
    score: str = "logit",
    layers: int = 0,
) -> GradCam:
    """Grad-CAM (Selvaraju et al. 2017, Eqs. 1 and 2) of texts on what enters CLIP's last attention layer.

    A (C, h, w) are the patch cells of the last block's first LayerNorm's output, s_t the score of text t. Then

        alpha_c = 1 / (h w) * sum over cells ij of d s_t / d A_cij,    map_ij = max(0, sum over c of alpha_c A_cij).

    The gradient passes through the block's attention and MLP; the residual path beside the LayerNorm counts as constant.
    Behind that attention no patch reaches the class token any more, so its gradient there is zero (CLIP-ES, Lin et al. 2023).

    Args:
        pixels: (B, 3, H, W) normalised, both sides at least one patch.
        texts: (T, D) unit vectors (``Clip.embed_texts``).
        targets: places among the texts that get a map; all if None.
        pool: what stands for the picture: "class", CLIP's own class token, or "patches", the mean of all patch tokens
            after the last LayerNorm (CLIP-ES's published code).
        score: "logit": logit scale times cosine; "softmax": its softmax over all texts (CLIP-ES).
        layers: attention maps of that many last layers, averaged as by ``attention_maps``; 0 for none.

    Raises:
        InputError: unknown pool or score, targets outside 0 .. T-1, or shapes that do not fit.
    """
    chosen = list(range(len(texts))) if targets is None else list(targets)
    _check_cam(clip, texts, chosen, pool, score)
    tower = clip.model.vision_model
    layer = tower.encoder.layers[-1]
    with torch.no_grad():
        before, size, kept = _before_last(clip, pixels, max(0, layers - 1))
        mean = torch.stack([*kept, _map(layer, before)]).mean(0) if layers else None
        entering = layer.layer_norm1(before)
    with torch.enable_grad():
        entering = entering.detach().requires_grad_()
        after = tower.post_layernorm(_last(layer, before.detach(), entering, "plain")[0])
        pooled = after[:, 0] if pool == "class" else after[:, 1:].mean(1)
        cosines = F.normalize(clip.model.visual_projection(pooled).float(), dim=-1) @ texts.to(pooled.device).float().T
        scores = clip.logit_scale * cosines
        scores = scores.softmax(1) if score == "softmax" else scores
        slopes = [torch.autograd.grad(scores[:, t].sum(), entering, retain_graph=True)[0] for t in chosen]
    cells = entering.detach()[:, 1:].float()
    maps = [(cells * slope[:, 1:].float().mean(1, keepdim=True)).sum(2, keepdim=True).relu() for slope in slopes]
    stacked = torch.cat(maps, 2) if maps else cells[:, :, :0]
    return GradCam(_grid(stacked, size), scores.detach(), mean)


def min_max(maps: Tensor) -> Tensor:
    """(..., h, w) -> each map in 0..1; a map of one value becomes 0."""
    low = maps.amin((-2, -1), keepdim=True)
    return (maps - low) / (maps.amax((-2, -1), keepdim=True) - low).clamp(min=1e-7)


def _check_cam(clip: Clip, texts: Tensor, targets: Sequence[int], pool: str, score: str) -> None:
    for name, value, known in (("pool", pool, POOLS), ("score", score, SCORES)):
        if value not in known:
            raise InputError(f"{name} must be one of {', '.join(known)}, got {value!r}")
    if texts.ndim != 2 or texts.shape[1] != clip.model.config.projection_dim:
        raise InputError(f"texts must be (T, {clip.model.config.projection_dim}) vectors, got {tuple(texts.shape)}")
    if any(not 0 <= t < len(texts) for t in targets):
        raise InputError(f"targets must lie in 0..{len(texts) - 1}, got {list(targets)}")


def first_tokens(clip: Clip, pixels: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """Tokens (B, 1 + h * w, C) that enter the first block, the class token first, and (h, w).

    Raises:
        InputError: pixels of another shape.
    """
    side = patch(clip)
    if pixels.ndim != 4 or pixels.shape[1] != 3 or min(pixels.shape[2:]) < side:
        raise InputError(f"pixels must be (B, 3, H, W) with sides of at least one patch of {side}, got {tuple(pixels.shape)}")
    tower = clip.model.vision_model
    tokens = tower.pre_layrnorm(tower.embeddings(pixels.to(clip.device, clip.model.dtype), interpolate_pos_encoding=True))
    return tokens, (pixels.shape[2] // side, pixels.shape[3] // side)


def _before_last(clip: Clip, pixels: Tensor, maps: int = 0) -> tuple[Tensor, tuple[int, int], list[Tensor]]:
    """Tokens (B, 1 + h * w, C) that enter the last block, (h, w), and the maps of the ``maps`` layers before it."""
    tokens, size = first_tokens(clip, pixels)
    kept = []
    layers = list(clip.model.vision_model.encoder.layers)[:-1]
    for place, layer in enumerate(layers):
        if len(layers) - place <= maps:
            kept.append(_map(layer, tokens))
        tokens = layer(tokens, attention_mask=None)
    return tokens, size, kept


def query_key_value(layer: Any, entering: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values, each (B, heads, tokens, C / heads)."""
    attn = layer.self_attn
    found = (p(entering).unflatten(2, (attn.num_heads, -1)).transpose(1, 2) for p in (attn.q_proj, attn.k_proj, attn.v_proj))
    q, k, v = found
    return q, k, v


def _map(layer: Any, tokens: Tensor) -> Tensor:
    """(B, h * w, h * w) float32, the layer's attention from patch to patch, mean over heads."""
    q, k, _ = query_key_value(layer, layer.layer_norm1(tokens))
    return attention_weights(q, k, layer.self_attn.scale).mean(1)[:, 1:, 1:]


def attention_weights(q: Tensor, k: Tensor, scale: float) -> Tensor:
    """(B, heads, tokens, tokens) float32, rows that sum to 1."""
    return (q.float() * scale @ k.float().transpose(2, 3)).softmax(3)


def _last(layer: Any, beside: Tensor, entering: Tensor, attention: str) -> tuple[Tensor, Tensor]:
    """A block's output (B, tokens, C) and its keys; its attention sees ``entering``, its residual path passes ``beside``."""
    q, k, v = query_key_value(layer, entering)
    scale = layer.self_attn.scale
    if attention == "value":
        mixed = v
    elif attention == "correlative":
        mixed = (attention_weights(q, q, scale) + attention_weights(k, k, scale)).to(v.dtype) @ v
    else:
        mixed = attention_weights(q, k, scale).to(v.dtype) @ v
    tokens = beside + layer.self_attn.out_proj(mixed.transpose(1, 2).flatten(2))
    return tokens + layer.mlp(layer.layer_norm2(tokens)), k.transpose(1, 2).flatten(2)


def _grid(tokens: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, h * w, C) -> (B, C, h, w)."""
    return tokens.transpose(1, 2).unflatten(2, size).contiguous()
