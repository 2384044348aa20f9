"""Mask injection (G4Seg, Sec. II-C1): a coarse mask pushed into the logits of a U-Net's cross- and self-attention.

Eq. 5 is softmax((Q K^T + a A) / sqrt(d)), and both A have rank one: A_cross[i, j] = s_i n_j with n_j = 1 for the tokens
of the class's name (Eq. 3), A_self[i, j] = s_i s_j (Eq. 4). So a s_i n_j is the inner product of one more channel, a s_i
of the query and n_j of the key, and torch's fused attention does the rest: no A and no probabilities are ever held.

DenseDiffusion (Kim et al. 2023, Eqs. 3 to 5), which the paper says it follows, adds no constant but a share of what lies between
a logit and the largest or smallest of its row; that one is made class by class and head by head (``ranged``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from segwright.models.attention import Recorder, attached

PADDING = 8  # channels added to each head: one is used, but fused kernels want multiples of 8


@dataclass(frozen=True)
class Injection:
    """What is injected for a batch of K classes.

    Attributes:
        masks: (K, S, S) float32 in 0..1, the coarse masks on the square that the U-Net sees.
        tokens: (K, L) float32, 1 at the tokens of the class's name in its prompt, 0 elsewhere.
        cross: Eq. 5's weight for cross-attention; 0 leaves it as it is.
        self_: Eq. 5's weight for self-attention, likewise.
        half: a cell counts as inside if the mask covers at least this share of it; None: it counts by that share.
        ranged: DenseDiffusion's way (``ranged``) in place of Eq. 5's constant.
    """

    masks: Tensor
    tokens: Tensor
    cross: float
    self_: float
    half: float | None
    ranged: bool = False

    def cells(self, count: int) -> Tensor:
        """(K, count) float32: the masks resized by area to a square of ``count`` cells, then made binary."""
        side = round(count**0.5)
        share = F.interpolate(self.masks[:, None], (side, side), mode="area").flatten(1)
        return share if self.half is None else (share >= self.half).to(share)


class Injected(Recorder):
    """Attention under an injection; else as diffusers' own. ``on_map`` gets cross-attention, as ``Recorder`` tells it."""

    def __init__(self, injection: Injection, on_map: Callable[[Tensor], None] | None = None) -> None:
        super().__init__(on_map)
        self.injection = injection

    def _attend(self, attn: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        q, k, v = (x.unflatten(2, (attn.heads, -1)).transpose(1, 2) for x in (query, key, value))
        q = q if attn.norm_q is None else attn.norm_q(q)
        k = k if attn.norm_k is None else attn.norm_k(k)
        wanted, width = self.injection, v.shape[3]
        weight = wanted.cross if attn.is_cross_attention else wanted.self_
        if weight and wanted.ranged:
            return self._ranged(attn, q, k, v, weight)
        if weight:
            inside = wanted.cells(q.shape[2])
            q = _widened(q, weight * inside)
            k = _widened(k, wanted.tokens if attn.is_cross_attention else inside)
            v = F.pad(v, (0, PADDING))
        by_head = None if mask is None else mask.unflatten(0, (len(q), -1))
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=by_head, scale=attn.scale)[..., :width]
        seen = None
        if self.on_map is not None and attn.is_cross_attention:
            seen = ((q.float() @ k.float().transpose(2, 3)) * attn.scale).softmax(-1).mean(1)
        return out.transpose(1, 2).flatten(2), seen

    def _ranged(self, attn: Any, q: Tensor, k: Tensor, v: Tensor, weight: float) -> tuple[Tensor, Tensor | None]:
        """Class by class and head by head: 64x64 cells have 4096 x 4096 logits each."""
        inside = self.injection.cells(q.shape[2])
        columns = self.injection.tokens if attn.is_cross_attention else inside
        wanted = self.on_map is not None and attn.is_cross_attention
        out, maps = torch.empty_like(q), []
        for row in range(len(q)):
            total: Tensor | None = None
            for head in range(q.shape[1]):
                logits = q[row, head].float() @ k[row, head].float().T
                weights = (ranged(logits, inside[row], columns[row], weight) * attn.scale).softmax(-1)
                out[row, head] = weights.to(v.dtype) @ v[row, head]
                total = weights if total is None else total + weights
            if wanted and total is not None:
                maps.append(total / q.shape[1])
        return out.transpose(1, 2).flatten(2), torch.stack(maps) if maps else None


def ranged(logits: Tensor, inside: Tensor, columns: Tensor, weight: float) -> Tensor:
    """Logits moved within their own range (DenseDiffusion, Eqs. 3 to 5).

    Where cell and key are both of the class, w (1 - area) of what lies between the logit and its row's largest is added; where
    one of them is and the other is not, as much of what lies between it and the smallest is taken away. Where neither is,
    nothing changes, since Eqs. 3 and 4 of G4Seg name the class alone (DenseDiffusion has words for every part of the picture).

    Args:
        logits: (N, L), queries by keys.
        inside: (N,) in 0..1, 1 where a query lies in the mask.
        columns: (L,) in 0..1, 1 where a key is of the class: its tokens, or cells in the mask.
        weight: w, 0..1; DenseDiffusion's schedule, (t / 1000)^5, is left to the caller.
    """
    area = inside.mean()
    share = torch.where(inside > 0.5, 1 - area, area)[:, None]  # 1 - the part of the picture that the query's own side takes
    both = inside[:, None] * columns[None]
    one = inside[:, None] + columns[None] - 2 * both
    up, down = logits.amax(1, keepdim=True) - logits, logits - logits.amin(1, keepdim=True)
    return logits + weight * share * (both * up - one * down)


def _widened(x: Tensor, column: Tensor) -> Tensor:
    """(K, heads, N, d) with (K, N) as one more channel of every head, and zeros up to ``PADDING`` more."""
    more = column.to(x.dtype)[:, None, :, None].expand(-1, x.shape[1], -1, 1)
    return torch.cat([x, F.pad(more, (0, PADDING - 1))], -1)


@contextmanager
def injected(unet: Any, injection: Injection, on_map: Callable[[Tensor], None] | None = None) -> Iterator[None]:
    """Every attention of the U-Net under the injection, at every resolution, for this block only."""
    found = [m for name, m in unet.named_modules() if name.endswith((".attn1", ".attn2"))]
    with attached({module: Injected(injection, on_map) for module in found}):
        yield
