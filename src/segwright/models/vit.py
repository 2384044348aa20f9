"""Plain vision transformers (ViT, DINO, DINOv2, MAE) as feature extractors: FreeSeg-Diff's Table 3, OVDiff's Table 2."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from segwright.errors import InputError
from segwright.models.keys import key_map
from segwright.models.pixels import Pixels
from segwright.types import Image


class Vit:
    """A frozen ``transformers`` ViTModel, Dinov2Model or ViTMAEModel."""

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
        depth = self.model.config.num_hidden_layers
        if not -depth <= layer <= -1:
            raise InputError(f"layer must be -1 (the last) .. {-depth}, got {layer}")
        pixels, cells = self._input(images, side)
        out = self._run(pixels, cells, output_hidden_states=layer < -1)
        tokens = out.last_hidden_state if layer == -1 else out.hidden_states[layer]
        kept = tokens[:, -cells[0] * cells[1] :].float()  # class and register tokens stand first
        return kept.transpose(1, 2).unflatten(2, cells).contiguous()

    @torch.no_grad()
    def keys(self, images: Sequence[Image | Tensor], layer: int = -1, side: int | tuple[int, int] | None = None) -> Tensor:
        """Keys of a layer's attention (OVDiff: DINO's last); arguments, shape and errors as ``features``, and ``side`` may be
        (height, width)."""
        pixels, cells = self._input(images, side)
        return key_map(self.model, layer, cells, lambda: self._run(pixels, cells))

    def _input(self, images: Sequence[Image | Tensor], side: int | tuple[int, int] | None) -> tuple[Tensor, tuple[int, int]]:
        patch = int(self.model.config.patch_size)
        shape = side if isinstance(side, tuple) else (side or self.pixels.side,) * 2
        cells = shape[0] // patch, shape[1] // patch
        if min(cells) < 1:
            raise InputError(f"side must be at least one patch of {patch} pixels, got {side}")
        return self.pixels(images, self.device, self.model.dtype, (cells[0] * patch, cells[1] * patch)), cells

    def _run(self, pixels: Tensor, cells: tuple[int, int], **options: Any) -> Any:
        family = self.model.config.model_type
        if not family.startswith("dinov2"):  # Dinov2 always fits its positions to the input; ViT must be told to
            options["interpolate_pos_encoding"] = True
        if family == "vit_mae":  # it sorts its patches by this noise; its mask ratio is set to 0 when it is opened
            options["noise"] = torch.arange(cells[0] * cells[1], device=pixels.device).float().expand(len(pixels), -1)
        return self.model(pixel_values=pixels, **options)
