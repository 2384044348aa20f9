"""The attention of single heads in one U-Net pass: queries and keys are kept, a head's map is made when it is asked for.

At 64x64 cells a map is 4096 x 4096 numbers, 64 MiB in float32, a head; queries and keys of all heads together are 10 MiB.
So that is what is kept, the pass itself goes through the fused attention, and no more than one head's map needs to exist.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segwright.errors import InputError
from segwright.models.attention import Recorder, attached, split_heads
from segwright.models.diffusion import Diffusion, Embedding
from segwright.models.sites import Site, find_sites


class Heads(Recorder):
    """Processor for diffusers' ``Attention`` that keeps what one pass's maps are made from; its output is the layer's own."""

    _query: Tensor | None = None  # (B, Q, heads, d)
    _key: Tensor | None = None

    def _attend(self, attn: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> tuple[Tensor, None]:
        q, k, v = split_heads(attn, query, key, value)
        self._query, self._key, self._scale = q.detach(), k.detach(), float(attn.scale)
        by_head = None if mask is None else mask.unflatten(0, (len(q), -1))
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=by_head, scale=attn.scale)
        return out.transpose(1, 2).flatten(2), None

    @property
    def count(self) -> int:
        """Heads of this layer.

        Raises:
            RuntimeError: nothing was recorded.
        """
        return self._seen()[0].shape[2]

    @property
    def cells(self) -> int:
        """Cells a side, n; a map has n * n rows."""
        return round(self._seen()[0].shape[1] ** 0.5)

    @property
    def device(self) -> torch.device:
        """Where the maps are made."""
        return self._seen()[0].device

    def head(self, index: int, row: int = 0) -> Tensor:
        """(Q, K) float32, one head's probabilities for one picture of the batch; rows sum to 1. Made anew each time."""
        query, key = self._seen()
        return (self._scale * query[row, :, index].float() @ key[row, :, index].float().T).softmax(1)

    def average(self, indices: Sequence[int] | None = None, row: int = 0) -> Tensor:
        """(Q, K) float32, the mean over some heads, or all; one head after the other.

        Raises:
            InputError: a head that is not there, or none.
        """
        chosen = range(self.count) if indices is None else indices
        if not chosen or any(not 0 <= i < self.count for i in chosen):
            raise InputError(f"this layer has heads 0..{self.count - 1}, got {list(chosen)}; choose other heads")
        total = self.head(chosen[0], row)
        for index in chosen[1:]:
            total += self.head(index, row)
        return total / len(chosen)

    def _seen(self) -> tuple[Tensor, Tensor]:
        if self._query is None or self._key is None:
            raise RuntimeError("these heads have seen no pass")
        return self._query, self._key


@torch.no_grad()
def attend(diffusion: Diffusion, latents: Tensor, timestep: int, embedding: Embedding, sites: Iterable[Site]) -> dict[Site, Heads]:
    """The heads of some attention layers ("attention" or "cross") in one pass, which ends with the last of these layers.

    Args:
        latents: (B, 4, h, w), noised already.
        embedding: (B, L, D) tokens.
    """
    found = {site: Heads() for site in sites}
    last = max(found, key=lambda s: s.order)
    leave = last.module.register_forward_hook(_leave)
    try:
        with attached({site.module: heads for site, heads in found.items()}), suppress(_Done):
            diffusion.predict(latents, timestep, embedding)
    finally:
        leave.remove()
    return found


class _Done(Exception):  # noqa: N818 - not an error: it leaves the U-Net from inside a hook
    """The last wanted layer has been seen."""


def _leave(_module: nn.Module, _inputs: Any, _output: Tensor) -> None:
    raise _Done


def finest_up(unet: Any, places: Sequence[int]) -> list[Site]:
    """Self-attention layers of the decoder at the highest resolution that has any, chosen by their place there.

    In SD 1.x and 2.x these are ``up_blocks.3.attentions.0`` to ``2``; in XL ``up_blocks.1.attentions.0`` to ``2``, each with
    the last of its two transformer layers, which are as many cells a side for a photo of 1024 pixels as in SD 1.5 for one
    of 512: 64. A U-Net with fewer such layers gives those that it has.

    Raises:
        InputError: it has none of them.
    """
    found = [s for s in find_sites(unet) if s.kind == "attention" and s.layer == "up"]
    finest = [s for s in found if s.resolution == max(f.resolution for f in found)]
    chosen = [finest[place] for place in places if 0 <= place < len(finest)]
    if not chosen:
        raise InputError(
            f"this U-Net's decoder has {len(finest)} self-attention layers at its highest resolution that has any, "
            f"numbered from 0; none of {list(places)} is there"
        )
    return chosen
