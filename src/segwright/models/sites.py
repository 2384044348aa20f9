"""Where in a U-Net features can be taken, in the order in which a pass comes by."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from torch import nn

from segwright.errors import InputError

KINDS = ("resblock", "query", "attention", "cross", "logits")
LAYERS = ("down", "mid", "up")
RESOLUTIONS = (64, 32, 16, 8)


@dataclass(frozen=True, eq=False)
class Site:
    """One layer.

    Attributes:
        name: the module's path in the U-Net.
        kind: "resblock", "query" (cross-attention's to_q), "attention" (self-attention), "cross" (cross-attention), "logits"
            (cross-attention's raw logits for other texts than the prompt's).
        layer: "down", "mid" or "up".
        resolution: cells a side, had the latent 64.
        order: place in the pass.
        module: what a hook or a processor goes on.
    """

    name: str
    kind: str
    layer: str
    resolution: int
    order: int
    module: nn.Module


def check_settings(kind: str, resolutions: Collection[int], layers: Collection[str]) -> None:
    """Refuse what no U-Net has.

    Raises:
        InputError: an unknown or repeated kind, resolution or layer, or none.
    """
    asked = (("kind", kind.split("+"), KINDS), ("resolutions", resolutions, RESOLUTIONS), ("layers", layers, LAYERS))
    if {"cross", "logits"} <= set(kind.split("+")):
        raise InputError(f"kind takes one of cross and logits, which are of the same layers, got {kind!r}")
    for what, given, known in asked:
        if not given or len(set(given)) < len(given) or not set(given) <= set(known):
            shown = kind if what == "kind" else tuple(given)
            raise InputError(f"{what} must be of {', '.join(map(str, known))}, each at most once, got {shown!r}")


def find_sites(unet: Any) -> list[Site]:
    """Every site of a UNet2DConditionModel.

    An attention block of several transformer layers (XL has up to ten) counts with its last one; in SD 1.x and 2.1
    there is one. A block's resolution is that of its layers, before it is scaled for the next block.
    """
    sites: list[Site] = []
    resolution = 64
    for i, block in enumerate(unet.down_blocks):
        _add_block(sites, f"down_blocks.{i}", "down", resolution, block)
        resolution //= 2 if block.downsamplers is not None else 1
    if unet.mid_block is not None:
        _add_block(sites, "mid_block", "mid", resolution, unet.mid_block)
    for i, block in enumerate(unet.up_blocks):
        _add_block(sites, f"up_blocks.{i}", "up", resolution, block)
        resolution *= 2 if block.upsamplers is not None else 1
    return sites


def _add_block(sites: list[Site], name: str, layer: str, resolution: int, block: Any) -> None:
    """Residual blocks and attentions alternate; the middle block ends with a residual block more."""
    resnets, attentions = list(block.resnets), list(getattr(block, "attentions", None) or [])

    def add(path: str, kind: str, module: nn.Module) -> None:
        sites.append(Site(f"{name}.{path}", kind, layer, resolution, len(sites), module))

    for i, resnet in enumerate(resnets):
        add(f"resnets.{i}", "resblock", resnet)
        layers = getattr(attentions[i], "transformer_blocks", None) if i < len(attentions) else None
        if layers:
            inner, path = layers[-1], f"attentions.{i}.transformer_blocks.{len(layers) - 1}"
            add(f"{path}.attn1", "attention", inner.attn1)
            add(f"{path}.attn2.to_q", "query", inner.attn2.to_q)
            add(f"{path}.attn2", "cross", inner.attn2)
            add(f"{path}.attn2", "logits", inner.attn2)
