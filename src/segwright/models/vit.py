"""Plain vision transformers (ViT, DINOv2) as feature extractors: the other backbones of FreeSeg-Diff's Table 3."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from segwright.errors import InputError
from segwright.models.pixels import Pixels
from segwright.types import Image


class Vit:
    """A frozen ``transformers`` ViTModel or Dinov2Model."""

    def __init__(self, model: Any, pixels: Pixels) -> None:
        self.model = model
        self.pixels = pixels

    @property
    def device(self) -> torch.device:
        return self.model.device

    @torch.no_grad()
    def features(self, images: Sequence[Image | Tensor], layer: int = -1, side: int | None = None) -> Tensor:
        """Patch tokens; photos are squeezed to the network's square.

        Args:
            layer: -1 the last, with the final norm; -2 before the last block (the paper: "last or penultimate").
            side: pixels, another than the network's own, rounded down to whole patches; positions are interpolated.

        Returns:
            (B, C, h, w) float32, h = w = side / patch.

        Raises:
            InputError: a layer that is not there.
        """
        depth, patch = self.model.config.num_hidden_layers, int(self.model.config.patch_size)
        if not -depth <= layer <= -1:
            raise InputError(f"layer must be -1 (the last) .. {-depth}, got {layer}")
        cells = (side or self.pixels.side) // patch
        if cells < 1:
            raise InputError(f"side must be at least one patch of {patch} pixels, got {side}")
        pixels = self.pixels(images, self.device, self.model.dtype, cells * patch)
        # Dinov2 always fits its positions to the input; ViT must be told to.
        extra = {} if self.model.config.model_type.startswith("dinov2") else {"interpolate_pos_encoding": True}
        out = self.model(pixel_values=pixels, output_hidden_states=layer < -1, **extra)
        tokens = out.last_hidden_state if layer == -1 else out.hidden_states[layer]
        kept = tokens[:, -cells * cells :].float()  # class and register tokens stand first
        return kept.transpose(1, 2).unflatten(2, (cells, cells)).contiguous()
