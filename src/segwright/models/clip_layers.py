"""CLIPer's dense CLIP features: every layer's tokens through the last block's value path, with all layers' attention fused."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from segwright.errors import InputError
from segwright.models.clip import Clip
from segwright.models.clip_dense import attention_weights, first_tokens, query_key_value


@torch.no_grad()
def layer_cosines(clip: Clip, pixels: Tensor, texts: Tensor, rounds: int | None = None) -> tuple[Tensor, Tensor]:
    """Cosines of texts with every cell, as each layer's tokens give them (CLIPer, Sun et al. 2025, early-layer fusion).

    The attention of all blocks before the last is summed, each head with its like, and normalised (``fused``). It takes the
    place of the last block's attention; there is no residual path and no MLP. What passes through the last block's first
    LayerNorm, values and output projection, then the last LayerNorm and the projection, is for each block before the last
    its first LayerNorm's output, and for the last what enters it.

    Args:
        pixels: (B, 3, H, W) normalised, both sides at least one patch.
        texts: (T, D) unit vectors.
        rounds: how many times columns and rows of the sum are normalised in turn; None: once more for each layer, as the
            published code does by working in place.

    Returns:
        Cosines (B, N, T, h, w) float32, one of the N blocks after the other, and the fused attention from cell to cell,
        (B, h * w, h * w) float32, mean over heads, without the class token, as the last layer got it.

    Raises:
        InputError: a CLIP of one block, or pixels of another shape.
    """
    tower = clip.model.vision_model
    layers = list(tower.encoder.layers)
    if len(layers) < 2:
        raise InputError("early-layer fusion needs a CLIP of two blocks or more, this one has one")
    entering, total, size = _collect(clip, pixels)
    last, cosines = layers[-1], []
    for place, tokens in enumerate(entering):
        if rounds is None or place == 0:
            for _ in range(rounds or 1):
                total = total / total.sum(-2, keepdim=True)
                total = total / total.sum(-1, keepdim=True)
            attention = fused(total)
        value = query_key_value(last, last.layer_norm1(tokens))[2]
        mixed = last.self_attn.out_proj((attention.to(value.dtype) @ value).transpose(1, 2).flatten(2))
        vectors = clip.model.visual_projection(tower.post_layernorm(mixed[:, 1:])).float()
        cosines.append((F.normalize(vectors, dim=-1) @ texts.T).transpose(1, 2).unflatten(2, size))
    return torch.stack(cosines, 1), attention.mean(1)[:, 1:, 1:]


def _collect(clip: Clip, pixels: Tensor) -> tuple[list[Tensor], Tensor, tuple[int, int]]:
    """The N tokens (B, 1 + h * w, C) to be projected, the summed attention (B, heads, 1 + h * w, 1 + h * w), and (h, w)."""
    tokens, size = first_tokens(clip, pixels)
    entering, total = [], None
    for layer in list(clip.model.vision_model.encoder.layers)[:-1]:
        normed = layer.layer_norm1(tokens)
        q, k, _ = query_key_value(layer, normed)
        weights = attention_weights(q, k, layer.self_attn.scale)
        total = weights if total is None else total.add_(weights)
        entering.append(normed)
        tokens = layer(tokens, attention_mask=None)
    assert total is not None
    return [*entering, tokens], total, size


def fused(attention: Tensor) -> Tensor:
    """(..., n, n), normalised -> its mean with its transpose, less each column's mean, not below 0, rows of sum 1."""
    even = (attention + attention.transpose(-2, -1)) / 2
    above = (even - even.mean(-2, keepdim=True)).clamp(min=0)
    return above / above.sum(-1, keepdim=True).clamp(min=1e-12)
