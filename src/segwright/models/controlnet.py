"""A ControlNet: a copy of the U-Net's encoder that sees a picture of the layout and adds to what the U-Net sees."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from segwright.errors import WeightsError
from segwright.models.diffusion import Diffusion, Embedding


class ControlNet:
    """A frozen diffusers ControlNetModel (Zhang et al. 2023), for the diffusion model that it was trained beside."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def identity(self) -> str:
        """A checksum over all weights."""
        digest = hashlib.sha256()
        for name, value in sorted(self.model.state_dict().items()):
            digest.update(name.encode() + value.detach().float().cpu().contiguous().numpy().tobytes())
        return f"sha256:{digest.hexdigest()[:16]}"

    def residuals(
        self, diffusion: Diffusion, latents: Tensor, timestep: int, embedding: Embedding, layout: Tensor
    ) -> dict[str, Any]:
        """What ``Diffusion.predict`` takes as ``residuals``.

        Args:
            layout: (B, 3, H, W) in 0..1, the size of the photo that the latents came from.

        Raises:
            WeightsError: it was made for another U-Net.
        """
        mine, theirs = self.model.config, diffusion.unet.config
        if mine.cross_attention_dim != theirs.cross_attention_dim or mine.block_out_channels != theirs.block_out_channels:
            raise WeightsError(
                f"this ControlNet has blocks of {list(mine.block_out_channels)} channels and text of {mine.cross_attention_dim}, "
                f"the U-Net {list(theirs.block_out_channels)} and {theirs.cross_attention_dim}; use one made for this U-Net"
            )
        seen = layout.to(self.model.device, self.model.dtype)
        extra = diffusion.conditions(latents, embedding)
        down, mid = self.model(latents, timestep, embedding.tokens, seen, return_dict=False, **extra)
        return {"down_block_additional_residuals": down, "mid_block_additional_residual": mid}


def open_controlnet(folder: Path, device: torch.device, dtype: torch.dtype) -> ControlNet:
    """From a folder with ``config.json`` and ``diffusion_pytorch_model.safetensors``.

    Raises:
        WeightsError: something is missing, damaged or does not fit.
    """
    from segwright.models.opening import open_diffusers

    return ControlNet(open_diffusers("ControlNetModel", folder, dtype).to(device, memory_format=torch.channels_last))
