"""BLIP's sentence in less time, the same sentence: what transformers' modules do once a beam or once a step is done once a photo.

Modules are exchanged in place, on the same weights; the beam search stays transformers' own. Measured on two cores, a photo at
BLIP base's size with three beams: ``benchmarks/caption.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import DynamicCache, EncoderDecoderCache

from segwright.models.linears import through_onednn


def quicken(model: Any) -> None:
    """Exchange the modules of a ``BlipForConditionalGeneration`` for those below; results differ by rounding alone.

    ``generate`` then wants ``past_key_values=PhotoCache(photos)``.
    """
    for layer in model.vision_model.encoder.layers:
        layer.self_attn = VisionAttention(layer.self_attn)
    decoder = model.text_decoder
    for number, layer in enumerate(decoder.bert.encoder.layer):
        layer.crossattention.self = PhotoAttention(layer.crossattention.self, number)
    through_onednn(model)


class PhotoCache(EncoderDecoderCache):
    """Keys and values: of the words for every beam, of the photos once each, whatever their beams.

    Attributes:
        photos: how many; rows of a step are these times the beams, photo by photo.
    """

    def __init__(self, photos: int) -> None:
        super().__init__(DynamicCache(), DynamicCache())
        self.photos = photos
        self._seen: dict[int, tuple[Tensor, Tensor]] = {}

    def of_photo(self, layer: int, make: Callable[[], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """Keys and values of a layer, made in the first step."""
        if layer not in self._seen:
            self._seen[layer] = make()
        return self._seen[layer]


class PhotoAttention(nn.Module):
    """Cross-attention of all beams of a photo to its patches at once, in place of a copy of the patches for each beam."""

    def __init__(self, whole: Any, layer: int) -> None:
        super().__init__()
        self.query, self.key, self.value = whole.query, whole.key, whole.value
        self.heads, self.layer = whole.num_attention_heads, layer

    def forward(self, hidden_states: Tensor, encoder_hidden_states: Tensor, past_key_values: Any, **_: Any) -> tuple[Tensor, None]:
        """(photos * beams, L, C) and the patches of every beam, (photos * beams, P, C) -> what they say, (photos * beams, L, C)."""
        photos, (rows, length, _width) = past_key_values.photos, hidden_states.shape
        beams = rows // photos

        def make() -> tuple[Tensor, Tensor]:
            patches = encoder_hidden_states[::beams]
            return self._split(self.key(patches)).contiguous(), self._split(self.value(patches)).contiguous()

        keys, values = past_key_values.of_photo(self.layer, make)
        queries = self._split(self.query(hidden_states).view(photos, beams * length, -1))
        weights = torch.matmul(queries / queries.shape[-1] ** 0.5, keys.transpose(-1, -2)).softmax(-1)
        return torch.matmul(weights, values).transpose(1, 2).reshape(rows, length, -1), None

    def _split(self, tokens: Tensor) -> Tensor:
        """(B, L, C) -> (B, heads, L, C / heads)."""
        return tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class VisionAttention(nn.Module):
    """Self-attention of the patches through torch's fused kernel."""

    def __init__(self, whole: Any) -> None:
        super().__init__()
        self.qkv, self.projection, self.heads = whole.qkv, whole.projection, whole.num_heads

    def forward(self, hidden_states: Tensor, **_: Any) -> tuple[Tensor, None]:
        """(B, P, C) -> (B, P, C)."""
        queries, keys, values = self.qkv(hidden_states).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        out = F.scaled_dot_product_attention(queries, keys, values)
        return self.projection(out.transpose(1, 2).flatten(2)), None
