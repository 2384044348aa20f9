"""An attention processor that writes down what it sees and may be pushed: maps averaged over heads, bias on the logits.

diffusers' own fused attention never holds the probabilities; this one does, one head at a time, and gives the same
output to 1e-6 in float32. Attach it only where maps or a bias are wanted, and only for as long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class Recorder:
    """Processor for diffusers' ``Attention``.

    Args:
        on_map: called with each pass's map, (B, Q, K) float32, mean over heads, rows summing to 1 (without ``rows``).
        rows: which rows of the batch are recorded, as ``slice(1, None, 2)``; all by default. A pipeline under guidance
            stacks the unconditional half first.
        keep: keep running sums in ``total`` and ``calls``; they are on the device of the network.
        bias: added to the scaled logits before the softmax, broadcastable to (B, Q, K); the same for all heads.
    """

    def __init__(
        self,
        on_map: Callable[[Tensor], None] | None = None,
        rows: slice | None = None,
        keep: bool = False,
        bias: Tensor | None = None,
    ) -> None:
        self.on_map = on_map
        self.rows = rows or slice(None)
        self.keep = keep
        self.bias = bias
        self.reset()

    def reset(self) -> None:
        """Forget the running sums."""
        self.total: Tensor | None = None
        self.calls = 0

    @property
    def mean(self) -> Tensor:
        """(B, Q, K) float32, the mean over heads and calls.

        Raises:
            RuntimeError: nothing was recorded.
        """
        if self.total is None:
            raise RuntimeError("this recorder has seen no pass")
        return self.total / self.calls

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        **unused: Any,
    ) -> Tensor:
        residual, shape = hidden_states, hidden_states.shape
        if attn.spatial_norm is not None:
            hidden_states = attn.spatial_norm(hidden_states, temb)
        if len(shape) == 4:
            hidden_states = hidden_states.flatten(2).transpose(1, 2)
        if attn.group_norm is not None:
            hidden_states = attn.group_norm(hidden_states.transpose(1, 2)).transpose(1, 2)
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        if encoder_hidden_states is not None and attn.norm_cross:
            context = attn.norm_encoder_hidden_states(context)
        mask = attn.prepare_attention_mask(attention_mask, context.shape[1], len(context))
        seen, weights = self._attend(attn, attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context), mask)
        if weights is not None:
            self._record(weights)
        out = attn.to_out[1](attn.to_out[0](seen))
        if len(shape) == 4:
            out = out.transpose(1, 2).reshape(shape)
        if attn.residual_connection:
            out = out + residual
        return out / attn.rescale_output_factor

    def _attend(self, attn: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """(B, Q, C), (B, K, C), (B, K, C) -> output (B, Q, C) and the map (rows, Q, K), if anybody wants it."""
        q, k, v = split_heads(attn, query, key, value)
        by_head = None if mask is None else mask.unflatten(0, (len(q), -1))
        out, total = [], None
        for h in range(attn.heads):  # one head at a time: 64x64 cells have 4096 x 4096 probabilities each
            logits = (q[:, :, h].float() * attn.scale) @ k[:, :, h].float().transpose(1, 2)
            if by_head is not None:
                logits = logits + by_head[:, h % by_head.shape[1]]
            if self.bias is not None:
                logits = logits + self.bias.to(logits)
            weights = logits.softmax(-1)
            if self.on_map is not None or self.keep:
                seen = weights[self.rows]
                total = seen.clone() if total is None else total.add_(seen)
            out.append(weights.to(v.dtype) @ v[:, :, h])
        return torch.stack(out, 2).flatten(2), None if total is None else total / attn.heads

    def _record(self, weights: Tensor) -> None:
        if self.keep:
            self.total = weights if self.total is None else self.total + weights
            self.calls += 1
        if self.on_map is not None:
            self.on_map(weights)


def split_heads(attn: Any, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(B, N, C) each -> (B, N, heads, C / heads) each, queries and keys normalised where the layer does that."""
    q, k, v = (x.unflatten(2, (attn.heads, -1)) for x in (query, key, value))
    return (q if attn.norm_q is None else attn.norm_q(q)), (k if attn.norm_k is None else attn.norm_k(k)), v


@contextmanager
def attached(processors: Mapping[nn.Module, Recorder]) -> Iterator[None]:
    """Put processors on these ``Attention`` modules; their own come back however the block ends."""
    before: dict[nn.Module, Any] = {module: module.processor for module in processors}
    try:
        for module, processor in processors.items():
            module.processor = processor  # type: ignore[assignment]
        yield
    finally:
        for module, own in before.items():
            module.processor = own
