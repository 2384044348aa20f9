"""Keys of a vision transformer's attention: what OVDiff takes from CLIP and DINO in place of their tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from segwright.errors import InputError


def key_map(tower: nn.Module, layer: int, cells: int | tuple[int, int], run: Callable[[], Any]) -> Tensor:
    """The keys of one attention layer as a map.

    Args:
        tower: a ViT whose attentions project keys in modules called ``k_proj``, in the order of the layers.
        layer: -1 the last.
        cells: (h, w), or h = w; class and register tokens stand before the cells.
        run: one pass of the network.

    Returns:
        (B, C, h, w) float32.

    Raises:
        InputError: a layer that is not there.
    """
    projections = [module for name, module in tower.named_modules() if name.endswith("k_proj")]
    if not -len(projections) <= layer <= -1:
        raise InputError(f"layer must be -1 (the last) .. {-len(projections)}, got {layer}")
    seen: list[Tensor] = []

    def note(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        seen.append(output)

    hook = projections[layer].register_forward_hook(note)
    try:
        run()
    finally:
        hook.remove()
    high, wide = cells if isinstance(cells, tuple) else (cells, cells)
    kept = seen[0][:, -high * wide :].float()
    return kept.transpose(1, 2).unflatten(2, (high, wide)).contiguous()
