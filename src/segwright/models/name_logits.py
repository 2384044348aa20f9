"""FreeSeg-Diff's attention maps as its published code makes them: raw logits of cross-attention to the classes' names.

The U-Net itself sees the empty prompt; each class's name has one vector, which goes through every layer's own key projection.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from segwright.models.attention import Recorder, split_heads

TEMPLATE = "A photo of {}"  # published code


class NameLogits(Recorder):
    """Processor for diffusers' ``Attention`` of which ``on_map`` gets (B, Q, heads * N): Q K' / sqrt(d) before any softmax.

    Args:
        names: (N, D) vectors of N names, in place of the prompt's tokens.
    """

    def __init__(self, names: Tensor, on_map: Callable[[Tensor], None]) -> None:
        super().__init__(on_map)
        self.names = names

    def _attend(self, attn: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        named = attn.to_k(self.names.to(query.dtype)[None])
        q, k, v = (part.transpose(1, 2) for part in split_heads(attn, query, key, value))
        own = split_heads(attn, query, named, named)[1].transpose(1, 2)
        logits = (q.float() * attn.scale) @ own.float().transpose(2, 3)  # (B, heads, Q, N)
        by_head = None if mask is None else mask.unflatten(0, (len(q), -1))
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=by_head, scale=attn.scale)
        return out.transpose(1, 2).flatten(2), logits.permute(0, 2, 1, 3).flatten(2)


@torch.no_grad()
def name_vectors(diffusion: Any, names: Sequence[str]) -> Tensor:
    """(N, D): each name's vector as the published code has it.

    The mean over the tokens 1 .. n - 1 of "A photo of NAME", where n is how many tokens the bare name has with the first and
    the last: so mostly the tokens of "A photo", which have not seen the name yet. A name of several words is embedded word by
    word, and the mean taken.
    """
    tokenizer = diffusion.tokenizers[0]
    rows = [text_tokens(diffusion, name, TEMPLATE)[1 : len(tokenizer(name).input_ids)].mean(0) for name in names]
    return torch.stack(rows)


@torch.no_grad()
def text_means(diffusion: Any, names: Sequence[str], template: str = "{}") -> Tensor:
    """(N, D) float32: the mean over all 77 tokens, padding too; what the published code's candidate filter compares."""
    if not names:
        return torch.zeros(0, 1)
    return torch.stack([text_tokens(diffusion, name, template).float().mean(0) for name in names])


@torch.no_grad()
def text_tokens(diffusion: Any, name: str, template: str = "{}") -> Tensor:
    """(L, D): a name's embedding in a template, all tokens with padding; of several words, the mean of the words'."""
    return diffusion.embed([template.replace("{}", word) for word in name.split()]).tokens.mean(0)
